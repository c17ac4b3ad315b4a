//! Peak memory of an item on each side, in a process of its own for each.

use std::process::Command;

use candle_core::Device;
use sadm::gpu::memory::peak_of_process;
use serde_json::Value;

use super::items::Item;
use super::theirs::Python;
use super::{Options, Outcome};

/// Tells a process that it measures the memory of one item.
pub const PEAK_OF: &str = "--peak-of";
/// Calls after which memory no longer grows: the first makes the moments of the optimiser, the second runs beside them.
const CALLS: usize = 3;

/// The most memory of a process, and that beyond what it held before, in bytes.
struct Peak {
    whole: f64,
    beyond: f64,
}

/// A line of the table.
pub fn line(name: &str, what: &Value, options: &Options) -> Outcome<String> {
    let ours = ours(name, options)?;
    let theirs = options.python.as_deref().filter(|_| !what.is_null());
    let theirs = theirs.map(|python| theirs_of(name, what, python, options));
    let (theirs, ratio) = match theirs.transpose()? {
        None => ("–".to_owned(), "–".to_owned()),
        Some(theirs) => (
            mebibytes(&theirs),
            format!(
                "{:.2} ({:.2})",
                ours.whole / theirs.whole,
                ours.beyond / theirs.beyond
            ),
        ),
    };
    let ours = mebibytes(&ours);
    let label = "  peak memory, MiB (beyond the libraries)";
    let line = format!("{label:<44}{ours:>22}{theirs:>22}{ratio:>24}");
    Ok(if options.memory {
        format!("{name}\n{line}")
    } else {
        line
    })
}

fn mebibytes(peak: &Peak) -> String {
    let [whole, beyond] = [peak.whole, peak.beyond].map(|bytes| bytes / f64::from(1 << 20));
    format!("{whole:.0} ({beyond:.0})")
}

/// Our side, by this program started again.
fn ours(name: &str, options: &Options) -> Outcome<Peak> {
    let output = Command::new(std::env::current_exe()?)
        .args([PEAK_OF, name, "--threads", &options.threads.to_string()])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().flat_map(str::parse).collect();
    let [whole, beyond] = numbers[..] else {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("memory of {name}: {why}").into());
    };
    Ok(Peak { whole, beyond })
}

/// What [`ours`] reads.
pub fn print_own(name: &str, items: Vec<Item>, device: &Device) -> Outcome<()> {
    let item = items.into_iter().find(|item| item.name == name);
    let item = item.ok_or_else(|| format!("no item called {name}"))?;
    let missing = "the system does not say how much memory a process has";
    let [_, before] = peak_of_process().ok_or(missing)?;
    let mut work = (item.make)(device)?;
    for _ in 0..CALLS {
        (work.call)()?;
    }
    let [most, _] = peak_of_process().ok_or(missing)?;
    println!("{most} {}", most - before);
    Ok(())
}

/// PyTorch's side; it is called three times when it is made.
fn theirs_of(name: &str, what: &Value, python: &str, options: &Options) -> Outcome<Peak> {
    let mut python = Python::start(python, &options.device)?;
    let [_, before] = python.memory()?;
    python.make(name, what, "eager")??;
    let [whole, _] = python.memory()?;
    Ok(Peak {
        whole,
        beyond: whole - before,
    })
}
