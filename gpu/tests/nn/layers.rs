//! Every operation, fused and composed: gradients, agreement, strides, types, refusals.

use candle_core::{DType, Device, Result, Tensor};
use sadm_gpu::nn::{self, Packing, Path, composed, traced};

use crate::support::{
    Draw, Op, U32, assert_close, assert_gradients, cast, flat, gradients, largest,
};

type BoxedOp = Box<dyn Fn(&[Tensor]) -> Result<Tensor>>;

/// One operation on both paths, with inputs in f64.
struct Case {
    name: &'static str,
    fused: BoxedOp,
    composed: BoxedOp,
    inputs: Vec<Tensor>,
    /// Bound on the f32 roundings between an input and any output or gradient element, counting the
    /// longest sum; multiplied by [`MAGNITUDE`] and u.
    roundings: f64,
}

/// Every intermediate quantity of the cases, with all terms of its sums in absolute value, stays
/// below this: inputs and output weights are below 2, sums have at most 64 terms of three factors,
/// and the reciprocal deviation of a group of such inputs is below 4.
const MAGNITUDE: f64 = 64.0 * 2.0 * 2.0 * 2.0 * 4.0;

macro_rules! case {
    ($name:literal, $roundings:expr, [$($input:expr),+], $x:ident => $function:ident($($argument:tt)*)) => {
        Case {
            name: $name,
            fused: Box::new(move |$x| nn::$function($($argument)*)),
            composed: Box::new(move |$x| composed::$function($($argument)*)),
            inputs: vec![$($input),+],
            roundings: $roundings,
        }
    };
}

/// All operations at small, lopsided shapes.
fn cases() -> Vec<Case> {
    let mut draw = Draw::new(7);
    let mut t = |dims: &[usize]| draw.tensor(dims);
    vec![
        case!("linear", 60.0, [t(&[2, 3, 5]), t(&[4, 5]), t(&[4])],
            x => linear(&x[0], &x[1], Some(&x[2]))),
        case!("linear, no bias", 60.0, [t(&[3, 5]), t(&[4, 5])],
            x => linear(&x[0], &x[1], None)),
        case!("conv 3×3", 120.0, [t(&[2, 3, 4, 5]), t(&[4, 3, 3, 3]), t(&[4])],
            x => conv2d(&x[0], &x[1], Some(&x[2]), 1)),
        case!("conv 3×3 of width 4, one image", 120.0, [t(&[1, 2, 3, 4]), t(&[3, 2, 3, 3]), t(&[3])],
            x => conv2d(&x[0], &x[1], Some(&x[2]), 1)),
        case!("conv 1×1", 120.0, [t(&[3, 3, 2, 4]), t(&[2, 3, 1, 1]), t(&[2])],
            x => conv2d(&x[0], &x[1], Some(&x[2]), 0)),
        case!("conv 2×3 without padding or bias", 120.0, [t(&[2, 2, 4, 4]), t(&[3, 2, 2, 3])],
            x => conv2d(&x[0], &x[1], None, 0)),
        case!("group norm", 200.0, [t(&[2, 4, 3, 2]), t(&[4]), t(&[4])],
            x => group_norm(&x[0], 2, &x[1], &x[2])),
        case!("group norm of each sample", 200.0, [t(&[2, 4, 5]), t(&[2, 4]), t(&[2, 4])],
            x => group_norm(&x[0], 1, &x[1], &x[2])),
        case!("group norm and silu", 220.0, [t(&[2, 4, 3, 2]), t(&[4]), t(&[4])],
            x => group_norm_silu(&x[0], 2, &x[1], &x[2])),
        case!("group norm of each sample and silu", 220.0, [t(&[1, 6, 2, 4]), t(&[1, 6]), t(&[1, 6])],
            x => group_norm_silu(&x[0], 3, &x[1], &x[2])),
        case!("layer norm", 200.0, [t(&[3, 2, 7]), t(&[7]), t(&[7])],
            x => layer_norm(&x[0], Some((&x[1], &x[2])))),
        case!("layer norm of each sample", 200.0, [t(&[2, 3, 7]), t(&[2, 7]), t(&[2, 7])],
            x => layer_norm(&x[0], Some((&x[1], &x[2])))),
        case!("layer norm without affine map", 200.0, [t(&[4, 18])],
            x => layer_norm(&x[0], None)),
        case!("silu", 30.0, [t(&[3, 7])], x => silu(&x[0])),
        case!("gated sum", 20.0, [t(&[2, 3, 5]), t(&[2, 5]), t(&[2, 3, 5])],
            x => gated_sum(&x[0], &x[1], &x[2])),
        case!("gelu", 60.0, [t(&[3, 7])], x => gelu(&x[0])),
        case!("relu", 2.0, [t(&[3, 7])], x => relu(&x[0])),
        case!("softmax", 60.0, [t(&[2, 2, 19])], x => softmax_last(&x[0])),
        case!("attention", 150.0, [t(&[2, 3, 4]), t(&[2, 5, 4]), t(&[2, 5, 2])],
            x => attention(&x[0], &x[1], &x[2])),
        case!("self-attention of pixels", 150.0, [t(&[2, 12, 5])],
            x => self_attention(&x[0], 2, Packing::Channels)),
        case!("self-attention of tokens", 150.0, [t(&[2, 5, 12])],
            x => self_attention(&x[0], 2, Packing::Tokens)),
        case!("upsample", 10.0, [t(&[2, 3, 3, 2])], x => upsample_nearest2x(&x[0])),
        case!("average pool", 10.0, [t(&[2, 3, 2, 6])], x => avg_pool2x(&x[0])),
        case!("concatenation", 10.0, [t(&[2, 3, 2, 2]), t(&[2, 1, 2, 2])],
            x => concat_channels(&x[0], &x[1])),
    ]
}

