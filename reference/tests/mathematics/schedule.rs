use proptest::prelude::*;
use sadm_reference::schedule::{
    Cosine, Ddpm, Edm, RectifiedFlow, Schedule, ScheduleError, ScheduleKind, VpLinear,
};

use crate::support::{assert_close, assert_near, ordered_times, time};

const CONTINUOUS: [ScheduleKind; 4] = [
    ScheduleKind::VP_LINEAR,
    ScheduleKind::COSINE,
    ScheduleKind::EDM,
    ScheduleKind::RECTIFIED_FLOW,
];

const INF: f64 = f64::INFINITY;

#[test]
fn ddpm_has_its_published_values() {
    let ddpm = Ddpm::default();
    assert_eq!(ddpm.steps(), 1000);
    // From peers.md, given to 11 digits.
    for (k, alpha_bar) in [
        (0, 0.9999),
        (500, 0.077_796_658_365),
        (999, 4.035_829_765_4e-5),
    ] {
        let got = ddpm.alpha(f64::from(k) / 999.0).powi(2);
        assert!((got / alpha_bar - 1.0).abs() < 1e-10, "step {k}: {got}");
        let k = usize::try_from(k).expect("a step");
        assert!((ddpm.log_alpha_bar(k).exp() / alpha_bar - 1.0).abs() < 1e-10);
    }
}

#[test]
fn ddpm_rounds_time_to_the_nearest_step() {
    let ddpm = Ddpm::default();
    for (t, step) in [
        (0.0, 0),
        (0.4 / 999.0, 0),
        (0.6 / 999.0, 1),
        (0.5, 500),
        (1.0, 999),
        (2.0, 999),
    ] {
        assert_eq!(ddpm.step(t), step, "t = {t}");
    }
}

#[test]
fn ddpm_slope_at_the_ends_is_one_sided() -> Result<(), ScheduleError> {
    let ddpm = Ddpm::new(0.1, 0.5, 3)?;
    let lambda = |k: u32| ddpm.lambda(f64::from(k) / 2.0);
    // ᾱ = 0.9, 0.9·0.7, 0.9·0.7·0.5; λ = ln(ᾱ/(1 − ᾱ)).
    for (k, alpha_bar) in [(0, 0.9_f64), (1, 0.63), (2, 0.315)] {
        assert_near(lambda(k), (alpha_bar / (1.0 - alpha_bar)).ln(), 1.0, 32.0);
    }
    assert_close(ddpm.lambda_grad(0.0), 2.0 * (lambda(1) - lambda(0)), 8.0);
    assert_close(ddpm.lambda_grad(0.5), lambda(2) - lambda(0), 8.0);
    assert_close(ddpm.lambda_grad(1.0), 2.0 * (lambda(2) - lambda(1)), 8.0);
    Ok(())
}

#[test]
fn ends_are_exact() {
    let vp = VpLinear::default();
    assert_eq!(
        (vp.alpha(0.0), vp.sigma(0.0), vp.lambda(0.0)),
        (1.0, 0.0, INF)
    );
    assert_eq!((vp.lambda_grad(0.0), vp.snr(0.0)), (-INF, INF));
    // b_1 = 10.05, whose rounding counts tenfold in the exponential.
    assert_close(vp.alpha(1.0), (-5.025_f64).exp(), 32.0);
    assert_close(vp.lambda(1.0), -(10.05_f64.exp() - 1.0).ln(), 8.0);

    assert_eq!(
        (Cosine.alpha(0.0), Cosine.sigma(0.0), Cosine.lambda(0.0)),
        (1.0, 0.0, INF)
    );
    assert_eq!(
        (Cosine.alpha(1.0), Cosine.sigma(1.0), Cosine.lambda(1.0)),
        (0.0, 1.0, -INF)
    );
    assert_eq!(
        (Cosine.lambda_grad(0.0), Cosine.lambda_grad(1.0)),
        (-INF, -INF)
    );
    assert_eq!((Cosine.snr(0.0), Cosine.snr(1.0)), (INF, 0.0));

    let flow = RectifiedFlow;
    assert_eq!(
        (flow.alpha(0.0), flow.sigma(0.0), flow.lambda(0.0)),
        (1.0, 0.0, INF)
    );
    assert_eq!(
        (flow.alpha(1.0), flow.sigma(1.0), flow.lambda(1.0)),
        (0.0, 1.0, -INF)
    );
    assert_eq!((flow.lambda_grad(0.0), flow.lambda_grad(1.0)), (-INF, -INF));

    assert_eq!(
        (Edm.alpha(0.0), Edm.sigma(0.0), Edm.lambda(0.0)),
        (1.0, 0.0, INF)
    );
    assert_eq!(Edm.lambda_grad(0.0), -INF);
}

