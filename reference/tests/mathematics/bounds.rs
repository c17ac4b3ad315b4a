//! Bounds against computations in f32: naive chains in several orders of summation, and the polarised forms.

use ndarray::{Array1, Array2, ArrayD, Axis, Dimension, IxDyn};
use proptest::prelude::*;
use sadm_reference::bound::{self, Precision, Tracked};
use sadm_reference::distance::Distance;
use sadm_reference::parametrisation::{NoiseCondition, Parametrisation};
use sadm_reference::polarised::Form;
use sadm_reference::precondition::Sigma;
use sadm_reference::relation::{Relation, Rows};
use sadm_reference::sampler::family::iddpm_levels;
use sadm_reference::schedule::{Ddpm, RectifiedFlow, Schedule, ScheduleKind};
use sadm_reference::structure::{Diagonal, StructureOptions, structural_loss};

use crate::structure::{ETA, all_options, away_from_zero, batches, generic_batches};
use crate::support::{matrix, number, positive, tensor, time};

const P: Precision = Precision::F32;

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to f32 is the subject"
)]
fn narrow(x: f64) -> f32 {
    x as f32
}

fn narrow_all<D: Dimension>(x: &ndarray::Array<f64, D>) -> ndarray::Array<f32, D> {
    x.mapv(narrow)
}

#[track_caller]
fn keeps<D: Dimension>(bound: &Tracked, got: &ndarray::Array<f32, D>, what: &str) {
    let ratio = bound.worst_ratio(&got.mapv(f64::from).into_dyn());
    assert!(
        ratio <= 1.0,
        "{what}: ratio {ratio}, got {got:?}, bound {bound:?}"
    );
}

#[track_caller]
fn keeps_scalar(bound: &Tracked, got: f32, what: &str) {
    keeps(bound, &ArrayD::from_elem(IxDyn(&[]), got), what);
}

/// The bound must be able to fail: it stays below `units` roundings of numbers of size `scale`.
#[track_caller]
fn is_tight(bound: &Tracked, scale: f64, units: f64) {
    let allowed = units * P.unit * scale;
    for error in &bound.error {
        assert!(
            *error <= allowed,
            "error {error}, allowed {allowed}: {bound:?}"
        );
    }
}

/// Orders of summation.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    Forward,
    Backward,
    Pairwise,
}

const ORDERS: [Order; 3] = [Order::Forward, Order::Backward, Order::Pairwise];

impl Order {
    fn sum(self, terms: &[f32]) -> f32 {
        match (self, terms) {
            (Self::Forward, _) => terms.iter().sum(),
            (Self::Backward, _) => terms.iter().rev().sum(),
            (Self::Pairwise, []) => 0.0,
            (Self::Pairwise, [x]) => *x,
            (Self::Pairwise, _) => {
                let (left, right) = terms.split_at(terms.len() / 2);
                self.sum(left) + self.sum(right)
            }
        }
    }

    fn sum_of(self, n: usize, term: impl Fn(usize) -> f32) -> f32 {
        self.sum(&(0..n).map(term).collect::<Vec<_>>())
    }

    fn matmul(self, a: &Array2<f32>, b: &Array2<f32>) -> Array2<f32> {
        Array2::from_shape_fn((a.nrows(), b.ncols()), |(i, j)| {
            self.sum_of(a.ncols(), |k| a[[i, k]] * b[[k, j]])
        })
    }
}

/// One batch in f32.
struct Batch {
    psi: Array2<f32>,
    norms: Array1<f32>,
    unit: Array2<f32>,
    affinity: Array2<f32>,
}

