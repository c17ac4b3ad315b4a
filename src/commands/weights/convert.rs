//! `sadm weights convert`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use sadm_gpu::Error;
use sadm_gpu::weights::Weights;
use sadm_gpu::weights::layout::{Ask, chosen, convert, layout};

use super::first_of;
use crate::files;
use crate::progress::say;

/// The arguments of `sadm weights convert`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file
    file: PathBuf,
    /// The layout to write (see `sadm weights list`)
    #[arg(long, value_name = "LAYOUT")]
    to: String,
    /// The file to write, of safetensors
    #[arg(long, value_name = "FILE.safetensors")]
    out: PathBuf,
    /// The dictionary to take, such as ema or model [default: averaged weights where there are some]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The layout of the file, where names and shapes allow several
    #[arg(long, value_name = "LAYOUT")]
    from: Option<String>,
    /// Side of the network's input, where names or tables hold it and the file does not
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
}

/// Converts a file.
pub fn run(args: &Args) -> Result<()> {
    let to = layout(&args.to)?;
    if args
        .out
        .extension()
        .is_none_or(|ending| ending != "safetensors")
    {
        bail!(
            "--out must end with .safetensors, got `{}`",
            args.out.display()
        );
    }
    let weights = Weights::open(&args.file)?;
    let part = weights.part(args.key.as_deref())?;
    files::refuse_unwritable(&args.out)?;
    let wrong = |problem: String| Error::file(&args.file, problem);
    let from = args.from.as_deref().map(layout).transpose()?;
    let recognised = chosen(part.recognised(), from, Some(to)).map_err(wrong)?;
    let ask = Ask { size: args.size };
    let conversion = convert(&part, &recognised, to, &ask).map_err(wrong)?;
    let mut metadata = weights.metadata().clone();
    let mut put = |key: &str, value: String| metadata.insert(key.to_owned(), value);
    put("format", "pt".to_owned());
    put("layout", to.name.to_owned());
    put("config", conversion.found.config.to_string());
    put("source_sha256", weights.digest().to_owned());
    put("made_by", format!("sadm {}", env!("CARGO_PKG_VERSION")));
    if let Some(averaged) = part.averaged() {
        put("averaged", averaged.to_string());
    }
    files::write_atomically(&args.out, |out| {
        Ok(conversion.write(out, &metadata, &args.file)?)
    })?;
    for remark in &conversion.remarks {
        say(&format!("note: {remark}"));
    }
    if !conversion.left_out.is_empty() {
        say(&format!(
            "not taken over: {} tensors: {}",
            conversion.left_out.len(),
            first_of(&conversion.left_out)
        ));
    }
    let of = part
        .key()
        .map_or(String::new(), |key| format!(" from `{key}`"));
    Ok(files::print(&format!(
        "{} tensors of {}{of} written as {} to {}\n",
        conversion.found.shapes.len(),
        recognised.layout.name,
        to.name,
        args.out.display()
    ))?)
}
