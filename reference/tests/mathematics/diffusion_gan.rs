//! Diffusion-GAN's chain, law of t, controller and noising: laws that pin each.

use ndarray::{Array1, Array2, ArrayD, Axis, array};
use proptest::prelude::*;
use sadm_reference::diffusion_gan::{
    Betas, Controller, DiffusionGanError, GanLoss, Priority, State, Update, alpha_bars, confidence,
    diffuse, diffuse_vjp, pool, probabilities, r1, time,
};

use crate::support::U;

fn betas() -> impl Strategy<Value = (Betas, f64, f64, usize)> {
    let ends =
        (0..=64_u32, 0..=64_u32).prop_map(|(a, b)| (f64::from(a) / 64.0, f64::from(b) / 64.0));
    (
        prop::sample::select(Betas::ALL.to_vec()),
        ends,
        1..=60_usize,
    )
        .prop_map(|(kind, (a, b), steps)| (kind, a, b, steps))
}

fn near(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!(
            (got - want).abs() <= 16.0 * U * want.abs().max(1e-3),
            "{got} {want}"
        );
    }
}

#[test]
fn schedules_are_as_by_hand() {
    let of = |kind: Betas| kind.betas(0.04, 0.36, 3).expect("a chain");
    near(&of(Betas::Linear), &[0.04, 0.2, 0.36]);
    near(&of(Betas::Quad), &[0.04, 0.16, 0.36]);
    near(&of(Betas::Const), &[0.36; 3]);
    near(&of(Betas::Jsd), &[1.0 / 3.0, 0.5, 1.0]);
    let low = 0.04 + 0.32 / (1.0 + 6f64.exp());
    near(&of(Betas::Sigmoid), &[low, 0.2, 0.4 - low]);
    // The area under β(u) = 0.1 + 4.9 u over [0, 1] is what the exponents add up to, times 1 + a part of T.
    let exponents: f64 = of(Betas::ContinuousT).iter().map(|b| -(1.0 - b).ln()).sum();
    assert!((exponents - (0.1 + 4.9 / 2.0)).abs() < 1e-14, "{exponents}");
    let cosine = of(Betas::Cosine);
    let left = |u: f64| {
        ((u + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2)
            .cos()
            .powi(2)
    };
    near(
        &cosine,
        &[
            1.0 - left(1.0 / 3.0) / left(0.0),
            1.0 - left(2.0 / 3.0) / left(1.0 / 3.0),
            0.999,
        ],
    );
    let bars = alpha_bars(&of(Betas::Linear)).expect("shares");
    near(&bars, &[1.0, 0.96, 0.96 * 0.8, 0.96 * 0.8 * 0.64]);
    for kind in Betas::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    for law in Priority::ALL {
        assert_eq!(law.to_string().parse(), Ok(law));
    }
}

/// Of equal parts nothing is left at the end, and of the variance that was there as much as of time.
#[test]
fn equal_parts_leave_a_straight_line() {
    let bars = alpha_bars(&Betas::Jsd.betas(0.0, 0.0, 16).expect("a chain")).expect("shares");
    for (t, left) in bars.iter().enumerate() {
        assert!((left - (16 - t) as f64 / 16.0).abs() <= 16.0 * U);
    }
    assert_eq!(bars[16].to_bits(), 0.0_f64.to_bits());
}

proptest! {
    #[test]
    fn what_is_left_never_grows((kind, start, end, steps) in betas()) {
        let betas = kind.betas(start, end, steps).expect("ends in [0, 1]");
        prop_assert_eq!(betas.len(), steps);
        prop_assert!(betas.iter().all(|b| (0.0..=1.0).contains(b)));
        let bars = alpha_bars(&betas).expect("shares");
        prop_assert_eq!(bars.len(), steps + 1);
        prop_assert!(bars.windows(2).all(|w| w[1] <= w[0] && w[1] >= 0.0) && bars[0] == 1.0);
    }

    /// The part of [0, 1) that t is drawn from has the length of its probability, exactly: counted at the W places between whose ends nothing changes.
    #[test]
    fn times_have_their_law(law in prop::sample::select(Priority::ALL.to_vec()), steps in 2..=30_usize) {
        let p = probabilities(law, steps).expect("a law");
        prop_assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-14);
        let weight = |t: usize| match law {
            Priority::Uniform => 1,
            Priority::Priority => t,
            Priority::PriorityCode => t - 1,
        };
        let total: usize = (1..=steps).map(weight).sum();
        let mut count = vec![0; steps];
        for k in 0..total {
            count[time(law, steps, (k as f64 + 0.5) / total as f64).expect("in [0, 1)") - 1] += 1;
        }
        for t in 1..=steps {
            prop_assert_eq!(count[t - 1], weight(t));
            prop_assert!((p[t - 1] - weight(t) as f64 / total as f64).abs() <= U);
        }
    }

    /// In its range, the nearer to an end the surer, still on target, and at an end after as many updates as the range needs.
    #[test]
    fn the_controller_keeps_its_range(
        constant in any::<bool>(),
        (step, kimg) in (1..=40_usize, 1..=50_u32),
        (t_min, more) in (1..=20_usize, 0..=300_usize),
        target in -60..=60_i32,
        signs in prop::collection::vec(-64..=64_i32, 1..40),
    ) {
        let target = f64::from(target) / 64.0;
        let update = if constant { Update::Constant { step } } else { Update::Published { kimg: f64::from(kimg) / 10.0 } };
        let t_max = t_min + more;
        let controller = Controller::new(update, target, t_min, t_max).expect("a range");
        let mut now = controller.begin();
        prop_assert_eq!(now.steps, t_min);
        for sign in signs {
            let r_d = f64::from(sign) / 64.0;
            let next = controller.next(now, r_d, 256).expect("a mean of signs");
            prop_assert!((t_min..=t_max).contains(&next.steps) && (0.0..=1.0).contains(&next.p));
            if r_d > target {
                prop_assert!(next.steps >= now.steps && next.p >= now.p);
            } else if r_d < target {
                prop_assert!(next.steps <= now.steps && next.p <= now.p);
            } else {
                prop_assert_eq!(next, now);
            }
            if constant {
                prop_assert!(next.steps.abs_diff(now.steps) <= step);
            } else {
                let moved = 256.0 / (1000.0 * f64::from(kimg) / 10.0);
                prop_assert!((next.p - now.p).abs() <= moved + U);
                prop_assert!((next.steps as f64 - t_min as f64 - next.p * more as f64).abs() <= 0.5 + 1e-9);
            }
            now = next;
        }
        let most = if constant { more.div_ceil(step) } else { (kimg * 100).div_ceil(256) as usize + 1 };
        for (r_d, end) in [(1.0, t_max), (-1.0, t_min)] {
            for _ in 0..most {
                now = controller.next(now, r_d, 256).expect("a mean of signs");
            }
            prop_assert_eq!(now.steps, end);
        }
    }

    /// y is linear in x with the vjp as its transpose, and in ε; its mean over both signs of ε is √ᾱ x.
    #[test]
    fn noising_is_linear_with_its_transpose(
        (rows, t, seed) in (1..=4_usize, 0..=12_usize, any::<u32>()),
        scale in 0..=128_u32,
    ) {
        let bars = alpha_bars(&Betas::Linear.betas(0.01, 0.3, 12).expect("a chain")).expect("shares");
        let number = |k: usize| ((seed as usize).wrapping_mul(2 * k + 7) % 65536) as f64 / 65536.0 - 0.5;
        let of = |from: usize| ArrayD::from_shape_fn(vec![rows, 3], |at| number(from + 3 * at[0] + at[1]));
        let (x, eps, g) = (of(1), of(100), of(1000));
        let t: Vec<usize> = (0..rows).map(|i| (t + i) % 13).collect();
        let scale = f64::from(scale) / 64.0;
        let at = |x: &ArrayD<f64>, eps: &ArrayD<f64>| diffuse(x, eps, &t, &bars, scale).expect("levels of the chain");
        let mean = (at(&x, &eps) + at(&x, &-&eps)) / 2.0;
        let half = (at(&x, &eps) - at(&x, &-&eps)) / 2.0;
        let vjp = diffuse_vjp(&g, &t, &bars).expect("levels of the chain");
        for i in 0..rows {
            let (kept, added) = (bars[t[i]].sqrt(), scale * (1.0 - bars[t[i]]).sqrt());
            for j in 0..3 {
                prop_assert!((mean[[i, j]] - kept * x[[i, j]]).abs() <= 8.0 * U);
                prop_assert!((half[[i, j]] - added * eps[[i, j]]).abs() <= 8.0 * U);
            }
        }
        // ⟨g, y(x + h v) − y(x − h v)⟩/2h = ⟨vjp, v⟩, exactly but for rounding: y is linear.
        let v = of(500);
        let difference = (at(&(&x + &v), &eps) - at(&(&x - &v), &eps)) / 2.0;
        prop_assert!(((&g * &difference).sum() - (&vjp * &v).sum()).abs() <= 64.0 * U);
    }
}