#[test]
fn gradients_match_central_differences_on_both_paths() {
    for case in cases() {
        assert_gradients(&format!("{}, fused", case.name), &case.fused, &case.inputs);
        assert_gradients(
            &format!("{}, composed", case.name),
            &case.composed,
            &case.inputs,
        );
    }
    let mut draw = Draw::new(8);
    let pool: Op<'_> = &|x| nn::global_avg_pool(&x[0]);
    assert_gradients("global average", pool, &[draw.tensor((2, 3, 2, 3))]);
    let entropy: Op<'_> = &|x| nn::cross_entropy(&x[0], &[2, 0, 3]);
    assert_gradients("cross-entropy", entropy, &[draw.tensor((3, 4))]);
    let table: Op<'_> = &|x| nn::embedding(&x[0], &[1, 3, 1]);
    assert_gradients("embedding", table, &[draw.tensor((4, 2))]);
}

#[test]
fn the_two_paths_agree_within_their_roundings() {
    for case in cases() {
        // Exact inputs in each type, so only the arithmetic differs; f64 has u smaller by 2²⁹.
        for (dtype, u) in [(DType::F32, U32), (DType::F64, U32 / 2_f64.powi(29))] {
            let inputs = cast(&case.inputs, dtype);
            let allowance = 2.0 * case.roundings * u * MAGNITUDE;
            let (got, ran) = traced(|| (case.fused)(&inputs));
            assert!(ran.contains(&Path::Fused), "{}: {ran:?}", case.name);
            let (want, ran) = traced(|| (case.composed)(&inputs));
            assert!(ran.iter().eq([&Path::Composed]), "{}: {ran:?}", case.name);
            let (got, want) = (
                got.expect("the fused path"),
                want.expect("the composed path"),
            );
            assert_eq!(got.dtype(), dtype);
            assert_close(case.name, &got, &want, allowance);
            let pairs = gradients(&case.fused, &inputs)
                .into_iter()
                .zip(gradients(&case.composed, &inputs));
            for (i, (got, want)) in pairs.enumerate() {
                assert_close(
                    &format!("{}, gradient {i}", case.name),
                    &got,
                    &want,
                    allowance,
                );
            }
        }
    }
}

