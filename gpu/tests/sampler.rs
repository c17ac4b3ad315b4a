//! Samplers on the exact denoiser of Gaussian data, D(x; σ) = x σ_d²/(σ² + σ_d²): golden numbers,
//! orders of convergence, preserved variances.

#![expect(
    clippy::float_cmp,
    reason = "what is compared with == must be equal to the last bit"
)]

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use sadm_gpu::Result;
use sadm_gpu::forward::schedule::Schedule;
use sadm_gpu::random::Streams;
use sadm_gpu::sampler::{
    Churn, SamplerKind, SamplerOptions, ancestral_step, churn_gamma, ddim_step, edm_sigmas,
    noise_levels, sample,
};

/// Standard deviation of the data.
const SIGMA_DATA: f64 = 0.5;

fn scalar(value: f64) -> Tensor {
    Tensor::full(value, (1, 1), &Device::Cpu).expect("a CPU tensor")
}

fn value(tensor: &Tensor) -> f64 {
    let values = tensor.flatten_all().and_then(|t| t.to_vec1::<f64>());
    values.expect("f64 values")[0]
}

/// The exact denoiser under a schedule: x̂ = α σ_d² x_t / (σ² + α² σ_d²).
fn gaussian(schedule: Schedule) -> impl Fn(&Tensor, f64) -> Result<Tensor> {
    move |x_t, t| {
        let (alpha, sigma) = (schedule.alpha(t), schedule.sigma(t));
        let variance = SIGMA_DATA * SIGMA_DATA;
        Ok((x_t * (alpha * variance / (sigma * sigma + alpha * alpha * variance)))?)
    }
}

/// The end of a walk that begins at z = σ_max · `start`.
fn walk(schedule: Schedule, options: &SamplerOptions, start: f64) -> f64 {
    let denoise = gaussian(schedule);
    let end = sample(&denoise, schedule, options, &scalar(start), Streams::new(0));
    value(&end.expect("good options"))
}

fn with(kind: SamplerKind, steps: usize) -> SamplerOptions {
    SamplerOptions {
        kind,
        steps,
        ..SamplerOptions::default()
    }
}

#[test]
fn edm_sigmas_have_exact_ends_and_refuse_nonsense() {
    assert_eq!(edm_sigmas(1, 7.0, 0.002, 80.0).ok(), Some(vec![80.0, 0.0]));
    assert_eq!(
        edm_sigmas(2, 7.0, 0.002, 80.0).ok(),
        Some(vec![80.0, 0.002, 0.0])
    );
    for (steps, rho, low, high, part) in [
        (0, 7.0, 0.002, 80.0, "steps must be ≥ 1"),
        (5, 0.0, 0.002, 80.0, "rho must be finite and > 0"),
        (5, 7.0, 0.0, 80.0, "sigma_min must be finite and > 0"),
        (5, 7.0, 0.002, f64::INFINITY, "sigma_max must be finite"),
        (5, 7.0, 2.0, 1.0, "at most sigma_max"),
        (5, f64::NAN, 0.002, 80.0, "got NaN"),
    ] {
        let message = edm_sigmas(steps, rho, low, high)
            .expect_err(part)
            .to_string();
        assert!(message.contains(part), "{message}");
    }
}

/// Golden numbers of the published Heun sampler from x = 80 on N(0, ¼).
#[test]
fn heun_gives_the_published_numbers() {
    for (steps, want) in [
        (18, 0.527_624_637),
        (40, 0.504_876_865),
        (256, 0.500_095_425),
    ] {
        let got = walk(Schedule::EDM, &with(SamplerKind::HEUN, steps), 1.0);
        assert!(
            (got - want).abs() < 1e-9,
            "{steps} steps: {got}, not {want}"
        );
    }
}

/// Slope of ln error against ln steps, by least squares.
fn order(error: impl Fn(usize) -> f64) -> f64 {
    let points: Vec<(f64, f64)> = [128, 256, 512, 1024]
        .map(|n| ((n as f64).ln(), error(n).abs().ln()))
        .to_vec();
    let n = points.len() as f64;
    let (mx, my) = (
        points.iter().map(|p| p.0).sum::<f64>() / n,
        points.iter().map(|p| p.1).sum::<f64>() / n,
    );
    let covariance: f64 = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
    let variance: f64 = points.iter().map(|p| (p.0 - mx).powi(2)).sum();
    -covariance / variance
}

