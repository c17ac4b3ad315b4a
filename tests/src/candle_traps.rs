//! The faults of candle 0.11 that our own layers step around. Each test expects the fault: when a newer
//! candle mends it, the test fails and says so, and the detour can go.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Result, Shape, Tensor, Var,
};
use candle_nn::Module;

/// Numbers that no symmetry makes equal.
fn numbers(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<f64> = (0..n)
        .map(|i| (i as f64 * 1.7 + 0.3).sin() + 0.1 * i as f64)
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many numbers as the shape asks for")
}

/// The same in f32: the fused norms know no f64.
fn single(shape: &[usize]) -> Tensor {
    numbers(shape).to_dtype(DType::F32).expect("f32 exists")
}

fn flat(x: &Tensor) -> Vec<f64> {
    let x = x.to_dtype(DType::F64).and_then(|x| x.flatten_all());
    x.and_then(|x| x.to_vec1()).expect("a tensor has numbers")
}

/// Σ y w with fixed weights w, so that no gradient vanishes by symmetry.
fn weighted(y: &Tensor) -> Result<Tensor> {
    let w = numbers(y.dims()).to_dtype(y.dtype())?;
    (y.cos()? * w)?.sum_all()
}

/// candle's gradient of `weighted(f(x))`, or `None` where it has none.
fn gradient(f: impl Fn(&Tensor) -> Result<Tensor>, x: &Tensor) -> Result<Option<Vec<f64>>> {
    let x = Var::from_tensor(x)?;
    let grads = weighted(&f(x.as_tensor())?)?.backward()?;
    Ok(grads.get(&x).map(flat))
}

/// The same gradient by central differences: the error is about h² = 1e-10.
fn difference(f: impl Fn(&Tensor) -> Result<Tensor>, x: &Tensor) -> Vec<f64> {
    let h = 1e-5;
    let at = |i: usize, h: f64| {
        let mut values = flat(x);
        values[i] += h;
        let moved = Tensor::from_vec(values, x.dims(), &Device::Cpu).expect("the same shape");
        let value = f(&moved)
            .and_then(|y| weighted(&y))
            .expect("the forward pass runs");
        flat(&value)[0]
    };
    (0..x.elem_count())
        .map(|i| (at(i, h) - at(i, -h)) / (2.0 * h))
        .collect()
}

/// Largest difference between two gradients over the largest number of the second; NaN where there is one.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "gradients of different length");
    let largest = |it: &mut dyn Iterator<Item = f64>| {
        it.fold(0.0_f64, |m, v| if v > m || v.is_nan() { v } else { m })
    };
    largest(&mut a.iter().zip(b).map(|(a, b)| (a - b).abs()))
        / largest(&mut b.iter().map(|b| b.abs()))
}

fn expect_no_gradient(op: &str, f: impl Fn(&Tensor) -> Result<Tensor>, x: &Tensor) {
    let g = gradient(f, x).expect("the fault is silent");
    assert!(
        g.is_none(),
        "{op} has a gradient now: our own version may go"
    );
}

fn expect_wrong_gradient(op: &str, f: impl Fn(&Tensor) -> Result<Tensor> + Copy, x: &Tensor) {
    let g = gradient(f, x)
        .expect("the fault is silent")
        .expect("there is a gradient");
    let error = distance(&g, &difference(f, x));
    assert!(
        error > 1e-3,
        "{op} has the right gradient now (error {error:e}): our own version may go"
    );
}

fn expect_right_gradient(op: &str, f: impl Fn(&Tensor) -> Result<Tensor> + Copy, x: &Tensor) {
    let g = gradient(f, x)
        .expect("a backward pass")
        .expect("there is a gradient");
    let error = distance(&g, &difference(f, x));
    assert!(
        error < 1e-6,
        "{op} should have the right gradient, error {error:e}"
    );
}

fn expect_refusal(op: &str, f: impl Fn(&Tensor) -> Result<Tensor>, x: &Tensor) {
    assert!(
        gradient(f, x).is_err(),
        "{op} can be differentiated now: our own version may go"
    );
}

