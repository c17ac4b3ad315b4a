//! `sadm oracle`: quantities of the exact f64 reference, for implementations in any language.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use ndarray::ArrayViewD;
use sadm_oracle::{Answer, Options, Port, QUANTITIES, Quantity, find, names, symbols};
use serde::Serialize;
use serde_json::Value;

use crate::files;
use crate::tensors::{self, Tensors};

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
struct Printed<'a> {
    quantity: &'static str,
    scalars: BTreeMap<&'static str, f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    bounds: &'a BTreeMap<&'static str, f64>,
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
    let quantity = find(&args.quantity)?;
    let options = Options::resolve(quantity.options, &args.settings)?;
    let inputs = read_inputs(quantity, args)?;
    let answer = quantity.answer_with_bounds(&inputs, options)?;
    if let Some(note) = &answer.note {
        // Standard error may be closed; the answer stands without the note.
        let _ = writeln!(io::stderr(), "note: {note}");
    }
    if let Some(path) = &args.output {
        tensors::write(path, answer.named())?;
    }
    let printed = Printed {
        quantity: quantity.name,
        scalars: answer.scalars(),
        bounds: &answer.bounds,
        parameters: &answer.options,
        inputs: inputs
            .iter()
            .map(|(name, x)| (name.as_str(), x.shape()))
            .collect(),
        shapes: (answer.named())
            .map(|(name, x)| (name, x.shape()))
            .collect(),
        values: match args.output {
            None => small(&answer),
            Some(_) => BTreeMap::new(),
        },
        output: args.output.as_ref().map(|path| path.display().to_string()),
    };
    files::print(&format!("{}\n", serde_json::to_string(&printed)?))?;
    Ok(ExitCode::SUCCESS)
}

/// The input tensors; none for a quantity that has no input.
fn read_inputs(quantity: &Quantity, args: &Args) -> Result<Tensors<'static>> {
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
    let (required, optional) = (names(quantity.inputs), names(quantity.optional));
    match &args.input {
        Some(path) => tensors::read_exactly(path, &required, &optional),
        None => tensors::parse_exactly(&args.tensors, &required, &optional),
    }
}

/// Tensors with at most this many elements are printed.
const SMALL: usize = 64;

/// The small outputs that are no scalars, as lists of lists; λ's limit ±∞, which JSON has no number for, is null.
fn small(answer: &Answer) -> BTreeMap<&'static str, Value> {
    let ports = answer.quantity.outputs.iter().zip(&answer.outputs);
    ports
        .filter(|(port, x)| !port.is_scalar() && x.len() <= SMALL)
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