/// Against the exact ODE down to σ_min followed by the last (Euler) step to 0, which does not
/// shrink with the number of steps: x(σ) ∝ √(σ² + σ_d²).
#[test]
fn euler_is_of_order_1_and_heun_of_order_2() {
    let (low, high, data) = (0.002_f64, 80.0_f64, SIGMA_DATA);
    let at_low = high * (low.hypot(data) / high.hypot(data));
    let limit = at_low * data * data / (low * low + data * data);
    for (kind, want) in [
        (SamplerKind::EULER, 1.0),
        (SamplerKind::DDIM, 1.0),
        (SamplerKind::HEUN, 2.0),
        (SamplerKind::DPMPP_2M, 2.0),
    ] {
        let got = order(|n| walk(Schedule::EDM, &with(kind, n), 1.0) - limit);
        // The next term of the error is of relative size O(ρ/N): under 0.1 in the slope from N = 128.
        assert!(
            (got - want).abs() < 0.1,
            "{kind} has order {got}, not {want}"
        );
    }
}

#[test]
fn evaluations_are_counted_as_they_are_made() {
    for kind in SamplerKind::all() {
        for steps in [1, 2, 7] {
            let calls = std::cell::Cell::new(0);
            let exact = gaussian(Schedule::EDM);
            let denoise = |x: &Tensor, t: f64| {
                calls.set(calls.get() + 1);
                exact(x, t)
            };
            let options = with(kind, steps);
            sample(
                &denoise,
                Schedule::EDM,
                &options,
                &scalar(1.0),
                Streams::new(0),
            )
            .expect("good options");
            assert_eq!(
                calls.get(),
                kind.evaluations(steps),
                "{kind}, {steps} steps"
            );
            assert_eq!(kind.steps_within(calls.get()), steps, "{kind}");
        }
    }
    assert_eq!(SamplerKind::HEUN.steps_within(6), 3);
}

#[test]
fn a_visitor_sees_every_level_and_the_sample() {
    let options = with(SamplerKind::DPMPP_2M, 5);
    let mut seen = Vec::new();
    let end = sadm_gpu::sampler::sample_along(
        &gaussian(Schedule::EDM),
        Schedule::EDM,
        &options,
        &scalar(1.0),
        Streams::new(0),
        &mut |level, z| {
            seen.push((level, value(z)));
            Ok(())
        },
    )
    .expect("good options");
    let levels: Vec<f64> = seen.iter().map(|point| point.0).collect();
    assert_eq!(
        levels,
        noise_levels(Schedule::EDM, &options).expect("good levels")
    );
    assert_eq!(seen[0].1, 80.0);
    assert_eq!(seen[5].1, value(&end));
}

/// In z = x/α the schedules differ in names only.
#[test]
fn every_schedule_gives_the_same_samples() {
    for kind in [
        SamplerKind::HEUN,
        SamplerKind::EULER,
        SamplerKind::DDIM,
        SamplerKind::DDPM,
        SamplerKind::DPMPP_2M,
    ] {
        let want = walk(Schedule::EDM, &with(kind, 12), 1.0);
        for schedule in [
            Schedule::VP_LINEAR,
            Schedule::COSINE,
            Schedule::RECTIFIED_FLOW,
        ] {
            let got = walk(schedule, &with(kind, 12), 1.0);
            // 23 evaluations, each with a few roundings and an inverted schedule (1e-13).
            assert!(
                (got - want).abs() < 1e-10,
                "{kind}, {schedule}: {got}, not {want}"
            );
        }
    }
}

#[test]
fn ddpm_levels_are_steps_of_the_table() {
    let options = with(SamplerKind::HEUN, 40);
    let levels = noise_levels(Schedule::DDPM, &options).expect("good options");
    assert_eq!((levels.len(), levels[40]), (41, 0.0));
    assert!(levels.windows(2).all(|p| p[0] >= p[1]), "{levels:?}");
    for sigma in &levels[..40] {
        let k = Schedule::DDPM.t_of_sigma_ratio(*sigma) * 999.0;
        assert!(
            (k - k.round()).abs() < 1e-9,
            "σ' = {sigma} is between steps"
        );
        assert!(
            (Schedule::DDPM.sigma_ratio(k / 999.0) - sigma).abs() <= 1e-12 * sigma,
            "{sigma}"
        );
    }
    // The lowest level of the table is 0.01, not 0.002.
    assert!(
        (levels[39] - (1e-4_f64 / 0.9999).sqrt()).abs() < 1e-12,
        "{}",
        levels[39]
    );
    let end = walk(Schedule::DDPM, &options, levels[0] / levels[0]);
    let exact = levels[0] * SIGMA_DATA / levels[0].hypot(SIGMA_DATA);
    assert!(
        (end - exact).abs() < 0.02 * exact,
        "{end}, not about {exact}"
    );
    // More steps than levels: repeated levels are skipped, nothing is divided by 0.
    assert!(walk(Schedule::DDPM, &with(SamplerKind::HEUN, 3000), 1.0).is_finite());
}

