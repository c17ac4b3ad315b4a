//! Registry of checks, and selection by name.

use crate::{
    check::Check,
    checks,
    error::{Error, Result},
};

/// Every check, in the order of the mathematics: forward process, denoising, structure, layers, optimiser,
/// networks, one whole training step, statistics of features, layers of frozen networks.
pub fn registry() -> Vec<Box<dyn Check>> {
    checks::all()
}

/// The checks that `name` picks: the one of that name; else those whose name begins with it; else those that
/// contain it.
///
/// # Errors
/// When it picks none; the message has the three nearest names.
pub fn select(checks: Vec<Box<dyn Check>>, name: &str) -> Result<Vec<Box<dyn Check>>> {
    let rules: [fn(&str, &str) -> bool; 3] = [
        |check, name| check == name,
        |check, name| check.starts_with(name),
        |check, name| check.contains(name),
    ];
    match rules
        .iter()
        .find(|rule| checks.iter().any(|check| rule(check.name(), name)))
    {
        Some(rule) => Ok(checks
            .into_iter()
            .filter(|check| rule(check.name(), name))
            .collect()),
        None => Err(Error::UnknownCheck {
            name: name.to_owned(),
            nearest: nearest(&checks, name),
        }),
    }
}

/// The check of this whole name.
///
/// # Errors
/// When there is none; the message has the three nearest names.
pub(crate) fn find(name: &str) -> Result<Box<dyn Check>> {
    let mut checks = registry();
    match checks.iter().position(|check| check.name() == name) {
        Some(at) => Ok(checks.swap_remove(at)),
        None => Err(Error::UnknownCheck {
            name: name.to_owned(),
            nearest: nearest(&checks, name),
        }),
    }
}

fn nearest(checks: &[Box<dyn Check>], name: &str) -> String {
    let mut names: Vec<&str> = checks.iter().map(|check| check.name()).collect();
    let likeness = |other: &str| strsim::jaro_winkler(name, other);
    names.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    names
        .iter()
        .take(3)
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_say_something() {
        let checks = registry();
        let names: BTreeSet<&str> = checks.iter().map(|check| check.name()).collect();
        assert_eq!(names.len(), checks.len(), "two checks share a name");
        for check in &checks {
            assert!(
                check.about().len() > 10,
                "`{}` does not say what it is",
                check.name()
            );
            assert!(
                !check.source().is_empty(),
                "`{}` has no source",
                check.name()
            );
        }
    }

    #[test]
    fn a_name_picks_exactly_then_by_beginning_then_by_part() {
        let picked = |name: &str| -> Vec<String> {
            let checks = select(registry(), name).expect("the name picks something");
            checks.iter().map(|check| check.name().to_owned()).collect()
        };
        assert_eq!(picked("forward"), ["forward"]);
        assert!(
            picked("structural-loss.cosine").len() >= 3,
            "a beginning picks its family"
        );
        assert!(
            picked("huber").iter().all(|name| name.contains("huber")),
            "a part picks what contains it"
        );
    }

    #[test]
    fn an_unknown_name_is_answered_with_its_neighbours() {
        let refused = select(registry(), "structual-loss.cosin.squared")
            .err()
            .expect("there is no such check");
        let message = refused.to_string();
        assert!(
            message.contains("`structural-loss.cosine.squared`"),
            "no help in: {message}"
        );
    }
}
