//! Resizing of images to the input of the Inception network, as each of the published tools does it.

use candle_core::{DType, Tensor};

use super::layers::resample;
use crate::{Error, Result};

/// Side of the network's input.
const SIDE: usize = 299;

/// A published tool's way from an image of bytes to the network's input.
///
/// They are three different functions of the same image, and distances computed with different ones are not comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// pytorch-fid: bytes/255, linear interpolation between pixel centres, then 2x − 1.
    PytorchFid,
    /// torch-fidelity and TensorFlow 1 (the graph's own resizing): linear interpolation between corners, then (x − 128)/128.
    TorchFidelity,
    /// clean-fid: Pillow's bicubic filter, widened when shrinking, cut to 0..255, then (x − 128)/128.
    Clean,
}

impl Resize {
    /// Every way, with its name.
    pub const ALL: [(&'static str, Self); 3] = [
        ("pytorch-fid", Self::PytorchFid),
        ("torch-fidelity", Self::TorchFidelity),
        ("clean", Self::Clean),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::PytorchFid => "pytorch-fid",
            Self::TorchFidelity => "torch-fidelity",
            Self::Clean => "clean",
        }
    }

    /// The network's input `[N, 3, 299, 299]` of images `[N, 1 or 3, H, W]` in [−1, 1].
    ///
    /// Every published tool reads pictures of bytes, so pixels are rounded to the nearest of the 256 levels first; a single channel is
    /// repeated.
    ///
    /// # Errors
    /// Another number of channels.
    pub fn input(self, images: &Tensor) -> Result<Tensor> {
        let x = bytes(images)?;
        match self {
            Self::PytorchFid => {
                let x = self.resized(&(x / 255.0)?, [SIDE, SIDE])?;
                Ok(((x * 2.0)? - 1.0)?)
            }
            Self::TorchFidelity => tensorflow_scale(&self.resized(&x, [SIDE, SIDE])?),
            Self::Clean => tensorflow_scale(&self.resized(&x, [SIDE, SIDE])?.clamp(0.0, 255.0)?),
        }
    }

    /// Images of another size, before any scaling: `[N, C, H, W]` → `[N, C, H′, W′]`.
    ///
    /// # Errors
    /// An image or a size without pixels.
    pub fn resized(self, x: &Tensor, [height, width]: [usize; 2]) -> Result<Tensor> {
        let (_, _, from_height, from_width) = x.dims4()?;
        if [from_height, from_width, height, width].contains(&0) {
            let got = format!("{from_height}×{from_width} to {height}×{width}");
            return Err(Error::invalid(
                "sizes of a resized image",
                "be positive",
                got,
            ));
        }
        let rows = self.sources(from_height, height);
        resample(x, &rows, &self.sources(from_width, width))
    }

    /// The source pixels of each of `to` pixels along a side of `from`, with their weights.
    ///
    /// # Formula `[eq:resize-centres]` `[eq:resize-corners]` `[eq:resize-bicubic]`
    /// ```text
    /// centres:  u = max((i + ½) r − ½, 0),  corners:  u = i r          r = from/to
    ///           weight 1 − λ of pixel ⌊u⌋, λ = u − ⌊u⌋ of the next, the last repeated
    /// bicubic:  weight of pixel j ∝ k((j + ½ − (i + ½) r)/max(r, 1)),   Σ_j = 1
    /// ```
    /// with k the cubic convolution of Keys 1981 with a = −½.
    ///
    /// # Source
    /// PyTorch `upsample` with `align_corners=False`; TensorFlow 1 `resize_bilinear`; Pillow `resize`.
    fn sources(self, from: usize, to: usize) -> Vec<Vec<(usize, f64)>> {
        let ratio = from as f64 / to as f64;
        let terms = |i: usize| match self {
            Self::PytorchFid => linear(((i as f64 + 0.5) * ratio - 0.5).max(0.0), from),
            Self::TorchFidelity => linear(i as f64 * ratio, from),
            Self::Clean => cubic((i as f64 + 0.5) * ratio, ratio.max(1.0), from),
        };
        (0..to).map(terms).collect()
    }
}

/// Bytes of images in [−1, 1], as numbers, in three channels.
fn bytes(images: &Tensor) -> Result<Tensor> {
    let (n, channels, height, width) = images.dims4()?;
    if !matches!(channels, 1 | 3) {
        return Err(Error::shape("images", "[N, 1 or 3, H, W]", images.dims()));
    }
    let x = ((images.to_dtype(DType::F32)? + 1.0)? * 127.5)?;
    let x = x.round()?.clamp(0.0, 255.0)?;
    Ok(x.broadcast_as((n, 3, height, width))?.contiguous()?)
}

/// (x − 128)/128, as the TensorFlow graph begins.
fn tensorflow_scale(x: &Tensor) -> Result<Tensor> {
    Ok(((x - 128.0)? / 128.0)?)
}

/// The two pixels around u ≥ 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "u ≥ 0 is below the number of pixels"
)]
fn linear(u: f64, from: usize) -> Vec<(usize, f64)> {
    let lower = (u.floor() as usize).min(from - 1);
    let lambda = u - u.floor();
    vec![(lower, 1.0 - lambda), ((lower + 1).min(from - 1), lambda)]
}

/// The pixels under the cubic kernel around `centre`, widened by `scale`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "both ends are clamped to the image"
)]
fn cubic(centre: f64, scale: f64, from: usize) -> Vec<(usize, f64)> {
    let first = (centre - 2.0 * scale).floor().max(0.0) as usize;
    let end = ((centre + 2.0 * scale).ceil() as usize).min(from);
    let weight = |j: usize| keys((j as f64 + 0.5 - centre) / scale);
    let total: f64 = (first..end).map(weight).sum();
    (first..end).map(|j| (j, weight(j) / total)).collect()
}

/// Cubic convolution with a = −½.
fn keys(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}