/// 0.9 of the image's standard deviation and s √0.19 of noise at the first of two levels; the image itself at t = 0.
#[test]
fn noising_is_as_by_hand() {
    let bars = [1.0, 0.81, 0.25];
    let x = array![[1.0, -2.0], [3.0, 4.0], [5.0, 6.0]].into_dyn();
    let eps = array![[1.0, 1.0], [2.0, -1.0], [0.5, 0.0]].into_dyn();
    let y = diffuse(&x, &eps, &[0, 1, 2], &bars, 0.5).expect("levels of the chain");
    let (one, two) = (0.5 * 0.19_f64.sqrt(), 0.5 * 0.75_f64.sqrt());
    let want = [1.0, -2.0, 2.7 + 2.0 * one, 3.6 - one, 2.5 + 0.5 * two, 3.0];
    near(&y.iter().copied().collect::<Vec<_>>(), &want);
    let g = Array2::ones((3, 2)).into_dyn();
    let vjp = diffuse_vjp(&g, &[0, 1, 2], &bars).expect("levels of the chain");
    near(
        &vjp.sum_axis(Axis(1)).iter().copied().collect::<Vec<_>>(),
        &[2.0, 1.8, 1.0],
    );
}

#[test]
fn confidence_is_a_mean_of_signs() {
    assert_eq!(confidence(&[3.0, -0.1, 0.0, 1e-9]), Ok(0.25));
    assert_eq!(confidence(&[f64::NEG_INFINITY]), Ok(-1.0));
    assert_eq!(confidence(&[]), Err(DiffusionGanError::NoLogits));
    assert!(confidence(&[0.5, f64::NAN]).is_err());
}

