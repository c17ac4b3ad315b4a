//! `sadm sweep sampler`: what a sampler's images are worth, per evaluation of the denoiser.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};
use ndarray::{Array1, Array2, Axis};
use sadm_gpu::config::Config;
use sadm_gpu::run::{Along, Run, SampleRequest};
use sadm_gpu::sampler::SamplerKind;
use sadm_reference::metrics::frechet;
use sadm_reference::trajectory::straightness;
use serde::Serialize;

use super::cell::Cell;
use super::{Out, plot};
use crate::feature_space::{Reality, encoder, rows};
use crate::progress::say;
use crate::{files, numbers, place, threads};

/// The arguments of `sadm sweep sampler`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run whose denoiser is sampled
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
    /// The samplers
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "heun,euler,ddim,ddpm,dpmpp-2m",
        value_name = "LIST"
    )]
    samplers: Vec<SamplerKind>,
    /// Evaluations of the denoiser; heun takes one fewer where the number is even
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "5,9,18,35",
        value_name = "LIST", value_parser = numbers::from_one)]
    nfe: Vec<NonZeroUsize>,
    /// Images for each point of the curves
    #[arg(long, default_value = "512", value_name = "N", value_parser = numbers::drawn)]
    count: NonZeroUsize,
    /// One class, by its name or number, held against the real images of it [default: equal shares of all]
    #[arg(long, value_name = "K", conflicts_with = "reference")]
    class: Option<String>,
    /// A preset whose data are the real images [default: the run's own data]
    #[arg(long, value_name = "PRESET")]
    reference: Option<String>,
    /// Real images to compare with, at most
    #[arg(long, default_value = "5000", value_name = "N", value_parser = numbers::from_one)]
    reference_count: NonZeroUsize,
    /// A run whose encoder measures `fd-encoder` [default: the run's own]
    #[arg(long, value_name = "DIR")]
    encoder: Option<PathBuf>,
    /// Steps of heun for the solution that distances are measured from
    #[arg(long, default_value = "128", value_name = "N", value_parser = numbers::from_one)]
    fine: NonZeroUsize,
    /// Seed of the noise, the same for every sampler
    #[arg(long)]
    seed: Option<u64>,
    /// Where to compute: cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// CPU threads [default: all]
    #[arg(long, value_name = "N", value_parser = numbers::from_one)]
    threads: Option<NonZeroUsize>,
    /// A folder for the table, the JSON and the picture, or a .json
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Report {
    run: String,
    training_steps: usize,
    encoder: String,
    images: usize,
    real_images: usize,
    seed: u64,
    guidance: f64,
    /// The class of all images; none where all classes have equal shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    /// heun with very many steps: the reference solution.
    fine: Cell,
    cells: Vec<Cell>,
}

/// Measures, prints and writes.
pub fn run(args: &Args) -> Result<ExitCode> {
    let out = Out::of(&args.out)?;
    threads::limit(args.threads)?;
    let device = place::open(&args.device, "f32")?.device;
    let run = Run::open(&args.run, &device)?;
    let report = measure(args, &run, &device)?;
    let table = table(&report);
    files::print(&table)?;
    out.write("sweep", &report, &table, Some(plot::svg(&report.cells)?))?;
    Ok(ExitCode::SUCCESS)
}

fn measure(args: &Args, run: &Run, device: &Device) -> Result<Report> {
    let mut request = SampleRequest::from_config(run.config());
    let count = args.count.get();
    let class = (args.class.as_ref()).map(|class| run.conditions().classes().find(class));
    let class = class.transpose()?;
    request.labels = match class {
        Some(class) => vec![Some(class); count],
        None => run.conditions().in_order(count),
    };
    // Before real images are read and measured.
    run.conditions().check(&request.labels, request.guidance)?;
    // What is measured is the walk through noise levels.
    request.respacing = None;
    request.seed = args.seed.unwrap_or(request.seed);
    crate::fresh_noise::note(run.config(), &args.samplers, 0.0);
    let reality = reality(args, run, class, device)?;
    let mut bench = Bench {
        run,
        reality,
        request,
        fine: None,
    };
    let fine = bench.cell(SamplerKind::HEUN, args.fine.get())?;
    let mut cells = Vec::new();
    for &sampler in &args.samplers {
        for nfe in &args.nfe {
            cells.push(bench.cell(sampler, sampler.steps_within(nfe.get()))?);
        }
    }
    let measured_by = args.encoder.as_ref().unwrap_or(&args.run);
    Ok(Report {
        run: args.run.display().to_string(),
        training_steps: run.step(),
        encoder: match bench.reality.features {
            Some(_) => measured_by.display().to_string(),
            None => "none: this run has no trained encoder".to_owned(),
        },
        images: count,
        real_images: bench.reality.len(),
        seed: bench.request.seed,
        guidance: bench.request.guidance,
        class: class.map(|class| run.conditions().classes().label(class)),
        fine,
        cells,
    })
}

