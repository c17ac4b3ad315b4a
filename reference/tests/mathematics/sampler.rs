use ndarray::{ArrayD, array};
use proptest::prelude::*;
use sadm_reference::forward::posterior;
use sadm_reference::sampler::{
    Churn, Previous, SamplerError, churn_step, ddim_step, ddpm_step, dpmpp_2m_step, edm_sigmas,
    euler_step, guide, heun_correction, heun_step,
};
use sadm_reference::schedule::{RectifiedFlow, ScheduleKind};

use crate::support::{assert_all_close, assert_close, assert_near, ordered_times, tensor};

/// EDM's list for N = 18, ρ = 7, σ from 0.002 to 80; from peers.md, given to 11 digits.
const EDM_SIGMAS: [f64; 19] = [
    80.0,
    57.585_984_721,
    40.785_573_797,
    28.374_584_604,
    19.352_452_980,
    12.910_082_381,
    8.400_935_309_1,
    5.315_194_521_8,
    3.256_821_519_8,
    1.923_339_837_0,
    1.088_170_636_5,
    0.585_348_123_19,
    0.296_442_284_48,
    0.139_516_468_73,
    0.059_947_311_235,
    0.022_934_518_372,
    0.007_528_019_962_8,
    0.002,
    0.0,
];

#[test]
fn edm_sigmas_are_the_published_ones() -> Result<(), SamplerError> {
    let got = edm_sigmas(18, 7.0, 0.002, 80.0)?;
    assert_eq!(got.len(), 19);
    for (got, want) in got.iter().zip(EDM_SIGMAS) {
        assert!((got - want).abs() <= 1e-10 * want, "got {got}, want {want}");
    }
    assert_eq!((got[0], got[17], got[18]), (80.0, 0.002, 0.0));
    // ρ = 2 from 1 to 9: square roots 3, 2, 1.
    assert_all_close(&edm_sigmas(3, 2.0, 1.0, 9.0)?, &[9.0, 4.0, 1.0, 0.0], 4.0);
    assert_eq!(edm_sigmas(1, 7.0, 0.002, 80.0)?, [80.0, 0.0]);
    assert_eq!(edm_sigmas(2, 7.0, 0.002, 80.0)?, [80.0, 0.002, 0.0]);
    Ok(())
}

#[test]
fn bad_noise_levels_are_refused() {
    assert_eq!(edm_sigmas(0, 7.0, 0.002, 80.0), Err(SamplerError::NoSteps));
    for rho in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(
            edm_sigmas(3, rho, 0.002, 80.0),
            Err(SamplerError::Rho { .. })
        ));
    }
    for (low, high) in [
        (0.0, 1.0),
        (-1.0, 1.0),
        (2.0, 1.0),
        (f64::NAN, 1.0),
        (1.0, f64::NAN),
        (1.0, f64::INFINITY),
    ] {
        assert!(matches!(
            edm_sigmas(3, 7.0, low, high),
            Err(SamplerError::Range { .. })
        ));
    }
    assert!(edm_sigmas(3, 7.0, 1.0, 1.0).is_ok());
    let z = array![1.0].into_dyn();
    for (sigma, next) in [
        (0.0, 0.0),
        (-1.0, 0.0),
        (1.0, 2.0),
        (1.0, -0.5),
        (f64::NAN, 0.0),
        (1.0, f64::NAN),
        (f64::INFINITY, 1.0),
    ] {
        assert!(matches!(
            euler_step(&z, &z, sigma, next),
            Err(SamplerError::Step { .. })
        ));
        assert!(matches!(
            heun_correction(&z, &z, &z, &z, sigma, next),
            Err(SamplerError::Step { .. })
        ));
    }
    assert!(matches!(
        heun_correction(&z, &z, &z, &z, 1.0, 0.0),
        Err(SamplerError::Step { .. })
    ));
    assert_eq!(euler_step(&z, &z, 1.0, 1.0), Ok(z.clone()));
}

