use proptest::prelude::*;
use sadm_reference::parametrisation::{
    Coefficients, Level, LevelError, NoiseCondition, Parametrisation, Preconditioner, coefficients,
    eps_from_score, eps_from_v, eps_from_x0, score_from_eps, score_from_x0, v_from_eps, v_from_x0,
    v_from_x0_eps, x0_from_eps, x0_from_score, x0_from_v,
};
use sadm_reference::precondition::{
    Sigma, SigmaError, c_in, c_in_grad, c_noise, c_out, c_out_grad, c_skip, c_skip_grad,
    loss_weight,
};

use sadm_reference::schedule::{Ddpm, Schedule, VpLinear};

use crate::support::{assert_close, assert_near, number, positive};

fn sigma(x: f64) -> Sigma {
    Sigma::new(x).expect("a positive number")
}

#[test]
fn preconditioning_has_its_published_values() {
    // EDM's Table 1 at σ = 1, σ_d = 0.5.
    let (s, d) = (sigma(1.0), sigma(0.5));
    assert_eq!(c_skip(s, d), 0.2);
    assert_close(c_out(s, d), 0.447_213_595_499_957_9, 4.0);
    assert_close(c_in(s, d), 0.894_427_190_999_915_9, 4.0);
    assert_eq!(c_noise(s), 0.0);
    assert_eq!(loss_weight(s, d), 5.0);
    // And where nothing is 1: σ = 2, σ_d = 1.5 has √(σ² + σ_d²) = 2.5.
    let (s, d) = (sigma(2.0), sigma(1.5));
    assert_close(c_skip(s, d), 0.36, 4.0);
    assert_close(c_out(s, d), 1.2, 4.0);
    assert_close(c_in(s, d), 0.4, 4.0);
    assert_close(c_noise(s), 0.173_286_795_139_986_32, 4.0);
    assert_close(loss_weight(s, d), 25.0 / 36.0, 4.0);
    assert_close(c_skip_grad(s, d), -0.2304, 4.0);
    assert_close(c_out_grad(s, d), 0.216, 4.0);
    assert_close(c_in_grad(s, d), -0.128, 4.0);
}

#[test]
fn extreme_noise_levels_neither_overflow_nor_vanish() {
    let (tiny, huge, one) = (sigma(1e-200), sigma(1e200), sigma(1.0));
    assert_eq!((c_skip(tiny, one), c_skip(huge, one)), (1.0, 0.0));
    assert_eq!((c_out(tiny, one), c_out(huge, one)), (1e-200, 1.0));
    assert_eq!((c_in(tiny, one), c_in(huge, one)), (1.0, 1e-200));
}

#[test]
fn sigma_is_positive_and_finite() {
    assert_eq!(sigma(0.25).get(), 0.25);
    for bad in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        assert!(Sigma::new(bad).is_err(), "accepts {bad}");
    }
    let error = Sigma::new(-1.0).expect_err("negative");
    assert_eq!(error, SigmaError::NotPositive { got: -1.0 });
    assert_eq!(
        error.to_string(),
        "noise level sigma must be finite and > 0, got -1.0"
    );
}

#[test]
fn levels_are_positive_and_finite() {
    let level = Level::new(0.5, 2.0).expect("positive");
    assert_eq!((level.alpha(), level.sigma()), (0.5, 2.0));
    for bad in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        assert!(
            matches!(Level::new(bad, 1.0), Err(LevelError::Alpha { .. })),
            "accepts alpha {bad}"
        );
        assert!(
            matches!(Level::new(1.0, bad), Err(LevelError::Sigma(_))),
            "accepts sigma {bad}"
        );
        for p in Parametrisation::ALL {
            assert!(coefficients(p, bad, 1.0, 0.5).is_err());
            assert!(coefficients(p, 1.0, bad, 0.5).is_err());
            assert!(coefficients(p, 1.0, 1.0, bad).is_err());
        }
    }
}

#[test]
fn conversions_are_the_hand_worked_ones() {
    // α = 3, σ = 4, x_0 = 2, ε = −1: x_t = 2, v = −3 − 8 = −11, score = 1/4.
    let level = Level::new(3.0, 4.0).expect("positive");
    let (x0, eps, x_t, v, score) = (2.0, -1.0, 2.0, -11.0, 0.25);
    assert_eq!(x0_from_eps(x_t, eps, level), x0);
    assert_eq!(x0_from_v(x_t, v, level), x0);
    assert_eq!(x0_from_score(x_t, score, level), x0);
    assert_eq!(eps_from_x0(x_t, x0, level), eps);
    assert_eq!(eps_from_v(x_t, v, level), eps);
    assert_eq!(eps_from_score(score, level), eps);
    assert_eq!(v_from_x0_eps(x0, eps, level), v);
    assert_eq!(v_from_x0(x_t, x0, level), v);
    assert_eq!(v_from_eps(x_t, eps, level), v);
    assert_eq!(score_from_x0(x_t, x0, level), score);
    assert_eq!(score_from_eps(eps, level), score);
}

