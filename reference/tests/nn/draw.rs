//! What the layer suites share: inputs, directions, and the comparison with a central difference.

use ndarray::{ArrayD, IxDyn};
use proptest::prelude::*;
use sadm_reference::bound::Tracked;

/// House configuration: the shrink budget does not depend on the case count.
pub fn house() -> ProptestConfig {
    ProptestConfig {
        cases: 64,
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

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

/// A function of several arrays.
type Map<'a, T, U> = &'a dyn Fn(&[T]) -> U;

/// Its gradients: (inputs, gradient of the output) to one gradient per input.
type Vjp<'a, T> = &'a dyn Fn(&[T], &T) -> Vec<T>;

/// A layer seen as a function of several arrays, with its bound.
pub struct Layer<'a> {
    pub forward: Map<'a, ArrayD<f64>, ArrayD<f64>>,
    pub vjp: Vjp<'a, ArrayD<f64>>,
    pub bound: Map<'a, Tracked, Tracked>,
    pub bound_vjp: Vjp<'a, Tracked>,
}

impl Layer<'_> {
    /// Every input's gradient against differences in its direction, with the rounding bounds (in f64) as allowance;
    /// and the bounds' own values against the layer's.
    pub fn check(
        &self,
        inputs: &[ArrayD<f64>],
        directions: &[ArrayD<f64>],
        grad: &ArrayD<f64>,
    ) -> Result<(), TestCaseError> {
        let tracked: Vec<_> = inputs.iter().cloned().map(Tracked::exact).collect();
        let value = (self.bound)(&tracked);
        prop_assert!(
            value.worst_ratio(&(self.forward)(inputs)) <= 1.0,
            "forward value of the bound"
        );
        let grads = (self.vjp)(inputs, grad);
        let bounds = (self.bound_vjp)(&tracked, &Tracked::exact(grad.clone()));
        prop_assert_eq!(grads.len(), inputs.len());
        prop_assert_eq!(bounds.len(), inputs.len());

        let terms = grad.len() as f64;
        let sum_error = terms * f64::EPSILON * (grad * &value.value).mapv(f64::abs).sum();
        let value_error = 2.0 * (inner(&grad.mapv(f64::abs), &value.error) + sum_error);
        for (i, (d, bound)) in grads.iter().zip(&bounds).enumerate() {
            prop_assert!(
                bound.worst_ratio(d) <= 1.0,
                "gradient {i}: value of the bound"
            );
            let v = &directions[i] / directions[i].fold(1.0_f64, |a, b| a.max(b.abs()));
            let along = |s: f64| {
                let mut moved = inputs.to_vec();
                moved[i].scaled_add(s, &v);
                inner(grad, &(self.forward)(&moved))
            };
            let size = v.mapv(f64::abs);
            let own = d.len() as f64 * f64::EPSILON * inner(&d.mapv(f64::abs), &size);
            check_derivative(
                along,
                inner(d, &v),
                value_error,
                inner(&bound.error, &size) + own,
            )?;
        }
        Ok(())
    }
}
