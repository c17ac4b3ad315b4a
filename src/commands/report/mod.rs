//! `sadm report`: runs as one HTML file.

mod chart;
mod curves;
mod data_uri;
mod differences;
mod heat;
mod log;
mod page;
mod relations;
mod run;
mod summary;

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::{files, numbers, place, threads};
use page::page;
use relations::relations;
use run::{Run, distinguish};

const EXAMPLE: &str = "\
Examples:
  sadm report runs/digits
  sadm report runs/base runs/guided runs/sadm --out report.html

The file needs no network and can be sent as it is. A run may still be training, or have been
killed: what is missing is stated in the report.";

/// The arguments of `sadm report`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// Folders of runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The file to write [default: RUN/report.html; needed for several runs]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where to compute the relations of denoised images: cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// CPU threads [default: all]
    #[arg(long, value_name = "N", value_parser = numbers::from_one)]
    threads: Option<NonZeroUsize>,
}

/// Reads the runs and writes the page.
pub fn run(args: &Args) -> Result<ExitCode> {
    threads::limit(args.threads)?;
    let out = match (&args.out, &args.runs[..]) {
        (Some(out), _) => out.clone(),
        (None, [run]) => run.join("report.html"),
        (None, _) => bail!("name the file for a report on several runs: --out report.html"),
    };
    if out.is_dir() {
        bail!("--out must be a file, and `{}` is a folder", out.display());
    }
    let device = place::open(&args.device, "f32")?.device;
    let mut runs = args
        .runs
        .iter()
        .map(|folder| Run::read(folder))
        .collect::<Result<Vec<_>>>()?;
    distinguish(&mut runs);
    let relations: Vec<_> = runs.iter().map(|run| relations(run, &device)).collect();
    let html = page(&runs, &relations);
    files::write_atomically(&out, |file| Ok(file.write_all(html.as_bytes())?))?;
    files::print(&format!("{}\n", said(&runs, &out)))?;
    Ok(ExitCode::SUCCESS)
}

/// Summary of a written report, and how much had to be left out.
fn said(runs: &[Run], out: &std::path::Path) -> String {
    let problems: Vec<String> = runs
        .iter()
        .flat_map(|run| {
            run.problems
                .iter()
                .map(|problem| format!("{}: {problem}", run.name))
        })
        .collect();
    let mut lines = problems;
    lines.push(format!("{} written", out.display()));
    lines.join("\n")
}