/// The real images, and the encoder that measures; without one asked for, the run's own if it has one.
fn reality(args: &Args, run: &Run, class: Option<u32>, device: &Device) -> Result<Reality> {
    let config = match &args.reference {
        Some(preset) => Config::preset(preset)?,
        None => run.config().clone(),
    };
    let space = match &args.encoder {
        Some(folder) => Some(encoder(folder, device)?),
        None => encoder(&args.run, device).ok(),
    };
    let reality = Reality::new(&config, space, class, args.reference_count.get(), device)?;
    let images = run.images();
    let pixels = images.channels * images.size * images.size;
    if reality.pixels.ncols() != pixels {
        bail!(
            "the reference's images have {} values, those of the run {pixels}",
            reality.pixels.ncols()
        );
    }
    if reality.len() < 2 {
        let of = class.map_or_else(String::new, |class| {
            format!(" of class {}", run.conditions().classes().label(class))
        });
        bail!(
            "distances need at least 2 real images{of}, there are {}",
            reality.len()
        );
    }
    Ok(reality)
}

/// What stays the same from cell to cell.
struct Bench<'a> {
    run: &'a Run,
    reality: Reality,
    request: SampleRequest,
    fine: Option<Array2<f64>>,
}

impl Bench<'_> {
    /// Samples and measures; the first cell is what the others are compared with.
    fn cell(&mut self, sampler: SamplerKind, steps: usize) -> Result<Cell> {
        self.request.options.kind = sampler;
        self.request.options.steps = steps;
        let mut paths = Paths::default();
        let images = self
            .run
            .sample_along(&self.request, &mut |point| paths.take(point))?;
        let pixels = rows(&images)?;
        let features = self.reality.features_of(&images)?;
        let fd_encoder = match (&features, &self.reality.features) {
            (Some(ours), Some(real)) => Some(frechet(ours.view(), real.view())?.distance()),
            _ => None,
        };
        let fd_pixels = frechet(pixels.view(), self.reality.pixels.view())?.distance();
        let distance = self.fine.as_ref().map_or(0.0, |fine| {
            let square = (fine - &pixels).mapv(|x| x * x);
            square.mean().unwrap_or(f64::NAN).sqrt()
        });
        self.fine.get_or_insert(pixels);
        let (curvature, deviation) = paths.means()?;
        let cell = Cell {
            sampler: sampler.name(),
            steps,
            nfe: sampler.evaluations(steps),
            fd_encoder,
            fd_pixels,
            distance: sampler.order().map(|_| distance),
            curvature,
            deviation,
        };
        say(&row(&cell));
        Ok(cell)
    }
}

/// Curvatures and deviations of the paths of all images, taken batch by batch.
#[derive(Default)]
struct Paths {
    levels: Vec<f64>,
    points: Vec<Array2<f64>>,
    curvatures: Vec<f64>,
    deviations: Vec<f64>,
}

impl Paths {
    fn take(&mut self, point: Along<'_>) -> sadm_gpu::Result<()> {
        self.levels.push(point.level);
        let refused = |e: String| sadm_gpu::Error::invalid("a trajectory", "be finite", e);
        let z: &Tensor = point.z;
        self.points
            .push(rows(z).map_err(|e| refused(e.to_string()))?);
        if point.level > 0.0 {
            return Ok(());
        }
        let (levels, points) = (
            Array1::from(std::mem::take(&mut self.levels)),
            std::mem::take(&mut self.points),
        );
        for image in 0..points[0].nrows() {
            let rows: Vec<_> = points.iter().map(|p| p.row(image)).collect();
            let path = ndarray::stack(Axis(0), &rows).map_err(|e| refused(e.to_string()))?;
            let path =
                straightness(path.view(), levels.view()).map_err(|e| refused(e.to_string()))?;
            self.curvatures.push(path.curvature());
            self.deviations.push(path.deviation);
        }
        Ok(())
    }

    fn means(&self) -> Result<(f64, f64)> {
        let n = self.curvatures.len();
        if n == 0 {
            bail!("no trajectory came to its end");
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / n as f64;
        Ok((mean(&self.curvatures), mean(&self.deviations)))
    }
}

const HEAD: &str = "| sampler | steps | NFE | fd-encoder | fd-pixels | distance to fine | curvature | deviation V |\n|---|---|---|---|---|---|---|---|";

fn row(cell: &Cell) -> String {
    let or_none = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
    };
    format!(
        "| {} | {} | {} | {} | {:.3} | {} | {:.4} | {:.4} |",
        cell.sampler,
        cell.steps,
        cell.nfe,
        or_none(cell.fd_encoder, 3),
        cell.fd_pixels,
        or_none(cell.distance, 4),
        cell.curvature,
        cell.deviation
    )
}

fn table(report: &Report) -> String {
    let mut lines = vec![
        format!(
            "{} after {} steps of training: {} images {} on the same noise (seed {}), guidance {}, against {} real images; fd-encoder in Ψ of {}.\n",
            report.run,
            report.training_steps,
            report.images,
            match &report.class {
                Some(class) => format!("of class {class}"),
                None => "of all classes in equal shares".to_owned(),
            },
            report.seed,
            report.guidance,
            report.real_images,
            report.encoder
        ),
        HEAD.to_owned(),
    ];
    lines.push(row(&report.fine).replacen("| heun", "| heun, the reference solution", 1));
    lines.extend(report.cells.iter().map(row));
    lines.push("\nA sampler that draws noise of its own (ddpm) has no distance to a solution on the same noise.".to_owned());
    lines.join("\n") + "\n"
}
