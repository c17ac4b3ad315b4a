//! `sadm sweep order`: the order of convergence of every deterministic sampler.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use candle_core::{DType, Device};
use sadm_crosscheck::convergence::{Convergence, LEVEL, Solve, convergence, solve_mixture};
use sadm_gpu::run::{Run, SampleRequest};
use sadm_gpu::sampler::SamplerKind;
use serde_json::{Value, json};

use super::Out;
use crate::{files, numbers, threads};

/// The arguments of `sadm sweep order`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Measure on this run's denoiser, in f64 [default: on a Gaussian mixture with its exact denoiser]
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// The samplers
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "heun,euler,ddim,dpmpp-2m",
        value_name = "LIST"
    )]
    samplers: Vec<SamplerKind>,
    /// Numbers of steps
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "64,128,256,512",
        value_name = "LIST", value_parser = numbers::from_one)]
    steps: Vec<NonZeroUsize>,
    /// Steps of heun for the solution that errors are measured from
    #[arg(long, default_value = "4096", value_name = "N", value_parser = numbers::from_one)]
    fine: NonZeroUsize,
    /// One class of the run, by its name or number [default: all in turn]
    #[arg(long, value_name = "K", requires = "run")]
    class: Option<String>,
    /// Images, with --run
    #[arg(long, default_value = "4", value_name = "N", value_parser = numbers::drawn)]
    count: NonZeroUsize,
    /// CPU threads [default: all]
    #[arg(long, value_name = "N", value_parser = numbers::from_one)]
    threads: Option<NonZeroUsize>,
    /// Where the numbers go: a .json, or a folder
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
}

/// Measures, prints and writes.
pub fn run(args: &Args) -> Result<ExitCode> {
    let out = args.out.as_deref().map(Out::of).transpose()?;
    if let Some(random) = (args.samplers.iter()).find(|kind| kind.order().is_none()) {
        bail!(
            "--samplers must be deterministic to have an order, and {random} draws noise; leave it out"
        );
    }
    threads::limit(args.threads)?;
    let steps: Vec<usize> = args.steps.iter().map(|n| n.get()).collect();
    let (name, (measured, floor)) = match &args.run {
        None => (
            "a mixture of three Gaussians in the plane, exact denoiser, f64".to_owned(),
            convergence(&args.samplers, &steps, args.fine.get(), &solve_mixture)?,
        ),
        Some(folder) => {
            let run = Run::open_as(folder, &Device::Cpu, DType::F64)?;
            let name = format!(
                "{} after {} steps of training, {} images, f64",
                folder.display(),
                run.step(),
                args.count
            );
            let count = args.count.get();
            let labels = match &args.class {
                Some(class) => vec![Some(run.conditions().classes().find(class)?); count],
                None => run.conditions().in_turn(count),
            };
            run.conditions().check(&labels, 1.0)?;
            let solve = |kind, steps| solve_run(&run, &labels, kind, steps);
            let solve: &Solve<'_> = &solve;
            (
                name,
                convergence(&args.samplers, &steps, args.fine.get(), solve)?,
            )
        }
    };
    let table = table(&name, &measured, floor, args.fine.get());
    files::print(&table)?;
    if let Some(out) = out {
        let json = report(&name, &measured, floor, args.fine.get());
        out.write("order", &json, &table, None)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// End points of the trajectories of a run, one for each label, without guidance.
fn solve_run(
    run: &Run,
    labels: &[Option<u32>],
    kind: SamplerKind,
    steps: usize,
) -> sadm_crosscheck::Result<Vec<f64>> {
    let mut request = SampleRequest::from_config(run.config());
    request.guidance = 1.0;
    // What is measured is the walk through noise levels.
    request.respacing = None;
    request.options.kind = kind;
    request.options.steps = steps;
    request.labels = labels.to_vec();
    let images = run.sample(&request)?;
    Ok(images.flatten_all()?.to_vec1::<f64>()?)
}

fn table(name: &str, measured: &[Convergence], floor: f64, fine: usize) -> String {
    let mut lines = vec![format!("Order of convergence on {name}.\n")];
    let steps: Vec<String> = measured.first().map_or_else(Vec::new, |c| {
        c.points
            .iter()
            .map(|p| format!("error, N = {}", p.steps))
            .collect()
    });
    lines.push(format!(
        "| sampler | claimed | measured ({:.0} % interval) | {} |",
        100.0 * LEVEL,
        steps.join(" | ")
    ));
    lines.push(format!("|---|---|---|{}", "---|".repeat(steps.len())));
    for c in measured {
        let claimed = c
            .sampler
            .order()
            .map_or("-".to_owned(), |order| order.to_string());
        let order = c.fit.map_or("too few clear points".to_owned(), |fit| {
            format!("{:.3} ± {:.3}", -fit.slope, fit.half_width)
        });
        let errors: Vec<String> = c
            .points
            .iter()
            .map(|p| format!("{:.2e}{}", p.error, if p.clear { "" } else { " *" }))
            .collect();
        lines.push(format!(
            "| {} | {claimed} | {order} | {} |",
            c.sampler,
            errors.join(" | ")
        ));
    }
    lines.push(format!(
        "\nErrors: root mean square difference from heun with N = {fine}, which itself differs by {floor:.1e} from half as many steps."
    ));
    if measured.iter().flat_map(|c| &c.points).any(|p| !p.clear) {
        lines.push("* not clear of the fine solution's own error: left out of the fit.".to_owned());
    }
    lines.push(
        "ddpm, churn and ddim with η > 0 draw noise; no order is claimed for them.".to_owned(),
    );
    lines.join("\n") + "\n"
}

fn report(name: &str, measured: &[Convergence], floor: f64, fine: usize) -> Value {
    let samplers: Vec<Value> = measured
        .iter()
        .map(|c| {
            let points: Vec<Value> = c
                .points
                .iter()
                .map(|p| json!({"steps": p.steps, "error": p.error, "in_fit": p.clear}))
                .collect();
            json!({
                "sampler": c.sampler.name(),
                "claimed": c.sampler.order(),
                "order": c.fit.map(|fit| -fit.slope),
                "half_width": c.fit.map(|fit| fit.half_width),
                "points": points,
            })
        })
        .collect();
    json!({"on": name, "level": LEVEL, "fine_steps": fine, "fine_difference": floor, "samplers": samplers})
}