/// Levels beyond the schedule's range are brought inside it.
#[test]
fn noise_levels_stay_within_the_schedule() {
    let wide = SamplerOptions {
        sigma_min: 1e-9,
        sigma_max: 1e9,
        ..SamplerOptions::default()
    };
    let ends = |schedule| {
        let levels = noise_levels(schedule, &wide).expect("good options");
        (levels[0], levels[17])
    };
    assert_eq!(ends(Schedule::EDM), (1e9, 1e-9));
    assert_eq!(
        ends(Schedule::VP_LINEAR),
        (Schedule::VP_LINEAR.sigma_ratio(1.0), 1e-9)
    );
    assert_eq!(
        ends(Schedule::DDPM),
        (
            Schedule::DDPM.sigma_ratio(1.0),
            Schedule::DDPM.sigma_ratio(0.0)
        )
    );
}

/// Variance of the ancestral chain on Gaussian data: each step multiplies z by a and adds s².
fn ancestral_variance(steps: usize) -> f64 {
    let levels = edm_sigmas(steps, 7.0, 0.002, 80.0).expect("good levels");
    let start = 80.0 * 80.0 + SIGMA_DATA * SIGMA_DATA;
    levels.windows(2).fold(start, |variance, pair| {
        let shrink = SIGMA_DATA.powi(2) / (pair[0].powi(2) + SIGMA_DATA.powi(2));
        let step = |z: f64, noise: f64| {
            let (z, denoised) = (scalar(z), scalar(z * shrink));
            value(&ancestral_step(&z, &denoised, &scalar(noise), pair[0], pair[1]).expect("a step"))
        };
        let (a, s) = (step(1.0, 0.0), step(0.0, 1.0));
        a * a * variance + s * s
    })
}

/// The whole sampler against that chain: 20 000 draws, five standard errors σ²√(2/n).
#[test]
fn ddpm_draws_have_the_chains_variance() {
    const N: usize = 20_000;
    let streams = Streams::new(77);
    let noise = streams
        .normal_tensor("start", 0, (N, 1), &Device::Cpu, DType::F64)
        .expect("noise");
    let options = with(SamplerKind::DDPM, 16);
    let denoise = gaussian(Schedule::EDM);
    let end = sample(&denoise, Schedule::EDM, &options, &noise, streams).expect("samples");
    let end = end
        .flatten_all()
        .and_then(|t| t.to_vec1::<f64>())
        .expect("values");
    let variance = end.iter().map(|x| x * x).sum::<f64>() / N as f64;
    // The chain starts at variance 80², not 80² + σ_d²: forgotten long before the end.
    let want = ancestral_variance(16);
    let allowed = 5.0 * want * (2.0 / N as f64).sqrt();
    assert!(
        (variance - want).abs() < allowed,
        "{variance}, not {want} ± {allowed}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ddim_at_eta_1_is_ancestral(z in -8.0..8.0f64, d in -2.0..2.0f64, e in -3.0..3.0f64, from in 0.01..80.0f64, r in 0.0..0.99f64) {
        let (to, z, d, e) = (from * r, scalar(z), scalar(d), scalar(e));
        let ddim = value(&ddim_step(&z, &d, Some(&e), from, to, 1.0).expect("a step"));
        let ddpm = value(&ancestral_step(&z, &d, &e, from, to).expect("a step"));
        let terms = value(&z).abs() + value(&d).abs() + to * value(&e).abs();
        // √(σ'² − v) is formed from σ' ± √v: relative error a few u over 1 − √(1 − r²) ≥ r²/2, times r.
        prop_assert!((ddim - ddpm).abs() <= 64.0 * f64::EPSILON * terms / r.max(1e-3), "{ddim}, {ddpm}");
    }
}

