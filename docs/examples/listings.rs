//! Cuts the functions that the book shows out of the sources; see [`sadm_docs::listings`].

use std::path::Path;

use anyhow::Result;

fn main() -> Result<()> {
    let count = sadm_docs::listings::write(Path::new("."))?;
    println!("{count} listings in {}", sadm_docs::listings::FOLDER);
    Ok(())
}