#[test]
fn bf16_is_the_f32_result_rounded_once() {
    for case in cases() {
        if case.name == "attention" {
            continue; // a chain of operations, each of which rounds
        }
        let inputs = cast(&case.inputs, DType::BF16);
        let exact = cast(&inputs, DType::F32);
        let got = (case.fused)(&inputs).expect("the fused path in bf16");
        let want = (case.fused)(&exact).expect("the fused path in f32");
        assert_eq!(got.dtype(), DType::BF16);
        let once = want.to_dtype(DType::BF16).expect("a conversion");
        assert_eq!(flat(&got), flat(&once), "{}", case.name);
        for (got, want) in gradients(&case.fused, &inputs)
            .iter()
            .zip(gradients(&case.fused, &exact))
        {
            // The incoming gradient is exact in bf16, so the only rounding is that of the result.
            let once = want.to_dtype(DType::BF16).expect("a conversion");
            assert_eq!(got.dtype(), DType::BF16);
            assert_eq!(flat(got), flat(&once), "{}", case.name);
        }
    }
}

/// The same values with other strides: transposed storage, then a narrowed one.
fn restrided(x: &Tensor) -> Vec<Tensor> {
    let last = x.rank() - 1;
    let transposed = x
        .transpose(0, last)
        .and_then(|x| x.contiguous())
        .and_then(|x| x.transpose(0, last));
    let padded = Tensor::cat(&[x, x, x], 0).and_then(|all| all.narrow(0, x.dims()[0], x.dims()[0]));
    let inner = Tensor::cat(&[x, x], last).and_then(|all| all.narrow(last, 0, x.dims()[last]));
    [transposed, padded, inner]
        .into_iter()
        .map(|x| x.expect("a view"))
        .collect()
}

#[test]
fn strides_do_not_matter() {
    for case in cases() {
        let inputs = cast(&case.inputs, DType::F32);
        let want = flat(&(case.fused)(&inputs).expect("contiguous inputs"));
        for i in 0..inputs.len() {
            for view in restrided(&inputs[i]) {
                let mut inputs = inputs.clone();
                inputs[i] = view;
                let got = (case.fused)(&inputs).expect("strided inputs");
                assert_eq!(flat(&got), want, "{}, input {i}", case.name);
                let composed = (case.composed)(&inputs).expect("strided inputs");
                let allowance = 2.0 * case.roundings * U32 * MAGNITUDE;
                assert_close(case.name, &composed, &got, allowance);
            }
        }
    }
}

#[test]
fn gradients_flow_through_views_and_broadcasts() {
    let mut draw = Draw::new(3);
    let x = draw.tensor((2, 3, 4, 4));
    let turned: Op<'_> = &|x| {
        let x = x[0].transpose(2, 3)?.narrow(1, 1, 2)?;
        nn::upsample_nearest2x(&nn::silu(&x)?)?.transpose(0, 1)
    };
    assert_gradients("transposed and narrowed", turned, &[x]);
    let weight = draw.tensor((4, 2, 3, 3));
    let spread: Op<'_> = &|x| {
        let image = x[0].reshape((1, 2, 1, 3))?.broadcast_as((2, 2, 3, 3))?;
        nn::conv2d(&image, &x[1], None, 1)
    };
    assert_gradients("broadcast", spread, &[draw.tensor((2, 3)), weight]);
    // A skip connection: one tensor used twice, where candle's own upsampling overwrites.
    let skip: Op<'_> =
        &|x| nn::upsample_nearest2x(&x[0])? + nn::upsample_nearest2x(&(&x[0] * 3.0)?)?;
    assert_gradients("used twice", skip, &[draw.tensor((1, 2, 2, 2))]);
}

