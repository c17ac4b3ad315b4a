//! `sadm weights`: what a file of weights is, and the same weights by other names.

mod convert;
mod inspect;
mod list;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

const EXAMPLE: &str = "\
Examples:
  sadm weights list
  sadm weights inspect runs/digits/checkpoints/00000900/theta.average.safetensors
  sadm weights inspect DiT-XL-2-256x256.pt --json
  sadm weights convert DiT-XL-2-256x256.pt --to dit-diffusers --out dit.safetensors
  sadm weights convert 64x64_diffusion.pt --to edm-dhariwal-unet --out adm.safetensors

Nothing in a file is run. Files of torch.save (.pt, .pth, .th, .bin, .ckpt) and of safetensors are read, whatever their ending.";

/// The arguments of `sadm weights`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the layouts: by which names programs store which network
    List,
    /// Say what a file is: layout, tensors, parameters, what is missing or left over
    Inspect(inspect::Args),
    /// Write the same weights in another layout, as safetensors
    Convert(convert::Args),
}

/// Runs a subcommand.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::List => list::run()?,
        Command::Inspect(args) => inspect::run(args)?,
        Command::Convert(args) => convert::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The first few of many names.
fn first_of(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(", … and {more} more"),
    };
    format!("{}{more}", shown.join(", "))
}
