//! `sadm oracle`: quantities of the exact f64 reference, for implementations in any language.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use ndarray::ArrayViewD;
use serde::Serialize;
use serde_json::Value;

use crate::files;
use crate::tensors::{self, Tensors};
use options::Options;
use quantity::{Outputs, Port, Quantity, symbols};
use registry::QUANTITIES;

mod coupling;
mod denoise;
mod edm;
mod forward;
mod joint;
mod metrics;
mod options;
mod quantity;
mod registry;
mod schedule;
mod structure;

const EXAMPLE: &str = "\
Examples:
  sadm oracle list
  sadm oracle structural-loss --input features.safetensors --set relation=rbf \\
      --set bandwidth=2 --output answer.safetensors
  sadm oracle edm-sigmas --set steps=18 --output sigmas.safetensors
  sadm oracle transition --tensor 's=[0.25]' --tensor 't=[0.5]'

The input holds tensors named as in `sadm oracle list`, f32 or f64 (labels may be i64, i32 or u8); the output is f64. A few
numbers can stand on the command line instead, as lists of lists. One JSON object on standard
output gives the scalars, the parameters used and the shapes, and small tensors themselves where
no file is written; for quantities that may cancel, `bounds` says how far a scalar can be from the exact value (running-error bound).";

/// The arguments of `sadm oracle`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// The quantity, or `list` for the table of all of them
    quantity: String,
    /// The input tensors, a safetensors file
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// An input tensor in place of a file, as `NAME=[[1, 2], [3, 4]]`; may be given again for others
    #[arg(long = "tensor", value_name = "NAME=NUMBERS", conflicts_with = "input")]
    tensors: Vec<String>,
    /// An option of the quantity; may be given again for others
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Where the output tensors go, a safetensors file; without it only the JSON is printed
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Printed answer, field by field.
#[derive(Serialize)]
struct Answer<'a> {
    quantity: &'static str,
    scalars: BTreeMap<&'static str, f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    bounds: BTreeMap<&'static str, f64>,
    parameters: &'a Options,
    inputs: BTreeMap<&'a str, &'a [usize]>,
    shapes: BTreeMap<&'static str, &'a [usize]>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    values: BTreeMap<&'static str, Value>,
    output: Option<String>,
}

/// Computes one quantity, or prints the table.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.quantity == "list" {
        files::print(&table())?;
        return Ok(ExitCode::SUCCESS);
    }
    let quantity = registry::find(&args.quantity)?;
    let options = Options::resolve(quantity.options, &args.settings)?;
    let inputs = read_inputs(quantity, args)?;
    let outputs = (quantity.compute)(&inputs, &options)?;
    refuse_overflow(quantity, &inputs, &outputs)?;
    let bounds = match quantity.bounds {
        Some(bounds) => bounds(&inputs, &options)?,
        None => BTreeMap::new(),
    };
    if let Some(path) = &args.output {
        tensors::write(path, named(quantity.outputs, &outputs))?;
    }
    let answer = Answer {
        quantity: quantity.name,
        scalars: scalars(quantity, &outputs),
        bounds,
        parameters: &options,
        inputs: inputs
            .iter()
            .map(|(name, x)| (name.as_str(), x.shape()))
            .collect(),
        shapes: named(quantity.outputs, &outputs)
            .map(|(name, x)| (name, x.shape()))
            .collect(),
        values: match args.output {
            None => small(quantity, &outputs),
            Some(_) => BTreeMap::new(),
        },
        output: args.output.as_ref().map(|path| path.display().to_string()),
    };
    files::print(&format!("{}\n", serde_json::to_string(&answer)?))?;
    Ok(ExitCode::SUCCESS)
}

/// The checked input tensors; none for a quantity that has no input.
fn read_inputs(quantity: &Quantity, args: &Args) -> Result<Tensors> {
    let given = args.input.is_some() || !args.tensors.is_empty();
    if !given && quantity.inputs.is_empty() {
        return Ok(Tensors::new());
    }
    if !given {
        bail!(
            "{} needs --input FILE with {}, or --tensor NAME=NUMBERS for each",
            quantity.name,
            ports(quantity.inputs)
        );
    }
    if quantity.inputs.is_empty() {
        let option = args.input.as_ref().map_or("--tensor", |_| "--input");
        bail!("{} takes no {option}, only --set options", quantity.name);
    }
    let names = |ports: &'static [Port]| -> Vec<&str> { ports.iter().map(|p| p.name).collect() };
    let (required, optional) = (names(quantity.inputs), names(quantity.optional));
    let tensors = match &args.input {
        Some(path) => tensors::read_exactly(path, &required, &optional)?,
        None => tensors::parse_exactly(&args.tensors, &required, &optional)?,
    };
    let ports = quantity.inputs.iter().chain(quantity.optional);
    quantity::check_shapes(ports, &tensors)?;
    Ok(tensors)
}

