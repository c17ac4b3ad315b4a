//! `sadm sweep`: samplers measured against each other.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::files;

mod cell;
mod order;
mod plot;
mod sampler;

const EXAMPLE: &str = "\
Examples:
  sadm sweep sampler --run runs/digits --out sweep
  sadm sweep sampler --run runs/digits --samplers heun,dpmpp-2m --nfe 5,9,18,35 --out sweep.json
  sadm sweep order
  sadm sweep order --run runs/digits --out order.json";

/// The arguments of `sadm sweep`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Quality against the number of evaluations of the denoiser
    #[command(
        after_help = "Example:\n  sadm sweep sampler --run runs/digits --samplers heun,dpmpp-2m --nfe 5,9,18,35 --out sweep"
    )]
    Sampler(sampler::Args),
    /// Order of convergence: on a law with an exact denoiser, or on a run
    #[command(after_help = "Example:\n  sadm sweep order --run runs/digits --out order.json")]
    Order(order::Args),
}

/// Answers one of the two.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::Sampler(args) => sampler::run(args),
        What::Order(args) => order::run(args),
    }
}

/// Where results go: one `.json`, or a folder for all files.
#[derive(Debug, Clone)]
enum Out {
    Json(PathBuf),
    Folder(PathBuf),
}

impl Out {
    /// By the ending: none is a folder.
    fn of(path: &std::path::Path) -> Result<Self> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("json") => {
                files::refuse_unwritable(path)?;
                Ok(Self::Json(path.to_owned()))
            }
            None => {
                files::refuse_file(path)?;
                Ok(Self::Folder(path.to_owned()))
            }
            Some(_) => bail!(
                "--out must be a folder or end in .json, got `{}`",
                path.display()
            ),
        }
    }

    /// The JSON, and in a folder the table and the picture beside it, all named `name`.
    fn write(
        &self,
        name: &str,
        json: &impl Serialize,
        table: &str,
        picture: Option<String>,
    ) -> Result<()> {
        let json = serde_json::to_string_pretty(json)? + "\n";
        let (folder, others) = match self {
            Self::Json(path) => return write(path, &json),
            Self::Folder(folder) => (folder, [("md", Some(table.to_owned())), ("svg", picture)]),
        };
        std::fs::create_dir_all(folder)
            .map_err(|e| anyhow::anyhow!("cannot create `{}`: {e}", folder.display()))?;
        for (ending, text) in others {
            if let Some(text) = text {
                write(&folder.join(format!("{name}.{ending}")), &text)?;
            }
        }
        write(&folder.join(format!("{name}.json")), &json)
    }
}

fn write(path: &std::path::Path, text: &str) -> Result<()> {
    files::write_atomically(path, |out| {
        Ok(std::io::Write::write_all(out, text.as_bytes())?)
    })
}