#[test]
fn other_shapes_are_refused() {
    let z = array![1.0, 2.0].into_dyn();
    let other = array![1.0].into_dyn();
    let shape = |error: SamplerError| matches!(error, SamplerError::Shape { .. });
    assert!(euler_step(&z, &other, 2.0, 1.0).is_err_and(shape));
    assert!(heun_correction(&z, &other, &z, &z, 2.0, 1.0).is_err_and(shape));
    assert!(heun_correction(&z, &z, &other, &z, 2.0, 1.0).is_err_and(shape));
    assert!(heun_correction(&z, &z, &z, &other, 2.0, 1.0).is_err_and(shape));
    assert!(heun_step(&z, 2.0, 1.0, |_, _| other.clone()).is_err_and(shape));
    let flow = RectifiedFlow;
    assert!(ddim_step(&z, &other, &flow, 0.25, 0.5).is_err_and(shape));
    assert!(ddpm_step(&z, &other, &z, &flow, 0.25, 0.5).is_err_and(shape));
    assert!(ddpm_step(&z, &z, &other, &flow, 0.25, 0.5).is_err_and(shape));
    assert!(churn_step(&z, &other, 1.0, 0.1, 1.0).is_err_and(shape));
    assert!(guide(&z, &other, 1.0).is_err_and(shape));
    let before = |denoised, sigma| Some(Previous { denoised, sigma });
    assert!(dpmpp_2m_step(&z, &other, None, 2.0, 1.0).is_err_and(shape));
    assert!(dpmpp_2m_step(&z, &z, before(&other, 4.0), 2.0, 1.0).is_err_and(shape));
    for sigma in [2.0, 1.5, f64::INFINITY, f64::NAN] {
        assert!(matches!(
            dpmpp_2m_step(&z, &z, before(&z, sigma), 2.0, 1.0),
            Err(SamplerError::Step { .. })
        ));
    }
    assert!(matches!(
        dpmpp_2m_step(&z, &z, before(&z, 4.0), 2.0, 3.0),
        Err(SamplerError::Step { .. })
    ));

    let time = |error: SamplerError| matches!(error, SamplerError::Forward(_));
    assert!(ddim_step(&z, &z, &flow, 0.5, 0.25).is_err_and(time));
    assert!(ddpm_step(&z, &z, &z, &flow, 0.5, 0.25).is_err_and(time));
}

#[test]
fn steps_by_hand() -> Result<(), SamplerError> {
    let z = array![3.0].into_dyn();
    let denoised = array![1.0].into_dyn();
    // Slope (3 − 1)/4; from σ = 4 to 1.
    assert_eq!(euler_step(&z, &denoised, 4.0, 1.0)?, array![1.5].into_dyn());
    assert_eq!(euler_step(&z, &denoised, 4.0, 0.0)?, denoised);
    // Second slope (1.5 − 0.5)/1; their mean 0.75, times −3.
    let denoised_euler = array![0.5].into_dyn();
    let euler = array![1.5].into_dyn();
    assert_eq!(
        heun_correction(&z, &denoised, &euler, &denoised_euler, 4.0, 1.0)?,
        array![0.75].into_dyn()
    );
    let by_level =
        |_: &ArrayD<f64>, sigma: f64| array![if sigma > 2.0 { 1.0 } else { 0.5 }].into_dyn();
    assert_eq!(heun_step(&z, 4.0, 1.0, by_level)?, array![0.75].into_dyn());
    assert_eq!(heun_step(&z, 4.0, 0.0, by_level)?, denoised);

    // h = ln 4, h₋ = ln 2: D̄ = 1 + (1 − 0.5) = 1.5; z' = 1.5 + (3 − 1.5)/4. Down to 0: D.
    let before = Some(Previous {
        denoised: &denoised_euler,
        sigma: 8.0,
    });
    assert_eq!(
        dpmpp_2m_step(&z, &denoised, before, 4.0, 1.0)?,
        array![1.875].into_dyn()
    );
    assert_eq!(dpmpp_2m_step(&z, &denoised, before, 4.0, 0.0)?, denoised);
    assert_eq!(
        dpmpp_2m_step(&z, &denoised, None, 4.0, 1.0)?,
        array![1.5].into_dyn()
    );

    // Rectified flow, t = 0.5 to s = 0.25: ε̂ = (3 − 0.5)/0.5 = 5, x = 0.75 + 1.25.
    let flow = RectifiedFlow;
    assert_eq!(
        ddim_step(&z, &denoised, &flow, 0.25, 0.5)?,
        array![2.0].into_dyn()
    );
    assert_eq!(ddim_step(&z, &denoised, &flow, 0.5, 0.5)?, z);
    assert_eq!(ddim_step(&z, &denoised, &flow, 0.0, 0.0)?, z);
    // α_ts = 2/3, σ²_ts = 1/4 − 4/9·1/16 = 2/9: coefficients 1/6 and 2/3, variance 1/18.
    let noise = array![2.0].into_dyn();
    let got = ddpm_step(&z, &denoised, &noise, &flow, 0.25, 0.5)?;
    assert_close(got[[0]], 0.5 + 2.0 / 3.0 + 2.0 / 18f64.sqrt(), 8.0);

    // γ = 0.25: σ̂ = 2.5, √(6.25 − 4) = 1.5.
    let (z_hat, sigma_hat) = churn_step(&z, &noise, 2.0, 0.25, 3.0)?;
    assert_close(z_hat[[0]], 12.0, 4.0);
    assert_eq!(sigma_hat, 2.5);
    assert_eq!(churn_step(&z, &noise, 2.0, 0.0, 1.0)?, (z.clone(), 2.0));
    for (gamma, s_noise) in [
        (-0.1, 1.0),
        (f64::NAN, 1.0),
        (0.1, -1.0),
        (0.1, f64::NAN),
        (f64::INFINITY, 1.0),
        (0.1, f64::INFINITY),
    ] {
        assert!(matches!(
            churn_step(&z, &noise, 2.0, gamma, s_noise),
            Err(SamplerError::Churn { .. })
        ));
    }
    assert!(churn_step(&z, &noise, 2.0, 0.1, 0.0).is_ok());
    assert!(matches!(
        churn_step(&z, &noise, 0.0, 0.1, 1.0),
        Err(SamplerError::Step { .. })
    ));

    assert_eq!(guide(&z, &denoised, 1.5)?, array![0.0].into_dyn());
    assert_eq!(guide(&z, &denoised, 0.0)?, z);
    Ok(())
}

