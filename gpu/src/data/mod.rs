//! Data sets: the embedded digits, MNIST, CIFAR-10, and the user's own images.

mod arrays;
pub mod augment;
mod cifar10;
mod classes;
mod digits;
mod folder;
mod images;
mod kind;
mod mnist;
pub mod npz;
mod picture;
mod rules;

use crate::device::transfer::to_device;
use crate::digest::sha256_of;
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::path::Path;

pub use classes::Classes;
pub use images::{BYTES, Images, Pixels};
pub use kind::ImageKind;
pub use mnist::Split;
pub use rules::{Depth, Found, LeftOut, PixelRange, Rules, Unread};

/// Images in [−1, 1] with their classes, in host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// What it is called.
    pub name: String,
    /// Channels, height and width of an image.
    pub shape: [usize; 3],
    /// Pixels, image after image, each `[C, H, W]` in row-major order.
    pub images: Vec<f32>,
    /// Class of every image, below `classes`.
    pub labels: Vec<u32>,
    /// Number of classes.
    pub classes: usize,
    /// What they are called; none where they are numbers.
    pub class_names: Vec<String>,
    /// Distance of neighbouring values of a pixel, where they are discrete.
    pub spacing: Option<f64>,
    /// What reading the files did.
    pub found: Found,
}

impl Dataset {
    /// A data set from its parts.
    ///
    /// # Errors
    /// A number of pixels that is not images × C × H × W, a pixel outside [−1, 1], a label ≥
    /// `classes`, no image at all.
    pub fn new(
        name: impl Into<String>,
        shape: [usize; 3],
        images: Vec<f32>,
        labels: Vec<u32>,
        classes: usize,
    ) -> Result<Self> {
        let name = name.into();
        let pixels = labels.len() * shape.iter().product::<usize>();
        if labels.is_empty() || images.len() != pixels {
            let what = format!("number of pixels of {name}");
            let must = format!("be {} images × {shape:?} > 0", labels.len());
            return Err(Error::invalid(what, must, images.len()));
        }
        if let Some(pixel) = images.iter().find(|p| !(-1.0..=1.0).contains(*p)) {
            return Err(Error::invalid(
                format!("pixels of {name}"),
                "be in [−1, 1]",
                pixel,
            ));
        }
        if let Some(label) = labels.iter().find(|l| **l as usize >= classes) {
            let must = format!("be below {classes}");
            return Err(Error::invalid(format!("labels of {name}"), must, label));
        }
        Ok(Self {
            name,
            shape,
            images,
            labels,
            classes,
            class_names: Vec::new(),
            spacing: None,
            found: Found::default(),
        })
    }

    /// The UCI optical digits that this crate carries: 1797 images of 1×8×8, pixels v/8 − 1 for
    /// v in 0..=16, 10 classes.
    ///
    /// # Source
    /// Alpaydin and Kaynak, UCI Machine Learning Repository (CC BY 4.0), in the copy of scikit-learn.
    pub fn digits() -> Result<Self> {
        digits::load()
    }

    /// The training images of MNIST from `dir`: 60 000 of 1×28×28, pixels v/127.5 − 1.
    ///
    /// Reads `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, each with `.gz` or without.
    /// # Errors
    /// A missing file (with its full path and where to get it), a wrong magic number, a truncated or
    /// overlong file.
    pub fn mnist(dir: &Path) -> Result<Self> {
        mnist::load(dir, Split::Train)
    }

    /// One split of MNIST, as [`Dataset::mnist`]; the test images are 10 000 `t10k-…` ones.
    pub fn mnist_split(dir: &Path, split: Split) -> Result<Self> {
        mnist::load(dir, split)
    }

    /// The training images of CIFAR-10 from `dir`: 50 000 of 3×32×32, pixels v/127.5 − 1.
    ///
    /// Reads the official binary batches `data_batch_1.bin` … `data_batch_5.bin`.
    /// # Errors
    /// A missing file (with its full path and where to get it), a size that is not a whole number of
    /// records, a label above 9.
    pub fn cifar10(dir: &Path) -> Result<Self> {
        cifar10::load(dir)
    }

    /// Images of one's own: a folder of PNG pictures, one subfolder for each class or none, or a `.npz` file.
    ///
    /// # Errors
    /// Those of [`Images::read`] and [`Images::into_dataset`].
    pub fn images(path: &Path, rules: Rules) -> Result<Self> {
        Images::read(path, rules)?.into_dataset(&path.display().to_string())
    }

    /// With discrete pixels that lie this far apart.
    fn with_spacing(self, spacing: f64) -> Self {
        Self {
            spacing: Some(spacing),
            ..self
        }
    }