fn batch(relation: Relation, psi: &Array2<f64>, order: Order) -> Batch {
    let psi = narrow_all(psi);
    let (b, d) = psi.dim();
    let norms: Array1<f32> = (0..b)
        .map(|i| order.sum_of(d, |k| psi[[i, k]] * psi[[i, k]]).sqrt())
        .collect();
    let unit = &psi / &norms.view().insert_axis(Axis(1));
    let gap = |i: usize, j: usize| {
        order.sum_of(d, |k| {
            let difference = psi[[i, k]] - psi[[j, k]];
            difference * difference
        })
    };
    let affinity = match relation.name() {
        "inner-product" => order.matmul(&psi, &psi.t().to_owned()),
        "cosine" => order.matmul(&unit, &unit.t().to_owned()),
        "squared-euclidean" => Array2::from_shape_fn((b, b), |(i, j)| gap(i, j)),
        "euclidean" => Array2::from_shape_fn((b, b), |(i, j)| gap(i, j).sqrt()),
        "rbf" => {
            let factor = narrow(-0.5 / relation.number().powi(2));
            Array2::from_shape_fn((b, b), |(i, j)| (gap(i, j) * factor).exp())
        }
        "laplacian" => {
            let factor = narrow(-1.0 / relation.number());
            let gap = |i: usize, j: usize| order.sum_of(d, |k| (psi[[i, k]] - psi[[j, k]]).abs());
            Array2::from_shape_fn((b, b), |(i, j)| (gap(i, j) * factor).exp())
        }
        other => panic!("{other} has no chain in f32 here"),
    };
    Batch {
        psi,
        norms,
        unit,
        affinity,
    }
}

impl Batch {
    fn vjp(&self, relation: Relation, g: &Array2<f32>, order: Order) -> Array2<f32> {
        let sides = |x: &Array2<f32>| order.matmul(g, x) + order.matmul(&g.t().to_owned(), x);
        let safe = |g: f32, m: f32| if m == 0.0 { 0.0 } else { g / m };
        match relation.name() {
            "inner-product" => sides(&self.psi),
            "cosine" => self.unnormalise(&sides(&self.unit), order),
            "squared-euclidean" => self.radial(&(g * 2.0), order),
            "euclidean" => {
                let c = ndarray::Zip::from(g)
                    .and(&self.affinity)
                    .map_collect(|&g, &m| safe(g, m));
                self.radial(&c, order)
            }
            "rbf" => {
                let factor = narrow(-1.0 / relation.number().powi(2));
                self.radial(&(g * &self.affinity * factor), order)
            }
            "laplacian" => {
                let factor = narrow(-1.0 / relation.number());
                let sign = |x: f32| if x == 0.0 { 0.0 } else { x.signum() };
                self.pulled(&(g * &self.affinity * factor), order, sign)
            }
            other => panic!("{other} has no chain in f32 here"),
        }
    }

    /// By projection, or by the chain rule of ψ/‖ψ‖.
    fn unnormalise(&self, v: &Array2<f32>, order: Order) -> Array2<f32> {
        let d = v.ncols();
        Array2::from_shape_fn(v.dim(), |(i, k)| {
            let n = self.norms[i];
            if order == Order::Forward {
                let along = order.sum_of(d, |k| v[[i, k]] * self.unit[[i, k]]);
                (v[[i, k]] - along * self.unit[[i, k]]) / n
            } else {
                let pull = order.sum_of(d, |k| v[[i, k]] * self.psi[[i, k]]) / (n * n);
                v[[i, k]] / n - pull / (2.0 * n) * (2.0 * self.psi[[i, k]])
            }
        })
    }

    fn radial(&self, c: &Array2<f32>, order: Order) -> Array2<f32> {
        self.pulled(c, order, |difference| difference)
    }

    /// The backward pass of the differences, of which each component passed through a function with slope `f`.
    fn pulled(&self, c: &Array2<f32>, order: Order, f: impl Fn(f32) -> f32) -> Array2<f32> {
        let b = self.psi.nrows();
        Array2::from_shape_fn(self.psi.dim(), |(i, k)| {
            let pull = |i: usize, j: usize| c[[i, j]] * f(self.psi[[i, k]] - self.psi[[j, k]]);
            order.sum_of(b, |j| pull(i, j)) - order.sum_of(b, |j| pull(j, i))
        })
    }
}

fn weights(samples: usize, eta: &[f64], diagonal: Diagonal) -> Array2<f32> {
    let b = samples as f64;
    let pairs = if diagonal == Diagonal::Include {
        b * b
    } else {
        b * (b - 1.0)
    };
    let root = |i: usize| narrow(eta[i]).sqrt();
    Array2::from_shape_fn((samples, samples), |(i, j)| {
        if i == j && diagonal == Diagonal::Exclude {
            0.0
        } else if eta.len() == 1 {
            narrow(eta[0]) * narrow(1.0 / pairs)
        } else {
            root(i) * root(j) * narrow(1.0 / pairs)
        }
    })
}

