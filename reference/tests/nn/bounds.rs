//! The bounds hold: layers evaluated in f32, in several orders of summation, with and without fused multiply-add, as
//! fused kernels and as chains of elementary operations, stay within them.

use crate::draw::{array, arrays};
use ndarray::{Array1, Array2, ArrayD, Axis, Ix2, IxDyn};
use proptest::prelude::*;
use sadm_reference::bound::{self, Precision, Tracked};
use sadm_reference::nn::{Conv2dOptions, GROUP_NORM_EPS, LAYER_NORM_EPS};
use std::collections::BTreeMap;

const P: Precision = Precision::F32;
const FITS: &str = "the shapes were drawn to fit";

type Single = ArrayD<f32>;

#[expect(
    clippy::cast_possible_truncation,
    reason = "the draws are exact in f32"
)]
fn single(x: &ArrayD<f64>) -> Single {
    x.mapv(|x| x as f32)
}

fn exact(x: &ArrayD<f64>) -> Tracked {
    Tracked::exact(x.clone())
}

fn within(name: &str, bound: &Tracked, computed: &Single) -> Result<(), TestCaseError> {
    prop_assert!(
        bound.error.iter().all(|e| e.is_finite()),
        "{}: vacuous",
        name
    );
    let ratio = bound.worst_ratio(&computed.mapv(f64::from));
    prop_assert!(ratio <= 1.0, "{}: {} of the bound", name, ratio);
    Ok(())
}

/// A way to evaluate sums and products.
#[derive(Debug, Clone, Copy)]
struct Way {
    order: Order,
    fma: bool,
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Forward,
    Reverse,
    Pairwise,
}

fn way() -> impl Strategy<Value = Way> {
    let order = prop_oneof![
        Just(Order::Forward),
        Just(Order::Reverse),
        Just(Order::Pairwise)
    ];
    (order, any::<bool>()).prop_map(|(order, fma)| Way { order, fma })
}

impl Way {
    fn sum(self, terms: &[f32]) -> f32 {
        match (self.order, terms) {
            (_, []) => 0.0,
            (_, [x]) => *x,
            (Order::Forward, _) => terms.iter().fold(0.0, |a, b| a + b),
            (Order::Reverse, _) => terms.iter().rev().fold(0.0, |a, b| a + b),
            (Order::Pairwise, _) => {
                let (left, right) = terms.split_at(terms.len() / 2);
                self.sum(left) + self.sum(right)
            }
        }
    }

    /// `start + Σ a b`, the start first (fused) or last.
    fn dot(self, start: f32, pairs: &[(f32, f32)]) -> f32 {
        if self.fma {
            return pairs.iter().fold(start, |sum, &(a, b)| a.mul_add(b, sum));
        }
        let products: Vec<f32> = pairs.iter().map(|(a, b)| a * b).collect();
        self.sum(&products) + start
    }

    fn mean(self, terms: &[f32]) -> f32 {
        if self.fma {
            self.sum(terms) * (1.0 / count(terms.len()))
        } else {
            self.sum(terms) / count(terms.len())
        }
    }

