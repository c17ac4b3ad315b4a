//! Schedules, parametrisations and weights: ends, inverses, published tables and refusals; their formulas are cross-checked.

#![expect(
    clippy::float_cmp,
    reason = "what is compared with == must be equal to the last bit"
)]

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use sadm_gpu::Result;
use sadm_gpu::forward::schedule::Schedule;
use sadm_gpu::forward::{diffuse, scale_samples};
use sadm_gpu::network::{Condition, Mode, Network};
use sadm_gpu::objective::denoising::{Weight, denoising_loss};
use sadm_gpu::objective::parametrisation::Parametrisation;
use sadm_gpu::objective::preconditioner::{NoiseCondition, Preconditioner, Prediction};

/// The preconditioner of a parametrisation that tells noise levels as EDM does.
fn around(parametrisation: Parametrisation, sigma_data: f64) -> Preconditioner {
    let noise = NoiseCondition::LogSigma;
    Preconditioner {
        parametrisation,
        noise,
        sigma_data,
    }
}

fn predict(
    x_t: &Tensor,
    t: &[f64],
    schedule: Schedule,
    kind: Parametrisation,
    labels: Option<&[u32]>,
) -> Result<Prediction> {
    around(kind, 0.5).denoise(&Affine, x_t, (schedule, t), labels, Mode::Evaluate)
}

fn schedule() -> impl Strategy<Value = Schedule> {
    prop::sample::select(Schedule::all().collect::<Vec<_>>())
}

/// t strictly inside the domain of every schedule.
fn inner_time() -> impl Strategy<Value = f64> {
    (1u32..=999).prop_map(|k| f64::from(k) / 1000.0)
}

fn close(got: f64, want: f64, relative: f64) -> bool {
    (got - want).abs() <= relative * want.abs()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// λ, σ/α and SNR are the same function of α and σ; λ's own formula only avoids rounding.
    #[test]
    fn lambda_and_ratio_follow_from_alpha_and_sigma(s in schedule(), t in inner_time()) {
        let (alpha, sigma) = (s.alpha(t), s.sigma(t));
        prop_assert!(close(s.sigma_ratio(t), sigma / alpha, 1e-13), "ratio of {s}");
        prop_assert!(close(s.snr(t), (alpha / sigma).powi(2), 1e-13), "SNR of {s}");
        let lambda = 2.0 * (alpha / sigma).ln();
        prop_assert!((s.lambda(t) - lambda).abs() <= 1e-13 * (1.0 + lambda.abs()), "λ of {s}");
    }

    #[test]
    fn t_of_sigma_ratio_inverts_sigma_ratio(s in schedule(), t in inner_time()) {
        let t = if s == Schedule::DDPM { (t * 999.0).round() / 999.0 } else { t };
        let back = s.t_of_sigma_ratio(s.sigma_ratio(t));
        prop_assert!((back - t).abs() <= 1e-12, "{s}: {t} came back as {back}");
    }

}

#[test]
fn ends_are_exact() {
    for s in [
        Schedule::VP_LINEAR,
        Schedule::COSINE,
        Schedule::RECTIFIED_FLOW,
    ] {
        assert_eq!((s.alpha(0.0), s.sigma(0.0)), (1.0, 0.0), "{s} at 0");
        assert!(s.lambda(0.0) == f64::INFINITY, "λ of {s} at 0");
    }
    for s in [Schedule::COSINE, Schedule::RECTIFIED_FLOW] {
        assert_eq!((s.alpha(1.0), s.sigma(1.0)), (0.0, 1.0), "{s} at 1");
        assert!(s.lambda(1.0) == f64::NEG_INFINITY, "λ of {s} at 1");
        assert_eq!(Weight::ELBO.at(s, 1.0, 0.5), 0.0, "ELBO weight of {s} at 1");
        assert_eq!(s.t_of_sigma_ratio(f64::INFINITY), 1.0, "{s}");
    }
    // B(1) = 0.1 + 19.9/2.
    let vp = Schedule::VP_LINEAR;
    assert!(
        close(vp.lambda(1.0), -(10.05_f64.exp() - 1.0).ln(), 1e-14),
        "{}",
        vp.lambda(1.0)
    );
}

