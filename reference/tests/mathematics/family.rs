//! EDM's sampler family: its levels against the published ones, its paths, its orders, and its members that are known already.

use ndarray::{ArrayD, array};
use proptest::prelude::*;
use sadm_reference::sampler::family::{Discretization, Path, Scaling, TimeSchedule, iddpm_levels};
use sadm_reference::sampler::{Churn, Family, SamplerError, edm_sigmas, euler_step, heun_step};
use serde_json::Value;

const ALL: [f64; 2] = [0.0, f64::INFINITY];

/// The denoiser of data N(0, ¼).
fn gaussian(z: &ArrayD<f64>, sigma: f64) -> ArrayD<f64> {
    z * (0.25 / (0.25 + sigma * sigma))
}

fn sample(family: &Family, start: f64) -> Result<f64, SamplerError> {
    let noise = array![start].into_dyn();
    let mut none = |_| array![0.0].into_dyn();
    Ok(family.sample(&noise, (ALL, &|sigma| sigma), &mut none, &mut gaussian)?[[0]])
}

/// The published sampler asks its network at the levels at which this one asks.
#[test]
fn levels_are_the_published_ones() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/edm-family.json");
    let text = std::fs::read_to_string(path).expect("a fixture");
    let suite: Value = serde_json::from_str(&text).expect("JSON");
    let runs = suite["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 24);
    for run in runs {
        let text = |key: &str| run[key].as_str().expect("a text").to_owned();
        let option = |key: &str, default: f64| run["options"][key].as_f64().unwrap_or(default);
        let plain = Churn::default();
        let family = Family {
            second_order: text("solver") == "heun",
            discretization: text("discretization").parse().expect("a grid"),
            schedule: text("schedule").parse().expect("a time"),
            scaling: text("scaling").parse().expect("a scale"),
            steps: 6,
            alpha: option("alpha", 1.0),
            churn: Churn {
                s_churn: option("S_churn", plain.s_churn),
                s_min: option("S_min", plain.s_min),
                s_max: option("S_max", plain.s_max),
                s_noise: option("S_noise", plain.s_noise),
            },
            ..Family::default()
        };
        let mut asked = Vec::new();
        let mut denoise = |z: &ArrayD<f64>, sigma: f64| {
            asked.push(sigma);
            gaussian(z, sigma)
        };
        let mut noise = |i: usize| array![0.1 * i as f64].into_dyn();
        let start = array![1.0].into_dyn();
        let end = family.sample(&start, (ALL, &|sigma| sigma), &mut noise, &mut denoise);
        assert!(end.is_ok());
        let want: Vec<f64> = (run["sigma"].as_array().expect("levels").iter())
            .filter_map(Value::as_f64)
            .collect();
        assert_eq!(asked.len(), want.len(), "{run}");
        for (got, want) in asked.iter().zip(&want) {
            assert!((got / want - 1.0).abs() < 1e-9, "{got} for {want}: {run}");
        }
    }
}

#[test]
fn the_plain_members_are_the_samplers_that_are_known() -> Result<(), SamplerError> {
    for second_order in [false, true] {
        let family = Family {
            second_order,
            ..Family::default()
        };
        let levels = edm_sigmas(18, 7.0, 0.002, 80.0)?;
        let mut z = array![80.0 * 0.7].into_dyn();
        for pair in levels.windows(2) {
            z = if second_order {
                heun_step(&z, pair[0], pair[1], gaussian)?
            } else {
                euler_step(&z, &gaussian(&z, pair[0]), pair[0], pair[1])?
            };
        }
        let got = sample(&family, 0.7)?;
        assert!((got - z[[0]]).abs() < 1e-13, "{got} for {}", z[[0]]);
    }
    Ok(())
}

/// Where a step of Heun's method has its second evaluation in the middle, it is the midpoint method.
#[test]
fn one_half_is_the_midpoint_method() -> Result<(), SamplerError> {
    let family = Family {
        alpha: 0.5,
        ..Family::default()
    };
    let path = family.path([0.002, 80.0]);
    let (x, from, to) = (array![1.5].into_dyn(), 3.0, 2.0);
    let got = family.step(&path, &x, [from, to], &mut gaussian)?;
    let slope = |x: f64, t: f64| (x - x * 0.25 / (0.25 + t * t)) / t;
    let middle = 1.5 - 0.5 * slope(1.5, 3.0);
    let want = 1.5 - slope(middle, 2.5);
    assert!((got[[0]] - want).abs() < 1e-15);
    Ok(())
}

