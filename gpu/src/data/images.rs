//! User-supplied images, from a folder or an array.

use super::rules::{Found, Rules};
use super::{Dataset, pixel};
use crate::error::{Error, Result};
use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

/// Images, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Images {
    /// Channels (1 or 3), height and width.
    pub shape: [usize; 3],
    /// Their pixels.
    pub pixels: Pixels,
    /// Distance of neighbouring values of a pixel in [−1, 1], where they are discrete.
    pub spacing: Option<f64>,
    /// Class of each image, where it is known.
    pub labels: Option<Vec<u32>>,
    /// What the classes are called, where they have names.
    pub classes: Vec<String>,
    /// What reading them did.
    pub found: Found,
}

/// Pixels, each image `[C, H, W]` in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub enum Pixels {
    /// From 0 to 255, as they were read: a quarter of the room.
    Bytes(Vec<u8>),
    /// In [−1, 1].
    Reals(Vec<f32>),
}

impl Pixels {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Reals(reals) => reals.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of them, in [−1, 1]; a byte v is v/127.5 − 1.
    ///
    /// # Panics
    /// If the range does not lie within them.
    pub fn at(&self, range: Range<usize>) -> Cow<'_, [f32]> {
        match self {
            Self::Bytes(bytes) => Cow::Owned(bytes[range].iter().copied().map(pixel).collect()),
            Self::Reals(reals) => Cow::Borrowed(&reals[range]),
        }
    }

    /// All of them in [−1, 1], so many at a time.
    pub fn parts(&self, size: usize) -> impl Iterator<Item = Cow<'_, [f32]>> {
        let all = self.len();
        let part = move |first: usize| self.at(first..(first + size).min(all));
        (0..all).step_by(size.max(1)).map(part)
    }

    /// Bytes: a real is rounded to the nearest of them, and cut to what they hold, as when a picture is written.
    #[must_use]
    pub fn into_bytes(self) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(bytes),
            Self::Reals(reals) => Self::Bytes(reals.into_iter().map(byte).collect()),
        }
    }
}

/// The byte nearest to a pixel in [−1, 1]; halves go up, as in the pictures that are written.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=255"
)]
fn byte(pixel: f32) -> u8 {
    ((pixel + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8
}

/// Distance of neighbouring bytes in [−1, 1].
pub const BYTES: f64 = 2.0 / 255.0;

impl Images {
    /// Pixels of an image.
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of images.
    pub fn count(&self) -> usize {
        self.pixels.len() / self.size().max(1)
    }

    /// Images of one's own from a path: a folder of PNG pictures, one subfolder for each class or none, or a `.npz` file.
    ///
    /// # Errors
    /// Those of [`Images::of_folder`] and [`Images::of_npz`]; a path that is neither.
    pub fn read(path: &Path, rules: Rules) -> Result<Self> {
        if path.is_dir() {
            return Self::of_folder(path, rules);
        }
        if path.extension().is_some_and(|ending| ending == "npz") {
            return Self::of_npz(path, rules);
        }
        let problem = if path.exists() {
            "must be a folder of PNG pictures or a .npz file"
        } else {
            "there is no such folder or file; data.dir names a folder of PNG pictures or a .npz file"
        };
        Err(Error::file(path, problem))
    }

    /// With pixels of bytes, as every published tool reads pictures.
    #[must_use]
    pub fn into_bytes(self) -> Self {
        Self {
            pixels: self.pixels.into_bytes(),
            spacing: Some(BYTES),
            ..self
        }
    }

    /// As the data set called `name`; without labels all are of one class.
    ///
    /// # Errors
    /// No image at all, pixels outside [−1, 1].
    pub fn into_dataset(self, name: &str) -> Result<Dataset> {
        let labels = self.labels.clone().unwrap_or_else(|| vec![0; self.count()]);
        let most = labels.iter().copied().max().unwrap_or(0) as usize;
        let mut images = match self.pixels {
            Pixels::Reals(reals) => reals,
            bytes @ Pixels::Bytes(_) => bytes.at(0..bytes.len()).into_owned(),
        };
        if self.found.beyond > 0 {
            for v in &mut images {
                *v = v.clamp(-1.0, 1.0);
            }
        }
        let classes = (most + 1).max(self.classes.len());
        Ok(Dataset {
            class_names: self.classes,
            spacing: self.spacing,
            found: self.found,
            ..Dataset::new(name, self.shape, images, labels, classes)?
        })
    }
}