#[test]
fn log_snr_does_not_cancel_near_the_ends() {
    // b = 1e-9·(0.1 + …): λ = −ln b − b/2, where ln(α²/σ²) with σ² = 1 − α² has lost seven digits.
    let t = 1e-8;
    let b = 0.1 * t + 9.95 * t * t;
    let vp = VpLinear::default();
    assert_close(vp.lambda(t), -b.ln() - b / 2.0, 8.0);
    assert_close(vp.sigma(t), (b - b * b / 2.0).sqrt(), 8.0);
    // Near t = 1 the cosine schedule's signal is π(1 − t)/2 to second order.
    let rest = 2.0_f64.powi(-30);
    assert_close(
        Cosine.alpha(1.0 - rest),
        std::f64::consts::FRAC_PI_2 * rest,
        8.0,
    );
}

/// Two times a hair before the end: with r = 1 − t and q = 1 − s, σ²_{t|s} = (q − r)(q + r)/q² to second order.
#[test]
fn cosine_transitions_do_not_cancel_near_the_end() {
    let (q, r) = (2.0_f64.powi(-29), 2.0_f64.powi(-31));
    let got = Cosine.sigma2_transition(1.0 - q, 1.0 - r);
    assert_close(got, (q - r) * (q + r) / (q * q), 16.0);
}

#[test]
fn domains_are_enforced() {
    for kind in ScheduleKind::all() {
        let schedule = kind.schedule();
        let high = if kind == ScheduleKind::EDM { INF } else { 1.0 };
        assert_eq!(schedule.domain(), (0.0, high), "{kind}");
        for t in [0.0, 0.5, 1.0] {
            assert_eq!(schedule.check(t), Ok(()));
        }
        assert_eq!(schedule.check(2.0).is_ok(), kind == ScheduleKind::EDM);
        for t in [-1e-300, INF, -INF, f64::NAN] {
            assert!(schedule.check(t).is_err(), "{kind} accepts t = {t}");
            assert!(
                schedule.check_pair(t, 0.5).is_err(),
                "{kind} accepts s = {t}"
            );
            assert!(
                schedule.check_pair(0.5, t).is_err(),
                "{kind} accepts t = {t}"
            );
        }
        assert_eq!(schedule.check_pair(0.5, 0.5), Ok(()));
        assert_eq!(
            schedule.check_pair(0.5, 0.25),
            Err(ScheduleError::Order { s: 0.5, t: 0.25 })
        );
    }
    let message = VpLinear::default()
        .check(1.5)
        .expect_err("outside")
        .to_string();
    assert_eq!(message, "time t must be in [0, 1], got 1.5");
}

#[test]
fn rates_are_checked() {
    assert!(VpLinear::new(0.5, 0.5).is_ok());
    assert!(Ddpm::new(0.5, 0.5, 2).is_ok());
    for (low, high) in [
        (0.0, 1.0),
        (-1.0, 1.0),
        (0.2, 0.1),
        (f64::NAN, 1.0),
        (0.1, f64::NAN),
        (0.1, INF),
    ] {
        assert!(
            VpLinear::new(low, high).is_err(),
            "VP accepts {low}, {high}"
        );
        assert!(
            Ddpm::new(low, high, 10).is_err(),
            "DDPM accepts {low}, {high}"
        );
    }
    assert!(VpLinear::new(0.1, 999.0).is_ok());
    assert!(VpLinear::new(0.1, 1000.0).is_err());
    assert!(Ddpm::new(0.1, 1.0, 10).is_err());
    assert_eq!(Ddpm::new(0.1, 0.2, 1), Err(ScheduleError::Steps { got: 1 }));
}

