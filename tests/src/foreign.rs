//! Numbers that another program computed, held against a check of the registry: only the reference and its bounds speak here.

use std::collections::BTreeMap;

use ndarray::ArrayD;

use crate::{
    case::Case,
    compare::{Comparison, compare},
    engine::{Place, parse_dtype, reference_side},
    error::{Error, Result},
    ledger::rule,
    registry::find,
    replay::Counterexample,
};

/// What a check says of one quantity of a case.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The quantity.
    pub name: String,
    /// The reference's number.
    pub want: ArrayD<f64>,
    /// How far a number computed in the element type may be from it, element by element; see [`crate::engine::judge`].
    pub allowed: ArrayD<f64>,
}

/// What a check says of a case whose tensors are numbers of an element type: f64, f32, tf32, bf16, f16.
///
/// # Errors
/// A name that is no check's, an element type without a ledger entry, and what the reference refuses.
pub fn expected(check: &str, case: &Case, dtype: &str) -> Result<Vec<Expected>> {
    let (check, place) = (find(check)?, place(dtype)?);
    let rule = rule(check.as_ref(), &place)?;
    let case = case.map_tensors(|x| place.round(x));
    let one = reference_side(check.as_ref(), &case, &rule)?;
    let each = one.want.iter().map(|(name, want)| Expected {
        name: name.clone(),
        want: want.clone(),
        allowed: one.allowed(name, &rule),
    });
    Ok(each.collect())
}

/// Holds computed numbers, all or some of a check's quantities, against [`expected`].
///
/// # Errors
/// As [`expected`]; a number that is no quantity of the check, or has another shape.
pub fn hold(
    check: &str,
    case: &Case,
    dtype: &str,
    computed: &BTreeMap<String, ArrayD<f64>>,
) -> Result<Vec<(String, Comparison)>> {
    let expected = expected(check, case, dtype)?;
    let named = |name: &str| expected.iter().find(|e| e.name == name);
    computed
        .iter()
        .map(|(name, got)| {
            let one = named(name).ok_or_else(|| Error::Missing {
                name: name.clone(),
                held: expected
                    .iter()
                    .map(|e| e.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            })?;
            if got.shape() != one.want.shape() {
                return Err(Error::Shape {
                    name: name.clone(),
                    must: format!("the shape {:?} of the reference's", one.want.shape()),
                    got: got.shape().to_vec(),
                });
            }
            Ok((name.clone(), compare(name, got, &one.want, &one.allowed)))
        })
        .collect()
}

/// A case that another program failed, as `sadm verify --replay` reads it: this program then computes it.
pub fn counterexample(
    check: &str,
    case: Case,
    dtype: &str,
    message: &str,
) -> Result<Counterexample> {
    Ok(Counterexample {
        check: find(check)?.name().to_owned(),
        device: "cpu".to_owned(),
        // How GPUs multiply, which the CPU does not: there it is f32.
        dtype: place(dtype)?.dtype.as_str().to_owned(),
        message: message.to_owned(),
        case,
    })
}

/// The reference judges for every device; TF32 is named without one.
fn place(dtype: &str) -> Result<Place> {
    Ok(Place {
        tf32: dtype == "tf32",
        ..Place::cpu(parse_dtype(dtype)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::scalar;
    use ndarray::{ArrayD, IxDyn, array};

    fn case() -> Case {
        Case::new()
            .tensor("x_hat", array![[0.5, -0.25], [1.0, 2.0]])
            .tensor("x0", array![[0.25, 0.5], [1.5, 2.0]])
            .numbers("w", vec![1.0, 3.0])
    }

    /// Σ w ‖x̂ − x_0‖²/B = (0.625 + 3 · 0.25)/2.
    const LOSS: f64 = 0.6875;

    fn judged(loss: f64, dtype: &str) -> bool {
        let computed = BTreeMap::from([("y".to_owned(), scalar(loss))]);
        let found = hold("denoising-loss", &case(), dtype, &computed).expect("it is known");
        assert_eq!(found.len(), 1);
        found[0].1.holds()
    }

    #[test]
    fn a_number_is_held_to_the_bound_of_its_type() {
        for (dtype, step) in [("f64", 1e-12), ("f32", 1e-4), ("bf16", 1e-2)] {
            assert!(judged(LOSS, dtype), "{dtype}: the exact number");
            assert!(
                !judged(LOSS * (1.0 + step), dtype),
                "{dtype}: {step} passes"
            );
        }
        assert!(judged(LOSS * (1.0 + 1e-7), "f32"));
        assert!(!judged(LOSS * (1.0 + 1e-7), "f64"));
    }

    #[test]
    fn what_cannot_be_judged_is_refused_by_name() {
        let said = |check: &str, dtype: &str, name: &str, value: ArrayD<f64>| {
            let computed = BTreeMap::from([(name.to_owned(), value)]);
            let error = hold(check, &case(), dtype, &computed).expect_err("refused");
            error.to_string()
        };
        let one = || scalar(LOSS);
        assert!(said("denoising", "f32", "y", one()).contains("denoising-loss"));
        assert!(said("denoising-loss", "float8", "y", one()).contains("float8"));
        assert!(said("denoising-loss", "f32", "loss", one()).contains("grad_x_hat, y"));
        let wide = ArrayD::zeros(IxDyn(&[2]));
        assert!(said("denoising-loss", "f32", "y", wide).contains("[2]"));
    }

    #[test]
    fn a_case_that_failed_elsewhere_runs_here() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("case.json");
        let found = counterexample("denoising-loss", case(), "f32", "too large");
        found.expect("it is known").write(&path).expect("a file");
        let again = crate::replay(&path, None, None).expect("it runs");
        assert!(!again.failed(), "{}", again.place);
    }
}
