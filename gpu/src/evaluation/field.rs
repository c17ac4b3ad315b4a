//! Activations between two layers of a frozen network: on the CPU one image with its channels last, elsewhere a batch in a
//! tensor. A network is written once, for both.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::features::layers::{self, Convolution, Window};
use crate::nn::cpu::channels_last::{Map, greatest, mean3};
use crate::nn::with;
use crate::{Error, Result};

/// Images, or one.
pub(crate) trait Field: Sized {
    /// The convolution, cut off below 0 if `relu`.
    fn convolved(&self, layer: &Convolution, relu: bool) -> Result<Self>;
    /// [`layers::max_pool`].
    fn greatest(&self, window: Window) -> Result<Self>;
    /// [`layers::avg_pool3`].
    fn mean3(&self) -> Result<Self>;
    /// Channels side by side.
    fn joined(parts: Vec<Self>) -> Result<Self>;
    /// Every second pixel, with as many channels of zeros again, half of them before and half behind.
    fn halved(&self) -> Result<Self>;
    /// max(self + other, 0).
    fn add_relu(self, other: &Self) -> Result<Self>;
    /// The same again.
    fn copied(&self) -> Self;
}

impl Field for Tensor {
    fn convolved(&self, layer: &Convolution, relu: bool) -> Result<Self> {
        let y = layer.batch(self)?;
        Ok(if relu { y.relu()? } else { y })
    }

    fn greatest(&self, window: Window) -> Result<Self> {
        layers::max_pool_batch(self, window)
    }

    fn mean3(&self) -> Result<Self> {
        layers::avg_pool3_batch(self)
    }

    fn joined(parts: Vec<Self>) -> Result<Self> {
        Ok(Tensor::cat(&parts, 1)?)
    }

    fn halved(&self) -> Result<Self> {
        let (_, channels, height, width) = self.dims4()?;
        let every_second = |side: usize| -> Result<Tensor> {
            let at: Vec<u32> = (0..).step_by(2).take(side.div_ceil(2)).collect();
            Ok(Tensor::from_vec(at, side.div_ceil(2), self.device())?)
        };
        let x = self.index_select(&every_second(height)?, 2)?;
        let x = x.index_select(&every_second(width)?, 3)?;
        Ok(x.pad_with_zeros(1, channels / 2, channels / 2)?)
    }

    fn add_relu(self, other: &Self) -> Result<Self> {
        Ok((self + other)?.relu()?)
    }

    fn copied(&self) -> Self {
        self.clone()
    }
}

impl Field for Map<f32> {
    fn convolved(&self, layer: &Convolution, relu: bool) -> Result<Self> {
        Ok(layer.frozen()?.of(self, relu)?)
    }

    fn greatest(&self, window: Window) -> Result<Self> {
        let (height, width) = self.side();
        Ok(greatest(
            self,
            &window.spans(height)?,
            &window.spans(width)?,
        ))
    }

    fn mean3(&self) -> Result<Self> {
        Ok(mean3(self))
    }

    fn joined(parts: Vec<Self>) -> Result<Self> {
        Ok(Map::joined(&parts))
    }

    fn halved(&self) -> Result<Self> {
        Ok(Map::halved(self, self.channels() / 2))
    }

    fn add_relu(mut self, other: &Self) -> Result<Self> {
        Map::add_relu(&mut self, other);
        Ok(self)
    }

    fn copied(&self) -> Self {
        Map::copied(self)
    }
}

/// Whether a network on this device takes its images one by one, as [`Map`]s.
pub(crate) fn one_by_one(device: &Device) -> bool {
    device.is_cpu()
}

/// What `of` makes of each image of a batch `[N, …]`, on all threads, each image on one.
pub(crate) fn each<T: Send>(
    x: &Tensor,
    of: impl Fn(&Tensor) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let count = x.dims().first().copied().unwrap_or(0);
    let image = |i: usize| of(&x.narrow(0, i, 1)?);
    (0..count).into_par_iter().map(image).collect()
}

/// The [`Map`] of the one image in a tensor `[1, C, H, W]`.
pub(crate) fn map(x: &Tensor) -> Result<Map<f32>> {
    let (one, _, height, width) = x.dims4()?;
    if one != 1 {
        return Err(Error::shape("one image", "[1, C, H, W]", x.dims()));
    }
    let x = x.to_dtype(DType::F32)?;
    Ok(with(&x, |planes| {
        Ok(Map::of_planes(planes, (height, width)))
    })?)
}

/// Rows of features as a matrix.
pub(crate) fn stacked(rows: Vec<Vec<f32>>, width: usize) -> Result<Tensor> {
    let count = rows.len();
    Ok(Tensor::from_vec(
        rows.concat(),
        (count, width),
        &Device::Cpu,
    )?)
}
