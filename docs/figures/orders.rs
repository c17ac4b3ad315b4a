//! How fast the reference's samplers converge, on a law whose denoiser is exact.

use anyhow::Result;
use ndarray::{Array1, Array2, ArrayD, array};
use sadm_reference::sampler::{Previous, dpmpp_2m_step, edm_sigmas, euler_step, heun_correction};
use sadm_reference::statistics::fit_line;
use sadm_theory::laws::{GaussianLaw, MixtureLaw};

use super::Figure;
use super::chart::{Axis, Panel, Series};
use super::svg::{Colour, Stroke};

/// Trajectories.
const POINTS: usize = 8;
/// Numbers of steps that are compared.
const STEPS: [usize; 4] = [64, 128, 256, 512];
/// Steps of the finer of the two solutions that errors are measured from.
const FINE: usize = 2048;
/// The noise that trajectories start from.
const SIGMA_MAX: f64 = 80.0;

#[derive(Clone, Copy)]
enum Sampler {
    Euler,
    Heun,
    Dpmpp2m,
}

/// Three Gaussians in the plane, one of them narrow, one tilted: those of `sadm sweep order`.
fn law() -> Result<MixtureLaw> {
    let component =
        |mean: Array1<f64>, covariance: Array2<f64>| GaussianLaw::new(mean, &covariance);
    let components = vec![
        component(array![1.0, 0.5], array![[0.09, 0.0], [0.0, 0.25]])?,
        component(array![-0.8, 0.9], array![[0.25, 0.125], [0.125, 0.16]])?,
        component(array![-0.2, -1.1], array![[0.36, 0.0], [0.0, 0.0625]])?,
    ];
    Ok(MixtureLaw::new(components, vec![0.3, 0.45, 0.25])?)
}

/// Starts `[POINTS, 2]`: lengths at the quantiles of a normal vector's, directions apart by the golden angle.
fn start() -> ArrayD<f64> {
    let golden = std::f64::consts::PI * (3.0 - 5.0_f64.sqrt());
    let points = Array2::from_shape_fn((POINTS, 2), |(k, coordinate)| {
        let length = (-2.0 * ((k as f64 + 0.5) / POINTS as f64).ln()).sqrt();
        let (sin, cos) = (golden * k as f64).sin_cos();
        SIGMA_MAX * length * [cos, sin][coordinate]
    });
    points.into_dyn()
}

/// The posterior mean of every point.
fn denoise(law: &MixtureLaw, z: &ArrayD<f64>, sigma: f64) -> Result<ArrayD<f64>> {
    let mut means = z.clone();
    for (point, mut mean) in z.outer_iter().zip(means.outer_iter_mut()) {
        let point: Vec<f64> = point.iter().copied().collect();
        let (_, posterior) = law.posterior(&point, 1.0, sigma)?;
        mean.iter_mut()
            .zip(&posterior.mean)
            .for_each(|(m, &p)| *m = p);
    }
    Ok(means)
}

/// Ends of the trajectories.
fn end(law: &MixtureLaw, sampler: Sampler, steps: usize) -> Result<ArrayD<f64>> {
    let sigmas = edm_sigmas(steps, 7.0, 0.002, SIGMA_MAX)?;
    let mut z = start();
    let mut before: Option<(ArrayD<f64>, f64)> = None;
    for pair in sigmas.windows(2) {
        let (sigma, next) = (pair[0], pair[1]);
        let denoised = denoise(law, &z, sigma)?;
        z = match sampler {
            Sampler::Heun if next > 0.0 => {
                let euler = euler_step(&z, &denoised, sigma, next)?;
                let there = denoise(law, &euler, next)?;
                heun_correction(&z, &denoised, &euler, &there, sigma, next)?
            }
            Sampler::Euler | Sampler::Heun => euler_step(&z, &denoised, sigma, next)?,
            Sampler::Dpmpp2m => {
                let previous = before.as_ref().map(|(denoised, sigma)| Previous {
                    denoised,
                    sigma: *sigma,
                });
                dpmpp_2m_step(&z, &denoised, previous, sigma, next)?
            }
        };
        before = Some((denoised, sigma));
    }
    Ok(z)
}

/// The trajectories from some starts at a noise level, one point for each level of a grid.
fn paths(
    law: &MixtureLaw,
    sampler: Sampler,
    steps: usize,
    from: f64,
) -> Result<Vec<Vec<(f64, f64)>>> {
    let sigmas = edm_sigmas(steps, 7.0, 0.002, from)?;
    let mut z = start() * (from / SIGMA_MAX);
    let mut paths = vec![Vec::new(); POINTS];
    let mut keep = |z: &ArrayD<f64>| {
        for (path, point) in paths.iter_mut().zip(z.outer_iter()) {
            let point: Vec<f64> = point.iter().copied().collect();
            path.push((point[0], point[1]));
        }
    };
    keep(&z);
    for pair in sigmas.windows(2) {
        let (sigma, next) = (pair[0], pair[1]);
        let denoised = denoise(law, &z, sigma)?;
        let euler = euler_step(&z, &denoised, sigma, next)?;
        z = if matches!(sampler, Sampler::Heun) && next > 0.0 {
            let there = denoise(law, &euler, next)?;
            heun_correction(&z, &denoised, &euler, &there, sigma, next)?
        } else {
            euler
        };
        keep(&z);
    }
    Ok(paths)
}