fn refused_or_panicked<T>(run: impl FnOnce() -> Result<T>) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .map_or(true, |result| result.is_err())
}

/// A second use of x, of the shape its upsampling has: [1, 2, 4, 4].
fn shared_part(x: &Tensor) -> Result<Tensor> {
    x.sqr()?.mean_all()?.broadcast_as((1, 2, 4, 4))
}

/// The harness itself: a right gradient is seen as right.
#[test]
fn right_gradients_are_recognised() {
    expect_right_gradient("sqr", |x| x.sqr()?.sum_keepdim(1), &numbers(&[3, 4]));
    expect_right_gradient(
        "softmax",
        |x| candle_nn::ops::softmax(x, 1),
        &numbers(&[3, 4]),
    );
    let pairs = |x: &Tensor| x.reshape((1, 2, 2, 2, 2, 2))?.mean((3, 5));
    expect_right_gradient("average by reshape", pairs, &numbers(&[1, 2, 4, 4]));
    let repeat = |x: &Tensor| {
        let up = x
            .reshape((1, 2, 2, 1, 2, 1))?
            .broadcast_as((1, 2, 2, 2, 2, 2))?;
        up.reshape((1, 2, 4, 4))? + shared_part(x)?
    };
    expect_right_gradient(
        "nearest upsampling by broadcast",
        repeat,
        &numbers(&[1, 2, 2, 2]),
    );
}

#[test]
fn softmax_last_dim_has_no_gradient() {
    expect_no_gradient(
        "softmax_last_dim",
        candle_nn::ops::softmax_last_dim,
        &numbers(&[3, 4]),
    );
}

#[test]
fn layer_norm_of_contiguous_input_has_no_gradient() {
    let (one, zero) = (
        Tensor::ones(4, DType::F32, &Device::Cpu),
        Tensor::zeros(4, DType::F32, &Device::Cpu),
    );
    let norm = candle_nn::LayerNorm::new(one.expect("ones"), zero.expect("zeros"), 1e-6);
    expect_no_gradient("LayerNorm", |x| norm.forward(x), &single(&[3, 4]));
}

#[test]
fn rms_norm_has_no_gradient() {
    let norm = candle_nn::RmsNorm::new(
        Tensor::ones(4, DType::F32, &Device::Cpu).expect("ones"),
        1e-6,
    );
    expect_no_gradient("RmsNorm", |x| norm.forward(x), &single(&[3, 4]));
}

#[test]
fn rope_has_no_gradient() {
    let angles = numbers(&[3, 2]);
    let (cos, sin) = (angles.cos().expect("cos"), angles.sin().expect("sin"));
    expect_no_gradient(
        "rope",
        |x| candle_nn::rotary_emb::rope(x, &cos, &sin),
        &numbers(&[1, 1, 3, 4]),
    );
}

struct Twice;

impl CustomOp1 for Twice {
    fn name(&self) -> &'static str {
        "twice"
    }
    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let values = s.as_slice::<f64>()?.iter().map(|x| 2.0 * x).collect();
        Ok((CpuStorage::F64(values), l.shape().clone()))
    }
}

#[test]
fn an_operation_applied_without_backward_has_no_gradient() {
    expect_no_gradient(
        "apply_op1_no_bwd",
        |x| x.apply_op1_no_bwd(&Twice),
        &numbers(&[3]),
    );
}

#[test]
fn nearest_upsampling_of_a_shared_input_overwrites_its_gradient() {
    let shared = |x: &Tensor| x.upsample_nearest2d(4, 4)? + shared_part(x)?;
    expect_wrong_gradient("upsample_nearest2d", shared, &numbers(&[1, 2, 2, 2]));
    let shared = |x: &Tensor| {
        x.upsample_nearest1d(4)?
            .broadcast_add(&x.sqr()?.mean_all()?)
    };
    expect_wrong_gradient("upsample_nearest1d", shared, &numbers(&[1, 2, 2]));
}

#[test]
fn conv1d_has_a_wrong_kernel_gradient() {
    let x = numbers(&[2, 3, 7]);
    expect_wrong_gradient(
        "conv1d",
        |kernel| x.conv1d(kernel, 1, 1, 1, 1),
        &numbers(&[2, 3, 3]),
    );
}

