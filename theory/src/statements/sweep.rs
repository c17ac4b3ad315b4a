//! A statement's claims along one of its parameters, for plots.

use super::{Evidence, Instance, Parameter, Scale, Statement, StatementError};

/// Evidence at each place of a parameter.
pub type Sweep = Vec<(f64, Vec<Evidence>)>;

/// The parameter that a plot runs over when none is named: the first with a logarithmic range, else the first
/// with a linear one, else the first.
pub fn swept_by_default(statement: &dyn Statement) -> Option<&'static Parameter> {
    let known = statement.parameters();
    let first = |scale| known.iter().find(|p| p.scale == scale);
    first(Scale::Log)
        .or_else(|| first(Scale::Linear))
        .or(known.first())
}

/// The evidence of `instance` with one parameter moved over its range, at `points` places (at every whole number if
/// it counts).
///
/// # Errors
/// As [`Statement::evidence`].
pub fn sweep(
    statement: &dyn Statement,
    instance: &Instance,
    over: &Parameter,
    points: usize,
) -> Result<Sweep, StatementError> {
    let known = statement.parameters();
    let at = |place: f64| {
        let moved = instance.clone().with(known, over.name, place)?;
        Ok((place, statement.evidence(&moved)?))
    };
    places(over, points).into_iter().map(at).collect()
}

fn places(over: &Parameter, points: usize) -> Vec<f64> {
    if over.scale == Scale::Integer {
        return std::iter::successors(Some(over.low), |k| Some(k + 1.0))
            .take_while(|k| *k <= over.high)
            .collect();
    }
    let last = points.max(2) - 1;
    (0..=last)
        .map(|k| over.at(k as f64 / last as f64))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statements::find;

    #[test]
    fn a_whole_number_is_swept_one_by_one_and_a_real_one_from_end_to_end() {
        let statement = find("eq-13").expect("a statement");
        let known = |name: &str| {
            let mut parameters = statement.parameters().iter();
            parameters.find(|p| p.name == name).expect("a parameter")
        };
        assert_eq!(places(known("atoms"), 7), [1.0, 2.0, 3.0, 4.0]);
        let gamma = known("gamma");
        let over = places(gamma, 3);
        assert_eq!((over.len(), over[0], over[2]), (3, gamma.low, gamma.high));
        assert!((over[1] - (gamma.low * gamma.high).sqrt()).abs() < 1e-9);
        let swept = sweep(statement.as_ref(), &statement.default_instance(), gamma, 3);
        let swept = swept.expect("evidence");
        assert_eq!(swept.len(), 3);
        let moved = statement.default_instance();
        let moved = moved.with(statement.parameters(), "gamma", over[1]);
        let direct = statement.evidence(&moved.expect("within the range"));
        assert_eq!(swept[1], (over[1], direct.expect("evidence")));
        assert_ne!(swept[0].1, swept[1].1);
    }

    #[test]
    fn a_logarithmic_range_is_swept_rather_than_a_linear_one() {
        let over = |id: &str| swept_by_default(find(id).expect("a statement").as_ref());
        assert_eq!(over("eq-13").map(|p| p.name), Some("gamma"));
        assert_eq!(
            over("chapman-kolmogorov").map(|p| p.scale),
            Some(Scale::Linear)
        );
    }
}
