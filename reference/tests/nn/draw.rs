//! What the layer suites share: inputs, directions, and the comparison with a central difference.

use ndarray::{ArrayD, IxDyn};
use proptest::prelude::*;
use sadm_reference::bound::Precision;
use sadm_reference::operation::{Inputs, Operation};
use std::collections::BTreeMap;

/// A number exact in f32: mostly k/64, sometimes a full mantissa.
pub fn element() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => (-192i32..=192).prop_map(|k| f64::from(k) / 64.0),
        1 => (-3.0f32..3.0).prop_map(f64::from),
    ]
}

/// An array of [`element`]s.
pub fn array(shape: &[usize]) -> BoxedStrategy<ArrayD<f64>> {
    let shape = shape.to_vec();
    let len = shape.iter().product::<usize>();
    prop::collection::vec(element(), len)
        .prop_map(move |v| ArrayD::from_shape_vec(IxDyn(&shape), v).expect("as many as drawn"))
        .boxed()
}

/// One array per shape.
pub fn arrays(shapes: &[Vec<usize>]) -> BoxedStrategy<Vec<ArrayD<f64>>> {
    shapes.iter().map(|s| array(s)).collect::<Vec<_>>().boxed()
}

/// `⟨a, b⟩`.
pub fn inner(a: &ArrayD<f64>, b: &ArrayD<f64>) -> f64 {
    assert_eq!(a.shape(), b.shape(), "an inner product needs equal shapes");
    (a * b).sum()
}

/// Step of the central differences.
const STEP: f64 = 1.0 / 8192.0;

/// Holds a hand-derived directional derivative against central differences of `f` along `s ↦ f(s)` at 0.
///
/// With steps h and h/2 the Richardson value `(4 D(h/2) − D(h))/3` is exact up to h⁴; its truncation error is less
/// than what the two differences disagree by. `value_error` bounds the rounding of each `f`, which enters with at
/// most `(4·2/h + 1/h)/3 = 3/h`; `derivative_error` bounds the rounding of `derivative`.
pub fn check_derivative(
    f: impl Fn(f64) -> f64,
    derivative: f64,
    value_error: f64,
    derivative_error: f64,
) -> Result<(), TestCaseError> {
    let difference = |h: f64| (f(h) - f(-h)) / (2.0 * h);
    let (coarse, fine) = (difference(STEP), difference(STEP / 2.0));
    let numeric = (4.0 * fine - coarse) / 3.0;
    let allowed = (coarse - fine).abs() + 3.0 * value_error / STEP + derivative_error;
    prop_assert!(allowed.is_finite(), "the allowance is vacuous");
    prop_assert!(
        (numeric - derivative).abs() <= allowed,
        "numeric {numeric}, by hand {derivative}, allowed {allowed}"
    );
    Ok(())
}

/// What an operation is given, and a direction for each of its tensors.
#[derive(Debug, Clone)]
pub struct Given {
    tensors: BTreeMap<&'static str, ArrayD<f64>>,
    directions: BTreeMap<&'static str, ArrayD<f64>>,
    counts: BTreeMap<&'static str, usize>,
    indices: Vec<u32>,
}

impl Inputs for Given {
    fn tensor(&self, name: &str) -> Option<&ArrayD<f64>> {
        self.tensors.get(name)
    }
    fn number(&self, _: &str) -> Option<f64> {
        None
    }
    fn count(&self, name: &str) -> Option<usize> {
        self.counts.get(name).copied()
    }
    fn indices(&self, _: &str) -> Option<Vec<u32>> {
        Some(self.indices.clone())
    }
}

impl Given {
    /// Tensors of these names and shapes.
    pub fn draw(tensors: &[(&'static str, &[usize])]) -> impl Strategy<Value = Self> + use<> {
        let shapes: Vec<Vec<usize>> = tensors.iter().map(|(_, shape)| shape.to_vec()).collect();
        let names: Vec<&'static str> = tensors.iter().map(|(name, _)| *name).collect();
        (arrays(&shapes), arrays(&shapes)).prop_map(move |(tensors, directions)| Self {
            tensors: names.iter().copied().zip(tensors).collect(),
            directions: names.iter().copied().zip(directions).collect(),
            counts: BTreeMap::new(),
            indices: Vec::new(),
        })
    }

    /// Each element of a tensor moved by 1 from zero: no kink there is near.
    pub fn away_from_zero(mut self, name: &str) -> Self {
        if let Some(x) = self.tensors.get_mut(name) {
            x.mapv_inplace(|x| if x > 0.0 { x + 1.0 } else { x - 1.0 });
        }
        self
    }

    pub fn count(mut self, name: &'static str, count: usize) -> Self {
        self.counts.insert(name, count);
        self
    }

    pub fn indices(mut self, indices: Vec<u32>) -> Self {
        self.indices = indices;
        self
    }

    /// Every input's gradient against differences in its direction, with the rounding bounds (in f64) as allowance;
    /// and the bounds' own values against the operation's.
    pub fn check(&self, operation: &Operation) -> Result<(), TestCaseError> {
        let what = operation.name;
        let fits = "the shapes were drawn to fit";
        let (got, bounds) = (
            operation.value(self).expect(fits),
            operation.bound(self, Precision::F64).expect(fits),
        );
        prop_assert_eq!(got.len(), operation.inputs.len() + 1);
        prop_assert_eq!(bounds.len(), got.len());
        for ((part, got), (_, bound)) in got.iter().zip(&bounds) {
            prop_assert!(bound.worst_ratio(got) <= 1.0, "{what}: {part} of the bound");
        }
        let value = &bounds[0].1;
        let one = ArrayD::ones(value.value.raw_dim());
        let grad = self.tensors.get("g").unwrap_or(&one);
        let terms = grad.len() as f64;
        let sum_error = terms * f64::EPSILON * (grad * &value.value).mapv(f64::abs).sum();
        let value_error = 2.0 * (inner(&grad.mapv(f64::abs), &value.error) + sum_error);
        for (i, name) in operation.inputs.iter().enumerate() {
            let ((_, d), (_, bound)) = (&got[i + 1], &bounds[i + 1]);
            let v = &self.directions[name];
            let v = v / v.fold(1.0_f64, |a, b| a.max(b.abs()));
            let along = |s: f64| {
                let mut moved = self.clone();
                moved
                    .tensors
                    .entry(name)
                    .and_modify(|x| x.scaled_add(s, &v));
                inner(grad, &operation.value(&moved).expect(fits)[0].1)
            };
            let size = v.mapv(f64::abs);
            let own = d.len() as f64 * f64::EPSILON * inner(&d.mapv(f64::abs), &size);
            let derivative_error = inner(&bound.error, &size) + own;
            check_derivative(along, inner(d, &v), value_error, derivative_error)?;
        }
        Ok(())
    }
}