/// Trajectories in the plane, fine and coarse, and how bent each is.
pub fn trajectories() -> Result<Figure> {
    const FROM: f64 = 3.0;
    let law = law()?;
    let fine = paths(&law, Sampler::Heun, 200, FROM)?;
    let coarse = paths(&law, Sampler::Euler, 5, FROM)?;
    let bent = |paths: &[Vec<(f64, f64)>]| {
        let curvature = paths.iter().map(|path| {
            let legs = path
                .windows(2)
                .map(|p| (p[1].0 - p[0].0).hypot(p[1].1 - p[0].1));
            let (first, last) = (path[0], path[path.len() - 1]);
            1.0 - (last.0 - first.0).hypot(last.1 - first.1) / legs.sum::<f64>()
        });
        curvature.fold(0.0, f64::max)
    };
    let labelled = |label: &str, colour, stroke, paths: &[Vec<(f64, f64)>]| {
        let names = std::iter::once(label).chain(std::iter::repeat(""));
        let drawn = paths.iter().zip(names);
        drawn
            .map(|(path, name)| Series::new(name, colour, stroke, path.clone()))
            .collect::<Vec<_>>()
    };
    let ends: Vec<(f64, f64)> = fine.iter().map(|p| p[p.len() - 1]).collect();
    let means = law
        .components()
        .iter()
        .map(|c| (c.mean()[0], c.mean()[1]))
        .collect();
    let mut series = labelled("heun, 200 steps", Colour::Blue, Stroke::Solid, &fine);
    series.extend(labelled(
        "euler, 5 steps",
        Colour::Orange,
        Stroke::Dashed,
        &coarse,
    ));
    series.push(Series::new(
        "where the fine ones end",
        Colour::Blue,
        Stroke::Dots,
        ends,
    ));
    series.push(Series::new(
        "means of the three Gaussians",
        Colour::Grey,
        Stroke::Discs,
        means,
    ));
    let panel = Panel {
        title: String::new(),
        x: Axis::linear("first coordinate", -6.0, 6.0),
        y: Axis::linear("second coordinate", -4.5, 4.5),
        series,
    };
    let caption = format!(
        "{POINTS} trajectories of the flow from noise of σ = {FROM} to data, on the mixture of three Gaussians with its exact denoiser. Far out all head for the mean of the data;          near the end each turns to one of the three. The most bent of the fine ones has the curvature {:.3}.",
        bent(&fine)
    );
    Figure::new("trajectories", caption).panel(
        &panel,
        "curves from a ring of starts run towards the middle and then part for three places; broken lines of few legs beside them end elsewhere",
    )
}

/// Errors over the number of steps, and the orders they show.
pub fn samplers() -> Result<Figure> {
    let law = law()?;
    let (fine, coarse) = (
        end(&law, Sampler::Heun, FINE)?,
        end(&law, Sampler::Heun, FINE / 2)?,
    );
    // What is left of a second-order error after one extrapolation is of third order.
    let exact = &fine + &((&fine - &coarse) / 3.0);
    let kinds = [
        ("euler", Sampler::Euler, "1", Colour::Orange, Stroke::Dashed),
        ("heun", Sampler::Heun, "2", Colour::Blue, Stroke::Solid),
        (
            "dpmpp-2m",
            Sampler::Dpmpp2m,
            "2",
            Colour::Green,
            Stroke::Dotted,
        ),
    ];
    let mut series = Vec::new();
    for (name, sampler, claimed, colour, stroke) in kinds {
        let mut points = Vec::new();
        for steps in STEPS {
            let square = (end(&law, sampler, steps)? - &exact).mapv(|e| e * e).sum();
            points.push((steps as f64, (square / exact.len() as f64).sqrt()));
        }
        let logs = |f: fn(&(f64, f64)) -> f64| points.iter().map(|p| f(p).ln()).collect::<Vec<_>>();
        let fit = fit_line(&logs(|p| p.0), &logs(|p| p.1), 0.95)?;
        let errors: Vec<String> = points.iter().map(|p| format!("{:.2e}", p.1)).collect();
        let label = format!(
            "{name}: order {claimed} claimed, {:.3} ± {:.3} measured; errors {}",
            -fit.slope,
            fit.half_width,
            errors.join(", ")
        );
        series.push(Series::new(&label, colour, stroke, points));
    }
    let panel = Panel {
        title: String::new(),
        x: Axis::log("steps N", 10.0, 1000.0),
        y: Axis::log("error at the end", 1e-6, 1.0),
        series,
    };
    let caption = format!(
        "Root mean square error at the end of {POINTS} trajectories of the reference's samplers from σ = {SIGMA_MAX} on a mixture of three \
         Gaussians with its exact denoiser, in f64, for N = {}. The solution that errors are measured from is extrapolated from \
         {} and {FINE} steps of heun. The intervals (95 %) say how far the points lie from a line. ddim without noise is \
         euler in these variables.",
        STEPS.map(|n| n.to_string()).join(", "),
        FINE / 2
    );
    Figure::new("sampler-orders", caption).panel(
        &panel,
        "on logarithmic axes three straight lines: that of euler falls by ten where those of heun and dpmpp-2m fall by a hundred",
    )
}
