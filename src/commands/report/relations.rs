//! The relations of a batch as the players of different phases see them (SADM, Fig. 5).

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use sadm_gpu::config::{Config, StructureMethod, TimeLaw};
use sadm_gpu::data::Dataset;
use sadm_gpu::forward::diffuse;
use sadm_gpu::random::Streams;
use sadm_gpu::run::Run as Opened;
use sadm_gpu::run::phases::{Phase, span};
use sadm_gpu::structure::{Relation, affinity};
use sadm_gpu::train::times;

use super::run::Run;
use crate::image_grid;

/// Classes shown.
const CLASSES: usize = 4;
/// Images of each.
const EACH: usize = 4;
/// Standard deviations above the middle of the law of t at which images are denoised, and the share of its
/// draws below them.
const LEVELS: [(f64, f64); 2] = [(0.0, 0.5), (1.0, 0.84)];

/// One affinity matrix.
#[derive(Debug)]
pub struct Map {
    /// Whose it is.
    pub name: String,
    /// n × n.
    pub values: Vec<Vec<f32>>,
    /// Mean |A − A of the real images| off the diagonal.
    pub from_real: Option<f64>,
    /// Correlation with "same class" off the diagonal.
    pub with_labels: Option<f64>,
}

/// One noise level.
#[derive(Debug)]
pub struct Level {
    /// σ/α.
    pub ratio: f64,
    /// Base and later players.
    pub maps: Vec<Map>,
    /// Real, noised and denoised images, a row for each, PNG.
    pub picture: Vec<u8>,
    /// What the rows are.
    pub rows: Vec<String>,
}

/// The figure.
#[derive(Debug)]
pub struct Relations {
    /// Class of each image.
    pub labels: Vec<u32>,
    /// Whether the images were kept out of training.
    pub held_out: bool,
    /// Same class or not.
    pub same_class: Map,
    /// Of the real images.
    pub real: Map,
    /// The noise levels.
    pub levels: Vec<Level>,
}

/// The figure of a run, or why there is none.
pub fn relations(run: &Run, device: &Device) -> Result<Relations, String> {
    let config = run
        .config
        .as_ref()
        .ok_or("The run's configuration cannot be read.")?;
    let players = players(run, config)?;
    draw(&run.folder, config, &players, device).map_err(|reason| format!("Not drawn: {reason:#}."))
}

/// Step and name of the players to compare: the base first.
fn players(run: &Run, config: &Config) -> Result<Vec<(usize, String)>, String> {
    if config.structure.method == StructureMethod::None {
        return Err("This run was trained without a structural loss: it has no encoder to relate images by, and no guided model to compare with its base.".to_owned());
    }
    let spans = run.spans();
    let Some(base) = span(config, Phase::Denoise).map(|s| s.end) else {
        return Err(
            "This run has no phase of denoising alone, so it has no base to compare with."
                .to_owned(),
        );
    };
    if run.step() < base as u64 {
        return Err(format!(
            "The run has not reached the end of its denoise phase yet (step {base}); the figure compares that base with what follows."
        ));
    }
    if !run.checkpoints.contains(&base) {
        return Err(format!(
            "The base is missing: there is no checkpoint of step {base}, the end of the denoise phase (there are: {}). Versions before this one kept only the newest checkpoints; a run made with this one keeps the last of each phase.",
            list(&run.checkpoints)
        ));
    }
    let mut players = vec![(base, format!("base, step {base}"))];
    let newest = run.checkpoints.iter().copied().max().unwrap_or(base);
    for span in spans.iter().filter(|s| s.phase.has_structure()) {
        let step = span.end.min(newest);
        if step > span.start && run.checkpoints.contains(&step) {
            players.push((step, format!("{}, step {step}", span.phase.name())));
        }
    }
    if players.len() == 1 {
        return Err(format!(
            "There is no checkpoint after the base's (step {base}) yet."
        ));
    }
    Ok(players)
}