#[test]
fn large_batches_are_split_without_losing_an_image() {
    // More than one group of images and more than one part of the batch in the weight gradient.
    let mut draw = Draw::new(5);
    let inputs: Vec<Tensor> = [vec![37, 2, 8, 8], vec![3, 2, 3, 3], vec![3]]
        .into_iter()
        .map(|dims| draw.tensor(dims))
        .collect();
    let fused: Op<'_> = &|x| nn::conv2d(&x[0], &x[1], Some(&x[2]), 1);
    let composed: Op<'_> = &|x| composed::conv2d(&x[0], &x[1], Some(&x[2]), 1);
    // f64: sums of 37 · 64 terms below 4, u = 2⁻⁵³, two paths.
    let terms = 37.0 * 64.0;
    let allowance = 2.0 * terms * terms * 4.0 * 2_f64.powi(-53);
    for (got, want) in gradients(fused, &inputs)
        .iter()
        .zip(gradients(composed, &inputs))
    {
        assert_close("conv2d of 37 images", got, &want, allowance);
    }
    // By tiles: several groups of images, blocks of tiles and parts of the batch; sides that are no multiple of a tile.
    for dims in [[37, 32, 8, 8], [3, 64, 19, 22], [40, 32, 7, 7]] {
        let inputs: Vec<Tensor> = [dims.to_vec(), vec![32, dims[1], 3, 3], vec![32]]
            .into_iter()
            .map(|dims| draw.tensor(dims))
            .collect();
        // Sums over all pixels or over all channels and taps; a tile's terms are at most 36 times as large.
        let terms = 36.0 * (dims[0] * dims[2] * dims[3]).max(9 * dims[1]) as f64;
        let allowance = 2.0 * terms * terms * 2_f64.powi(-53);
        for (got, want) in gradients(fused, &inputs)
            .iter()
            .zip(gradients(composed, &inputs))
        {
            assert_close(&format!("conv2d of {dims:?}"), got, &want, allowance);
        }
    }
    for (op, composed) in [
        (
            &(|x: &[Tensor]| nn::linear(&x[0], &x[1], Some(&x[2]))) as Op<'_>,
            &(|x: &[Tensor]| composed::linear(&x[0], &x[1], Some(&x[2]))) as Op<'_>,
        ),
        (&|x| nn::layer_norm(&x[0], Some((&x[2], &x[2]))), &|x| {
            composed::layer_norm(&x[0], Some((&x[2], &x[2])))
        }),
    ] {
        let inputs = [draw.tensor((515, 3)), draw.tensor((3, 3)), draw.tensor(3)];
        let used = |op: Op<'_>, x: &[Tensor]| op(x)? + x[1].sum_all()?.broadcast_as((515, 3))?;
        let (got, want) = (
            gradients(&|x| used(op, x), &inputs),
            gradients(&|x| used(composed, x), &inputs),
        );
        for (got, want) in got.iter().zip(want) {
            assert_close(
                "515 rows",
                got,
                &want,
                2.0 * 515.0 * 515.0 * 64.0 * 2_f64.powi(-53),
            );
        }
    }
}

