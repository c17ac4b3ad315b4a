//! MNIST in its idx files.

use super::{BYTES, Dataset, pixel, read};
use crate::error::{Error, Result};
use flate2::read::GzDecoder;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Which part of MNIST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// The 60 000 training images.
    Train,
    /// The 10 000 test images.
    Test,
}

/// Magic number of unsigned bytes in three dimensions.
const IMAGES: u32 = 0x0803;
/// Magic number of unsigned bytes in one dimension.
const LABELS: u32 = 0x0801;
const REMEDY: &str = "get the four MNIST files, for instance from \
    https://storage.googleapis.com/cvdf-datasets/mnist/, and put them there";

pub(super) fn load(dir: &Path, split: Split) -> Result<Dataset> {
    let stem = match split {
        Split::Train => "train",
        Split::Test => "t10k",
    };
    let (sizes, pixels, path) = idx(dir, &format!("{stem}-images-idx3-ubyte"), IMAGES)?;
    let (_, labels, labels_path) = idx(dir, &format!("{stem}-labels-idx1-ubyte"), LABELS)?;
    if labels.len() != sizes[0] {
        let problem = format!(
            "holds {} labels, but {} holds {} images",
            labels.len(),
            path.display(),
            sizes[0]
        );
        return Err(Error::file(labels_path, problem));
    }
    let data = Dataset::new(
        "mnist",
        [1, sizes[1], sizes[2]],
        pixels.into_iter().map(pixel).collect(),
        labels.into_iter().map(u32::from).collect(),
        10,
    )?;
    Ok(data.with_spacing(BYTES))
}

/// Sizes, bytes and path of one idx file; the low byte of `magic` is its number of dimensions.
fn idx(dir: &Path, name: &str, magic: u32) -> Result<(Vec<usize>, Vec<u8>, PathBuf)> {
    let (bytes, path) = contents(dir, name)?;
    let word = |i: usize| {
        let word = bytes.get(4 * i..4 * i + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(word))
    };
    match word(0) {
        Some(found) if found == magic => {}
        found => {
            let got = found.map_or("nothing".to_owned(), |m| format!("{m:#010x}"));
            let problem =
                format!("not this kind of idx file: magic {magic:#010x} expected, got {got}");
            return Err(Error::file(path, problem));
        }
    }
    let dimensions = (magic & 0xff) as usize;
    let sizes: Option<Vec<usize>> = (1..=dimensions).map(|i| Some(word(i)? as usize)).collect();
    let header = 4 * (1 + dimensions);
    let expected = sizes.as_ref().and_then(|sizes| {
        sizes
            .iter()
            .try_fold(1usize, |n, size| n.checked_mul(*size))
    });
    match (sizes, expected) {
        (Some(sizes), Some(expected)) if bytes.len() - header == expected => {
            Ok((sizes, bytes[header..].to_vec(), path))
        }
        (_, expected) => {
            let problem = format!(
                "truncated or overlong: {} bytes of data expected, got {}",
                expected.map_or("more".to_owned(), |n| n.to_string()),
                bytes.len().saturating_sub(header)
            );
            Err(Error::file(path, problem))
        }
    }
}

/// The decompressed bytes of `name.gz`, or those of `name` if only that exists.
fn contents(dir: &Path, name: &str) -> Result<(Vec<u8>, PathBuf)> {
    let plain = dir.join(name);
    let packed = dir.join(format!("{name}.gz"));
    if plain.exists() && !packed.exists() {
        return Ok((read(&plain, REMEDY)?, plain));
    }
    let mut bytes = Vec::new();
    GzDecoder::new(read(&packed, REMEDY)?.as_slice())
        .read_to_end(&mut bytes)
        .map_err(|error| Error::file(&packed, format!("truncated or not gzip: {error}")))?;
    Ok((bytes, packed))
}