    /// Names of CIFAR-10's classes.
    pub fn cifar10_classes() -> [&'static str; 10] {
        cifar10::NAMES
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image (only an empty [`Dataset::subset`] is).
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The images with the given indices, in that order.
    ///
    /// # Panics
    /// If an index is not below [`Dataset::len`].
    #[must_use]
    pub fn subset(&self, indices: &[usize]) -> Self {
        let size: usize = self.shape.iter().product();
        Self {
            name: self.name.clone(),
            shape: self.shape,
            images: indices
                .iter()
                .flat_map(|&i| &self.images[i * size..(i + 1) * size])
                .copied()
                .collect(),
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
            classes: self.classes,
            class_names: self.class_names.clone(),
            spacing: self.spacing,
            found: self.found.clone(),
        }
    }

    /// The images with the given indices as a tensor, with their labels.
    ///
    /// # Shapes
    /// n indices → `[n, C, H, W]` and n labels.
    /// # Errors
    /// An index that is not below [`Dataset::len`].
    pub fn batch(
        &self,
        indices: &[usize],
        device: &Device,
        dtype: DType,
    ) -> Result<(Tensor, Vec<u32>)> {
        let [c, h, w] = self.shape;
        let Self { images, labels, .. } = self.chosen(indices)?;
        let images = to_device(images, (indices.len(), c, h, w), device)?;
        Ok((images.to_dtype(dtype)?, labels))
    }

    /// As [`Dataset::batch`] in f32, with left and right exchanged in the images that `flips` says.
    ///
    /// # Errors
    /// As there; another number of flips than of indices.
    pub fn mirrored_batch(
        &self,
        indices: &[usize],
        flips: &[bool],
        device: &Device,
    ) -> Result<(Tensor, Vec<u32>)> {
        let (pixels, labels) = self.mirrored(indices, flips)?;
        let [c, h, w] = self.shape;
        let images = to_device(pixels, (indices.len(), c, h, w), device)?;
        Ok((images, labels))
    }

    /// The pixels of [`Dataset::mirrored_batch`].
    pub(crate) fn mirrored(
        &self,
        indices: &[usize],
        flips: &[bool],
    ) -> Result<(Vec<f32>, Vec<u32>)> {
        if flips.len() != indices.len() {
            let must = format!("be {}, one for each image", indices.len());
            return Err(Error::invalid("number of flips", must, flips.len()));
        }
        let mut chosen = self.chosen(indices)?;
        let [c, h, w] = self.shape;
        let images = chosen.images.chunks_exact_mut((c * h * w).max(1));
        for (image, _) in images.zip(flips).filter(|(_, flip)| **flip) {
            image.chunks_exact_mut(w).for_each(<[f32]>::reverse);
        }
        Ok((chosen.images, chosen.labels))
    }

    /// The images with the given indices, each of which there must be.
    fn chosen(&self, indices: &[usize]) -> Result<Self> {
        if let Some(index) = indices.iter().find(|i| **i >= self.len()) {
            let must = format!("be below {}", self.len());
            return Err(Error::invalid(
                format!("image index of {}", self.name),
                must,
                index,
            ));
        }
        Ok(self.subset(indices))
    }

    /// SHA-256 of shape, labels and pixels.
    pub fn sha256(&self) -> String {
        let shape = self.shape.map(|n| (n as u64).to_le_bytes()).concat();
        let labels = self.labels.iter().flat_map(|label| label.to_le_bytes());
        let head = shape.into_iter().chain(labels).collect();
        let part = |pixels: &[f32]| pixels.iter().flat_map(|v| v.to_le_bytes()).collect();
        let pixels = self.images.chunks(1 << 14).map(part);
        sha256_of::<Vec<u8>>(std::iter::once(head).chain(pixels))
    }

    /// Standard deviation of all pixels around their common mean.
    pub fn standard_deviation(&self) -> f64 {
        let n = self.images.len().max(1) as f64;
        let mean = self.images.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let squares = self.images.iter().map(|v| (f64::from(*v) - mean).powi(2));
        (squares.sum::<f64>() / n).sqrt()
    }

    /// How many images each class has.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        for &label in &self.labels {
            counts[label as usize] += 1;
        }
        counts
    }
}

/// A byte as a pixel: v/127.5 − 1.
fn pixel(byte: u8) -> f32 {
    f32::from(byte) / 127.5 - 1.0
}

/// Reads a file, or says what to do when it is not there.
fn read(path: &Path, remedy: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            Error::file(path, format!("no such file; {remedy}"))
        } else {
            Error::io("read", path, error)
        }
    })
}
