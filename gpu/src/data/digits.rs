//! The embedded UCI optical digits.

use super::Dataset;
use crate::error::{Error, Result};
use flate2::read::GzDecoder;
use std::io::Read;

/// 1797 lines of 64 integers 0..=16 and a label; see `fixtures/README.md`.
const DIGITS: &[u8] = include_bytes!("../../../fixtures/digits.csv.gz");
const NAME: &str = "fixtures/digits.csv.gz";
const PIXELS: usize = 64;

pub(super) fn load() -> Result<Dataset> {
    let mut text = String::new();
    GzDecoder::new(DIGITS)
        .read_to_string(&mut text)
        .map_err(|error| Error::io("decompress", NAME, error))?;
    let mut images = Vec::new();
    let mut labels = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let (pixels, label) = parse(line).ok_or_else(|| {
            let problem = format!("line {} is not {PIXELS} pixels and a label", number + 1);
            Error::file(NAME, problem)
        })?;
        images.extend(pixels);
        labels.push(label);
    }
    let data = Dataset::new("digits", [1, 8, 8], images, labels, 10)?;
    Ok(data.with_spacing(2.0 / 16.0))
}

/// The pixels v/8 − 1 and the label of one line.
fn parse(line: &str) -> Option<(Vec<f32>, u32)> {
    let (pixels, label) = line.rsplit_once(',')?;
    let pixels: Vec<f32> = pixels
        .split(',')
        .map(|v| v.parse::<u8>().ok().map(|v| f32::from(v) / 8.0 - 1.0))
        .collect::<Option<_>>()?;
    let label = label.trim_end().parse().ok()?;
    (pixels.len() == PIXELS).then_some((pixels, label))
}
