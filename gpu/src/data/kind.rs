//! Shape of a data set's images.

use super::Dataset;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Shape of the images and number of their classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageKind {
    /// C.
    pub channels: usize,
    /// H = W.
    pub size: usize,
    /// Number of classes.
    pub classes: usize,
}

impl ImageKind {
    /// Of a data set, whose images must be square.
    pub fn of(dataset: &Dataset) -> Result<Self> {
        let [channels, height, width] = dataset.shape;
        if height != width {
            let got = format!("{channels}×{height}×{width} (channels, height, width)");
            return Err(Error::invalid("images", "be square: crop or pad them", got));
        }
        Ok(Self {
            channels,
            size: height,
            classes: dataset.classes,
        })
    }

    /// [C, H, W].
    pub fn shape(self) -> [usize; 3] {
        [self.channels, self.size, self.size]
    }

    /// The label that stands for "no class": one past the classes.
    pub fn no_class(self) -> u32 {
        u32::try_from(self.classes).unwrap_or(u32::MAX)
    }
}