/// ᾱ of the published DDPM schedule (values of diffusers, ten digits).
#[test]
fn ddpm_is_the_published_table() {
    let s = Schedule::DDPM;
    for (step, alpha_bar) in [
        (0, 0.9999),
        (500, 0.077_796_658_365),
        (999, 4.035_829_765_4e-5),
    ] {
        let t = f64::from(step) / 999.0;
        assert!(
            close(s.alpha(t).powi(2), alpha_bar, 1e-10),
            "ᾱ[{step}] = {}",
            s.alpha(t).powi(2)
        );
        assert!(
            close(s.sigma(t).powi(2), 1.0 - alpha_bar, 1e-6),
            "1 − ᾱ[{step}]"
        );
    }
    for step in 0..1000 {
        let t = f64::from(step) / 999.0;
        assert_eq!(s.t_of_sigma_ratio(s.sigma_ratio(t)), t, "step {step}");
    }
    let t = |k: i32| f64::from(k) / 999.0;
    let slope = (s.lambda(t(501)) - s.lambda(t(499))) / (t(501) - t(499));
    assert!(close(s.lambda_grad(t(500)), slope, 1e-11), "dλ/dt at 500");
    assert!(
        s.lambda_grad(0.0) < 0.0 && s.lambda_grad(1.0) < 0.0,
        "dλ/dt at the ends"
    );
}

/// EDM's formula for VP, which cancels where there is little noise; names, and a level that no condition has.
#[test]
fn noise_conditions_are_the_published_ones() {
    for (ratio, time) in [
        (1.0, 258.701_302_170_363_8),
        (157.0, 1_002.118_638_881_619_5),
    ] {
        assert!(
            close(NoiseCondition::VpTime.at(ratio), time, 1e-13),
            "{ratio}"
        );
    }
    for step in [0, 1, 500, 999] {
        let level = Schedule::DDPM.sigma_ratio(f64::from(step) / 999.0);
        assert_eq!(NoiseCondition::DdpmStep.at(level), f64::from(step));
    }
    // Recorded from the published iDDPM preconditioner in float64; the ends of its table.
    for (ratio, step) in [
        (0.004, 0.0),
        (0.1, 55.0),
        (1.0, 495.0),
        (25.0, 973.0),
        (79.0, 991.0),
        (1e-9, 0.0),
        (1e9, 999.0),
    ] {
        assert_eq!(NoiseCondition::IddpmStep.at(ratio), step, "{ratio}");
    }
    for noise in NoiseCondition::ALL {
        assert_eq!(
            noise.name().parse::<NoiseCondition>().expect("a name"),
            noise
        );
        let told = Preconditioner {
            noise,
            ..around(Parametrisation::Edm, 0.5)
        };
        assert_eq!(told.coefficients(0.5, 1.0).noise, noise.at(2.0));
        let told = told.coefficients(1.0, 0.0).noise;
        let logarithm = matches!(
            noise,
            NoiseCondition::LogSigma | NoiseCondition::LogHalfSigma
        );
        assert_eq!(told.is_finite(), !logarithm, "{noise}");
    }
    let refused = "log".parse::<NoiseCondition>().expect_err("no such name");
    assert!(refused.to_string().contains("noise condition"));
}

/// F(x, c) = 3x + c + label, so that every part of the wrapping shows.
struct Affine;

impl Network for Affine {
    fn forward(&self, x: &Tensor, at: &Condition<'_>, _: Mode<'_>) -> Result<Tensor> {
        let shift: Vec<f64> = (0..at.noise.len())
            .map(|i| at.noise[i] + at.labels.map_or(0.0, |l| f64::from(l[i])))
            .collect();
        let shift = scale_samples(&x.ones_like()?, &shift)?;
        Ok(((x * 3.0)? + shift)?)
    }
}

