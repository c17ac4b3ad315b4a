//! Ties the built book and its rustdoc together; see [`sadm_docs::links`].

use std::env;
use std::path::PathBuf;

use anyhow::Result;

fn main() -> Result<()> {
    let book = env::args_os()
        .nth(1)
        .map_or_else(|| "docs/book".into(), PathBuf::from);
    let summary = sadm_docs::links::tie(&book)?;
    println!(
        "{} labels: {} links to the code, {} links back, {} items named, none dead",
        summary.labels, summary.forth, summary.back, summary.named
    );
    Ok(())
}