#[test]
fn other_rates_give_another_schedule() -> Result<(), ScheduleError> {
    let constant = VpLinear::new(2.0, 2.0)?;
    assert_close(constant.alpha(0.25), (-0.25_f64).exp(), 4.0);
    assert_close(constant.t_of_lambda(constant.lambda(0.25)), 0.25, 8.0);
    let steep = VpLinear::new(1.0, 3.0)?;
    // b = t + t²
    assert_close(steep.alpha(0.5), (-0.375_f64).exp(), 4.0);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lambda_is_the_log_snr_and_decreases((s, t) in ordered_times(true)) {
        for kind in ScheduleKind::all() {
            let schedule = kind.schedule();
            let (alpha, sigma) = (schedule.alpha(t), schedule.sigma(t));
            assert_near(schedule.lambda(t), (alpha * alpha / (sigma * sigma)).ln(), 1.0 + schedule.lambda(t).abs(), 256.0);
            assert_near(schedule.snr(t), schedule.lambda(t).exp(), schedule.snr(t), 256.0);
            // Times 1/256 apart are several steps of DDPM apart.
            prop_assert!(schedule.lambda(s) > schedule.lambda(t), "{kind}");
            prop_assert!(schedule.lambda_grad(t) < 0.0);
        }
    }

    #[test]
    fn the_slope_of_lambda_is_its_difference_quotient(t in time()) {
        for kind in CONTINUOUS {
            let schedule = kind.schedule();
            let quotient = |h: f64| (schedule.lambda(t + h) - schedule.lambda(t - h)) / (2.0 * h);
            let (coarse, fine) = (quotient(1e-4), quotient(5e-5));
            // Truncation: a third of the change on halving h. Rounding: λ is good to 8 units.
            let allowed = (coarse - fine).abs() + 64.0 * f64::EPSILON * (1.0 + schedule.lambda(t).abs()) / 1e-4;
            let exact = schedule.lambda_grad(t);
            prop_assert!((fine - exact).abs() <= allowed, "{kind}: {fine} vs {exact}, allowed {allowed}");
        }
    }

    #[test]
    fn variance_preserving_schedules_preserve_variance(t in 0.0f64..=1.0) {
        for kind in [ScheduleKind::VP_LINEAR, ScheduleKind::COSINE, ScheduleKind::DDPM] {
            let schedule = kind.schedule();
            assert_close(schedule.alpha(t).powi(2) + schedule.sigma(t).powi(2), 1.0, 16.0);
        }
    }

    #[test]
    fn time_is_found_from_lambda(t in time()) {
        for kind in CONTINUOUS {
            let schedule = kind.schedule();
            let lambda = schedule.lambda(t);
            // λ's own rounding, through the inverse's slope.
            let allowed = 64.0 * (1.0 + lambda.abs()) / schedule.lambda_grad(t).abs();
            assert_near(schedule.t_of_lambda(lambda), t, t + allowed, 64.0);
        }
    }

    #[test]
    fn ddpm_finds_the_nearest_step(k in 0u32..1000, nudge in -0.4f64..0.4) {
        let ddpm = Ddpm::default();
        let t = f64::from(k) / 999.0;
        let neighbour = f64::from(if nudge < 0.0 { k.saturating_sub(1) } else { (k + 1).min(999) }) / 999.0;
        let lambda = ddpm.lambda(t) + nudge.abs() * (ddpm.lambda(neighbour) - ddpm.lambda(t));
        assert_near(ddpm.t_of_lambda(lambda), t, 1.0, 4.0);
    }

    /// `[eq:transition-variance]` as printed; and VP stays within [0, σ_t²].
    #[test]
    fn transition_variance_is_expm1_of_lambda((s, t) in ordered_times(false)) {
        for kind in ScheduleKind::all() {
            let schedule = kind.schedule();
            let got = schedule.sigma2_transition(s, t);
            let (lambda_s, lambda_t) = (schedule.lambda(s), schedule.lambda(t));
            let sigma2 = schedule.sigma(t).powi(2);
            let printed = -(lambda_t - lambda_s).exp_m1() * sigma2;
            // The printed form subtracts two λ with their rounding errors.
            assert_near(got, printed, sigma2 * (2.0 + lambda_s.abs() + lambda_t.abs()), 256.0);
            prop_assert!((0.0..=sigma2 * (1.0 + 8.0 * f64::EPSILON)).contains(&got), "{kind}: {got}");
        }
    }

    #[test]
    fn no_time_no_noise(t in 0.0f64..=1.0) {
        for kind in ScheduleKind::all() {
            let got = kind.schedule().sigma2_transition(t, t);
            prop_assert!(got == 0.0 && got.is_sign_positive(), "{kind}: {got}");
        }
    }

    /// As s → t the variance is −λ'(t) σ_t² (t − s): no digits are lost, which the printed form loses.
    #[test]
    fn short_transitions_keep_their_digits(t in time()) {
        for kind in CONTINUOUS {
            let schedule = kind.schedule();
            let s = t - 2.0_f64.powi(-36);
            let slope = -schedule.lambda_grad(t) * schedule.sigma(t).powi(2);
            let got = schedule.sigma2_transition(s, t) / (t - s);
            // The second-order term is of relative size (t − s)·curvature ≤ 2⁻³⁶·2⁹.
            prop_assert!((got / slope - 1.0).abs() <= 1e-7, "{kind}: {got} vs {slope}");
        }
    }
}
