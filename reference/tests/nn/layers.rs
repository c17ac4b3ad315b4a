//! Layers: gradients against central differences, and identities that the values do not share.

use crate::draw::{Layer, array, arrays, check_derivative, house, inner};
use ndarray::{ArrayD, Axis, IxDyn, array as arr};
use proptest::prelude::*;
use sadm_reference::bound::{self, Precision, Tracked};
use sadm_reference::nn::{self, Conv2dOptions, NnError};

const P: Precision = Precision::F64;
const FITS: &str = "the shapes were drawn to fit";

/// Inputs, a direction for each, and a gradient of the output.
type Draw = (Vec<ArrayD<f64>>, Vec<ArrayD<f64>>, ArrayD<f64>);

fn draw(shapes: &[Vec<usize>], output: &[usize]) -> BoxedStrategy<Draw> {
    (arrays(shapes), arrays(shapes), array(output)).boxed()
}

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

fn attention_draw() -> impl Strategy<Value = Draw> {
    (1usize..=2, 1usize..=4, 1usize..=4, 1usize..=4, 1usize..=3).prop_flat_map(|(n, t, s, d, e)| {
        draw(&[vec![n, t, d], vec![n, s, d], vec![n, s, e]], &[n, t, e])
    })
}

fn rows() -> impl Strategy<Value = Vec<usize>> {
    (1usize..=4, 1usize..=6).prop_map(|(n, d)| vec![n, d])
}