#[test]
fn a_buffer_is_drawn_and_then_clean() {
    let got = pool(
        Priority::Priority,
        3,
        &[0.0, 1.0 / 6.0, 0.4999, 0.5, 0.999],
        8,
    );
    assert_eq!(got, Ok(vec![1, 2, 2, 3, 3, 0, 0, 0]));
    assert!(pool(Priority::Uniform, 3, &[0.0; 4], 3).is_err());
}

#[test]
fn what_is_no_chain_is_refused() {
    let steps = |got: Result<Vec<f64>, DiffusionGanError>| got.expect_err("refused").to_string();
    assert_eq!(
        steps(Betas::Linear.betas(0.0, 0.1, 0)),
        "number of steps must be at least 1 for a chain, got 0"
    );
    assert_eq!(
        steps(probabilities(Priority::PriorityCode, 1)),
        "number of steps must be at least 2 for this law of t, got 1"
    );
    assert!(probabilities(Priority::Priority, 1).is_ok());
    for (start, end) in [(-0.1, 0.5), (0.1, 1.5), (f64::NAN, 0.5)] {
        assert!(Betas::Linear.betas(start, end, 3).is_err());
    }
    assert!(alpha_bars(&[0.5, 1.25]).is_err() && alpha_bars(&[-0.5]).is_err());
    assert!(time(Priority::Uniform, 4, 1.0).is_err() && time(Priority::Uniform, 4, -0.1).is_err());
    let controller =
        |update, target, low, high| Controller::new(update, target, low, high).is_err();
    let constant = Update::Constant { step: 4 };
    assert!(
        controller(constant, 0.6, 0, 5)
            && controller(constant, 0.6, 6, 5)
            && controller(constant, 1.5, 1, 5)
    );
    assert!(
        controller(Update::Constant { step: 0 }, 0.6, 1, 5)
            && controller(Update::Published { kimg: 0.0 }, 0.6, 1, 5)
    );
    let kept = Controller::new(constant, 0.6, 1, 5).expect("a range");
    assert!(kept.next(kept.begin(), 1.5, 1).is_err());
    let x = Array2::zeros((2, 2)).into_dyn();
    assert!(
        diffuse(&x, &x, &[0], &[1.0], 1.0).is_err(),
        "a level too few"
    );
    assert!(
        diffuse(&x, &x, &[0, 1], &[1.0], 1.0).is_err(),
        "a level too high"
    );
    assert!(diffuse(&x, &x, &[0, 0], &[1.5], 1.0).is_err(), "no share");
    assert!(
        diffuse(&x, &x, &[0, 0], &[1.0], -1.0).is_err(),
        "a scale below 0"
    );
    assert!(
        diffuse(&x, &Array2::zeros((2, 3)).into_dyn(), &[0, 0], &[1.0], 1.0).is_err(),
        "other noise"
    );
}