#[test]
fn churn_is_limited_to_its_range_and_to_sqrt_2() {
    let churn = Churn {
        amount: 4.0,
        sigma_min: 0.05,
        sigma_max: 50.0,
        noise: 1.003,
    };
    assert_eq!(churn_gamma(&churn, 40, 1.0), 0.1);
    assert_eq!(churn_gamma(&churn, 40, 0.04), 0.0);
    assert_eq!(churn_gamma(&churn, 40, 51.0), 0.0);
    assert_eq!(churn_gamma(&churn, 2, 1.0), std::f64::consts::SQRT_2 - 1.0);
    assert_eq!(churn_gamma(&Churn::default(), 1, 1.0), 0.0);
}

#[test]
fn churned_samples_are_seeded_and_differ_from_deterministic_ones() {
    let churned = SamplerOptions {
        churn: Churn {
            amount: 10.0,
            ..Churn::default()
        },
        ..with(SamplerKind::HEUN, 18)
    };
    let draw = |options: &SamplerOptions, seed| {
        let denoise = gaussian(Schedule::EDM);
        let end = sample(
            &denoise,
            Schedule::EDM,
            options,
            &scalar(1.0),
            Streams::new(seed),
        );
        value(&end.expect("good options"))
    };
    let first = draw(&churned, 1);
    assert_eq!(first, draw(&churned, 1), "not a function of the seed");
    assert_ne!(first, draw(&churned, 2), "the seed is ignored");
    assert_ne!(
        first,
        draw(&with(SamplerKind::HEUN, 18), 1),
        "churn does nothing"
    );
    // A discrete or bounded schedule churns within its levels.
    for schedule in Schedule::all() {
        assert!(walk(schedule, &churned, 1.0).is_finite(), "{schedule}");
    }
}

/// Strong churn on Gaussian data, 20 000 draws: the variance is that of the linear chain
/// z ← a(σ̂, σ_next)(z + √(σ̂² − σ²) ε), within five standard errors.
#[test]
fn churned_draws_have_the_chains_variance() {
    const N: usize = 20_000;
    let options = SamplerOptions {
        churn: Churn {
            amount: 8.0,
            ..Churn::default()
        },
        ..with(SamplerKind::HEUN, 24)
    };
    let streams = Streams::new(78);
    let noise = streams
        .normal_tensor("start", 0, (N, 1), &Device::Cpu, DType::F64)
        .expect("noise");
    let denoise = gaussian(Schedule::EDM);
    let end = sample(&denoise, Schedule::EDM, &options, &noise, streams).expect("samples");
    let end = end
        .flatten_all()
        .and_then(|t| t.to_vec1::<f64>())
        .expect("values");
    let variance = end.iter().map(|x| x * x).sum::<f64>() / N as f64;

    let levels = edm_sigmas(24, 7.0, 0.002, 80.0).expect("good levels");
    // The ODE is dz/dσ = k(σ) z.
    let k = |sigma: f64| sigma / (sigma * sigma + SIGMA_DATA * SIGMA_DATA);
    let want = levels.windows(2).fold(80.0 * 80.0, |variance, pair| {
        let raised = pair[0] * (1.0 + 8.0 / 24.0);
        let h = pair[1] - raised;
        let euler = 1.0 + h * k(raised);
        let heun = 1.0 + 0.5 * h * (k(raised) + k(pair[1]) * euler);
        let a = if pair[1] == 0.0 { euler } else { heun };
        a * a * (variance + raised * raised - pair[0] * pair[0])
    });
    let allowed = 5.0 * want * (2.0 / N as f64).sqrt();
    assert!(
        (variance - want).abs() < allowed,
        "{variance}, not {want} ± {allowed}"
    );
}

#[test]
fn nonsense_options_are_refused() {
    let refused = |options: SamplerOptions| {
        let denoise = gaussian(Schedule::EDM);
        let result = sample(
            &denoise,
            Schedule::EDM,
            &options,
            &scalar(1.0),
            Streams::new(0),
        );
        result.expect_err("must be refused").to_string()
    };
    let base = SamplerOptions::default();
    let eta = refused(SamplerOptions {
        ddim_eta: 1.5,
        ..base
    });
    assert!(eta.contains("ddim_eta must be in [0, 1], got 1.5"), "{eta}");
    let churn = Churn {
        amount: -1.0,
        ..Churn::default()
    };
    let churn = refused(SamplerOptions { churn, ..base });
    assert!(
        churn.contains("churn amount must be finite and ≥ 0, got -1"),
        "{churn}"
    );
    assert!(refused(SamplerOptions { steps: 0, ..base }).contains("steps"));
    for kind in SamplerKind::all() {
        assert_eq!(kind.to_string().parse::<SamplerKind>().ok(), Some(kind));
    }
}