#[test]
fn predict_wraps_the_network_in_its_coefficients() {
    let x_t = Tensor::new(&[[[[0.5_f64]]], [[[-1.25]]]], &Device::Cpu).expect("a tensor");
    let (t, labels) = ([0.2, 0.9], [4, 1]);
    for s in Schedule::all() {
        for p in Parametrisation::ALL {
            let prediction = predict(&x_t, &t, s, p, Some(&labels)).expect("inner times");
            let x_hat = prediction
                .x_hat
                .flatten_all()
                .and_then(|x| x.to_vec1::<f64>())
                .expect("values");
            for i in 0..2 {
                let c = around(p, 0.5).coefficients(s.alpha(t[i]), s.sigma(t[i]));
                let x = [0.5, -1.25][i];
                let want =
                    c.skip * x + c.out * (3.0 * c.input * x + c.noise + f64::from(labels[i]));
                let terms = (c.skip * x).abs() + c.out.abs() * 10.0;
                assert!(
                    (x_hat[i] - want).abs() <= 1e-14 * terms,
                    "{s} {p} sample {i}"
                );
            }
        }
    }
    let shared = predict(&x_t, &[0.5], Schedule::EDM, Parametrisation::Edm, None);
    let shared = shared.expect("one time for all");
    assert_eq!(shared.coefficients.len(), 2);
    assert_eq!(shared.coefficients[0], shared.coefficients[1]);
}

#[test]
fn times_and_shapes_that_do_not_fit_are_refused() {
    let x = Tensor::zeros((2, 1, 1, 1), DType::F32, &Device::Cpu).expect("a tensor");
    let refused = |s, p, t: &[f64]| {
        let result = predict(&x, t, s, p, None);
        result.expect_err("must be refused").to_string()
    };
    let message = refused(Schedule::EDM, Parametrisation::Edm, &[0.5, 0.0]);
    assert!(
        message.contains("time t of schedule edm") && message.contains("got 0"),
        "{message}"
    );
    let message = refused(Schedule::COSINE, Parametrisation::Eps, &[1.0]);
    assert!(message.contains("eps coefficients"), "{message}");
    let message = refused(Schedule::EDM, Parametrisation::V, &[0.1, 0.2, 0.3]);
    assert!(message.contains("batch size 2 or 1, got 3"), "{message}");
    let other = Tensor::zeros((2, 1, 1, 2), DType::F32, &Device::Cpu).expect("a tensor");
    assert!(
        diffuse(&x, &other, &[1.0], &[1.0]).is_err(),
        "other shape of eps"
    );
    assert!(
        denoising_loss(&x, &other, &[1.0]).is_err(),
        "other shape of x0"
    );
    assert!(
        denoising_loss(&x, &x, &[1.0; 3]).is_err(),
        "three weights for two samples"
    );
}

#[test]
fn names_are_read_back() {
    for s in Schedule::all() {
        assert_eq!(s.to_string().parse::<Schedule>().ok(), Some(s));
        let json = serde_json::to_string(&s).expect("a name");
        assert_eq!(json, format!("\"{s}\""));
    }
    for p in Parametrisation::ALL {
        assert_eq!(p.to_string().parse::<Parametrisation>().ok(), Some(p));
    }
    assert_eq!(
        "min-snr".parse::<Weight>().ok(),
        Some(Weight::MIN_SNR.with(5.0))
    );
    let weight: Weight = serde_json::from_str("\"min-snr(2.5)\"").expect("a weight");
    assert_eq!(weight, Weight::MIN_SNR.with(2.5));
    for (text, part) in [
        (
            "min-snr(0)",
            "gamma of weight `min-snr` must be finite and > 0",
        ),
        ("min-snr(x)", "`name(number)`"),
        ("edm(2)", "must have no number"),
        ("elbow", "did you mean `elbo`?"),
    ] {
        let message = text.parse::<Weight>().expect_err(text).to_string();
        assert!(message.contains(part), "{message}");
    }
    let message = "cosin".parse::<Schedule>().expect_err("cosin").to_string();
    assert!(message.contains("did you mean `cosine`?"), "{message}");
}
