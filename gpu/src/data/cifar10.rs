//! CIFAR-10 in its official binary batches.

use super::{BYTES, Dataset, pixel, read};
use crate::error::{Error, Result};
use std::path::Path;

/// Bytes of an image: planes R, G, B of 32×32.
const PIXELS: usize = 3 * 32 * 32;
/// Bytes of a record: the label and the image.
const RECORD: usize = 1 + PIXELS;
/// The classes in the order of their numbers, from `batches.meta.txt` of the official archive.
pub(super) const NAMES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];
const BATCHES: usize = 5;
const REMEDY: &str = "get https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz and unpack its \
    five data_batch_N.bin files there";

pub(super) fn load(dir: &Path) -> Result<Dataset> {
    let mut images = Vec::new();
    let mut labels = Vec::new();
    for number in 1..=BATCHES {
        let path = dir.join(format!("data_batch_{number}.bin"));
        let bytes = read(&path, REMEDY)?;
        let (records, rest) = bytes.as_chunks::<RECORD>();
        if records.is_empty() || !rest.is_empty() {
            let problem = format!(
                "truncated: a whole number of {RECORD}-byte records expected, got {} bytes",
                bytes.len()
            );
            return Err(Error::file(path, problem));
        }
        for (index, [label, pixels @ ..]) in records.iter().enumerate() {
            if usize::from(*label) >= NAMES.len() {
                let problem = format!("not CIFAR-10: record {index} has label {label}, above 9");
                return Err(Error::file(path, problem));
            }
            labels.push(u32::from(*label));
            images.extend(pixels.iter().copied().map(pixel));
        }
    }
    let data = Dataset::new("cifar10", [3, 32, 32], images, labels, NAMES.len())?;
    Ok(Dataset {
        class_names: NAMES.map(str::to_owned).to_vec(),
        ..data.with_spacing(BYTES)
    })
}