/// The paper's rule at its ends: T is 50, not 52, and 5, not 3; p is the part of the way.
#[test]
fn the_constant_update_is_as_by_hand() {
    let rule = Controller::new(Update::Constant { step: 4 }, 0.5, 5, 50).expect("a range");
    for (steps, r_d, want) in [
        (20, 0.75, 24),
        (20, 0.25, 16),
        (20, 0.5, 20),
        (48, 1.0, 50),
        (7, -1.0, 5),
    ] {
        let next = rule
            .next(State { p: 0.0, steps }, r_d, 1)
            .expect("a mean of signs");
        assert_eq!(next.steps, want);
        assert!((next.p - (want - 5) as f64 / 45.0).abs() <= U);
    }
    let still = Controller::new(Update::Constant { step: 4 }, 0.5, 5, 5).expect("one T");
    assert_eq!(still.next(still.begin(), 1.0, 1), Ok(still.begin()));
}

/// p moves by 256/100000, and halves of T go to the even number: 10 + ½ is 10, 10 + 1½ is 12.
#[test]
fn the_published_update_is_as_by_hand() {
    let rule = Controller::new(Update::Published { kimg: 100.0 }, 0.6, 10, 1000).expect("a range");
    let one = rule.next(rule.begin(), 0.7, 256).expect("a mean of signs");
    assert_eq!(
        one,
        State {
            p: 0.00256,
            steps: 13
        }
    );
    assert_eq!(rule.next(one, 0.6, 256), Ok(one));
    let halves = Controller::new(Update::Published { kimg: 1.0 }, 0.0, 10, 14).expect("a range");
    for (images, want) in [(125, 10), (375, 12), (625, 12), (875, 14), (2000, 14)] {
        assert_eq!(
            halves
                .next(halves.begin(), 1.0, images)
                .expect("a mean")
                .steps,
            want
        );
    }
}