#[test]
fn products_of_many_tiles_agree() {
    // More rows, columns and inner terms than a tile, a panel, a strip, a task and a block have, and a rest of each.
    let mut draw = Draw::new(6);
    let pointwise =
        [vec![9, 150, 6, 7], vec![41, 150, 1, 1], vec![41]].map(|dims| draw.tensor(dims));
    let pixels = [vec![1, 12, 299], vec![2], vec![3]].map(|dims| draw.tensor(dims));
    let tokens = [vec![1, 299, 12], vec![2], vec![3]].map(|dims| draw.tensor(dims));
    // The other inputs take part so that they have gradients.
    let rest = |x: &[Tensor]| x[1].sum_all()? + x[2].sum_all()?;
    let conv = [vec![9, 19, 6, 7], vec![41, 19, 3, 3], vec![41]].map(|dims| draw.tensor(dims));
    let linear = [vec![1100, 43], vec![77, 43], vec![77]].map(|dims| draw.tensor(dims));
    // Terms below 4; the longest sums are over the pixels of the batch and over the rows.
    let cases: [(&str, Op<'_>, Op<'_>, _, f64); 5] = [
        (
            "conv2d",
            &|x| nn::conv2d(&x[0], &x[1], Some(&x[2]), 1),
            &|x| composed::conv2d(&x[0], &x[1], Some(&x[2]), 1),
            conv,
            9.0 * 42.0,
        ),
        (
            "linear",
            &|x| nn::linear(&x[0], &x[1], Some(&x[2])),
            &|x| composed::linear(&x[0], &x[1], Some(&x[2])),
            linear,
            1100.0,
        ),
        (
            "1×1 conv2d",
            &|x| nn::conv2d(&x[0], &x[1], Some(&x[2]), 0),
            &|x| composed::conv2d(&x[0], &x[1], Some(&x[2]), 0),
            pointwise,
            9.0 * 42.0,
        ),
        (
            "attention of pixels",
            &|x| nn::self_attention(&x[0], 2, Packing::Channels)?.broadcast_add(&rest(x)?),
            &|x| composed::self_attention(&x[0], 2, Packing::Channels)?.broadcast_add(&rest(x)?),
            pixels,
            299.0,
        ),
        (
            "attention of tokens",
            &|x| nn::self_attention(&x[0], 2, Packing::Tokens)?.broadcast_add(&rest(x)?),
            &|x| composed::self_attention(&x[0], 2, Packing::Tokens)?.broadcast_add(&rest(x)?),
            tokens,
            299.0,
        ),
    ];
    for (name, fused, composed, inputs, terms) in cases {
        for (dtype, u) in [(DType::F64, 2_f64.powi(-53)), (DType::F32, U32)] {
            let inputs = cast(&inputs, dtype);
            let allowance = 2.0 * terms * terms * 4.0 * u;
            let y = (fused(&inputs), composed(&inputs));
            let (got, want) = (y.0.expect("fused"), y.1.expect("composed"));
            assert_close(name, &got, &want, allowance);
            let want = gradients(composed, &inputs);
            for (got, want) in gradients(fused, &inputs).iter().zip(want) {
                assert_close(name, got, &want, allowance);
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    type Op = fn(&[Tensor]) -> Result<Tensor>;
    let cases: [(&str, Op, Vec<Vec<usize>>); 3] = [
        (
            "convolution and norm",
            |x| nn::group_norm_silu(&nn::conv2d(&x[0], &x[1], Some(&x[2]), 1)?, 4, &x[2], &x[2]),
            vec![vec![21, 8, 8, 8], vec![16, 8, 3, 3], vec![16]],
        ),
        (
            "convolution by tiles",
            |x| nn::conv2d(&x[0], &x[1], Some(&x[2]), 1),
            vec![vec![7, 32, 10, 10], vec![64, 32, 3, 3], vec![64]],
        ),
        (
            "linear",
            |x| nn::linear(&x[0], &x[1], Some(&x[2])),
            vec![vec![230, 150], vec![700, 150], vec![700]],
        ),
    ];
    for (name, op, dims) in cases {
        let mut draw = Draw::new(11);
        let inputs = dims.into_iter().map(|dims| draw.tensor(dims));
        let inputs: Vec<Tensor> = inputs
            .map(|x| x.to_dtype(DType::F32).expect("f32"))
            .collect();
        let bits = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().expect("a pool").install(|| {
                let results = gradients(&op, &inputs).into_iter().chain(op(&inputs));
                results.map(|x| flat(&x)).collect::<Vec<_>>()
            })
        };
        let one = bits(1);
        for threads in [3, 8] {
            assert!(one == bits(threads), "{name} on {threads} threads");
        }
    }
}

#[test]
fn nan_reaches_the_output() {
    let nan = Tensor::from_vec(vec![1.0_f32, f32::NAN, -2.0, 0.5], (1, 4), &Device::Cpu)
        .expect("4 values");
    for (name, y) in [
        ("silu", nn::silu(&nan)),
        ("gelu", nn::gelu(&nan)),
        ("softmax", nn::softmax_last(&nan)),
        ("layer norm", nn::layer_norm(&nan, None)),
    ] {
        let y = flat(&y.expect("a result"));
        assert!(
            y.iter().any(|y| y.is_nan()),
            "{name} swallowed a NaN: {y:?}"
        );
    }
}

#[test]
fn extreme_inputs_stay_finite() {
    let x = Tensor::from_vec(vec![-1e4_f32, -90.0, 0.0, 90.0, 1e4], (1, 5), &Device::Cpu)
        .expect("5 values");
    for y in [nn::silu(&x), nn::gelu(&x), nn::softmax_last(&x)] {
        let y = flat(&y.expect("a result"));
        assert!(y.iter().all(|y| y.is_finite()), "{y:?}");
    }
    assert_eq!(
        flat(&nn::softmax_last(&x).expect("a result")),
        [0.0, 0.0, 0.0, 0.0, 1.0]
    );
    let loss = nn::cross_entropy(&x, &[0]).expect("a loss");
    assert_eq!(flat(&loss), [2e4]);
}

#[test]
fn wrong_shapes_are_refused_in_words() {
    let mut draw = Draw::new(1);
    let mut t = |dims: &[usize]| draw.tensor(dims);
    let (image, kernel) = (t(&[1, 3, 5, 4]), t(&[2, 3, 3, 3]));
    let refusals = [
        ("odd side", nn::avg_pool2x(&image), "be even"),
        (
            "odd side, composed",
            composed::avg_pool2x(&image),
            "be even",
        ),
        (
            "rank of the image",
            nn::conv2d(&t(&[3, 5, 4]), &kernel, None, 1),
            "[N, C, H, W]",
        ),
        (
            "channels",
            nn::conv2d(&t(&[1, 2, 5, 4]), &kernel, None, 1),
            "[O, 2, kh, kw]",
        ),
        (
            "large kernel",
            nn::conv2d(&t(&[1, 3, 2, 2]), &kernel, None, 0),
            "fit into",
        ),
        (
            "large padding",
            nn::conv2d(&image, &kernel, None, 3),
            "larger than padding",
        ),
        (
            "bias",
            nn::conv2d(&image, &kernel, Some(&t(&[3])), 1),
            "bias",
        ),
        (
            "inner size",
            nn::linear(&t(&[2, 3]), &t(&[4, 5]), None),
            "[…, 5]",
        ),
        (
            "groups",
            nn::group_norm(&image, 2, &t(&[3]), &t(&[3])),
            "divisor of the 3",
        ),
        (
            "gamma",
            nn::group_norm(&image, 3, &t(&[2]), &t(&[2])),
            "gamma",
        ),
        (
            "beta",
            nn::layer_norm(&t(&[2, 4]), Some((&t(&[4]), &t(&[2, 4])))),
            "beta",
        ),
        (
            "heads",
            nn::self_attention(&t(&[1, 12, 2]), 5, Packing::Channels),
            "heads",
        ),
        (
            "table",
            nn::embedding(&t(&[3, 2]), &[3]),
            "below the table's 3 rows",
        ),
        (
            "label",
            nn::cross_entropy(&t(&[1, 3]), &[3]),
            "below the number of classes, 3",
        ),
        (
            "labels",
            nn::cross_entropy(&t(&[2, 3]), &[1]),
            "number of labels",
        ),
        (
            "features",
            nn::time_features(&[1.0], 3, &Device::Cpu, DType::F32),
            "be even",
        ),
        (
            "other sizes",
            nn::concat_channels(&image, &t(&[1, 3, 4, 4])),
            "except for the channels",
        ),
    ];
    for (name, result, words) in refusals {
        let message = match result {
            Ok(_) => panic!("{name}: accepted"),
            Err(error) => error.to_string(),
        };
        assert!(message.contains(words), "{name}: {message}");
    }
}

#[test]
fn values_worked_by_hand() {
    let t = |values: &[f64], dims: &[usize]| {
        Tensor::from_vec(values.to_vec(), dims, &Device::Cpu).expect("values")
    };
    let image = t(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1, 1, 2, 3]);
    // Correlation with a kernel that is not symmetric: y = x[i, j+1] + 10 x[i+1, j].
    let kernel = t(
        &[0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 10.0, 0.0],
        &[1, 1, 3, 3],
    );
    let y = nn::conv2d(&image, &kernel, Some(&t(&[100.0], &[1])), 1).expect("a convolution");
    assert_eq!(flat(&y), [142.0, 153.0, 160.0, 105.0, 106.0, 100.0]);
    let up = nn::upsample_nearest2x(&t(&[1.0, 2.0], &[1, 1, 1, 2])).expect("an image");
    assert_eq!(flat(&up), [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
    let down = nn::avg_pool2x(&t(&[1.0, 2.0, 5.0, 0.0, 3.0, 6.0, 1.0, 2.0], &[1, 1, 2, 4]))
        .expect("an image");
    assert_eq!(flat(&down), [3.0, 2.0]);
    let joined = nn::concat_channels(&t(&[1.0, 2.0], &[2, 1, 1]), &t(&[3.0, 4.0], &[2, 1, 1]))
        .expect("channels");
    assert_eq!(flat(&joined), [1.0, 3.0, 2.0, 4.0]);
    assert_eq!(
        largest(&nn::global_avg_pool(&image).expect("an average")).to_bits(),
        3.5_f64.to_bits()
    );
}
