//! Files written whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Writes `path` through a temporary file beside it: write, sync, rename.
///
/// A reader sees the old file or the new one, never a part; on failure the temporary file is
/// removed.
///
/// # Errors
/// If the folder does not exist or cannot be written to.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
) -> Result<()> {
    let temporary = temporary_beside(path);
    let written = File::create(&temporary)
        .map_err(anyhow::Error::from)
        .and_then(|file| {
            let mut out = BufWriter::new(file);
            write(&mut out)?;
            out.flush()?;
            out.get_ref().sync_all()?;
            fs::rename(&temporary, path)?;
            Ok(())
        });
    if written.is_err() {
        // The first failure is the one to report; there may be nothing to remove.
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(|| format!("cannot write `{}`", path.display()))
}

/// A name in the same folder, so that the rename stays on one file system.
fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".tmp-{}", std::process::id()));
    path.with_file_name(name)
}

/// Refuses a file that [`write_atomically`] could not write, before the work whose result it is to hold.
///
/// # Errors
/// If its folder is missing or cannot be written to, or `path` is a folder.
pub fn refuse_unwritable(path: &Path) -> Result<()> {
    let tried = || -> io::Result<()> {
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let temporary = temporary_beside(path);
        File::create(&temporary)?;
        fs::remove_file(&temporary)
    };
    tried().with_context(|| format!("cannot write `{}`", path.display()))
}

/// Refuses an `--out` that is to be a folder and is something else.
///
/// # Errors
/// If there is a file of that name.
pub fn refuse_file(out: &Path) -> Result<()> {
    if out.exists() && !out.is_dir() {
        bail!("--out must be a folder, `{}` is a file", out.display());
    }
    Ok(())
}

/// The whole of a file.
///
/// # Errors
/// If it cannot be read; the message names it.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// Prints to standard output and hands back a closed pipe as an error instead of a panic.
///
/// # Errors
/// Whatever standard output answers; `main` treats a closed pipe as a normal end.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_refused_and_nothing_is_left() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("out.bin");
        refuse_unwritable(&path)?;
        assert!(refuse_unwritable(folder.path()).is_err());
        assert!(refuse_unwritable(&folder.path().join("none/out.bin")).is_err());
        fs::write(&path, "old")?;
        refuse_unwritable(&path)?;
        assert_eq!(fs::read(&path)?, b"old");
        assert_eq!(fs::read_dir(folder.path())?.count(), 1);
        Ok(())
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_beside_it() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("out.bin");
        write_atomically(&path, |out| Ok(out.write_all(b"old")?))?;
        let failed = write_atomically(&path, |out| {
            out.write_all(b"half")?;
            bail!("disk gone")
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path)?, b"old");
        assert_eq!(fs::read_dir(folder.path())?.count(), 1);
        Ok(())
    }
}