fn value_and_slope(distance: Distance, e: f32) -> (f32, f32) {
    match distance.name() {
        "squared" => (e * e, 2.0 * e),
        "absolute" => (e.abs(), if e == 0.0 { 0.0 } else { e.signum() }),
        "huber" => {
            let delta = narrow(distance.number());
            let value = if e.abs() <= delta {
                0.5 * e * e
            } else {
                delta * (e.abs() - 0.5 * delta)
            };
            (value, e.clamp(-delta, delta))
        }
        other => panic!("{other} has no form in f32 here"),
    }
}

/// Every choice, with parameters that are not exact in f32.
fn inexact_options() -> impl Iterator<Item = StructureOptions> {
    all_options().map(|mut opts| {
        opts.distance = opts.distance.with(0.3);
        opts.relation = opts.relation.with(1.3);
        opts
    })
}

/// The naive chain and its backward pass, all in f32, against the bound.
fn check_naive(
    real: &Array2<f64>,
    generated: &Array2<f64>,
    eta: &[f64],
    opts: &StructureOptions,
    order: Order,
) {
    let bound =
        bound::structure::structural_loss(real, generated, eta, opts, P).expect("valid features");
    let what = format!("{opts:?} {order:?}");
    let w = weights(real.nrows(), eta, opts.diagonal);
    let (real, generated) = (
        batch(opts.relation, real, order),
        batch(opts.relation, generated, order),
    );
    let e = &real.affinity - &generated.affinity;
    let terms: Vec<f32> = w
        .iter()
        .zip(&e)
        .map(|(w, &e)| w * value_and_slope(opts.distance, e).0)
        .collect();
    let g = ndarray::Zip::from(&w)
        .and(&e)
        .map_collect(|&w, &e| w * value_and_slope(opts.distance, e).1);
    keeps_scalar(&bound.loss, order.sum(&terms), &what);
    keeps(&bound.affinity_real, &real.affinity, &what);
    keeps(&bound.affinity_generated, &generated.affinity, &what);
    keeps(&bound.grad_real, &real.vjp(opts.relation, &g, order), &what);
    keeps(
        &bound.grad_generated,
        &generated.vjp(opts.relation, &-&g, order),
        &what,
    );
}

/// Both polarised forms in f32, gradients by hand and through P and S, against their own bound and the general one.
fn check_polarised(
    real: &Array2<f64>,
    generated: &Array2<f64>,
    eta: &[f64],
    opts: &StructureOptions,
    form: Form,
    order: Order,
) {
    let own = bound::structure::polarised_loss(real, generated, eta, opts, form, P)
        .expect("valid features");
    let general =
        bound::structure::structural_loss(real, generated, eta, opts, P).expect("valid features");
    let samples = real.nrows();
    let sides = [
        batch(opts.relation, real, order),
        batch(opts.relation, generated, order),
    ];
    let [psi, psi_hat] = sides.each_ref().map(|b| {
        if opts.relation == Relation::COSINE {
            &b.unit
        } else {
            &b.psi
        }
    });
    let (p, s) = (psi - psi_hat, psi + psi_hat);
    let mul = |a: &Array2<f32>, b: &Array2<f32>| order.matmul(a, b);
    let t = |a: &Array2<f32>| a.t().to_owned();
    let (loss, by_hand, parts) = match form {
        Form::Batch => {
            let w = weights(samples, eta, opts.diagonal);
            let product = mul(&p, &t(&s));
            let e = (&product + &product.t()) * 0.5;
            let terms: Vec<f32> = w.iter().zip(&e).map(|(w, e)| w * (e * e)).collect();
            let g = &w * &e * 4.0;
            let half = &g * 0.5;
            (
                order.sum(&terms),
                [mul(&g, psi), -mul(&g, psi_hat)],
                [mul(&half, &s), mul(&half, &p)],
            )
        }
        Form::Feature => {
            let a = Array2::from_shape_fn((samples, 1), |(i, _)| {
                narrow(eta[i % eta.len()]).sqrt() / samples as f32
            });
            let (ap, a_s) = (&p * &a, &s * &a);
            let (pp, ss, ps) = (mul(&t(&p), &ap), mul(&t(&s), &a_s), mul(&t(&p), &a_s));
            let first: Vec<f32> = (&pp * &ss).iter().copied().collect();
            let second: Vec<f32> = (&ps * &ps.t()).iter().copied().collect();
            let grad = |psi| mul(&ap, &mul(&t(&a_s), psi)) + mul(&a_s, &mul(&t(&ap), psi));
            let by_p = mul(&ap, &ss) + mul(&a_s, &ps);
            let by_s = mul(&a_s, &pp) + mul(&ap, &t(&ps));
            (
                0.5 * (order.sum(&first) + order.sum(&second)),
                [grad(psi) * 2.0, grad(psi_hat) * -2.0],
                [by_p, by_s],
            )
        }
    };
    let [by_p, by_s] = parts;
    let automatic = [&by_s + &by_p, &by_s - &by_p];
    let what = format!("{opts:?} {form:?} {order:?}");
    for (bound_loss, bounds) in [
        (&own.loss, [&own.grad_real, &own.grad_generated]),
        (&general.loss, [&general.grad_real, &general.grad_generated]),
    ] {
        keeps_scalar(bound_loss, loss, &what);
        for grads in [&by_hand, &automatic] {
            for i in 0..2 {
                let grad = match opts.relation.rows() {
                    Some(Rows::Unit) => sides[i].unnormalise(&grads[i], order),
                    _ => grads[i].clone(),
                };
                keeps(bounds[i], &grad, &what);
            }
        }
    }
}