proptest! {
    /// D's loss is the same with the signs of all logits changed and both sides exchanged; slopes are central differences away from the kinks.
    #[test]
    fn losses_of_the_game(loss in prop::sample::select(GanLoss::ALL.to_vec()), real in logits(), fake in logits()) {
        let got = loss.discriminator(&real, &fake).expect("finite logits");
        let exchanged = loss.discriminator(&-&fake, &-&real).expect("finite logits");
        prop_assert!((got.loss - exchanged.loss).abs() <= 16.0 * U * got.loss.abs().max(1.0));
        let (of_g, grad_g) = loss.generator(&fake).expect("finite logits");
        // What G descends is what D would pay for taking it to be real; but the hinge, which has no end.
        if loss != GanLoss::Hinge {
            let taken = loss.discriminator(&fake, &fake).expect("finite logits").grad_real;
            prop_assert_eq!(&grad_g, &taken);
        }
        let h = 1e-5;
        for i in 0..fake.len() {
            let moved = |by: f64| {
                let mut l = fake.clone();
                l[i] += by;
                (loss.discriminator(&real, &l).expect("finite").loss, loss.generator(&l).expect("finite").0)
            };
            let ((d_up, g_up), (d_down, g_down)) = (moved(h), moved(-h));
            prop_assert!(((d_up - d_down) / (2.0 * h) - got.grad_fake[i]).abs() < 1e-9);
            prop_assert!(((g_up - g_down) / (2.0 * h) - grad_g[i]).abs() < 1e-9, "{of_g}");
        }
        for i in 0..real.len() {
            let moved = |by: f64| {
                let mut l = real.clone();
                l[i] += by;
                loss.discriminator(&l, &fake).expect("finite").loss
            };
            prop_assert!(((moved(h) - moved(-h)) / (2.0 * h) - got.grad_real[i]).abs() < 1e-9);
        }
    }
}

/// Logits at least 2⁻⁷ from the hinge's kinks.
fn logits() -> impl Strategy<Value = Array1<f64>> {
    prop::collection::vec(
        (-640..=640_i32).prop_map(|k| f64::from(k) / 64.0 + 1.0 / 128.0),
        1..6,
    )
    .prop_map(Array1::from)
}

#[test]
fn losses_are_as_by_hand() {
    let (real, fake) = (array![0.0, 2.0], array![-3.0]);
    let of = |loss: GanLoss| {
        loss.discriminator(&real, &fake)
            .expect("finite logits")
            .loss
    };
    let softplus = |x: f64| (1.0 + x.exp()).ln();
    assert!(
        (of(GanLoss::Logistic) - 0.5 * (2f64.ln() + softplus(-2.0)) - softplus(-3.0)).abs()
            < 4.0 * U
    );
    assert!((of(GanLoss::Hinge) - 0.5).abs() < U);
    assert!((of(GanLoss::LeastSquares) - 0.625 - 3.125).abs() < U);
    let of_g = |loss: GanLoss| loss.generator(&fake).expect("finite logits").0;
    assert!((of_g(GanLoss::Logistic) - softplus(3.0)).abs() < 4.0 * U);
    assert!(
        (of_g(GanLoss::Hinge) - 3.0).abs() < U && (of_g(GanLoss::LeastSquares) - 6.125).abs() < U
    );
    // Far out nothing overflows: 1000 for a real image that is taken for generated.
    let far = GanLoss::Logistic
        .discriminator(&array![-1000.0], &array![-1000.0])
        .expect("finite");
    assert!(
        (far.loss - 1000.0).abs() < 1e-12 && far.grad_real[0] == -1.0 && far.grad_fake[0] == 0.0
    );
    assert!(GanLoss::Hinge.generator(&array![]).is_err());
    assert!(GanLoss::Hinge.generator(&array![f64::INFINITY]).is_err());
    for loss in GanLoss::ALL {
        assert_eq!(loss.to_string().parse(), Ok(loss));
    }
}

#[test]
fn the_slope_at_real_images_is_penalised_by_its_square() {
    let slopes = array![[3.0, 4.0], [0.0, -1.0]];
    let (value, grad) = r1(&slopes).expect("images");
    assert!((value - 13.0).abs() < U);
    assert_eq!(grad, array![[3.0, 4.0], [0.0, -1.0]]);
    assert!(r1(&Array2::zeros((0, 2))).is_err());
}