#[test]
fn coefficients_are_the_hand_worked_ones() {
    // α = 0.5, σ = 1: σ' = 2, and with σ_d = 1.5 the numbers of the test above.
    let noise = 2.0_f64.ln() / 4.0;
    let want = |skip, out, input| Coefficients {
        skip,
        out,
        input,
        noise,
    };
    let cases = [
        (Parametrisation::X0, want(0.0, 1.0, 1.0)),
        (Parametrisation::Eps, want(2.0, -2.0, 1.0)),
        (Parametrisation::V, want(0.4, -0.8, 1.0)),
        (Parametrisation::Edm, want(0.72, 1.2, 0.8)),
        (Parametrisation::Ve, want(2.0, 2.0, 2.0)),
    ];
    for (p, want) in cases {
        let got = coefficients(p, 0.5, 1.0, 1.5).expect("positive levels");
        assert_close(got.skip, want.skip, 4.0);
        assert_close(got.out, want.out, 4.0);
        assert_close(got.input, want.input, 4.0);
        assert_close(got.noise, want.noise, 4.0);
    }
}

/// Hand-worked: ln 2 = 0.1 t + 9.95 t² at σ' = 1; DDPM's first, second and last step by their own levels.
#[test]
fn noise_conditions_have_their_published_values() {
    let at = |kind: NoiseCondition, s| kind.at(sigma(s));
    assert_close(
        at(NoiseCondition::LogSigma, 2.0),
        0.173_286_795_139_986_32,
        4.0,
    );
    assert_close(at(NoiseCondition::VpTime, 1.0), 258.701_302_170_363_8, 16.0);
    for (step, alpha_bar) in [
        (0.0, 0.9999_f64),
        (1.0, 0.9999 * (1.0 - 1e-4 - 0.0199 / 999.0)),
    ] {
        let level = ((1.0 - alpha_bar) / alpha_bar).sqrt();
        assert_eq!(at(NoiseCondition::DdpmStep, level), step);
    }
    assert_eq!(at(NoiseCondition::DdpmStep, 1e-9), 0.0);
    // What the published preconditioners tell their networks, recorded in float64: VE, then improved DDPM at 0.004, 0.1, 1, 25, 79.
    for (level, told) in [
        (0.02, -4.605_170_21),
        (0.3, -1.897_119_95),
        (4.0, std::f64::consts::LN_2),
        (100.0, 3.912_023_01),
    ] {
        let got = at(NoiseCondition::LogHalfSigma, level);
        assert!((got - told).abs() < 4e-8, "{got} at {level}");
    }
    for (level, told) in [
        (0.004, 0.0),
        (0.1, 55.0),
        (1.0, 495.0),
        (25.0, 973.0),
        (79.0, 991.0),
    ] {
        assert_eq!(at(NoiseCondition::IddpmStep, level), told);
    }
    assert_eq!(at(NoiseCondition::IddpmStep, 1e-9), 0.0);
    assert_eq!(at(NoiseCondition::IddpmStep, 1e9), 999.0);
    assert_eq!(at(NoiseCondition::DdpmStep, 1e9), 999.0);
    // The preconditioner takes the other coefficients from the parametrisation.
    let told = Preconditioner {
        parametrisation: Parametrisation::Edm,
        noise: NoiseCondition::VpTime,
        sigma_data: 1.5,
    };
    let (got, plain) = (
        told.coefficients(0.5, 0.5),
        coefficients(Parametrisation::Edm, 0.5, 0.5, 1.5),
    );
    let (got, plain) = (got.expect("positive"), plain.expect("positive"));
    assert_close(got.noise, 258.701_302_170_363_8, 16.0);
    assert_eq!(
        Coefficients {
            noise: plain.noise,
            ..got
        },
        plain
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The times of a schedule come back from its own levels, and more noise is never told as less.
    #[test]
    fn noise_conditions_undo_their_schedules(t in 1..=1024_i32, k in 0..1000_usize, s in positive(), more in positive()) {
        let t = f64::from(t) / 1024.0;
        let of = |schedule: &dyn Schedule, t| sigma(schedule.sigma(t) / schedule.alpha(t));
        assert_near(NoiseCondition::VpTime.at(of(&VpLinear::default(), t)), 999.0 * t, 999.0, 64.0);
        let step = NoiseCondition::DdpmStep.at(of(&Ddpm::default(), k as f64 / 999.0));
        prop_assert_eq!(step, k as f64);
        for kind in NoiseCondition::ALL {
            prop_assert!(kind.at(sigma(s)) <= kind.at(sigma(s + more)), "{}", kind);
        }
    }

    /// A network that predicts its own target exactly gives back the clean data.
    #[test]
    fn a_perfect_network_denoises_perfectly(x0 in number(), eps in number(), a in positive(), s in positive()) {
        let level = Level::new(a, s)?;
        let x_t = a * x0 + s * eps;
        for p in Parametrisation::ALL {
            let c = coefficients(p, a, s, 0.5)?;
            let target = match p {
                Parametrisation::X0 => x0,
                Parametrisation::Eps => eps,
                Parametrisation::V => v_from_x0_eps(x0, eps, level),
                Parametrisation::Ve => -eps,
                Parametrisation::Edm => (x0 - c.skip * x_t) / c.out,
            };
            let scale = (c.skip * x_t).abs() + (c.out * target).abs() + x0.abs() + (s / a * eps).abs();
            assert_near(c.skip * x_t + c.out * target, x0, scale, 32.0);
        }
    }

    #[test]
    fn conversions_and_back_agree(x_t in number(), x0 in number(), a in positive(), s in positive()) {
        let level = Level::new(a, s)?;
        // Every quantity below is a combination of a·x0/s, x_t/s and their images under the inverse map.
        let size = x0.abs() + x_t.abs() / a;
        let eps = eps_from_x0(x_t, x0, level);
        assert_near(x0_from_eps(x_t, eps, level), x0, size, 16.0);
        let v = v_from_x0(x_t, x0, level);
        assert_near(x0_from_v(x_t, v, level), x0, size + (s * v).abs() / (a * a + s * s), 32.0);
        assert_near(v_from_eps(x_t, eps, level), v, (a + s * s / a) * (x_t.abs() + a * x0.abs()) / s, 32.0);
        assert_near(eps_from_v(x_t, v, level), eps, (a * x0.abs() + x_t.abs()) / s + x_t.abs() * s / (a * a + s * s), 64.0);
        let score = score_from_x0(x_t, x0, level);
        assert_near(x0_from_score(x_t, score, level), x0, size, 16.0);
        assert_near(eps_from_score(score, level), eps, (a * x0.abs() + x_t.abs()) / s, 16.0);
        // The score is the derivative of ln q(x_t|x_0) = −(x_t − α x_0)²/(2σ²): exact for a quadratic.
        let log_q = |x: f64| -(x - a * x0).powi(2) / (2.0 * s * s);
        let quotient = (log_q(x_t + 1.0) - log_q(x_t - 1.0)) / 2.0;
        assert_near(quotient, score, ((x_t.abs() + a * x0.abs() + 1.0) / s).powi(2), 16.0);
    }

    #[test]
    fn preconditioned_target_and_input_have_unit_variance(s in positive(), d in positive()) {
        let (noise, data) = (sigma(s), sigma(d));
        let (skip, out) = (c_skip(noise, data), c_out(noise, data));
        assert_close(((1.0 - skip) * d).powi(2) + (skip * s).powi(2), out * out, 64.0 * (1.0 + (d / s).powi(2)));
        assert_close(c_in(noise, data).powi(2) * (s * s + d * d), 1.0, 16.0);
        assert_close(loss_weight(noise, data) * out * out, 1.0, 16.0);
    }

    #[test]
    fn preconditioning_slopes_are_difference_quotients(s in positive(), d in positive()) {
        type F = fn(Sigma, Sigma) -> f64;
        let data = sigma(d);
        let pairs: [(F, F); 3] = [(c_skip, c_skip_grad), (c_out, c_out_grad), (c_in, c_in_grad)];
        for (f, grad) in pairs {
            let quotient = |h: f64| (f(sigma(s * h.exp()), data) - f(sigma(s * (-h).exp()), data)) / (2.0 * h);
            let (coarse, fine) = (quotient(1e-3), quotient(5e-4));
            let allowed = (coarse - fine).abs() + 16.0 * f64::EPSILON * f(sigma(s), data) / 5e-4;
            let exact = s * grad(sigma(s), data);
            prop_assert!((fine - exact).abs() <= allowed, "{fine} vs {exact}, allowed {allowed}");
        }
    }
}