/// The bounds must be able to fail: one part in a thousand is far too much at a generic point.
#[test]
fn bounds_are_tight_enough_to_catch_a_wrong_factor() {
    let [real, generated] = generic_batches();
    for opts in all_options() {
        let exact = structural_loss(&real, &generated, &ETA, &opts).expect("valid features");
        let bound = bound::structure::structural_loss(&real, &generated, &ETA, &opts, P)
            .expect("valid features");
        let caught = |bound: &Tracked, value: ArrayD<f64>| {
            assert_eq!(bound.worst_ratio(&value), 0.0, "{opts:?}");
            assert!(
                bound.worst_ratio(&(value * 1.001)) > 1.0,
                "{opts:?}: {bound:?}"
            );
        };
        caught(&bound.loss, ArrayD::from_elem(IxDyn(&[]), exact.loss));
        caught(&bound.grad_real, exact.grad_real.into_dyn());
        caught(&bound.grad_generated, exact.grad_generated.into_dyn());
        caught(&bound.affinity_real, exact.affinity_real.into_dyn());
        caught(
            &bound.affinity_generated,
            exact.affinity_generated.into_dyn(),
        );
    }
}

/// bf16 has 2¹⁶ times the unit roundoff of f32, and f32 2²⁹ times that of f64.
#[test]
fn bounds_grow_with_the_unit_roundoff() {
    let [real, generated] = generic_batches();
    let error = |p| {
        let opts = StructureOptions::default();
        bound::structure::structural_loss(&real, &generated, &ETA, &opts, p)
            .expect("valid features")
            .loss
            .error
            .sum()
    };
    let ratio = error(Precision::BF16) / error(P);
    assert!((65536.0..80000.0).contains(&ratio), "{ratio}");
    let ratio = error(P) / error(Precision::F64);
    // f64 mostly pays twice: for the computation and for the reference.
    assert!((2f64.powi(27)..2f64.powi(29)).contains(&ratio), "{ratio}");
}