#[test]
fn churn_is_limited_to_its_range() {
    let churn = Churn {
        s_churn: 4.0,
        s_min: 0.5,
        s_max: 2.0,
        s_noise: 1.0,
    };
    for (sigma, want) in [
        (0.25, 0.0),
        (0.5, 0.125),
        (1.0, 0.125),
        (2.0, 0.125),
        (2.5, 0.0),
    ] {
        assert_eq!(churn.gamma(sigma, 32), want);
    }
    assert_close(churn.gamma(1.0, 4), 2f64.sqrt() - 1.0, 4.0);
}

/// The denoiser of data N(0, ¼), E[x_0|z] = z/(1 + 4σ²).
fn gaussian_denoiser(z: &ArrayD<f64>, sigma: f64) -> ArrayD<f64> {
    z * (0.25 / (0.25 + sigma * sigma))
}

fn heun(steps: usize) -> f64 {
    let sigmas = edm_sigmas(steps, 7.0, 0.002, 80.0).expect("valid levels");
    let start = array![80.0].into_dyn();
    let end = sigmas.windows(2).fold(start, |z, pair| {
        heun_step(&z, pair[0], pair[1], gaussian_denoiser).expect("descending levels")
    });
    end[[0]]
}

#[test]
fn heun_on_a_gaussian_has_its_published_end_points() {
    // From peers.md: data N(0, ¼), from z = 80, given to 9 digits.
    for (steps, want) in [
        (18, 0.527_624_637),
        (40, 0.504_876_865),
        (256, 0.500_095_425),
    ] {
        assert!(
            (heun(steps) - want).abs() < 6e-10,
            "{steps} steps: {}",
            heun(steps)
        );
    }
}

#[test]
fn heun_converges_with_order_two() {
    // The equation of a Gaussian is solved exactly by z ∝ √(¼ + σ²), stopped at σ_min and denoised there.
    let scale = |sigma: f64| (0.25 + sigma * sigma).sqrt();
    let last: f64 = 0.002;
    let exact = 80.0 * scale(last) / scale(80.0) * 0.25 / (0.25 + last * last);
    let ratio = (heun(128) - exact) / (heun(256) - exact);
    assert!((ratio.log2() - 2.0).abs() < 0.1, "order {}", ratio.log2());
}

/// The exact z' when the denoised data is linear in ln σ, D = a + b ln σ: of dz/dσ = (z − D)/σ.
fn exact_for_linear(z: f64, [a, b]: [f64; 2], sigma: f64, next: f64) -> f64 {
    let particular = |s: f64| a + b + b * s.ln();
    particular(next) + next / sigma * (z - particular(sigma))
}