proptest! {
    #![proptest_config(house())]

    #[test]
    fn linear_gradients_match_differences((inputs, v, g) in (1usize..=3, 1usize..=3, 1usize..=4, 1usize..=4)
        .prop_flat_map(|(b, t, i, o)| draw(&[vec![b, t, i], vec![o, i], vec![o]], &[b, t, o])))
    {
        Layer {
            forward: &|x| nn::linear(&x[0], &x[1], &x[2]).expect(FITS),
            vjp: &|x, g| {
                let d = nn::linear_vjp(&x[0], &x[1], g).expect(FITS);
                vec![d.x, d.weight, d.bias]
            },
            bound: &|x| bound::nn::linear(&x[0], &x[1], &x[2], P).expect(FITS),
            bound_vjp: &|x, g| {
                let d = bound::nn::linear_vjp(&x[0], &x[1], g, P).expect(FITS);
                vec![d.x, d.weight, d.bias]
            },
        }.check(&inputs, &v, &g)?;
    }

    #[test]
    fn conv2d_gradients_match_differences(((inputs, v, g), options) in conv_shapes()
        .prop_flat_map(|(shapes, output, options)| (draw(&shapes, &output), Just(options))))
    {
        Layer {
            forward: &|x| nn::conv2d(&x[0], &x[1], &x[2], options).expect(FITS),
            vjp: &|x, g| {
                let d = nn::conv2d_vjp(&x[0], &x[1], g, options).expect(FITS);
                vec![d.x, d.weight, d.bias]
            },
            bound: &|x| bound::nn::conv2d(&x[0], &x[1], &x[2], options, P).expect(FITS),
            bound_vjp: &|x, g| {
                let d = bound::nn::conv2d_vjp(&x[0], &x[1], g, options, P).expect(FITS);
                vec![d.x, d.weight, d.bias]
            },
        }.check(&inputs, &v, &g)?;
    }

    #[test]
    fn group_norm_gradients_match_differences(((inputs, v, g), groups) in group_shapes()
        .prop_flat_map(|(s, groups)| (draw(&[s.to_vec(), vec![s[1]], vec![s[1]]], &s), Just(groups))))
    {
        let eps = nn::GROUP_NORM_EPS;
        Layer {
            forward: &|x| nn::group_norm(&x[0], groups, &x[1], &x[2], eps).expect(FITS),
            vjp: &|x, g| {
                let d = nn::group_norm_vjp(&x[0], groups, &x[1], g, eps).expect(FITS);
                vec![d.x, d.gamma, d.beta]
            },
            bound: &|x| bound::nn::group_norm(&x[0], groups, &x[1], &x[2], eps, P).expect(FITS),
            bound_vjp: &|x, g| {
                let d = bound::nn::group_norm_vjp(&x[0], groups, &x[1], g, eps, P).expect(FITS);
                vec![d.x, d.gamma.expect("gain"), d.beta.expect("offset")]
            },
        }.check(&inputs, &v, &g)?;
    }

    #[test]
    fn layer_norm_gradients_match_differences((inputs, v, g) in rows()
        .prop_flat_map(|s| draw(&[s.clone(), vec![s[1]], vec![s[1]]], &s)))
    {
        let eps = nn::LAYER_NORM_EPS;
        Layer {
            forward: &|x| nn::layer_norm(&x[0], Some((&x[1], &x[2])), eps).expect(FITS),
            vjp: &|x, g| {
                let d = nn::layer_norm_vjp(&x[0], Some(&x[1]), g, eps).expect(FITS);
                let (gamma, beta) = d.affine.expect("gain and offset");
                vec![d.x, gamma, beta]
            },
            bound: &|x| bound::nn::layer_norm(&x[0], Some((&x[1], &x[2])), eps, P).expect(FITS),
            bound_vjp: &|x, g| {
                let d = bound::nn::layer_norm_vjp(&x[0], Some(&x[1]), g, eps, P).expect(FITS);
                vec![d.x, d.gamma.expect("gain"), d.beta.expect("offset")]
            },
        }.check(&inputs, &v, &g)?;
    }

    #[test]
    fn plain_layer_norm_gradient_matches_differences((inputs, v, g) in rows().prop_flat_map(|s| draw(std::slice::from_ref(&s), &s))) {
        let eps = nn::LAYER_NORM_EPS;
        Layer {
            forward: &|x| nn::layer_norm(&x[0], None, eps).expect(FITS),
            vjp: &|x, g| vec![nn::layer_norm_vjp(&x[0], None, g, eps).expect(FITS).x],
            bound: &|x| bound::nn::layer_norm(&x[0], None, eps, P).expect(FITS),
            bound_vjp: &|x, g| vec![bound::nn::layer_norm_vjp(&x[0], None, g, eps, P).expect(FITS).x],
        }.check(&inputs, &v, &g)?;
    }

    #[test]
    fn silu_gradient_matches_differences((inputs, v, g) in rows().prop_flat_map(|s| draw(std::slice::from_ref(&s), &s))) {
        Layer {
            forward: &|x| nn::silu(&x[0]),
            vjp: &|x, g| vec![nn::silu_vjp(&x[0], g).expect(FITS)],
            bound: &|x| bound::nn::silu(&x[0], P),
            bound_vjp: &|x, g| vec![bound::nn::silu_vjp(&x[0], g, P).expect(FITS)],
        }.check(&inputs, &v, &g)?;
    }

    #[test]
    fn gelu_gradient_matches_differences((inputs, v, g) in rows().prop_flat_map(|s| draw(std::slice::from_ref(&s), &s))) {
        Layer {
            forward: &|x| nn::gelu(&x[0]),
            vjp: &|x, g| vec![nn::gelu_vjp(&x[0], g).expect(FITS)],
            bound: &|x| bound::nn::gelu(&x[0], P),
            bound_vjp: &|x, g| vec![bound::nn::gelu_vjp(&x[0], g, P).expect(FITS)],
        }.check(&inputs, &v, &g)?;
    }

    #[test]
    fn softmax_gradient_matches_differences((inputs, v, g) in rows().prop_flat_map(|s| draw(std::slice::from_ref(&s), &s))) {
        Layer {
            forward: &|x| nn::softmax(&x[0]).expect(FITS),
            vjp: &|x, g| vec![nn::softmax_vjp(&x[0], g).expect(FITS)],
            bound: &|x| bound::nn::softmax(&x[0], P).expect(FITS),
            bound_vjp: &|x, g| vec![bound::nn::softmax_vjp(&x[0], g, P).expect(FITS)],
        }.check(&inputs, &v, &g)?;
    }

    #[test]
    fn attention_gradients_match_differences((inputs, v, g) in attention_draw()) {
        Layer {
            forward: &|x| nn::attention(&x[0], &x[1], &x[2]).expect(FITS),
            vjp: &|x, g| {
                let d = nn::attention_vjp(&x[0], &x[1], &x[2], g).expect(FITS);
                vec![d.q, d.k, d.v]
            },
            bound: &|x| bound::nn::attention(&x[0], &x[1], &x[2], P).expect(FITS),
            bound_vjp: &|x, g| {
                let d = bound::nn::attention_vjp(&x[0], &x[1], &x[2], g, P).expect(FITS);
                vec![d.q, d.k, d.v]
            },
        }.check(&inputs, &v, &g)?;
    }

    #[test]
    fn upsampling_gradient_matches_differences((inputs, v, g) in image()
        .prop_flat_map(|[b, c, h, w]| draw(&[vec![b, c, h, w]], &[b, c, 2 * h, 2 * w])))
    {
        Layer {
            forward: &|x| nn::upsample_nearest2x(&x[0]).expect(FITS),
            vjp: &|_, g| vec![nn::upsample_nearest2x_vjp(g).expect(FITS)],
            bound: &|x| bound::nn::upsample_nearest2x(&x[0]).expect(FITS),
            bound_vjp: &|_, g| vec![bound::nn::upsample_nearest2x_vjp(g, P).expect(FITS)],
        }.check(&inputs, &v, &g)?;
    }

    #[test]
    fn pooling_gradient_matches_differences((inputs, v, g) in image()
        .prop_flat_map(|[b, c, h, w]| draw(&[vec![b, c, 2 * h, 2 * w]], &[b, c, h, w])))
    {
        Layer {
            forward: &|x| nn::avg_pool2x(&x[0]).expect(FITS),
            vjp: &|_, g| vec![nn::avg_pool2x_vjp(g).expect(FITS)],
            bound: &|x| bound::nn::avg_pool2x(&x[0], P).expect(FITS),
            bound_vjp: &|_, g| vec![bound::nn::avg_pool2x_vjp(g, P).expect(FITS)],
        }.check(&inputs, &v, &g)?;
    }

    #[test]
    fn global_pooling_gradient_matches_differences((inputs, v, g) in image()
        .prop_flat_map(|s| draw(&[s.to_vec()], &s[..2])))
    {
        Layer {
            forward: &|x| nn::global_avg_pool(&x[0]).expect(FITS),
            vjp: &|x, g| vec![nn::global_avg_pool_vjp(&x[0], g).expect(FITS)],
            bound: &|x| bound::nn::global_avg_pool(&x[0], P).expect(FITS),
            bound_vjp: &|x, g| vec![bound::nn::global_avg_pool_vjp(&x[0], g, P).expect(FITS)],
        }.check(&inputs, &v, &g)?;
    }

    #[test]
    fn embedding_gradient_matches_differences(((inputs, v, g), index) in (1usize..=4, 1usize..=3, 1usize..=5)
        .prop_flat_map(|(rows, d, n)| {
            let index = prop::collection::vec(0..u32::try_from(rows).expect("small"), n);
            (draw(&[vec![rows, d]], &[n, d]), index)
        }))
    {
        Layer {
            forward: &|x| nn::embedding(&x[0], &index).expect(FITS),
            vjp: &|x, g| vec![nn::embedding_vjp(&x[0], &index, g).expect(FITS)],
            bound: &|x| bound::nn::embedding(&x[0], &index).expect(FITS),
            bound_vjp: &|x, g| vec![bound::nn::embedding_vjp(&x[0], &index, g, P).expect(FITS)],
        }.check(&inputs, &v, &g)?;
    }

    #[test]
    fn cross_entropy_gradient_matches_differences((z, v, labels) in labelled_logits()) {
        let exact = nn::cross_entropy(&z, &labels).expect(FITS);
        let tracked = bound::nn::cross_entropy(&Tracked::exact(z.clone()), &labels, P).expect(FITS);
        prop_assert!(tracked.grad_logits.worst_ratio(&exact.grad_logits) <= 1.0);
        let loss = ArrayD::from_elem(IxDyn(&[]), exact.loss);
        prop_assert!(tracked.loss.worst_ratio(&loss) <= 1.0);
        let along = |s: f64| nn::cross_entropy(&(&z + &(&v * s)), &labels).expect(FITS).loss;
        let own = inner(&tracked.grad_logits.error, &v.mapv(f64::abs)) + z.len() as f64 * f64::EPSILON;
        check_derivative(along, inner(&exact.grad_logits, &v), 2.0 * tracked.loss.error.sum(), own)?;
    }

    /// Softmax does not see a common shift, so every row of the gradient of the loss sums to zero; and the loss of a
    /// class is −ln of its probability.
    #[test]
    fn cross_entropy_gradient_sums_to_zero((z, _, labels) in labelled_logits()) {
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
    fn attention_is_permutation_equivariant((inputs, _, _) in attention_draw(), turn in 0usize..4) {
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
    fn attention_averages_the_values((inputs, _, _) in attention_draw()) {
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

/// Logits, a direction in them, and a label for each row.
fn labelled_logits() -> impl Strategy<Value = (ArrayD<f64>, ArrayD<f64>, Vec<u32>)> {
    (1usize..=4, 1usize..=5).prop_flat_map(|(n, k)| {
        let labels = prop::collection::vec(0..u32::try_from(k).expect("small"), n);
        (array(&[n, k]), array(&[n, k]), labels)
    })
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