fn list(steps: &[usize]) -> String {
    if steps.is_empty() {
        return "none".to_owned();
    }
    steps
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn draw(
    folder: &Path,
    config: &Config,
    players: &[(usize, String)],
    device: &Device,
) -> anyhow::Result<Relations> {
    let opened = players
        .iter()
        .map(|(step, _)| Opened::open_at(folder, *step, device))
        .collect::<sadm_gpu::Result<Vec<_>>>()?;
    // φ moves in the adversarial phase: the base's Ψ, frozen since the encoder's phase, is one measure for all.
    let psi = opened[0].encoder();
    let (chosen, held_out) = images(&opened[0])?;
    let indices: Vec<usize> = (0..chosen.len()).collect();
    let (x0, labels) = chosen.batch(&indices, device, DType::F32)?;
    let cosine = |x: &Tensor| -> anyhow::Result<Vec<Vec<f32>>> {
        Ok(affinity(&psi.features(x)?, Relation::COSINE)?.to_vec2::<f32>()?)
    };
    let same = same_class(&labels);
    let real = cosine(&x0)?;
    let measured = |name: &str, values: Vec<Vec<f32>>| Map {
        name: name.to_owned(),
        from_real: Some(mean_difference(&values, &real)),
        with_labels: correlation(&values, &same),
        values,
    };
    let mut levels = Vec::new();
    for (number, (deviations, share)) in LEVELS.into_iter().enumerate() {
        let t = time(config, deviations, share);
        let schedule = config.objective.schedule;
        let n = labels.len();
        let eps = Streams::new(config.seed).normal_tensor(
            "report",
            number as u64,
            x0.shape(),
            device,
            DType::F32,
        )?;
        let x_t = diffuse(
            &x0,
            &eps,
            &vec![schedule.alpha(t); n],
            &vec![schedule.sigma(t); n],
        )?;
        let mut rows = vec![x0.clone(), x_t.clone()];
        let mut maps = Vec::new();
        for (run, (_, name)) in opened.iter().zip(players) {
            let x_hat = run.denoised(&x_t, &vec![t; n], &run.known(&labels))?;
            maps.push(measured(name, cosine(&x_hat)?));
            rows.push(x_hat);
        }
        let names = ["real", "noised"].map(str::to_owned).into_iter();
        levels.push(Level {
            ratio: schedule.sigma_ratio(t),
            maps,
            picture: image_grid::png_of_columns(&Tensor::cat(&rows, 0)?, n)?,
            rows: names
                .chain(players.iter().map(|(_, name)| name.clone()))
                .collect(),
        });
    }
    Ok(Relations {
        held_out,
        same_class: Map {
            name: "labels".to_owned(),
            values: same.clone(),
            from_real: None,
            with_labels: None,
        },
        real: Map {
            name: "real images".to_owned(),
            with_labels: correlation(&real, &same),
            from_real: None,
            values: real,
        },
        labels,
        levels,
    })
}

/// [`EACH`] images of the first [`CLASSES`] classes, of those kept out of training where there are any.
fn images(run: &Opened) -> anyhow::Result<(Dataset, bool)> {
    let (train, holdout) = run.parts()?;
    let held_out = !holdout.is_empty();
    let from = if held_out { holdout } else { train };
    let (_, labels) = from.batch(
        &(0..from.len()).collect::<Vec<_>>(),
        &Device::Cpu,
        DType::F32,
    )?;
    let mut classes = labels.clone();
    classes.sort_unstable();
    classes.dedup();
    let of_class = |class: u32| {
        let places = labels
            .iter()
            .enumerate()
            .filter(move |(_, label)| **label == class);
        places.map(|(place, _)| place).take(EACH)
    };
    let chosen: Vec<usize> = classes
        .into_iter()
        .take(CLASSES)
        .flat_map(of_class)
        .collect();
    Ok((from.subset(&chosen), held_out))
}

/// The t at a place of the law that training draws from.
fn time(config: &Config, deviations: f64, share: f64) -> f64 {
    let o = &config.objective;
    let draws = match o.time {
        TimeLaw::LogNormal => vec![deviations],
        // From the smallest τ on.
        TimeLaw::SoftTruncation => vec![0.0, share],
        TimeLaw::Uniform | TimeLaw::LogUniform => vec![share],
        // Its first levels are the highest.
        TimeLaw::IddpmStep => vec![1.0 - share],
    };
    let t = times(o, &draws, 1).into_iter().next();
    t.unwrap_or(o.time_min)
}

fn same_class(labels: &[u32]) -> Vec<Vec<f32>> {
    let row = |a: &u32| labels.iter().map(|b| f32::from(u8::from(a == b))).collect();
    labels.iter().map(row).collect()
}

/// The entries above the diagonal of two matrices, in pairs.
fn pairs<'a>(
    a: &'a [Vec<f32>],
    b: &'a [Vec<f32>],
) -> impl Iterator<Item = (f64, f64)> + Clone + 'a {
    let rows = a.iter().zip(b).enumerate();
    rows.flat_map(|(i, (a, b))| {
        let entries = a.iter().zip(b).skip(i + 1);
        entries.map(|(a, b)| (f64::from(*a), f64::from(*b)))
    })
}

fn mean_difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    let count = pairs(a, b).count().max(1) as f64;
    pairs(a, b).map(|(x, y)| (x - y).abs()).sum::<f64>() / count
}

/// Pearson's; nothing where one side is constant.
fn correlation(a: &[Vec<f32>], b: &[Vec<f32>]) -> Option<f64> {
    let count = pairs(a, b).count() as f64;
    let mean = |of: fn((f64, f64)) -> f64| pairs(a, b).map(of).sum::<f64>() / count;
    let (mean_a, mean_b) = (mean(|p| p.0), mean(|p| p.1));
    let (mut aa, mut ab, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in pairs(a, b) {
        aa += (x - mean_a).powi(2);
        ab += (x - mean_a) * (y - mean_b);
        bb += (y - mean_b).powi(2);
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_diagonal_does_not_count() {
        let a = [[1.0, 0.5, 0.0], [0.5, 1.0, 0.25], [0.0, 0.25, 1.0]].map(|row| row.to_vec());
        let b = [[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]].map(|row| row.to_vec());
        assert!((mean_difference(&a, &b) - 0.25).abs() < 1e-15);
        assert_eq!(correlation(&a, &b), None);
    }

    #[test]
    fn correlation_is_pearson_s() {
        let labels = same_class(&[3, 3, 5]);
        assert_eq!(labels[0], [1.0, 1.0, 0.0]);
        // Above the diagonal: labels 1, 0, 0; values 2, 0, 1. By hand: cov 1/3, variances 2/9 and 2/3.
        let values = [[0.0, 2.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]].map(|row| row.to_vec());
        let got = correlation(&values, &labels).expect("neither is constant");
        assert!(
            (got - (1.0 / 3.0) / (2.0_f64 / 9.0 * 2.0 / 3.0).sqrt()).abs() < 1e-12,
            "{got}"
        );
    }
}