#[test]
fn dpmpp_2m_has_a_local_error_of_order_three() -> Result<(), SamplerError> {
    // D linear in ln σ: D̄ is D in the middle of the step, and what is left is O(h³), where DDIM leaves O(h²).
    let (line, z) = ([0.7, -0.4], array![1.3].into_dyn());
    let at = |sigma: f64| array![line[0] + line[1] * sigma.ln()].into_dyn();
    let error = |h: f64, with_memory: bool| -> Result<f64, SamplerError> {
        let (sigma, next) = (2.0, 2.0 * (-h).exp());
        let (now, denoised) = (at(sigma), at(sigma * (h / 2.0).exp()));
        let before = with_memory.then_some(Previous {
            denoised: &denoised,
            sigma: sigma * (h / 2.0).exp(),
        });
        let got = dpmpp_2m_step(&z, &now, before, sigma, next)?[[0]];
        Ok((got - exact_for_linear(1.3, line, sigma, next)).abs())
    };
    for (with_memory, want) in [(true, 3.0), (false, 2.0)] {
        let order = (error(0.02, with_memory)? / error(0.01, with_memory)?).log2();
        // The next term is smaller by h/4 or so.
        assert!((order - want).abs() < 0.02, "{with_memory}: {order}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// With constant denoised data every step is exact, and memory changes nothing.
    #[test]
    fn dpmpp_2m_is_exact_for_constant_data((z, d) in (tensor([2, 1, 2]), tensor([2, 1, 2])), sigma in 0.1f64..10.0, share in 0.0f64..1.0, more in 0.1f64..4.0) {
        let before = Previous { denoised: &d, sigma: sigma * (1.0 + more) };
        let got = dpmpp_2m_step(&z, &d, Some(before), sigma, sigma * share).expect("descending");
        prop_assert_eq!(&got, &euler_step(&z, &d, sigma, sigma * share).expect("descending"));
    }

    /// Only ratios of levels count, and the step is linear in what it is given.
    #[test]
    fn dpmpp_2m_scales((z, d, b) in (tensor([1, 1, 2]), tensor([1, 1, 2]), tensor([1, 1, 2])), sigma in 0.1f64..10.0, share in 0.0f64..1.0) {
        let step = |k: f64, m: f64| {
            let before = &b * m;
            let before = Previous { denoised: &before, sigma: 2.0 * sigma * k };
            dpmpp_2m_step(&(&z * m), &(&d * m), Some(before), sigma * k, sigma * share * k).expect("descending")
        };
        prop_assert_eq!(&step(1.0, 1.0), &step(4.0, 1.0));
        prop_assert_eq!(&(step(1.0, 1.0) * 2.0), &step(1.0, 2.0));
    }

    /// DDIM is Euler in z-space, whatever the schedule.
    #[test]
    fn ddim_is_euler_after_rescaling((x_t, x0) in (tensor([2, 1, 2]), tensor([2, 1, 2])), (s, t) in ordered_times(false)) {
        for kind in ScheduleKind::all() {
            let schedule = kind.schedule();
            let level = |t| (schedule.alpha(t), schedule.sigma(t) / schedule.alpha(t));
            let ((alpha_s, sigma_s), (alpha_t, sigma_t)) = (level(s), level(t));
            let z = euler_step(&(&x_t / alpha_t), &x0, sigma_t, sigma_s.min(sigma_t)).expect("descending");
            let got = ddim_step(&x_t, &x0, schedule.as_ref(), s, t).expect("ordered");
            for (got, want) in got.iter().zip(&(&z * alpha_s)) {
                assert_near(*got, *want, 16.0 * (1.0 + alpha_s / alpha_t), 64.0);
            }
        }
    }

    /// With the true clean data, a DDPM step has the mean and variance of q(x_s|x_t, x_0).
    #[test]
    fn ddpm_draws_from_the_posterior(x in (tensor([1, 1, 1]), tensor([1, 1, 1])), (s, t) in ordered_times(false)) {
        let (x_t, x0) = x;
        let step = |n: f64| ddpm_step(&x_t, &x0, &ArrayD::from_elem(vec![1, 1, 1], n), &RectifiedFlow, s, t).expect("ordered")[[0, 0, 0]];
        let want = posterior(&RectifiedFlow, s, t).expect("ordered");
        let mean = want.coef_xt * x_t[[0, 0, 0]] + want.coef_x0 * x0[[0, 0, 0]];
        assert_near(step(0.0), mean, 16.0, 4.0);
        assert_near((step(1.0) - step(-1.0)) / 2.0, want.var.sqrt(), 16.0, 8.0);
    }

    /// Churn keeps what it should: variance σ² grows to σ̂².
    #[test]
    fn churn_adds_the_missing_variance(sigma in 0.1f64..10.0, gamma in 0.0f64..0.5) {
        let zero = array![0.0].into_dyn();
        let (moved, sigma_hat) = churn_step(&zero, &array![1.0].into_dyn(), sigma, gamma, 1.0).expect("valid");
        assert_close(moved[[0]].powi(2) + sigma * sigma, sigma_hat * sigma_hat, 16.0);
    }
}
