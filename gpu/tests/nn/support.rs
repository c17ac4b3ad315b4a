//! Random tensors, central differences and comparisons that the tests of the layers share.

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Unit roundoff of f32.
pub const U32: f64 = 5.960_464_477_539_063e-8;

/// Seeded source of tensors.
pub struct Draw(ChaCha8Rng);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Uniform on the multiples of 1/64 in [−2, 2), hence exact in f32 and in bf16.
    pub fn values(&mut self, count: usize) -> Vec<f64> {
        (0..count)
            .map(|_| f64::from(self.0.next_u32() >> 24) / 64.0 - 2.0)
            .collect()
    }

    /// A tensor of [`values`](Self::values) in f64.
    pub fn tensor(&mut self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        let values = self.values(shape.elem_count());
        Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values as elements")
    }
}

/// Every element in row-major order, widened.
pub fn flat(x: &Tensor) -> Vec<f64> {
    let x = x
        .to_dtype(DType::F64)
        .and_then(|x| x.flatten_all())
        .and_then(|x| x.to_vec1());
    x.expect("a CPU tensor")
}

/// A function of several tensors.
pub type Op<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// The gradients of `Σ w y` with respect to every input by candle's autograd, in the inputs' type;
/// `w` is the fixed weight of each output element.
pub fn gradients(op: Op<'_>, inputs: &[Tensor]) -> Vec<Tensor> {
    let vars: Vec<Var> = inputs
        .iter()
        .map(|x| Var::from_tensor(x).expect("a variable"))
        .collect();
    let tracked: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let y = op(&tracked).expect("the operation to run");
    let weights = output_weights(y.shape())
        .to_dtype(y.dtype())
        .expect("a float type");
    let loss = (y * weights).and_then(|y| y.sum_all()).expect("a sum");
    let store = loss.backward().expect("a backward pass");
    vars.iter()
        .map(|var| store.get(var).expect("a gradient for every input").clone())
        .collect()
}

fn output_weights(shape: &Shape) -> Tensor {
    Draw::new(99).tensor(shape.clone())
}

fn weighted_sum(op: Op<'_>, inputs: &[Tensor]) -> f64 {
    let y = op(inputs).expect("the operation to run");
    let weights = flat(&output_weights(y.shape()));
    flat(&y).iter().zip(weights).map(|(y, w)| y * w).sum()
}

/// Step of the central differences.
const STEP: f64 = 1.0 / 4096.0;

/// Holds the gradients of `op` in f64 against central differences of five points, element by
/// element.
///
/// The difference quotient has a truncation error h⁴ f⁽⁵⁾/30 = 1.2e-16 f⁽⁵⁾ and a rounding error
/// 1.5 · 2⁻⁵³ κ Σ|w y| / h with κ the roundings on the way of one term, κ ≤ 1000 here. The functions
/// tested have fifth derivatives below 1e6 at these inputs, Σ|w y| below 1e3: together below 1e-6.
/// Wrong formulas are off by parts in ten.
pub fn assert_gradients(name: &str, op: Op<'_>, inputs: &[Tensor]) {
    let got = gradients(op, inputs);
    for (which, grad) in got.iter().enumerate() {
        assert_eq!(
            grad.dims(),
            inputs[which].dims(),
            "{name}: shape of gradient {which}"
        );
        let values = flat(&inputs[which]);
        for (i, &got) in flat(grad).iter().enumerate() {
            let moved = |by: f64| {
                let mut values = values.clone();
                values[i] += by * STEP;
                let mut inputs = inputs.to_vec();
                let shape = inputs[which].shape().clone();
                inputs[which] = Tensor::from_vec(values, shape, &Device::Cpu).expect("same shape");
                weighted_sum(op, &inputs)
            };
            let want =
                (8.0 * (moved(1.0) - moved(-1.0)) - (moved(2.0) - moved(-2.0))) / (12.0 * STEP);
            assert!(
                (got - want).abs() <= 1e-6,
                "{name}: ∂/∂input {which}[{i}]: got {got}, central difference {want}"
            );
        }
    }
}

/// Requires `|got − want| ≤ allowance` for every element, NaN refused.
pub fn assert_close(name: &str, got: &Tensor, want: &Tensor, allowance: f64) {
    assert_eq!(got.dims(), want.dims(), "{name}: shape");
    for (i, (got, want)) in flat(got).iter().zip(flat(want)).enumerate() {
        let distance = (got - want).abs();
        assert!(
            distance <= allowance,
            "{name}[{i}]: got {got}, want {want}, off by {distance:e}, allowed {allowance:e}"
        );
    }
}

/// The inputs in another type.
pub fn cast(inputs: &[Tensor], dtype: DType) -> Vec<Tensor> {
    inputs
        .iter()
        .map(|x| x.to_dtype(dtype).expect("a float type"))
        .collect()
}

/// The largest magnitude in a tensor.
pub fn largest(x: &Tensor) -> f64 {
    flat(x).into_iter().fold(0.0, |a, b| a.max(b.abs()))
}
