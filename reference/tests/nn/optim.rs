//! Optimiser and moving average: closed forms, identities, and the bounds in f32.

use crate::draw::{array, arrays};
use ndarray::{ArrayD, IxDyn, array as arr};
use proptest::prelude::*;
use sadm_reference::bound::{self, Precision, Tracked};
use sadm_reference::ema::{ema_decay, ema_update};
use sadm_reference::optim::{AdamW, Moments, OptimError, clip_by_global_norm, global_norm};
use std::collections::BTreeMap;

const FITS: &str = "the shapes were drawn to fit";
const OPTIONS: AdamW = AdamW {
    lr: 0.01,
    beta1: 0.9,
    beta2: 0.99,
    eps: 1e-8,
    weight_decay: 0.125,
};

fn exact(x: &ArrayD<f64>) -> Tracked {
    Tracked::exact(x.clone())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to f32 is the point"
)]
fn f(x: f64) -> f32 {
    x as f32
}

fn named(grads: &[ArrayD<f64>]) -> BTreeMap<String, ArrayD<f64>> {
    grads
        .iter()
        .enumerate()
        .map(|(i, g)| (format!("p{i}"), g.clone()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// From zero moments the bias corrections cancel: `θ' = (1 − lr·wd) θ − lr g/(|g| + ε)`.
    #[test]
    fn the_first_adamw_step_follows_the_sign(x in arrays(&[vec![6], vec![6]])) {
        let (theta, g) = (&x[0], &x[1]);
        let (next, state) = OPTIONS.step(theta, g, &Moments::zeros(&[6])).expect(FITS);
        prop_assert_eq!(state.steps, 1);
        for ((next, theta), g) in next.iter().zip(theta).zip(g) {
            let want = (1.0 - 0.01 * 0.125) * theta - 0.01 * g / (g.abs() + 1e-8);
            prop_assert!((next - want).abs() <= 1e-15 * (1.0 + theta.abs()), "{next} vs {want}");
        }
    }

    /// Under a constant gradient the corrected moments are the gradient and its square at every step.
    #[test]
    fn adamw_under_a_constant_gradient_moves_evenly(g in array(&[4]), steps in 1u32..=20) {
        let options = AdamW { weight_decay: 0.0, ..OPTIONS };
        let mut theta = ArrayD::zeros(IxDyn(&[4]));
        let mut state = Moments::zeros(&[4]);
        for _ in 0..steps {
            (theta, state) = options.step(&theta, &g, &state).expect(FITS);
        }
        for (theta, g) in theta.iter().zip(&g) {
            let want = -0.01 * f64::from(steps) * g / (g.abs() + 1e-8);
            prop_assert!((theta - want).abs() <= 1e-12, "{theta} vs {want}");
        }
    }

    /// The moments after a step are means with weights β and 1 − β: `v' − β₂ v = (1 − β₂) g²`.
    #[test]
    fn adamw_moments_are_moving_averages(x in arrays(&[vec![5], vec![5], vec![5], vec![5]]), steps in 0u32..=5) {
        let state = Moments { steps, m: x[2].clone(), v: x[3].mapv(f64::abs) };
        let (theta, next) = OPTIONS.step(&x[0], &x[1], &state).expect(FITS);
        prop_assert_eq!(&next.m, &ema_update(&state.m, &x[1], 0.9).expect(FITS));
        prop_assert_eq!(&next.v, &ema_update(&state.v, &x[1].mapv(|g| g * g), 0.99).expect(FITS));
        let k = i32::try_from(steps).expect("small") + 1;
        for i in 0..5 {
            let m_hat = next.m[[i]] / (1.0 - 0.9_f64.powi(k));
            let v_hat = next.v[[i]] / (1.0 - 0.99_f64.powi(k));
            let want = x[0][[i]] * (1.0 - 0.00125) - 0.01 * m_hat / (v_hat.sqrt() + 1e-8);
            prop_assert!((theta[[i]] - want).abs() <= 1e-12 * (1.0 + (m_hat / v_hat.sqrt().max(1e-8)).abs()));
        }
    }

    /// k updates towards a constant: `e_k = θ + d^k (e_0 − θ)`.
    #[test]
    fn ema_closes_in_geometrically(x in arrays(&[vec![5], vec![5]]), k in 1i32..=20, d in 0u8..=8) {
        let decay = f64::from(d) / 8.0;
        let mut average = x[0].clone();
        for _ in 0..k {
            average = ema_update(&average, &x[1], decay).expect(FITS);
        }
        for i in 0..5 {
            let want = x[1][[i]] + decay.powi(k) * (x[0][[i]] - x[1][[i]]);
            prop_assert!((average[[i]] - want).abs() <= 1e-13);
        }
    }

    /// Two batches decay like one of their common size, and a half-life halves.
    #[test]
    fn ema_decay_multiplies(halflife in 1u16..=1000, a in 1u16..=500, b in 1u16..=500) {
        let h = f64::from(halflife);
        let (a, b) = (f64::from(a), f64::from(b));
        let together = ema_decay(h, None, 0.0, a + b);
        let product = ema_decay(h, None, 0.0, a) * ema_decay(h, None, 0.0, b);
        prop_assert!((together - product).abs() <= 1e-15 + 4.0 * f64::EPSILON * together);
        prop_assert!((ema_decay(h, None, 0.0, h) - 0.5).abs() <= f64::EPSILON);
        let (ramped, full) = (ema_decay(h, Some(0.5), 2.0 * h, a), ema_decay(h, None, 0.0, a));
        prop_assert!((ramped - full).abs() <= 0.0);
        prop_assert!(ema_decay(h, Some(0.5), h, a) < ema_decay(h, None, 0.0, a));
        prop_assert!(ema_decay(h, Some(0.5), 0.0, a).abs() <= 0.0);
    }

    /// The clipped norm is min(norm, max), and the direction is kept.
    #[test]
    fn clipping_limits_the_norm(x in arrays(&[vec![3], vec![2, 2]]), limit in 1u8..=64) {
        let limit = f64::from(limit) / 8.0;
        let grads = named(&x);
        let clipped = clip_by_global_norm(&grads, limit).expect("a positive limit");
        let square: f64 = x.iter().flat_map(|g| g.iter()).map(|g| g * g).sum();
        prop_assert!((clipped.norm - square.sqrt()).abs() <= 1e-14 * clipped.norm);
        let after = global_norm(&clipped.grads);
        prop_assert!((after - clipped.norm.min(limit)).abs() <= 1e-14 * limit);
        for (name, g) in &grads {
            for (c, g) in clipped.grads[name].iter().zip(g) {
                prop_assert!((c * clipped.norm.max(limit) - g * limit).abs() <= 1e-13 * limit);
            }
        }
    }

    /// f32 steps in the two common arrangements stay within the bound; so does the reference itself within the f64 one.
    #[test]
    fn adamw_keeps_its_bound(x in arrays(&[vec![5], vec![5], vec![5], vec![5]]), steps in 0u32..=30) {
        let [theta, g, m] = [0, 1, 2].map(|i| x[i].clone());
        let v = x[3].mapv(f64::abs);
        let state = Moments { steps, m: m.clone(), v: v.clone() };
        let (next, moments) = OPTIONS.step(&theta, &g, &state).expect(FITS);
        let bound = |p| bound::optim::adamw_step(
            &OPTIONS, &exact(&theta), &exact(&g), [&exact(&m), &exact(&v)], steps, p).expect(FITS);
        let own = bound(Precision::F64);
        prop_assert!(own.theta.worst_ratio(&next) <= 1.0);
        prop_assert!(own.m.worst_ratio(&moments.m) <= 1.0);
        prop_assert!(own.v.worst_ratio(&moments.v) <= 1.0);

        let single = bound(Precision::F32);
        prop_assert!(single.theta.error.iter().all(|e| e.is_finite()));
        let (c1, c2) = OPTIONS.corrections(steps + 1);
        for variant in [false, true] {
            let mut got = [theta.clone(), m.clone(), v.clone()];
            for i in 0..5 {
                let (t, g) = (f(theta[[i]]), f(g[[i]]));
                let m = f(0.9) * f(m[[i]]) + f(1.0 - 0.9) * g;
                let v = f(0.99) * f(v[[i]]) + f(1.0 - 0.99) * g * g;
                let t = if variant {
                    let direction = (m * f(1.0 / c1)) / ((v * f(1.0 / c2)).sqrt() + f(1e-8));
                    t * f(1.0 - 0.00125) - f(0.01) * direction
                } else {
                    let direction = (m / f(c1)) / (v.sqrt() / f(c2).sqrt() + f(1e-8));
                    t - f(0.01) * (direction + f(0.125) * t)
                };
                for (got, value) in got.iter_mut().zip([t, m, v]) {
                    got[[i]] = f64::from(value);
                }
            }
            prop_assert!(single.theta.worst_ratio(&got[0]) <= 1.0, "θ {}", variant);
            prop_assert!(single.m.worst_ratio(&got[1]) <= 1.0, "m {}", variant);
            prop_assert!(single.v.worst_ratio(&got[2]) <= 1.0, "v {}", variant);
        }
    }

    #[test]
    fn ema_keeps_its_bound(x in arrays(&[vec![5], vec![5]]), d in 0u16..=1000) {
        let decay = f64::from(d) / 1000.0;
        let bound = bound::optim::ema_update(&exact(&x[0]), &exact(&x[1]), decay, Precision::F32).expect(FITS);
        let (e, t) = (x[0].mapv(f), x[1].mapv(f));
        let weighted = &e * f(decay) + &t * f(1.0 - decay);
        let moved = &e + &((&t - &e) * f(1.0 - decay));
        prop_assert!(bound.worst_ratio(&weighted.mapv(f64::from)) <= 1.0);
        prop_assert!(bound.worst_ratio(&moved.mapv(f64::from)) <= 1.0);
        let own = bound::optim::ema_update(&exact(&x[0]), &exact(&x[1]), decay, Precision::F64).expect(FITS);
        prop_assert!(own.worst_ratio(&ema_update(&x[0], &x[1], decay).expect(FITS)) <= 1.0);
    }

    #[test]
    fn clipping_keeps_its_bound(x in arrays(&[vec![3], vec![2, 2]]), limit in 1u8..=64) {
        let limit = f64::from(limit) / 8.0;
        let tracked = named(&x).iter().map(|(name, g)| (name.clone(), exact(g))).collect();
        let bound = bound::optim::clip_by_norm(&tracked, limit, Precision::F32).expect("a positive limit");
        let square: f32 = x.iter().flat_map(|g| g.iter()).map(|&g| f(g) * f(g)).sum();
        let norm = square.sqrt();
        let scalar = ArrayD::from_elem(IxDyn(&[]), f64::from(norm));
        prop_assert!(bound.norm.worst_ratio(&scalar) <= 1.0);
        let factor = if norm > f(limit) { f(limit) / norm } else { 1.0 };
        for (name, g) in named(&x) {
            let got = g.mapv(|g| f64::from(f(g) * factor));
            prop_assert!(bound.grads[&name].worst_ratio(&got) <= 1.0);
        }
    }
}

/// Worked by hand: ‖(3, 4)‖ = 5, limited to 2.5.
#[test]
fn clipping_at_a_generic_point() {
    let clipped = clip_by_global_norm(&named(&[arr![3.0].into_dyn(), arr![4.0].into_dyn()]), 2.5)
        .expect("positive");
    assert!((clipped.norm - 5.0).abs() < 1e-15);
    assert_eq!(clipped.grads["p0"], arr![1.5].into_dyn());
    assert_eq!(clipped.grads["p1"], arr![2.0].into_dyn());
}

#[test]
fn wrong_arguments_are_named() {
    let zeros = |n: usize| ArrayD::<f64>::zeros(IxDyn(&[n]));
    let message = |e: OptimError| e.to_string();
    let step = OPTIONS.step(&zeros(2), &zeros(3), &Moments::zeros(&[2]));
    assert_eq!(
        message(step.expect_err("gradient")),
        "gradient must have the parameter's shape [2], got [3]"
    );
    let step = OPTIONS.step(&zeros(2), &zeros(2), &Moments::zeros(&[1]));
    assert!(message(step.expect_err("moment")).contains("first moment"));
    let ema = ema_update(&zeros(1), &zeros(2), 0.5);
    assert!(message(ema.expect_err("average")).contains("average must have"));
    for limit in [0.0, -1.0, f64::NAN] {
        let clip = clip_by_global_norm(&BTreeMap::new(), limit);
        assert!(message(clip.expect_err("limit")).contains("must be > 0"));
    }
}