#[test]
fn conv1d_is_wrong_for_a_kernel_that_is_not_contiguous() {
    let (x, kernel) = (
        numbers(&[1, 3, 7]),
        numbers(&[3, 2, 3]).transpose(0, 1).expect("a view"),
    );
    let viewed = x.conv1d(&kernel, 0, 1, 1, 1).expect("it runs");
    let copied = x
        .conv1d(&kernel.contiguous().expect("a copy"), 0, 1, 1, 1)
        .expect("it runs");
    let error = distance(&flat(&viewed), &flat(&copied));
    assert!(error > 1e-3, "conv1d reads strides now (error {error:e})");
}

#[test]
fn average_pooling_of_an_odd_side_has_a_wrong_gradient() {
    expect_wrong_gradient("avg_pool2d", |x| x.avg_pool2d(2), &numbers(&[1, 1, 5, 5]));
    expect_right_gradient(
        "avg_pool2d on even sides",
        |x| x.avg_pool2d(2),
        &numbers(&[1, 1, 4, 4]),
    );
}

#[test]
fn max_pooling_has_a_wrong_gradient() {
    expect_wrong_gradient("max_pool2d", |x| x.max_pool2d(2), &numbers(&[1, 1, 4, 4]));
}

#[test]
fn scattering_has_a_wrong_gradient_for_what_is_scattered_into() {
    let index = Tensor::new(&[[0_u32, 1, 1]], &Device::Cpu).expect("indices");
    let source = numbers(&[1, 3]).affine(1.0, 0.5).expect("a source");
    expect_wrong_gradient(
        "scatter",
        |x| x.scatter(&index, &source, 0),
        &numbers(&[2, 3]),
    );
    let (index, source) = (
        Tensor::new(&[[0_u32, 1, 1], [1, 0, 0]], &Device::Cpu).expect("indices"),
        numbers(&[2, 3]),
    );
    expect_wrong_gradient(
        "scatter_add",
        |x| x.scatter_add(&index, &source, 0),
        &numbers(&[2, 3]),
    );
}

#[test]
fn binary_cross_entropy_overflows_at_large_logits() {
    let logit = Tensor::new(&[-200.0_f32], &Device::Cpu).expect("a logit");
    let one = logit.ones_like().expect("a target");
    let loss = candle_nn::loss::binary_cross_entropy_with_logit(&logit, &one).expect("it runs");
    let loss = loss.to_scalar::<f32>().expect("a number");
    assert!(
        !loss.is_finite(),
        "the loss is 200, and candle says {loss} now"
    );
}

#[test]
fn gelu_in_f64_has_the_constants_of_f32() {
    let x = 1.25_f64;
    let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
    let exact = 0.5 * x * (1.0 + u.tanh());
    let got = flat(
        &Tensor::new(&[x], &Device::Cpu)
            .and_then(|x| x.gelu())
            .expect("it runs"),
    )[0];
    let error = (got - exact).abs();
    let gradient = gradient(Tensor::gelu, &numbers(&[4]))
        .expect("a backward pass")
        .expect("a gradient");
    let slope = distance(&gradient, &difference(Tensor::gelu, &numbers(&[4])));
    assert!(
        error > 1e-12 || slope > 1e-9,
        "gelu is exact in f64 now: value {error:e}, gradient {slope:e}"
    );
}

#[test]
fn a_detour_through_f32_costs_f32_accuracy() {
    let detour = |x: &Tensor| x.to_dtype(DType::F32)?.to_dtype(DType::F64);
    let g = gradient(detour, &numbers(&[4]))
        .expect("a backward pass")
        .expect("a gradient");
    let straight = gradient(|x| Ok(x.clone()), &numbers(&[4]))
        .expect("a backward pass")
        .expect("a gradient");
    let error = distance(&g, &straight);
    assert!(
        error > 1e-12 && error < 1e-4,
        "a detour through f32 costs {error:e}"
    );
}