/// Tensors with at most this many elements are printed.
const SMALL: usize = 64;

/// The small outputs that are no scalars, as lists of lists; λ's limit ±∞, which JSON has no number for, is null.
fn small(quantity: &Quantity, outputs: &Outputs) -> BTreeMap<&'static str, Value> {
    let tensors = quantity.outputs.iter().zip(outputs);
    tensors
        .filter(|(port, x)| port.shape != ["1"] && x.len() <= SMALL)
        .map(|(port, x)| (port.name, nested(x.view())))
        .collect()
}

/// A tensor as a list of lists.
fn nested(x: ArrayViewD<'_, f64>) -> Value {
    match x.ndim() {
        0 => x.first().map_or(Value::Null, |&value| Value::from(value)),
        _ => x.outer_iter().map(nested).collect(),
    }
}

/// Each output beside its name.
fn named<'a>(
    ports: &'static [Port],
    outputs: &'a Outputs,
) -> impl Iterator<Item = (&'static str, &'a ndarray::ArrayD<f64>)> {
    ports.iter().map(|port| port.name).zip(outputs)
}

/// The outputs declared as one number.
fn scalars(quantity: &Quantity, outputs: &Outputs) -> BTreeMap<&'static str, f64> {
    quantity
        .outputs
        .iter()
        .zip(outputs)
        .filter(|(port, _)| port.shape == ["1"])
        .filter_map(|(port, x)| Some((port.name, *x.first()?)))
        .collect()
}

/// An output that is infinite or NaN is refused by name, except λ, whose limit ±∞ is a value.
fn refuse_overflow(quantity: &Quantity, inputs: &Tensors, outputs: &Outputs) -> Result<()> {
    for (name, tensor) in named(quantity.outputs, outputs) {
        match tensors::first_non_finite(tensor) {
            Some((_, value)) if name == "lambda" && !value.is_nan() => {}
            Some((index, value)) => {
                bail!(
                    "`{name}` is {value} at {index}: the inputs are too large or too small for f64{}",
                    extremes(inputs)
                )
            }
            None => {}
        }
    }
    Ok(())
}

/// `; they reach from 1e-200 at `t` [0] to …`: the elements that most probably are to blame.
fn extremes(inputs: &Tensors) -> String {
    let elements = || {
        inputs.iter().flat_map(|(name, x)| {
            x.indexed_iter()
                .filter(|(_, value)| **value != 0.0)
                .map(move |(index, value)| (value.abs(), *value, name, index))
        })
    };
    let least = elements().min_by(|a, b| a.0.total_cmp(&b.0));
    let most = elements().max_by(|a, b| a.0.total_cmp(&b.0));
    let (Some(least), Some(most)) = (least, most) else {
        return String::new();
    };
    let place = |(_, value, name, index): (f64, f64, &String, ndarray::IxDyn)| {
        let index = ndarray::Dimension::slice(&index).to_vec();
        format!("{value:e} (`{name}` {index:?})")
    };
    format!(
        "; the one nearest to zero is {}, the largest {}",
        place(least),
        place(most)
    )
}

/// The table of `sadm oracle list`.
fn table() -> String {
    QUANTITIES
        .iter()
        .map(|quantity| entry(quantity))
        .collect::<Vec<_>>()
        .join("\n")
}

/// One quantity's block of the table.
fn entry(quantity: &Quantity) -> String {
    let mut lines = vec![quantity.name.to_owned()];
    lines.extend(quantity.formula.iter().map(|line| format!("  {line}")));
    let inputs = if quantity.inputs.is_empty() {
        "no file".to_owned()
    } else {
        ports(quantity.inputs)
    };
    lines.push(format!("  in   {inputs}"));
    if !quantity.optional.is_empty() {
        lines.push(format!("  or   {}", ports(quantity.optional)));
    }
    lines.extend(quantity.options.iter().map(|option| {
        let condition = option
            .only_with
            .map(|(key, words)| format!("; only with {key}={}", words().join("|")))
            .unwrap_or_default();
        format!(
            "  set  {}={}   (default {}{condition})",
            option.name,
            option.kind.domain(),
            option.default
        )
    }));
    lines.push(format!("  out  {}", ports(quantity.outputs)));
    lines.join("\n") + "\n"
}

/// `real [B, d], generated [B, d]`.
fn ports(ports: &[Port]) -> String {
    ports
        .iter()
        .map(|port| format!("{} {}", port.name, symbols(port.shape)))
        .collect::<Vec<_>>()
        .join(", ")
}
