//! A tensor's elements as its file has them.

use candle_core::{Device, Tensor};

use super::elements::Elements;
use crate::Result;

/// A tensor, row by row, in the type of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    pub(super) elements: Elements,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: Vec<u8>,
}

impl Raw {
    /// The sides.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The type by safetensors' name, such as `F32`.
    pub fn dtype(&self) -> &'static str {
        self.elements.name()
    }

    /// The elements' bytes, little-endian.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The elements as f64: exact but for integers beyond 2⁵³.
    pub fn values(&self) -> Vec<f64> {
        let size = self.elements.size();
        let at = (0..self.bytes.len()).step_by(size);
        self.elements.gather(&self.bytes, at)
    }

    /// The tensor as f64 on the CPU.
    ///
    /// # Errors
    /// candle's.
    pub fn tensor(&self) -> Result<Tensor> {
        Ok(Tensor::from_vec(
            self.values(),
            self.shape.clone(),
            &Device::Cpu,
        )?)
    }
}