    fn matmul(self, a: &Array2<f32>, b: &Array2<f32>) -> Array2<f32> {
        Array2::from_shape_fn((a.nrows(), b.ncols()), |(i, j)| {
            let pairs: Vec<_> = a
                .row(i)
                .iter()
                .copied()
                .zip(b.column(j).iter().copied())
                .collect();
            self.dot(0.0, &pairs)
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn count(n: usize) -> f32 {
    n as f32
}

fn matrix(x: &Single) -> Array2<f32> {
    x.clone().into_dimensionality::<Ix2>().expect("a matrix")
}

/// One row normalised, with what its backward needs.
struct Norm {
    mean: f32,
    centred: Vec<f32>,
    std: f32,
    value: Vec<f32>,
}

fn norm(way: Way, x: &[f32], eps: f32) -> Norm {
    let mean = way.mean(x);
    let centred: Vec<f32> = x.iter().map(|x| x - mean).collect();
    let squares: Vec<f32> = centred.iter().map(|x| x * x).collect();
    let std = (way.mean(&squares) + eps).sqrt();
    let value = centred
        .iter()
        .map(|x| if way.fma { x * std.recip() } else { x / std })
        .collect();
    Norm {
        mean,
        centred,
        std,
        value,
    }
}

impl Norm {
    /// Gradient by the closed form.
    fn closed(&self, way: Way, h: &[f32]) -> Vec<f32> {
        let constant = way.mean(h);
        let products: Vec<f32> = h.iter().zip(&self.value).map(|(h, x)| h * x).collect();
        let radial = way.mean(&products);
        let r = self.std.recip();
        h.iter()
            .zip(&self.value)
            .map(|(h, x)| r * (h - constant - x * radial))
            .collect()
    }

    /// Gradient by the chain of an automatic differentiation.
    fn chained(&self, way: Way, h: &[f32]) -> Vec<f32> {
        let n = count(h.len());
        let terms: Vec<f32> = h
            .iter()
            .zip(&self.centred)
            .map(|(h, x)| h * x / (self.std * self.std))
            .collect();
        let d_variance = -way.sum(&terms) / self.std * 0.5;
        let d_square = d_variance * (1.0 / n);
        let d_centred: Vec<f32> = h
            .iter()
            .zip(&self.centred)
            .map(|(h, x)| h / self.std + x * d_square * 2.0)
            .collect();
        let d_mean = -way.sum(&d_centred) * (1.0 / n);
        d_centred.iter().map(|d| d + d_mean).collect()
    }
}

fn softmax(way: Way, x: &[f32]) -> Vec<f32> {
    let largest = x.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let e: Vec<f32> = x.iter().map(|x| (x - largest).exp()).collect();
    let sum = way.sum(&e);
    e.iter()
        .map(|e| if way.fma { e * sum.recip() } else { e / sum })
        .collect()
}

/// The closed form, or the chain with the derivative of the maximum.
fn softmax_vjp(way: Way, x: &[f32], g: &[f32], chain: bool) -> Vec<f32> {
    let p = softmax(way, x);
    if !chain {
        let terms: Vec<f32> = p.iter().zip(g).map(|(p, g)| p * g).collect();
        let inner = way.sum(&terms);
        return p.iter().zip(g).map(|(p, g)| p * (g - inner)).collect();
    }
    let largest = x.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let e: Vec<f32> = x.iter().map(|x| (x - largest).exp()).collect();
    let sum = way.sum(&e);
    let terms: Vec<f32> = e.iter().zip(g).map(|(e, g)| g * e / (sum * sum)).collect();
    let d_sum = -way.sum(&terms);
    let mut d: Vec<f32> = e
        .iter()
        .zip(g)
        .map(|(e, g)| (g / sum + d_sum) * e)
        .collect();
    let through = -way.sum(&d);
    let at = x
        .iter()
        .position(|x| x.to_bits() == largest.to_bits() || *x >= largest)
        .expect("a largest one");
    d[at] += through;
    d
}

fn rows(x: &Single, n: usize) -> Vec<Vec<f32>> {
    x.iter()
        .copied()
        .collect::<Vec<_>>()
        .chunks(n)
        .map(<[f32]>::to_vec)
        .collect()
}

fn stacked(rows: Vec<Vec<f32>>, shape: &[usize]) -> Single {
    Single::from_shape_vec(IxDyn(shape), rows.concat()).expect("whole rows")
}

fn row_draw(copies: usize) -> impl Strategy<Value = Vec<ArrayD<f64>>> {
    (1usize..=4, 1usize..=6).prop_flat_map(move |(n, d)| arrays(&vec![vec![n, d]; copies]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn linear_keeps_its_bound(way in way(), x in (1usize..=4, 1usize..=6, 1usize..=4)
        .prop_flat_map(|(n, i, o)| arrays(&[vec![n, i], vec![o, i], vec![o], vec![n, o]])))
    {
        let [a, w, b, g] = [0, 1, 2, 3].map(|i| single(&x[i]));
        let (a, w, g) = (matrix(&a), matrix(&w), matrix(&g));
        let y = Array2::from_shape_fn((a.nrows(), w.nrows()), |(n, o)| {
            let pairs: Vec<_> = a.row(n).iter().copied().zip(w.row(o).iter().copied()).collect();
            way.dot(b[[o]], &pairs)
        });
        let t: Vec<_> = x.iter().map(exact).collect();
        within("y", &bound::nn::linear(&t[0], &t[1], &t[2], P).expect(FITS), &y.into_dyn())?;
        let d = bound::nn::linear_vjp(&t[0], &t[1], &t[3], P).expect(FITS);
        within("∂x", &d.x, &way.matmul(&g, &w).into_dyn())?;
        within("∂w", &d.weight, &way.matmul(&g.t().to_owned(), &a).into_dyn())?;
        let bias: Array1<f32> = g.columns().into_iter().map(|c| way.sum(&c.to_vec())).collect();
        within("∂b", &d.bias, &bias.into_dyn())?;
    }

    #[test]
    fn conv2d_keeps_its_bound(way in way(), stride in 1usize..=2, x in (1usize..=2, 1usize..=3, 1usize..=3)
        .prop_flat_map(|(b, c, o)| arrays(&[vec![b, c, 4, 4], vec![o, c, 3, 3], vec![o], vec![b, o, 4, 4]])))
    {
        let options = Conv2dOptions { stride, padding: 1 };
        let g64 = x[3].slice_each_axis(|a| if a.axis.index() < 2 { (..).into() } else { (..4 / stride).into() }).to_owned();
        let [a, w, b, g] = [single(&x[0]), single(&x[1]), single(&x[2]), single(&g64)];
        let [batch, channels, outs, side] = [a.shape()[0], a.shape()[1], w.shape()[0], 4 / stride];
        let source = |out: usize, tap: usize| (out * stride + tap).checked_sub(1).filter(|&i| i < 4);
        // Every product of the sum, filed under what it is added to.
        let mut y: BTreeMap<[usize; 4], Vec<(f32, f32)>> = BTreeMap::new();
        let mut d_x = y.clone();
        let mut d_w = y.clone();
        for (n, o, i, j) in ndarray::indices((batch, outs, side, side)) {
            for (c, p, q) in ndarray::indices((channels, 3, 3)) {
                let Some((r, s)) = source(i, p).zip(source(j, q)) else { continue };
                let (x, w, g) = (a[[n, c, r, s]], w[[o, c, p, q]], g[[n, o, i, j]]);
                y.entry([n, o, i, j]).or_default().push((x, w));
                d_x.entry([n, c, r, s]).or_default().push((g, w));
                d_w.entry([o, c, p, q]).or_default().push((g, x));
            }
        }
        let collect = |shape: &[usize], sums: &BTreeMap<[usize; 4], Vec<(f32, f32)>>, bias: bool| {
            Single::from_shape_fn(IxDyn(shape), |i| {
                let at = [i[0], i[1], i[2], i[3]];
                way.dot(if bias { b[[i[1]]] } else { 0.0 }, sums.get(&at).map_or(&[], |v| v))
            })
        };
        let (tx, tw, tb, tg) = (exact(&x[0]), exact(&x[1]), exact(&x[2]), exact(&g64));
        within("y", &bound::nn::conv2d(&tx, &tw, &tb, options, P).expect(FITS), &collect(g.shape(), &y, true))?;
        let d = bound::nn::conv2d_vjp(&tx, &tw, &tg, options, P).expect(FITS);
        within("∂x", &d.x, &collect(a.shape(), &d_x, false))?;
        within("∂w", &d.weight, &collect(w.shape(), &d_w, false))?;
        let bias: Array1<f32> = (0..outs)
            .map(|o| way.sum(&g.index_axis(Axis(1), o).iter().copied().collect::<Vec<_>>()))
            .collect();
        within("∂b", &d.bias, &bias.into_dyn())?;
    }

    #[test]
    fn group_norm_keeps_its_bound(way in way(), shift in 0u8..=2, (x, groups) in (1usize..=2, 1usize..=2, 1usize..=2, 1usize..=4)
        .prop_flat_map(|(b, groups, per, n)| {
            let c = groups * per;
            (arrays(&[vec![b, c, n], vec![c], vec![c], vec![b, c, n]]), Just(groups))
        }))
    {
        // A common offset of 0, 16 or 256 standard deviations makes the centring cancel.
        let offset = [0.0, 16.0, 256.0][usize::from(shift)];
        let input = single(&x[0].mapv(|x| x + offset));
        let input64 = input.mapv(f64::from);
        let [gamma, beta, g] = [1, 2, 3].map(|i| single(&x[i]));
        let (channels, pixels) = (input.shape()[1], input.shape()[2]);
        let per = channels / groups;
        let channel = |set: usize, i: usize| set % groups * per + i / pixels;
        #[expect(clippy::cast_possible_truncation, reason = "how a kernel gets its ε")]
        let eps = GROUP_NORM_EPS as f32;
        let sets = rows(&input, per * pixels);
        let norms: Vec<Norm> = sets.iter().map(|s| norm(way, s, eps)).collect();
        let grads = rows(&g, per * pixels);
        let (mut plain, mut folded, mut closed, mut chained) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut d_gamma = vec![Vec::new(); channels];
        for (set, norm) in norms.iter().enumerate() {
            let at = |i: usize| (gamma[[channel(set, i)]], beta[[channel(set, i)]]);
            plain.push((0..norm.value.len()).map(|i| norm.value[i] * at(i).0 + at(i).1).collect());
            folded.push((0..norm.value.len()).map(|i| {
                let a = at(i).0 / norm.std;
                sets[set][i] * a + (at(i).1 - norm.mean * a)
            }).collect());
            let h: Vec<f32> = grads[set].iter().enumerate().map(|(i, g)| g * at(i).0).collect();
            closed.push(norm.closed(way, &h));
            chained.push(norm.chained(way, &h));
            for (i, g) in grads[set].iter().enumerate() {
                d_gamma[channel(set, i)].push(g * norm.value[i]);
            }
        }
        let t = [exact(&input64), exact(&x[1]), exact(&x[2]), exact(&x[3])];
        let y = bound::nn::group_norm(&t[0], groups, &t[1], &t[2], GROUP_NORM_EPS, P).expect(FITS);
        within("plain", &y, &stacked(plain, input.shape()))?;
        within("folded", &y, &stacked(folded, input.shape()))?;
        let d = bound::nn::group_norm_vjp(&t[0], groups, &t[1], &t[3], GROUP_NORM_EPS, P).expect(FITS);
        within("closed ∂x", &d.x, &stacked(closed, input.shape()))?;
        within("chained ∂x", &d.x, &stacked(chained, input.shape()))?;
        let d_gamma: Array1<f32> = d_gamma.iter().map(|terms| way.sum(terms)).collect();
        within("∂γ", &d.gamma.expect("gain"), &d_gamma.into_dyn())?;
    }

    #[test]
    fn layer_norm_keeps_its_bound(way in way(), x in row_draw(2)) {
        #[expect(clippy::cast_possible_truncation, reason = "how a kernel gets its ε")]
        let eps = LAYER_NORM_EPS as f32;
        let n = x[0].shape()[1];
        let (input, g) = (rows(&single(&x[0]), n), rows(&single(&x[1]), n));
        let norms: Vec<Norm> = input.iter().map(|r| norm(way, r, eps)).collect();
        let shape = x[0].shape();
        let y = bound::nn::layer_norm(&exact(&x[0]), None, LAYER_NORM_EPS, P).expect(FITS);
        within("y", &y, &stacked(norms.iter().map(|n| n.value.clone()).collect(), shape))?;
        let d = bound::nn::layer_norm_vjp(&exact(&x[0]), None, &exact(&x[1]), LAYER_NORM_EPS, P).expect(FITS);
        let closed = norms.iter().zip(&g).map(|(n, g)| n.closed(way, g)).collect();
        within("closed ∂x", &d.x, &stacked(closed, shape))?;
        let chained = norms.iter().zip(&g).map(|(n, g)| n.chained(way, g)).collect();
        within("chained ∂x", &d.x, &stacked(chained, shape))?;
    }

    #[test]
    fn activations_keep_their_bounds(x in row_draw(2), stretch in 1u8..=8) {
        let input = x[0].mapv(|v| v * f64::from(stretch));
        let input = single(&input);
        let g = single(&x[1]);
        let t = exact(&input.mapv(f64::from));
        let tg = exact(&x[1]);
        let s = input.mapv(|x| 1.0 / (1.0 + (-x).exp()));
        within("silu", &bound::nn::silu(&t, P), &(&input * &s))?;
        within("silu quotient", &bound::nn::silu(&t, P), &input.mapv(|x| x / (1.0 + (-x).exp())))?;
        let d = bound::nn::silu_vjp(&t, &tg, P).expect(FITS);
        within("∂silu", &d, &(&g * &(&s * &(1.0 + &input * &(1.0 - &s)))))?;
        within("∂silu expanded", &d, &(&g * &(&s + &(&input * &s * (1.0 - &s)))))?;

        let (c, a) = ((2.0 / std::f32::consts::PI).sqrt(), 0.044_715_f32);
        let tanh = input.mapv(|x| (c * (x + a * x * x * x)).tanh());
        let other = input.mapv(|x| (c * x * (1.0 + a * x * x)).tanh());
        for tanh in [&tanh, &other] {
            within("gelu", &bound::nn::gelu(&t, P), &(0.5 * &input * (1.0 + tanh)))?;
            let d = bound::nn::gelu_vjp(&t, &tg, P).expect(FITS);
            let slope = input.mapv(|x| c * (1.0 + 3.0 * a * x * x));
            let steep = tanh.mapv(|t| 1.0 - t * t);
            let closed = &g * &(0.5 * (1.0 + tanh) + 0.5 * &input * &steep * &slope);
            within("∂gelu", &d, &closed)?;
            let inner = &g * &(0.5 * &input) * &steep * c;
            let cube = &inner * a;
            let square = &input * &input;
            let through = &cube * &input * &input;
            let chained = &g * &(0.5 * (1.0 + tanh)) + &inner + &cube * &square + &through + &through;
            within("∂gelu chained", &d, &chained)?;
        }
    }

    #[test]
    fn softmax_keeps_its_bound(way in way(), x in row_draw(2), stretch in 1u8..=8) {
        let input = single(&x[0].mapv(|v| v * f64::from(stretch)));
        let n = input.shape()[1];
        let (r, g) = (rows(&input, n), rows(&single(&x[1]), n));
        let t = exact(&input.mapv(f64::from));
        let y = r.iter().map(|r| softmax(way, r)).collect();
        within("p", &bound::nn::softmax(&t, P).expect(FITS), &stacked(y, input.shape()))?;
        let bound = bound::nn::softmax_vjp(&t, &exact(&x[1]), P).expect(FITS);
        for chain in [false, true] {
            let d = r.iter().zip(&g).map(|(r, g)| softmax_vjp(way, r, g, chain)).collect();
            within(if chain { "chained" } else { "closed" }, &bound, &stacked(d, input.shape()))?;
        }
    }

    #[test]
    fn attention_keeps_its_bound(way in way(), chain: bool, before: bool, x in (1usize..=5, 1usize..=5, 1usize..=5, 1usize..=4)
        .prop_flat_map(|(t, s, d, e)| arrays(&[vec![1, t, d], vec![1, s, d], vec![1, s, e], vec![1, t, e]])))
    {
        let [q, k, v, g] = [0, 1, 2, 3].map(|i| matrix(&single(&x[i]).index_axis_move(Axis(0), 0)));
        let scale = count(q.ncols()).sqrt().recip();
        let product = |a: &Array2<f32>, b: &Array2<f32>| {
            if before { way.matmul(&(a * scale), b) } else { way.matmul(a, b) * scale }
        };
        let t = |x: &Array2<f32>| x.t().to_owned();
        let z = product(&q, &t(&k));
        let shape = [z.nrows(), z.ncols()];
        let z_rows = rows(&z.clone().into_dyn(), shape[1]);
        let a = matrix(&stacked(z_rows.iter().map(|r| softmax(way, r)).collect(), &shape));
        let d_a = rows(&way.matmul(&g, &t(&v)).into_dyn(), shape[1]);
        let d_z = z_rows.iter().zip(&d_a).map(|(z, g)| softmax_vjp(way, z, g, chain)).collect();
        let d_z = matrix(&stacked(d_z, &shape));
        let lifted = |x: Array2<f32>| x.insert_axis(Axis(0)).into_dyn();
        let b: Vec<_> = x.iter().map(exact).collect();
        let y = bound::nn::attention(&b[0], &b[1], &b[2], P).expect(FITS);
        within("y", &y, &lifted(way.matmul(&a, &v)))?;
        let d = bound::nn::attention_vjp(&b[0], &b[1], &b[2], &b[3], P).expect(FITS);
        within("∂q", &d.q, &lifted(product(&d_z, &k)))?;
        within("∂k", &d.k, &lifted(product(&t(&d_z), &q)))?;
        within("∂v", &d.v, &lifted(way.matmul(&t(&a), &g)))?;
    }

    #[test]
    fn resampling_keeps_its_bounds(way in way(), x in (1usize..=3, 1usize..=3)
        .prop_flat_map(|(h, w)| array(&[2, 2, 2 * h, 2 * w])))
    {
        let s = single(&x);
        let (h, w) = (x.shape()[2] / 2, x.shape()[3] / 2);
        let block = |f: f32| Single::from_shape_fn(IxDyn(&[2, 2, h, w]), |i| {
            let at = |p, q| s[[i[0], i[1], 2 * i[2] + p, 2 * i[3] + q]];
            way.sum(&[at(0, 0), at(0, 1), at(1, 0), at(1, 1)]) * f
        });
        within("pool", &bound::nn::avg_pool2x(&exact(&x), P).expect(FITS), &block(0.25))?;
        within("∂upsample", &bound::nn::upsample_nearest2x_vjp(&exact(&x), P).expect(FITS), &block(1.0))?;
        let global = bound::nn::global_avg_pool(&exact(&x), P).expect(FITS);
        let at_once = Single::from_shape_fn(IxDyn(&[2, 2]), |i| {
            way.mean(&s.index_axis(Axis(0), i[0]).index_axis(Axis(0), i[1]).iter().copied().collect::<Vec<_>>())
        });
        within("global", &global, &at_once)?;
        let by_axes = Single::from_shape_fn(IxDyn(&[2, 2]), |i| {
            let image = s.index_axis(Axis(0), i[0]);
            let means: Vec<f32> = image.index_axis(Axis(0), i[1]).axis_iter(Axis(0))
                .map(|row| way.mean(&row.iter().copied().collect::<Vec<_>>())).collect();
            way.mean(&means)
        });
        within("global by axes", &global, &by_axes)?;
        let g = x.index_axis(Axis(3), 0).index_axis_move(Axis(2), 0).to_owned();
        let share = single(&g).mapv(|g| g / count(2 * h) / count(2 * w));
        let d = Single::from_shape_fn(IxDyn(x.shape()), |i| share[[i[0], i[1]]]);
        within("∂global", &bound::nn::global_avg_pool_vjp(&exact(&x), &exact(&g), P).expect(FITS), &d)?;
    }

    #[test]
    fn embedding_keeps_its_bound(way in way(), g in array(&[6, 2]), index in prop::collection::vec(0u32..3, 6)) {
        let s = single(&g);
        let table = exact(&ArrayD::zeros(IxDyn(&[3, 2])));
        let d = Single::from_shape_fn(IxDyn(&[3, 2]), |i| {
            let terms: Vec<f32> = (0..6).filter(|&n| index[n] as usize == i[0]).map(|n| s[[n, i[1]]]).collect();
            way.sum(&terms)
        });
        within("∂table", &bound::nn::embedding_vjp(&table, &index, &exact(&g), P).expect(FITS), &d)?;
    }

    #[test]
    fn cross_entropy_keeps_its_bound(way in way(), absolute: bool, (z, labels) in (1usize..=4, 1usize..=5)
        .prop_flat_map(|(n, k)| (array(&[n, k]), prop::collection::vec(0..u32::try_from(k).expect("small"), n))))
    {
        let n = count(labels.len());
        let r = rows(&single(&z), z.shape()[1]);
        let mut losses = Vec::new();
        let mut grads = Vec::new();
        for (row, &label) in r.iter().zip(&labels) {
            let label = label as usize;
            let largest = row.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
            let e: Vec<f32> = row.iter().map(|z| (z - largest).exp()).collect();
            let log = way.sum(&e).ln();
            losses.push(if absolute { (log + largest) - row[label] } else { log - (row[label] - largest) });
            let mut p = softmax(way, row);
            p[label] -= 1.0;
            grads.push(p.iter().map(|p| p / n).collect());
        }
        let bound = bound::nn::cross_entropy(&exact(&z), &labels, P).expect(FITS);
        within("loss", &bound.loss, &Single::from_elem(IxDyn(&[]), way.mean(&losses)))?;
        within("∂z", &bound.grad_logits, &stacked(grads, z.shape()))?;
    }

    /// Negative control: inputs rounded to 8 bits are outside a bound for 24 (unless the rounding did nothing).
    #[test]
    fn a_coarser_arithmetic_is_refused(x in arrays(&[vec![2, 3], vec![2, 3], vec![2]])) {
        let coarse = |x: &ArrayD<f64>| single(x).mapv(|x| f32::from_bits(x.to_bits() & 0xffff_0000));
        let y = bound::nn::linear(&exact(&x[0]), &exact(&x[1]), &exact(&x[2]), P).expect(FITS);
        let (a, w) = (matrix(&coarse(&x[0])), matrix(&single(&x[1])));
        let got = (a.dot(&w.t()) + &matrix(&single(&x[2]).insert_axis(Axis(0)))).into_dyn();
        let got = got.mapv(f64::from);
        let moved = (&got - &y.value).mapv(f64::abs).iter().zip(&y.error).any(|(d, e)| d > e);
        let lost = &x[0] - &coarse(&x[0]).mapv(f64::from);
        let effect = matrix64(&lost).dot(&matrix64(&x[1]).t()).into_dyn();
        let visible = effect.iter().zip(&y.error).any(|(d, e)| d.abs() > 2.0 * e);
        prop_assert!(moved || !visible);
    }
}

fn matrix64(x: &ArrayD<f64>) -> Array2<f64> {
    x.clone().into_dimensionality::<Ix2>().expect("a matrix")
}
