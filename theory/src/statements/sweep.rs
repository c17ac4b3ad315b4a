//! A statement's claims along one of its parameters, for plots.

use super::trial::between;
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

/// The parameter of this name.
///
/// # Errors
/// [`StatementError::UnknownParameter`], with the names there are.
pub fn parameter(
    statement: &dyn Statement,
    name: &str,
) -> Result<&'static Parameter, StatementError> {
    let known = statement.parameters();
    known
        .iter()
        .find(|p| p.name == name)
        .ok_or_else(|| StatementError::UnknownParameter {
            got: name.to_owned(),
            known: known.iter().map(|p| p.name).collect::<Vec<_>>().join(", "),
        })
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
    let Parameter {
        low, high, scale, ..
    } = *over;
    if scale == Scale::Integer {
        return std::iter::successors(Some(low), |k| Some(k + 1.0))
            .take_while(|k| *k <= high)
            .collect();
    }
    let last = points.max(2) - 1;
    (0..=last)
        .map(|k| between(low, high, scale, k as f64 / last as f64))
        .collect()
}