#[test]
fn conv2d_of_stride_two_cannot_go_back_through_sides_of_other_parity() {
    let kernel = numbers(&[1, 1, 3, 3]);
    let sides = numbers(&[1, 1, 5, 6]);
    assert!(
        refused_or_panicked(|| gradient(|x| x.conv2d(&kernel, 1, 2, 1, 1), &sides)),
        "conv2d of stride 2 on 5×6 can be differentiated now"
    );
}

#[test]
fn some_resampling_cannot_be_differentiated() {
    expect_refusal(
        "bilinear upsampling",
        |x| x.upsample_bilinear2d(4, 4, false),
        &numbers(&[1, 1, 2, 2]),
    );
    expect_refusal(
        "non-uniform upsampling",
        |x| x.upsample_nearest2d(4, 6),
        &numbers(&[1, 1, 2, 2]),
    );
    expect_refusal(
        "non-integer upsampling",
        |x| x.upsample_nearest2d(3, 3),
        &numbers(&[1, 1, 2, 2]),
    );
    expect_refusal(
        "overlapping pooling",
        |x| x.avg_pool2d_with_stride(2, 1),
        &numbers(&[1, 1, 4, 4]),
    );
    let kernel = numbers(&[1, 1, 3]);
    expect_refusal(
        "conv_transpose1d",
        |x| x.conv_transpose1d(&kernel, 0, 0, 1, 1, 1),
        &numbers(&[1, 1, 5]),
    );
}

#[test]
fn selu_refuses_f64() {
    let selu = candle_nn::ops::selu(&numbers(&[3]), 1.673_263, 1.050_701);
    assert!(selu.is_err(), "selu runs in f64 now");
}

struct FirstOnly;

impl CustomOp2 for FirstOnly {
    fn name(&self) -> &'static str {
        "first-only"
    }
    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        l: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok((
            CpuStorage::F64(a.as_slice::<f64>()?.to_vec()),
            l.shape().clone(),
        ))
    }
    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(g.clone()), None))
    }
}

#[test]
fn a_backward_that_gives_nothing_to_an_inner_node_ends_the_pass() {
    let x = numbers(&[3]);
    assert!(
        refused_or_panicked(|| gradient(|x| x.apply_op2(&x.sqr()?, FirstOnly), &x)),
        "None for an inner node is taken as zero now"
    );
}

#[test]
fn a_gradient_of_a_gradient_is_detached() {
    let x = Var::from_tensor(&numbers(&[3])).expect("a variable");
    let cube = (x.sqr().expect("x²") * x.as_tensor())
        .and_then(|y| y.sum_all())
        .expect("Σ x³");
    let first = cube.backward().expect("a backward pass");
    let slope = first.get(&x).expect("3 x²").sum_all().expect("a sum");
    let second = slope.backward().expect("a backward pass");
    let curvature: Vec<f64> = flat(x.as_tensor()).iter().map(|x| 6.0 * x).collect();
    let error = second
        .get(&x)
        .map_or(1.0, |got| distance(&flat(got), &curvature));
    assert!(
        error > 1e-3,
        "a gradient can be differentiated by default now"
    );
}

#[test]
fn the_generator_of_the_cpu_cannot_be_seeded() {
    assert!(
        Device::Cpu.set_seed(7).is_err(),
        "the CPU generator can be seeded now"
    );
}

#[test]
fn variables_come_in_no_order() {
    let map = candle_nn::VarMap::new();
    let data = map.data().lock().expect("nobody else holds it");
    let unordered: &std::collections::HashMap<String, Var> = &data;
    assert!(unordered.is_empty(), "this line only states the type");
}

#[test]
fn convolution_in_bf16_is_missing_on_the_cpu() {
    let x = Tensor::zeros((1, 1, 4, 4), DType::BF16, &Device::Cpu).expect("zeros");
    assert!(
        x.conv2d(&x, 0, 1, 1, 1).is_err(),
        "bf16 conv2d runs on the CPU now"
    );
    let product = x.reshape((4, 4)).and_then(|x| x.matmul(&x));
    assert!(product.is_ok(), "bf16 matmul should run on the CPU");
}
