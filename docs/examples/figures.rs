//! Draws the book's figures into a folder; see [`sadm_docs::figures`].

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use sadm_docs::figures;

fn main() -> Result<()> {
    let folder = env::args_os()
        .nth(1)
        .map_or_else(|| figures::FOLDER.into(), PathBuf::from);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for figure in figures::all()? {
        let path = folder.join(figure.name).with_extension("html");
        fs::write(&path, figure.html())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
