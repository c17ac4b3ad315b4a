//! Layers: gradients against central differences, and identities that the values do not share.

use crate::draw::{Given, array, check_derivative, inner};
use ndarray::{ArrayD, Axis, IxDyn, array as arr};
use proptest::prelude::*;
use sadm_reference::bound::{self, Precision, Tracked};
use sadm_reference::nn::{self, Conv2dOptions, NnError};
use sadm_reference::operation::OPERATIONS;

const P: Precision = Precision::F64;
const FITS: &str = "the shapes were drawn to fit";

fn image() -> impl Strategy<Value = [usize; 4]> {
    (1usize..=3, 1usize..=3, 1usize..=5, 1usize..=5).prop_map(|(b, c, h, w)| [b, c, h, w])
}

prop_compose! {
    fn conv_options()(stride in 1usize..=2, padding in 0usize..=2) -> Conv2dOptions {
        Conv2dOptions { stride, padding }
    }
}

/// Shapes of x, weight, bias and output of a convolution that fits.
fn conv_shapes() -> impl Strategy<Value = ([Vec<usize>; 3], Vec<usize>, Conv2dOptions)> {
    (image(), 1usize..=3, 1usize..=3, 1usize..=3, conv_options()).prop_map(
        |([b, c, h, w], o, kh, kw, options)| {
            let (h, w) = (h.max(kh), w.max(kw));
            let side =
                |side: usize, k: usize| (side + 2 * options.padding - k) / options.stride + 1;
            (
                [vec![b, c, h, w], vec![o, c, kh, kw], vec![o]],
                vec![b, o, side(h, kh), side(w, kw)],
                options,
            )
        },
    )
}

/// Shapes of a group norm: `[B, C, H, W]` with `groups` dividing C.
fn group_shapes() -> impl Strategy<Value = ([usize; 4], usize)> {
    (1usize..=2, 1usize..=3, 1usize..=2, 1usize..=3, 1usize..=3)
        .prop_map(|(b, groups, per_group, h, w)| ([b, groups * per_group, h, w], groups))
}

fn attention_inputs() -> impl Strategy<Value = [ArrayD<f64>; 3]> {
    (1usize..=2, 1usize..=4, 1usize..=4, 1usize..=4, 1usize..=3)
        .prop_flat_map(|(n, t, s, d, e)| [array(&[n, t, d]), array(&[n, s, d]), array(&[n, s, e])])
}

fn rows() -> impl Strategy<Value = Vec<usize>> {
    (1usize..=4, 1usize..=6).prop_map(|(n, d)| vec![n, d])
}

fn count_of(n: usize) -> u32 {
    u32::try_from(n).expect("small")
}