/// On the exact denoiser of a Gaussian every member ends where the equation ends, with the error of its order.
#[test]
fn every_member_has_its_order() -> Result<(), SamplerError> {
    let spread = |sigma: f64| (0.25 + sigma * sigma).sqrt();
    for &schedule in TimeSchedule::ALL {
        for &scaling in Scaling::ALL {
            for (second_order, alpha) in [(false, 1.0), (true, 1.0), (true, 0.6)] {
                let at = |steps| -> Result<f64, SamplerError> {
                    let family = Family {
                        second_order,
                        schedule,
                        scaling,
                        steps,
                        alpha,
                        sigma_min: Some(0.1),
                        sigma_max: Some(20.0),
                        ..Family::default()
                    };
                    let exact = 20.0 * spread(0.1) / spread(20.0);
                    // The last step goes down to 0 at once, the same for all numbers of steps.
                    let path = family.path([0.1, 20.0]);
                    let euler = Family {
                        second_order: false,
                        ..family
                    };
                    let x = array![exact * path.scale(path.time(0.1))].into_dyn();
                    let last = euler.step(&path, &x, [0.1, 0.0], &mut gaussian)?[[0]];
                    Ok((sample(&family, 1.0)? - last).abs())
                };
                let order = (at(512)? / at(1024)?).log2();
                let want = if second_order { 2.0 } else { 1.0 };
                assert!(
                    (order - want).abs() < 0.12,
                    "{schedule}, {scaling}, α = {alpha}: order {order}, must be {want}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn levels_of_improved_ddpm_fall_to_zero() {
    let levels = iddpm_levels(0.001, 0.008);
    assert_eq!(levels.len(), 1001);
    assert!(levels.windows(2).all(|pair| pair[0] > pair[1]));
    assert_eq!(levels[1000], 0.0);
    // The first ratio is C₁, for ᾱ_0 = 0: (u_0² + 1) C₁ = u_1² + 1.
    let [first, second] = [levels[0], levels[1]].map(|u| u * u + 1.0);
    assert!((first * 0.001 / second - 1.0).abs() < 1e-13);
    // ᾱ falls like a squared sine: away from the clamp 1/(1 + u²) ∝ sin².
    let ratio = (1.0 + levels[600].powi(2)) / (1.0 + levels[601].powi(2));
    let sine = |j: f64| (std::f64::consts::FRAC_PI_2 * j / 1008.0).sin().powi(2);
    assert!((ratio - sine(601.0) / sine(600.0)).abs() < 1e-9);
}

#[test]
fn what_is_no_member_is_refused() {
    let plain = Family::default();
    let refused = |family: Family, known| family.levels(known).expect_err("refused").to_string();
    let cases = [
        (Family { steps: 0, ..plain }, "number of steps"),
        (
            Family {
                alpha: 0.0,
                ..plain
            },
            "alpha",
        ),
        (
            Family {
                alpha: f64::NAN,
                ..plain
            },
            "alpha",
        ),
        (
            Family {
                epsilon_s: 1.0,
                ..plain
            },
            "epsilon_s",
        ),
        (Family { c1: 0.0, ..plain }, "C_1"),
        (
            Family {
                sigma_min: Some(90.0),
                ..plain
            },
            "noise levels",
        ),
    ];
    for (family, why) in cases {
        let said = refused(family, ALL);
        assert!(said.contains(why), "{said}");
    }
    assert!(refused(plain, [100.0, 200.0]).contains("noise levels"));
    // No level of improved DDPM lies between these.
    let empty = Family {
        discretization: Discretization::Iddpm,
        sigma_min: Some(70.01),
        sigma_max: Some(70.02),
        ..plain
    };
    assert!(refused(empty, ALL).contains("noise levels"));
}

proptest! {
    /// Derivatives are those of differences, and the time of a level is the level's.
    #[test]
    fn paths_are_consistent(low in 0.002..0.5_f64, more in 2.0..100.0_f64, share in 0.02..0.98_f64) {
        for &schedule in TimeSchedule::ALL {
            for &scaling in Scaling::ALL {
                let path = Path::new(schedule, scaling, [low, low + more], 1e-3);
                let sigma = low + share * more;
                let t = path.time(sigma);
                prop_assert!((path.sigma(t) / sigma - 1.0).abs() < 1e-12);
                let h = 1e-5 * t;
                let difference = |f: &dyn Fn(f64) -> f64| (f(t + h) - f(t - h)) / (2.0 * h);
                let [of_sigma, of_scale] = [path.sigma_grad(t), path.scale_grad(t)];
                let slope = difference(&|t| path.sigma(t));
                prop_assert!((slope / of_sigma - 1.0).abs() < 1e-7, "{} for {}", slope, of_sigma);
                let slope = difference(&|t| path.scale(t));
                prop_assert!((slope - of_scale).abs() <= 1e-7 * of_scale.abs(), "{} for {}", slope, of_scale);
            }
        }
        // The variance-preserving path passes through both ends.
        let path = Path::new(TimeSchedule::Vp, Scaling::None, [low, low + more], 1e-3);
        prop_assert!((path.sigma(1e-3) / low - 1.0).abs() < 1e-10);
        prop_assert!((path.sigma(1.0) / (low + more) - 1.0).abs() < 1e-10);
    }
}
