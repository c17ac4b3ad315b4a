//! `sadm network`: networks of published files, asked for their tensors and for what they answer.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use clap::Subcommand;
use sadm::gpu::network::autoencoder::{AUTOENCODERS, Family};
use sadm::gpu::network::{ARCHITECTURES, Architecture, architecture, config_of_json};
use toml::Table;

use crate::files;
use crate::names::nearest;

mod autoencoder;
mod forward;
mod shapes;

/// A network of either registry.
#[derive(Debug, Clone, Copy)]
enum Known {
    Denoiser(&'static Architecture),
    Autoencoder(&'static Family),
}

impl Known {
    fn all() -> impl Iterator<Item = Self> {
        let denoisers = ARCHITECTURES.iter().map(Self::Denoiser);
        denoisers.chain(AUTOENCODERS.iter().map(Self::Autoencoder))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Denoiser(network) => network.name,
            Self::Autoencoder(family) => family.name,
        }
    }

    fn sizes(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Denoiser(network) => network.sizes,
            Self::Autoencoder(family) => family.sizes,
        }
    }

    /// Names of the inputs.
    fn inputs(self) -> Vec<&'static str> {
        match self {
            Self::Denoiser(network) => {
                let inputs = network.inputs;
                let asked = ["x", inputs.noise, inputs.labels];
                asked.into_iter().chain(inputs.augment).collect()
            }
            Self::Autoencoder(_) => vec!["x", "z"],
        }
    }
}

const EXAMPLE: &str = "\
Examples:
  sadm network list
  sadm network shapes dit-xl-2
  sadm network shapes dit --config config.json
  sadm network forward --architecture dit --config config.json --weights weights.safetensors \\
      --input io.safetensors --output answer.safetensors --gradients

A configuration is a JSON object with the keys of the published code, such as
{\"input_size\": 8, \"patch_size\": 2, \"in_channels\": 4, \"hidden_size\": 48, \"depth\": 2, \"num_heads\": 4, \"num_classes\": 5}.";

/// The arguments of `sadm network`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The networks, what their inputs are called, and configurations with names of their own
    List,
    /// Name, shape and numbers of every tensor, their sum and their fingerprint; takes no memory for them
    Shapes {
        /// A network, or a configuration with a name, as `sadm network list` has them
        name: String,
        /// Its configuration, a JSON file
        #[arg(long, value_name = "FILE.json")]
        config: Option<PathBuf>,
    },
    /// Output, and gradients of Σ output·probe, for given weights and inputs
    Forward(forward::Args),
}

/// Answers.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::List => files::print(&list())?,
        Command::Shapes { name, config } => {
            let (network, config) = resolved(name, config.as_deref())?;
            files::print(&shapes::table(network, &config)?)?;
        }
        Command::Forward(args) => forward::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Every network with its inputs and named configurations.
fn list() -> String {
    let line = |network: Known| {
        let sizes: Vec<&str> = network.sizes().iter().map(|(name, _)| *name).collect();
        let sizes = match &sizes[..] {
            [] => String::new(),
            sizes => format!("\tconfigurations {}", sizes.join(", ")),
        };
        let inputs = network.inputs().join(", ");
        format!("{}\tinputs {inputs}{sizes}\n", network.name())
    };
    Known::all().map(line).collect()
}

/// The network `name` with its configuration: that of the file, or its own if it has a name.
fn resolved(name: &str, config: Option<&Path>) -> Result<(Known, Table)> {
    let given = || config.map(read).transpose();
    let mut sizes =
        Known::all().flat_map(|network| network.sizes().iter().map(move |size| (network, size)));
    if let Some((network, (_, text))) = sizes.find(|(_, (size, _))| *size == name) {
        let own = text.parse().context("a named configuration")?;
        return Ok((network, given()?.unwrap_or(own)));
    }
    if let Some(network) = Known::all().find(|known| known.name() == name) {
        return Ok((network, given()?.unwrap_or_default()));
    }
    let known = Known::all().flat_map(|n| n.sizes().iter().map(|(size, _)| *size));
    let names = AUTOENCODERS.iter().map(|family| family.name);
    Err(
        match (nearest(name, known.chain(names)), architecture(name)) {
            (Some(near), _) => anyhow!("unknown network `{name}`; did you mean `{near}`?"),
            (None, Err(error)) => error.into(),
            (None, Ok(known)) => {
                anyhow!("unknown network `{name}`; did you mean `{}`?", known.name)
            }
        },
    )
}

/// A configuration from a file.
fn read(path: &Path) -> Result<Table> {
    let bytes = files::read(path)?;
    let Ok(text) = String::from_utf8(bytes) else {
        bail!("`{}` must be a JSON file, it is no text", path.display());
    };
    config_of_json(&text).with_context(|| format!("in `{}`", path.display()))
}