/// What an operation is given: shapes that fit, numbers of any kind.
#[expect(clippy::too_many_lines, reason = "an arm for each operation")]
fn given(operation: &'static str) -> BoxedStrategy<Given> {
    let like = |x: Vec<usize>| Given::draw(&[("x", &x), ("g", &x)]);
    let affine = |x: &[usize], width: usize| {
        Given::draw(&[("x", x), ("gamma", &[width]), ("beta", &[width]), ("g", x)])
    };
    match operation {
        "linear" => (1usize..=3, 1usize..=3, 1usize..=4, 1usize..=4)
            .prop_flat_map(|(b, t, i, o)| {
                Given::draw(&[
                    ("x", &[b, t, i]),
                    ("weight", &[o, i]),
                    ("bias", &[o]),
                    ("g", &[b, t, o]),
                ])
            })
            .boxed(),
        "conv2d" => conv_shapes()
            .prop_flat_map(|([x, weight, bias], y, options)| {
                Given::draw(&[("x", &x), ("weight", &weight), ("bias", &bias), ("g", &y)]).prop_map(
                    move |given| {
                        given
                            .count("stride", options.stride)
                            .count("padding", options.padding)
                    },
                )
            })
            .boxed(),
        "conv2d.tiles" => image()
            .prop_flat_map(|[b, c, h, w]| {
                Given::draw(&[
                    ("x", &[b, c, h, w]),
                    ("weight", &[2, c, 3, 3]),
                    ("bias", &[2]),
                    ("g", &[b, 2, h, w]),
                ])
            })
            .prop_map(|given| given.count("padding", 1))
            .boxed(),
        "group-norm" => group_shapes()
            .prop_flat_map(move |(x, groups)| {
                affine(&x, x[1]).prop_map(move |given| given.count("groups", groups))
            })
            .boxed(),
        "layer-norm-affine" => rows().prop_flat_map(move |x| affine(&x, x[1])).boxed(),
        "layer-norm" | "second-moment-norm" | "silu" | "gelu" | "softmax" => {
            rows().prop_flat_map(like).boxed()
        }
        // No nearer to its kink than differences reach.
        "leaky-relu" => rows()
            .prop_flat_map(like)
            .prop_map(|given| given.away_from_zero("x"))
            .boxed(),
        "gated-sum" => (1usize..=3, 1usize..=4, 1usize..=5)
            .prop_flat_map(|(n, t, d)| {
                let x = &[n, t, d];
                Given::draw(&[("x", x), ("gate", &[n, d]), ("h", x), ("g", x)])
            })
            .boxed(),
        "attention" => (1usize..=2, 1usize..=4, 1usize..=4, 1usize..=4, 1usize..=3)
            .prop_flat_map(|(n, t, s, d, e)| {
                let (k, v) = ([n, s, d], [n, s, e]);
                Given::draw(&[("q", &[n, t, d]), ("k", &k), ("v", &v), ("g", &[n, t, e])])
            })
            .boxed(),
        "upsample" => image()
            .prop_flat_map(|[b, c, h, w]| {
                Given::draw(&[("x", &[b, c, h, w]), ("g", &[b, c, 2 * h, 2 * w])])
            })
            .boxed(),
        "avg-pool" => image()
            .prop_flat_map(|[b, c, h, w]| {
                Given::draw(&[("x", &[b, c, 2 * h, 2 * w]), ("g", &[b, c, h, w])])
            })
            .boxed(),
        "fir-down" | "fir-up" => (image(), 2usize..=4, 0usize..=1)
            .prop_flat_map(move |([b, c, h, w], taps, padding)| {
                let up = operation == "fir-up";
                let to = |side: usize| {
                    if up {
                        2 * side + taps - 2 * padding
                    } else {
                        (side + 3 + 2 * padding - taps) / 2 + 1
                    }
                };
                let from = |side: usize| if up { side + 1 } else { side + 3 };
                let shapes = ([b, c, from(h), from(w)], [b, c, to(h), to(w)]);
                Given::draw(&[("x", &shapes.0), ("g", &shapes.1)]).prop_map(move |given| {
                    given
                        .count("padding", padding)
                        .indices((1..=count_of(taps)).collect())
                })
            })
            .boxed(),
        "global-avg-pool" => image()
            .prop_flat_map(|x| Given::draw(&[("x", &x), ("g", &x[..2])]))
            .boxed(),
        "embedding" => (1usize..=4, 1usize..=3, 1usize..=5)
            .prop_flat_map(|(rows, d, n)| {
                let index = prop::collection::vec(0..count_of(rows), n);
                (Given::draw(&[("table", &[rows, d]), ("g", &[n, d])]), index)
            })
            .prop_map(|(given, index)| given.indices(index))
            .boxed(),
        "cross-entropy" => labelled_logits()
            .prop_flat_map(|(z, labels)| (Given::draw(&[("logits", z.shape())]), Just(labels)))
            .prop_map(|(given, labels)| given.indices(labels))
            .boxed(),
        other => panic!("no inputs are drawn for `{other}`"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every input's gradient of every operation, against differences in a direction of its own.
    #[test]
    fn gradients_match_differences(all in OPERATIONS.iter().map(|operation| given(operation.name)).collect::<Vec<_>>()) {
        for (operation, given) in OPERATIONS.iter().zip(&all) {
            given.check(operation)?;
        }
    }

    /// Softmax does not see a common shift, so every row of the gradient of the loss sums to zero; and the loss of a
    /// class is −ln of its probability.
    #[test]
    fn cross_entropy_gradient_sums_to_zero((z, labels) in labelled_logits()) {
        let exact = nn::cross_entropy(&z, &labels).expect(FITS);
        let units = 8.0 * z.shape()[1] as f64;
        for row in exact.grad_logits.sum_axis(Axis(1)) {
            prop_assert!(row.abs() <= units * f64::EPSILON);
        }
        let p = nn::softmax(&z).expect(FITS);
        let log: f64 = labels.iter().enumerate().map(|(n, &k)| -p[[n, k as usize]].ln()).sum();
        prop_assert!((exact.loss - log / labels.len() as f64).abs() <= 1e-13);
    }

    /// Rows are distributions, and the gradient has no component along (1, …, 1).
    #[test]
    fn softmax_rows_are_distributions((x, g) in rows().prop_flat_map(|s| (array(&s), array(&s)))) {
        let p = nn::softmax(&x).expect(FITS);
        let units = (p.shape()[1] + 4) as f64 * f64::EPSILON;
        prop_assert!(p.iter().all(|&p| p > 0.0));
        for sum in p.sum_axis(Axis(1)) {
            prop_assert!((sum - 1.0).abs() <= units);
        }
        let d = nn::softmax_vjp(&x, &g).expect(FITS);
        for (sum, g) in d.sum_axis(Axis(1)).iter().zip(g.rows()) {
            prop_assert!(sum.abs() <= units * 4.0 * g.fold(0.0_f64, |a, b| a.max(b.abs())));
        }
    }

    /// Without gain and offset each group has mean 0 and mean square var/(var + ε).
    #[test]
    fn group_norm_output_has_unit_moments((x, groups) in group_shapes()
        .prop_flat_map(|(s, groups)| (array(&s), Just(groups))))
    {
        let c = x.shape()[1];
        let eps = nn::GROUP_NORM_EPS;
        let (one, zero) = (ArrayD::ones(IxDyn(&[c])), ArrayD::zeros(IxDyn(&[c])));
        let y = nn::group_norm(&x, groups, &one, &zero, eps).expect(FITS);
        let sets = |a: &ArrayD<f64>| a.to_shape((a.shape()[0] * groups, a.len() / (a.shape()[0] * groups)))
            .expect("whole groups").to_owned();
        for (x, y) in sets(&x).rows().into_iter().zip(sets(&y).rows()) {
            let n = x.len() as f64;
            let variance = x.mapv(|v| v * v).sum() / n - (x.sum() / n).powi(2);
            // Both formulas lose about n u max x² of the variance, and what they divide by is at least ε.
            let lost = 16.0 * n * f64::EPSILON * 9.0 / eps;
            prop_assert!((y.sum() / n).abs() <= lost);
            prop_assert!((y.mapv(|v| v * v).sum() / n - variance / (variance + eps)).abs() <= lost);
        }
    }

    /// `LN(a x + b) = LN(x)` when ε scales along, `ε a²`.
    #[test]
    fn layer_norm_ignores_an_affine_change(x in rows().prop_flat_map(|s| array(&s)), a in 1u8..=8, b in -64i8..=64) {
        let (a, b) = (f64::from(a) / 2.0, f64::from(b) / 16.0);
        let y = nn::layer_norm(&x, None, 1e-2).expect(FITS);
        let moved = nn::layer_norm(&x.mapv(|x| a * x + b), None, 1e-2 * a * a).expect(FITS);
        for (y, moved) in y.iter().zip(&moved) {
            prop_assert!((y - moved).abs() <= 1e-12, "{y} vs {moved}");
        }
    }

    /// Group norm of one group on `[B, C]` is layer norm with the same gain and offset.
    #[test]
    fn one_group_is_layer_norm((x, gamma, beta) in rows().prop_flat_map(|s| (array(&s), array(&s[1..]), array(&s[1..])))) {
        let group = nn::group_norm(&x, 1, &gamma, &beta, 1e-3).expect(FITS);
        prop_assert_eq!(group, nn::layer_norm(&x, Some((&gamma, &beta)), 1e-3).expect(FITS));
    }

    /// `⟨y, conv(x)⟩ = ⟨convᵀ(y), x⟩`: the input's gradient is the adjoint, without the bias.
    #[test]
    fn conv2d_gradient_is_the_adjoint((x, w, y, options) in conv_shapes()
        .prop_flat_map(|([x, w, _], y, options)| (array(&x), array(&w), array(&y), Just(options))))
    {
        let zero = ArrayD::zeros(IxDyn(&[w.shape()[0]]));
        let forward = inner(&y, &nn::conv2d(&x, &w, &zero, options).expect(FITS));
        let d = nn::conv2d_vjp(&x, &w, &y, options).expect(FITS);
        let (backward, by_weight) = (inner(&d.x, &x), inner(&d.weight, &w));
        let size = |a: &ArrayD<f64>| a.mapv(f64::abs);
        let terms = inner(&size(&y), &nn::conv2d(&size(&x), &size(&w), &zero, options).expect(FITS));
        let allowed = 2.0 * (x.len() + w.len() + y.len()) as f64 * f64::EPSILON * terms;
        prop_assert!((forward - backward).abs() <= allowed, "{forward} vs {backward}");
        prop_assert!((forward - by_weight).abs() <= allowed, "{forward} vs {by_weight}");
    }

    /// A delta in the image reproduces the kernel, turned by 180°, around it.
    #[test]
    fn conv2d_of_a_delta_is_the_kernel((w, i, j) in (array(&[2, 1, 3, 3]), 1usize..=3, 1usize..=3)) {
        let mut x = ArrayD::zeros(IxDyn(&[1, 1, 5, 5]));
        x[[0, 0, i, j]] = 1.0;
        let bias = arr![0.25, -0.5].into_dyn();
        let y = nn::conv2d(&x, &w, &bias, Conv2dOptions::same(3)).expect(FITS);
        for o in 0..2 {
            for (p, q) in ndarray::indices((5, 5)) {
                let tap = |out: usize, at: usize| (at + 1).checked_sub(out).filter(|&t| t < 3);
                let kernel = tap(p, i).zip(tap(q, j)).map_or(0.0, |(a, b)| w[[o, 0, a, b]]);
                prop_assert!((y[[0, o, p, q]] - (bias[[o]] + kernel)).abs() <= 0.0);
            }
        }
    }

    /// A 1×1 convolution is the affine map of the channels at every pixel.
    #[test]
    fn pointwise_conv2d_is_linear((x, w, b) in image().prop_flat_map(|s| (array(&s), array(&[2, s[1], 1, 1]), array(&[2])))) {
        let y = nn::conv2d(&x, &w, &b, Conv2dOptions::same(1)).expect(FITS);
        let pixels = x.view().permuted_axes(IxDyn(&[0, 2, 3, 1])).as_standard_layout().into_owned();
        let weight = w.to_shape(IxDyn(&[2, x.shape()[1]])).expect("1×1").to_owned();
        let z = nn::linear(&pixels, &weight, &b).expect(FITS);
        let y = y.view().permuted_axes(IxDyn(&[0, 2, 3, 1]));
        for (y, z) in y.iter().zip(&z) {
            prop_assert!((y - z).abs() <= 64.0 * f64::EPSILON, "{y} vs {z}");
        }
    }

    /// Permuting keys and values together changes nothing; permuting the queries permutes the output.
    #[test]
    fn attention_is_permutation_equivariant(inputs in attention_inputs(), turn in 0usize..4) {
        let turned = |x: &ArrayD<f64>| {
            let n = x.shape()[1];
            let order: Vec<usize> = (0..n).map(|i| (n - 1 - i + turn) % n).collect();
            x.select(Axis(1), &order)
        };
        let [q, k, v] = [&inputs[0], &inputs[1], &inputs[2]];
        let y = nn::attention(q, k, v).expect(FITS);
        let close = |a: &ArrayD<f64>, b: &ArrayD<f64>| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-13);
        prop_assert!(close(&y, &nn::attention(q, &turned(k), &turned(v)).expect(FITS)));
        prop_assert!(close(&turned(&y), &nn::attention(&turned(q), k, v).expect(FITS)));
    }

    /// Outputs are means of the values: equal values come back unchanged.
    #[test]
    fn attention_averages_the_values(inputs in attention_inputs()) {
        let ones = ArrayD::from_elem(inputs[2].raw_dim(), 1.5);
        let y = nn::attention(&inputs[0], &inputs[1], &ones).expect(FITS);
        prop_assert!(y.iter().all(|y| (y - 1.5).abs() <= 1e-14));
    }

    /// Averaging undoes repetition, and each is the other's adjoint up to the factor 4.
    #[test]
    fn resampling_is_adjoint((x, y) in image()
        .prop_flat_map(|[b, c, h, w]| (array(&[b, c, h, w]), array(&[b, c, 2 * h, 2 * w]))))
    {
        let up = nn::upsample_nearest2x(&x).expect(FITS);
        prop_assert_eq!(&nn::avg_pool2x(&up).expect(FITS), &x);
        let (left, right) = (inner(&up, &y), inner(&x, &nn::avg_pool2x(&y).expect(FITS)) * 4.0);
        let allowed = y.len() as f64 * f64::EPSILON * inner(&up.mapv(f64::abs), &y.mapv(f64::abs));
        prop_assert!((left - right).abs() <= 2.0 * allowed, "{left} vs {right}");
    }

    /// A rectifier keeps one sign, its gradient is that side's, and a clamp without a kink is odd, bounded and of slope ≤ 1.
    #[test]
    fn rectifier_and_clamp_are_what_they_are_called(x in array(&[6]), g in array(&[6]), v in array(&[6])) {
        let minus = x.mapv(|x| -x);
        prop_assert_eq!(nn::relu(&x) - nn::relu(&minus), x.clone());
        prop_assert_eq!(nn::relu(&x) + nn::relu(&minus), x.mapv(f64::abs));
        let both = nn::relu_vjp(&x, &g).expect(FITS) + nn::relu_vjp(&minus, &g).expect(FITS);
        for ((both, g), x) in both.iter().zip(&g).zip(&x) {
            let want = if x.abs() > 0.0 { *g } else { 0.0 };
            prop_assert!((both - want).abs() <= 0.0);
        }
        let y = nn::soft_clamp(&x, 3.0);
        prop_assert_eq!(&nn::soft_clamp(&minus, 3.0), &y.mapv(|y| -y));
        prop_assert!(y.iter().zip(&x).all(|(y, x)| y.abs() < 3.0 && y.abs() <= x.abs()));
        let along = |s: f64| inner(&g, &nn::soft_clamp(&(&x + &(&v * s)), 3.0));
        let d = nn::soft_clamp_vjp(&x, 3.0, &g).expect(FITS);
        let scale = 8.0 * f64::EPSILON * inner(&g.mapv(f64::abs), &x.mapv(f64::abs));
        check_derivative(along, inner(&d, &v), scale, 1e-12 * d.mapv(f64::abs).sum())?;
    }

    /// `silu(x) − silu(−x) = x` and `gelu(x) − gelu(−x) = x`.
    #[test]
    fn activations_split_the_identity(x in array(&[6])) {
        let minus = x.mapv(|x| -x);
        for difference in [nn::silu(&x) - nn::silu(&minus), nn::gelu(&x) - nn::gelu(&minus)] {
            for (d, x) in difference.iter().zip(&x) {
                prop_assert!((d - x).abs() <= 8.0 * f64::EPSILON * x.abs(), "{d} vs {x}");
            }
        }
    }

    /// `cos² + sin² = 1` for every frequency, and the first frequency is ½, the last 32.
    #[test]
    fn time_features_lie_on_circles(n in crate::draw::element(), half in 2usize..=5) {
        let f = nn::time_features(&[n], 2 * half).expect(FITS);
        for k in 0..half {
            prop_assert!((f[[0, k]].powi(2) + f[[0, half + k]].powi(2) - 1.0).abs() <= 8.0 * f64::EPSILON);
        }
        prop_assert!((f[[0, 0]] - (n / 2.0).cos()).abs() <= 4.0 * f64::EPSILON);
        prop_assert!((f[[0, 2 * half - 1]] - (32.0 * n).sin()).abs() <= 96.0 * 64.0 * f64::EPSILON);
        let tracked = bound::nn::time_features(&[n], 2 * half, P).expect(FITS);
        prop_assert!(tracked.worst_ratio(&f) <= 1.0);
    }
}

/// Logits, and a label for each row.
fn labelled_logits() -> impl Strategy<Value = (ArrayD<f64>, Vec<u32>)> {
    (1usize..=4, 1usize..=5).prop_flat_map(|(n, k)| {
        let labels = prop::collection::vec(0..count_of(k), n);
        (array(&[n, k]), labels)
    })
}

/// Of 256 features at step 500, as tabulated from the publication; the bound is kept.
#[test]
fn step_features_are_the_published_ones() {
    let f = nn::step_features(&[500.0, 0.25], 256).expect(FITS);
    for (i, want) in [
        (0, -0.883_849_273_431),
        (1, 0.945_942_579_820),
        (127, 0.998_556_869_757),
        (128, -0.467_771_805_322),
        (255, 0.053_704_542_278),
    ] {
        assert!((f[[0, i]] - want).abs() < 1e-12, "{i}: {}", f[[0, i]]);
    }
    let tracked = bound::nn::step_features(&[500.0, 0.25], 256, P).expect(FITS);
    assert!(tracked.worst_ratio(&f) <= 1.0);
}

/// Worked by hand: the frequencies of four features are ½ and 32.
#[test]
fn time_features_at_a_generic_point() {
    let f = nn::time_features(&[0.25], 4).expect(FITS);
    let want = [
        0.125_f64.cos(),
        8.0_f64.cos(),
        0.125_f64.sin(),
        8.0_f64.sin(),
    ];
    for (f, want) in f.iter().zip(want) {
        assert!((f - want).abs() <= 64.0 * f64::EPSILON, "{f} vs {want}");
    }
}

/// Worked by hand: x = (1, 3) has mean 2 and variance 1.
#[test]
fn layer_norm_at_a_generic_point() {
    let x = arr![[1.0, 3.0]].into_dyn();
    let (gamma, beta) = (arr![2.0, 4.0].into_dyn(), arr![10.0, 20.0].into_dyn());
    // 1/√(1 + 3) = ½.
    let y = nn::layer_norm(&x, Some((&gamma, &beta)), 3.0).expect(FITS);
    assert_eq!(y, arr![[9.0, 22.0]].into_dyn());
}

/// Worked by hand: GELU(1) = ½ (1 + tanh(√(2/π) · 1.044715)).
#[test]
fn gelu_at_one() {
    let y = nn::gelu(&arr![1.0].into_dyn());
    assert!(
        (y[[0]] - 0.841_191_990_608_276_4).abs() <= 4.0 * f64::EPSILON,
        "{}",
        y[[0]]
    );
}

#[test]
fn wrong_shapes_are_named() {
    let zeros = |shape: &[usize]| ArrayD::<f64>::zeros(IxDyn(shape));
    let refused = |error: NnError, what: &str| {
        let message = error.to_string();
        assert!(message.contains(what), "`{message}` does not name `{what}`");
    };
    refused(
        nn::linear(&zeros(&[2, 3]), &zeros(&[4, 2]), &zeros(&[4])).expect_err("width"),
        "weight must have shape [4, 3]",
    );
    refused(
        nn::linear(&zeros(&[2, 3]), &zeros(&[4, 3]), &zeros(&[3])).expect_err("bias"),
        "bias must have shape [4]",
    );
    refused(
        nn::linear(&zeros(&[]), &zeros(&[4, 3]), &zeros(&[4])).expect_err("scalar"),
        "x must have shape",
    );
    let options = Conv2dOptions::same(3);
    let conv =
        |x: &[usize], w: &[usize], b: &[usize], o| nn::conv2d(&zeros(x), &zeros(w), &zeros(b), o);
    refused(
        conv(&[1, 2, 4], &[1, 2, 3, 3], &[1], options).expect_err("rank"),
        "x must have shape [B, C, H, W]",
    );
    refused(
        conv(&[1, 2, 4, 4], &[1, 3, 3, 3], &[1], options).expect_err("channels"),
        "weight must have shape [1, 2, 3, 3]",
    );
    let small = Conv2dOptions {
        stride: 1,
        padding: 0,
    };
    refused(
        conv(&[1, 2, 4, 2], &[1, 2, 3, 3], &[1], small).expect_err("small"),
        "kernel side must be at most the padded image side 2, got 3",
    );
    let still = Conv2dOptions {
        stride: 0,
        padding: 0,
    };
    refused(
        conv(&[1, 2, 4, 4], &[1, 2, 3, 3], &[1], still).expect_err("stride"),
        "stride must be at least 1, got 0",
    );
    let norm = nn::group_norm(&zeros(&[1, 6, 2, 2]), 4, &zeros(&[6]), &zeros(&[6]), 1e-5);
    refused(
        norm.expect_err("groups"),
        "groups must be a divisor of the 6 channels, got 4",
    );
    refused(
        nn::layer_norm(&zeros(&[2, 3]), Some((&zeros(&[2]), &zeros(&[3]))), 1e-6)
            .expect_err("gain"),
        "gamma must have shape [3]",
    );
    refused(
        nn::silu_vjp(&zeros(&[2]), &zeros(&[3])).expect_err("grad"),
        "grad must have shape [2], got [3]",
    );
    refused(
        nn::attention(&zeros(&[1, 2, 3]), &zeros(&[1, 2, 4]), &zeros(&[1, 2, 3]))
            .expect_err("keys"),
        "k must have shape [1, 2, 3]",
    );
    refused(
        nn::avg_pool2x(&zeros(&[1, 1, 3, 2])).expect_err("odd"),
        "image side must be even, got 3",
    );
    refused(
        nn::global_avg_pool(&zeros(&[1, 1, 0, 2])).expect_err("empty"),
        "number of pixels must be at least 1",
    );
    refused(
        nn::embedding(&zeros(&[3, 2]), &[3]).expect_err("index"),
        "index must be below the 3 rows",
    );
    refused(
        nn::time_features(&[0.0], 5).expect_err("odd"),
        "dim must be even",
    );
    refused(
        nn::step_features(&[0.0], 5).expect_err("odd"),
        "dim must be even",
    );
    refused(
        nn::cross_entropy(&zeros(&[2, 3]), &[0]).expect_err("count"),
        "number of labels must be the batch size 2, got 1",
    );
    refused(
        nn::cross_entropy(&zeros(&[1, 3]), &[3]).expect_err("label"),
        "label must be below the 3 classes, got 3",
    );
    refused(
        bound::nn::silu_vjp(
            &Tracked::exact(zeros(&[2])),
            &Tracked::exact(zeros(&[3])),
            P,
        )
        .expect_err("bound"),
        "grad must have shape",
    );
}