#[test]
fn the_error_of_a_bad_input_passes_through() {
    let zero = Array2::zeros((2, 2));
    let opts = StructureOptions::default();
    assert!(bound::structure::structural_loss(&zero, &zero, &[1.0], &opts, P).is_err());
    assert!(bound::structure::polarised_loss(&zero, &zero, &[1.0], &opts, Form::Batch, P).is_err());
    assert!(bound::structure::affinity(Relation::COSINE, &zero, P).is_err());
    assert!(bound::structure::affinity_vjp(Relation::COSINE, &zero, &zero, P).is_err());
    assert!(bound::schedule::levels(ScheduleKind::COSINE, &[2.0], P).is_err());
    assert!(bound::sampler::sigmas(0, 7.0, 0.002, 80.0, P).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn structural_loss_in_f32_keeps_its_bound((real, generated, eta) in batches(), shared in any::<bool>()) {
        let eta = if shared { &eta[..1] } else { &eta[..] };
        for opts in inexact_options() {
            for order in ORDERS {
                check_naive(&real, &generated, eta, &opts, order);
            }
        }
    }

    /// One sample under cosine: all there is, is the rounding of a diagonal that should be 1.
    #[test]
    fn a_single_sample_keeps_its_bound((real, generated) in (1..=4usize).prop_flat_map(|d| (matrix(1, d), matrix(1, d))), eta in positive()) {
        let (real, generated) = (away_from_zero(real), away_from_zero(generated));
        for opts in inexact_options().filter(|o| o.diagonal == Diagonal::Include) {
            for order in ORDERS {
                check_naive(&real, &generated, &[eta], &opts, order);
            }
        }
    }

    /// Nearly equal batches, where differences cancel and signs are in doubt.
    #[test]
    fn nearly_equal_batches_keep_their_bound((real, shift, eta) in batches(), k in 10i32..=20) {
        let generated = Array2::from_shape_fn(real.dim(), |(i, j)| {
            let nudge = shift[[i % shift.nrows(), j % shift.ncols()]] * 2.0_f64.powi(-k);
            f64::from(narrow(real[[i, j]] + nudge))
        });
        for opts in inexact_options() {
            check_naive(&real, &generated, &eta, &opts, Order::Forward);
            if opts.distance == Distance::SQUARED && opts.relation.rows().is_some() {
                check_polarised(&real, &generated, &eta, &opts, Form::Batch, Order::Forward);
                if opts.diagonal == Diagonal::Include {
                    check_polarised(&real, &generated, &eta, &opts, Form::Feature, Order::Forward);
                }
            }
        }
    }

    #[test]
    fn polarised_forms_in_f32_keep_their_bounds((real, other, eta) in batches(), shared in any::<bool>()) {
        let generated = away_from_zero(Array2::from_shape_fn(real.dim(), |(i, j)| other[[i % other.nrows(), j % other.ncols()]]));
        let eta = if shared { &eta[..1] } else { &eta[..] };
        for relation in [Relation::COSINE, Relation::INNER_PRODUCT] {
            for (diagonal, form) in [(Diagonal::Include, Form::Batch), (Diagonal::Include, Form::Feature), (Diagonal::Exclude, Form::Batch)] {
                let opts = StructureOptions { relation, distance: Distance::SQUARED, diagonal };
                for order in ORDERS {
                    check_polarised(&real, &generated, eta, &opts, form, order);
                }
            }
        }
    }

    #[test]
    fn affinity_and_its_vjp_in_f32_keep_their_bounds((psi, _, _) in batches(), g in prop::collection::vec(number(), 25)) {
        let b = psi.nrows();
        let g = Array2::from_shape_fn((b, b), |(i, j)| g[i * 5 + j]);
        for relation in Relation::all() {
            for order in ORDERS {
                let what = format!("{relation} {order:?}");
                let got = batch(relation, &psi, order);
                keeps(&bound::structure::affinity(relation, &psi, P)?, &got.affinity, &what);
                keeps(&bound::structure::affinity_vjp(relation, &psi, &g, P)?, &got.vjp(relation, &narrow_all(&g), order), &what);
            }
        }
    }

    #[test]
    fn denoising_loss_in_f32_keeps_its_bound((x_hat, x0) in (tensor([3, 2, 2]), tensor([3, 2, 2])), w in prop::collection::vec(positive(), 3)) {
        let w: Vec<f64> = w.iter().map(|w| w / 3.0).collect();
        let bound = bound::denoise::denoising_loss(&x_hat, &x0, &w, P)?;
        let column = Array1::from(w.clone()).mapv(narrow).into_dyn().insert_axis(Axis(1)).insert_axis(Axis(2));
        let residual = narrow_all(&x_hat) - narrow_all(&x0);
        let terms: Vec<f32> = (&residual * &residual * &column).iter().copied().collect();
        for order in ORDERS {
            keeps_scalar(&bound.loss, order.sum(&terms) / 3.0, "loss");
        }
        keeps(&bound.grad_prediction, &(&residual * &column * 2.0 / 3.0), "gradient");
        // Twelve squares, and three roundings each of weight, product and mean.
        is_tight(&bound.loss, bound.loss.value.sum(), 32.0);
        let wrong = bound.grad_prediction.value.mapv(|g| g * 1.0001);
        prop_assert!(bound.grad_prediction.value.iter().all(|&g| g == 0.0) || bound.grad_prediction.worst_ratio(&wrong) > 1.0);
    }

    #[test]
    fn diffusion_in_f32_keeps_its_bound((x0, eps) in (tensor([2, 2, 2]), tensor([2, 2, 2])), a in positive(), s in positive()) {
        let (alpha, sigma) = ([a / 3.0, a / 7.0], [s / 3.0, s / 7.0]);
        let bound = bound::forward::diffuse(&x0, &eps, &alpha, &sigma, P)?;
        let column = |x: [f64; 2]| ndarray::arr1(&x.map(narrow)).into_dyn().insert_axis(Axis(1)).insert_axis(Axis(2));
        let got = narrow_all(&x0) * column(alpha) + narrow_all(&eps) * column(sigma);
        keeps(&bound, &got, "diffuse");
        is_tight(&bound, 4.0 * (alpha[0] + sigma[0]), 8.0);
    }

    #[test]
    fn preconditioning_in_f32_keeps_its_bound(s in positive(), d in positive()) {
        let bound = bound::precondition::precondition(&[Sigma::new(s)?], Sigma::new(d)?, P);
        let (s, d) = (narrow(s), narrow(d));
        let total = s * s + d * d;
        let one = |x: f32| ndarray::arr1(&[x]);
        keeps(&bound.c_skip, &one(d * d / total), "c_skip");
        keeps(&bound.c_out, &one(s * d / total.sqrt()), "c_out");
        keeps(&bound.c_in, &one(1.0 / total.sqrt()), "c_in");
        keeps(&bound.c_noise, &one(s.ln() / 4.0), "c_noise");
        keeps(&bound.loss_weight, &one(total / (s * d * (s * d))), "weight");
        for bound in [&bound.c_skip, &bound.c_out, &bound.c_in, &bound.loss_weight] {
            is_tight(bound, bound.value[[0]], 16.0);
        }
        is_tight(&bound.c_noise, bound.c_noise.value[[0]].abs(), 8.0);
    }

    #[test]
    fn denoiser_in_f32_keeps_its_bound(x in number(), f in number(), a in positive(), s in positive()) {
        let one = |x: f32| ndarray::arr1(&[x]);
        let exact = |x: f64| Tracked::exact(ndarray::arr1(&[x]).into_dyn());
        for kind in Parametrisation::ALL {
            let c = bound::parametrisation::coefficients(kind, &[a], &[s], 0.5, P)?;
            let (a, s) = (narrow(a), narrow(s));
            let r = s / a;
            let edm = r * r + 0.25;
            let (skip, out, input) = match kind {
                Parametrisation::X0 => (0.0, 1.0, 1.0),
                Parametrisation::Eps => (1.0 / a, -s / a, 1.0),
                Parametrisation::V => (a / (a * a + s * s), -s / (a * a + s * s), 1.0),
                Parametrisation::Ve => (1.0 / a, s / a, 1.0 / a),
                Parametrisation::Edm => (0.25 / edm / a, r * 0.5 / edm.sqrt(), 1.0 / edm.sqrt() / a),
            };
            keeps(&c.skip, &one(skip), "skip");
            keeps(&c.out, &one(out), "out");
            keeps(&c.input, &one(input), "input");
            keeps(&c.noise, &one(r.ln() / 4.0), "noise");
            for bound in [&c.skip, &c.out, &c.input] {
                is_tight(bound, bound.value[[0]].abs(), 16.0);
            }
            is_tight(&c.noise, 0.25 + c.noise.value[[0]].abs(), 8.0);
            let denoised = bound::parametrisation::denoised(&exact(x), &exact(f), &c.skip, &c.out, P);
            keeps(&denoised, &one(skip * narrow(x) + out * narrow(f)), "denoised");
        }
    }

    /// At a step's own level there is no doubt which it is, half way to the next there is.
    #[test]
    fn the_number_of_a_step_is_in_doubt_between_two(k in 0..999_usize) {
        let ddpm = Ddpm::default();
        let level = |k: usize| (-0.5 * ddpm.lambda(k as f64 / 999.0)).exp();
        let doubt = |s: f64| {
            let ratio = Tracked::exact(ndarray::arr1(&[s]).into_dyn());
            let step = bound::precondition::noise_condition(NoiseCondition::DdpmStep, &ratio, Precision::F64);
            step.map(|step| step.error[[0]])
        };
        prop_assert_eq!(doubt(level(k))?, 0.0);
        prop_assert_eq!(doubt((level(k) * level(k + 1)).sqrt())?, 1.0);
    }

    /// The same of improved DDPM's levels, whose middle is the arithmetic one.
    #[test]
    fn the_number_of_a_level_is_in_doubt_between_two(j in 0..999_usize) {
        let levels = iddpm_levels(0.001, 0.008);
        let doubt = |s: f64| {
            let ratio = Tracked::exact(ndarray::arr1(&[s]).into_dyn());
            let step = bound::precondition::noise_condition(NoiseCondition::IddpmStep, &ratio, Precision::F64);
            step.map(|step| step.error[[0]])
        };
        prop_assert_eq!(doubt(levels[j])?, 0.0);
        prop_assert_eq!(doubt(0.5 * (levels[j] + levels[j + 1]))?, 1.0);
    }

    /// In f32 on the CPU, from a rounded σ'.
    #[test]
    fn noise_conditions_in_f32_keep_their_bounds(s in positive()) {
        let exact = Tracked::exact(ndarray::arr1(&[s]).into_dyn());
        let one = |x: f32| ndarray::arr1(&[x]);
        let s = narrow(s);
        let b = (s * s).ln_1p();
        let stable = 2.0 * b / (0.1 + (0.01 + 39.8 * b).sqrt());
        let time = bound::precondition::noise_condition(NoiseCondition::VpTime, &exact, P)?;
        keeps(&time, &one(999.0 * stable), "vp-time");
        // |ln σ'²| ≤ 9 with 5 roundings each, and a dozen after it.
        is_tight(&time, 1.0 + time.value[[0]], 64.0);
        let log = bound::precondition::noise_condition(NoiseCondition::LogSigma, &exact, P)?;
        keeps(&log, &one(s.ln() / 4.0), "log-sigma");
        let half = bound::precondition::noise_condition(NoiseCondition::LogHalfSigma, &exact, P)?;
        keeps(&half, &one((0.5 * s).ln()), "log-half-sigma");
    }

    /// Other formulas, in f64: what another implementation of the schedules may do.
    #[test]
    fn schedules_by_other_formulas_keep_their_bounds(t in time()) {
        for kind in ScheduleKind::all() {
            let bound = bound::schedule::levels(kind, &[t], Precision::F64)?;
            let half_pi = std::f64::consts::FRAC_PI_2;
            let b = 0.1 * t + 0.5 * 19.9 * t * t;
            let alpha_bar: f64 = (0..=Ddpm::default().step(t)).map(|k| 1.0 - (1e-4 + (0.02 - 1e-4) * k as f64 / 999.0)).product();
            let (alpha, sigma) = match kind.name() {
                "vp-linear" => ((-b / 2.0).exp(), (-(-b).exp_m1()).sqrt()),
                "cosine" => ((half_pi * t).cos(), (half_pi * t).sin()),
                "ddpm" => (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt()),
                "edm" => (1.0, t),
                "rectified-flow" => (1.0 - t, t),
                other => panic!("{other} has no levels in f32 here"),
            };
            let ratio = |bound: &Tracked, x: f64| bound.worst_ratio(&ndarray::arr1(&[x]).into_dyn());
            let all = [
                ratio(&bound.alpha, alpha),
                ratio(&bound.sigma, sigma),
                ratio(&bound.lambda, 2.0 * (alpha / sigma).ln()),
                ratio(&bound.lambda_grad, kind.schedule().lambda_grad(t)),
            ];
            prop_assert!(all.iter().all(|&r| r <= 1.0), "{kind}: {all:?}");
            // And they can fail.
            prop_assert!(ratio(&bound.sigma, sigma * (1.0 + 1e-9)) > 1.0);
            prop_assert!(ratio(&bound.lambda_grad, kind.schedule().lambda_grad(t) * (1.0 + 1e-3)) > 1.0, "{kind}");
        }
    }

    #[test]
    fn sampling_steps_in_f32_keep_their_bounds((z, d, n) in (tensor([1, 2, 2]), tensor([1, 2, 2]), tensor([1, 2, 2])), from in positive(), share in 0.0f64..1.0) {
        let to = from * share;
        let (zt, dt, nt) = (Tracked::exact(z.clone()), Tracked::exact(d.clone()), Tracked::exact(n.clone()));
        let (z, d, n) = (narrow_all(&z), narrow_all(&d), narrow_all(&n));
        let (a, b) = (narrow(from), narrow(to));
        let euler = bound::sampler::euler_step(&zt, &dt, from, to, P);
        keeps(&euler, &(&d + &((&z - &d) * (b / a))), "Euler, interpolated");
        keeps(&euler, &(&z + &((&z - &d) / a * (b - a))), "Euler, stepped");
        if b > 0.0 {
            let heun = bound::sampler::heun_correction(&zt, &dt, &nt, &zt, [from, to], P);
            let mean = ((&z - &d) / a + (&n - &z) / b) * 0.5;
            keeps(&heun, &(&z + &(mean * (b - a))), "Heun");
        }
        let multistep = bound::sampler::dpmpp_2m_step(&zt, &dt, Some((&nt, 2.0 * from)), [from, to], P);
        let (c, r) = if to > 0.0 { (0.5 * (from / to).ln() / 2f64.ln(), to / from) } else { (0.0, 0.0) };
        let middle = &d * narrow(1.0 + c) - &n * narrow(c);
        keeps(&multistep, &(&z * narrow(r) + &middle * narrow(1.0 - r)), "DPM-Solver++(2M), weights");
        let middle = &d + &((&d - &n) * narrow(c));
        keeps(&multistep, &(&middle + &((&z - &middle) * narrow(r))), "DPM-Solver++(2M), differences");
        is_tight(&multistep, 16.0 * (1.0 + 2.0 * c), 32.0);
        let flow = RectifiedFlow;
        let (s, t) = (0.25 + 0.5 * share / 2.0, 0.6);
        let ddim = bound::sampler::ddim_step(&zt, &dt, &flow, s, t, P);
        let level = |x: f64| (narrow(flow.alpha(x)), narrow(flow.sigma(x)));
        let ((alpha_s, sigma_s), (alpha_t, sigma_t)) = (level(s), level(t));
        keeps(&ddim, &(&d * alpha_s + (&z - &(&d * alpha_t)) / sigma_t * sigma_s), "DDIM");
        let ddpm = bound::sampler::ddpm_step(&zt, &dt, &nt, &flow, [s, t], P)?;
        let back = sadm_reference::forward::posterior(&flow, s, t)?;
        let mean = &z * narrow(back.coef_xt) + &d * narrow(back.coef_x0);
        keeps(&ddpm, &(mean + &n * narrow(back.var.sqrt())), "DDPM");
        let churned = bound::sampler::churn_step(&zt, &nt, from, 0.3, 1.003, P);
        let raised = a * (1.0 + 0.3);
        keeps(&churned, &(&z + &(&n * ((raised * raised - a * a).sqrt() * 1.003))), "churn");
        let guided = bound::sampler::guide(&zt, &dt, 1.7, P);
        is_tight(&ddim, 4.0 * 2.0 * (1.0 + f64::from(sigma_s / sigma_t)), 16.0);
        is_tight(&ddpm, 16.0, 16.0);
        is_tight(&guided, 24.0, 8.0);
        is_tight(&euler, 16.0, 16.0);
        keeps(&guided, &(&z + &((&d - &z) * 1.7)), "guidance");
    }

    #[test]
    fn noise_levels_by_powers_keep_their_bound(steps in 1usize..20, rho in 1.0f64..10.0) {
        let bound = bound::sampler::sigmas(steps, rho, 0.002, 80.0, Precision::F64)?;
        let (top, low) = (80f64.powf(1.0 / rho), 0.002f64.powf(1.0 / rho));
        let last = steps.saturating_sub(1).max(1) as f64;
        let got: Array1<f64> = (0..steps).map(|i| (top + i as f64 / last * (low - top)).powf(rho)).chain([0.0]).collect();
        prop_assert!(bound.worst_ratio(&got.into_dyn()) <= 1.0);
        // Near σ_min the interpolation cancels, and the power multiplies what is left by ρ.
        for (&error, &sigma) in bound.error.iter().zip(&bound.value).take(steps) {
            let cancelled = 1.0 + rho * top / sigma.powf(1.0 / rho);
            prop_assert!(error <= 512.0 * Precision::F64.unit * sigma * cancelled, "{sigma}: {error}");
        }
    }
}
