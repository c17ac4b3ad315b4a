//! Layers of frozen networks, forward only.

use std::sync::{Arc, OnceLock};

use candle_core::{DType, Device, Result as CandleResult, Tensor, WithDType};
use rayon::prelude::*;

use crate::evaluation::Weights;
use crate::nn::cpu::channels_last::{Frozen, Map, greatest, mean3};
use crate::nn::{Real, conv2d_strided, from_f64, with};
use crate::{Error, Result};

/// The parameters of a batch norm, per channel.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    /// γ.
    pub gamma: Tensor,
    /// β.
    pub beta: Tensor,
    /// μ, the running mean.
    pub mean: Tensor,
    /// v, the running variance.
    pub variance: Tensor,
    /// ε.
    pub eps: f64,
}

/// A convolution, with the batch norm that follows it folded in.
///
/// # Formula `[eq:folded-convolution]`
/// ```text
/// γ (w ∗ x − μ)/√(v + ε) + β = w′ ∗ x + b′        w′ = s w,   b′ = β − s μ,   s = γ/√(v + ε)
/// ```
/// with s, w′ and b′ computed in f64 and rounded once.
#[derive(Debug, Clone)]
pub struct Convolution {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
    padding: (usize, usize),
    /// The weights as the CPU reads them, laid out at their first use.
    frozen: Arc<OnceLock<Frozen<f32>>>,
}

impl Convolution {
    /// Folds `norm` into the weights `[O, C, kh, kw]`; the result has their type and device.
    ///
    /// # Errors
    /// [`Error::Invalid`] for parameters that are not one for each output, or a variance for which v + ε is not positive.
    pub fn folded(
        weight: &Tensor,
        norm: &BatchNorm,
        stride: usize,
        padding: (usize, usize),
    ) -> Result<Self> {
        let (outputs, ..) = weight.dims4()?;
        let host = |name: &str, x: &Tensor| -> Result<Tensor> {
            if x.dims() != [outputs] {
                return Err(Error::shape(name, format!("[{outputs}]"), x.dims()));
            }
            Ok(x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?)
        };
        let (gamma, beta) = (host("γ", &norm.gamma)?, host("β", &norm.beta)?);
        let (mean, variance) = (
            host("running mean", &norm.mean)?,
            host("running variance", &norm.variance)?,
        );
        let shifted = (variance + norm.eps)?;
        if let Some(v) = shifted
            .to_vec1::<f64>()?
            .into_iter()
            .find(|v| v.is_nan() || *v <= 0.0)
        {
            let must = format!("be more than 0 with ε = {}", norm.eps);
            return Err(Error::invalid("running variance", must, v - norm.eps));
        }
        let scale = (gamma / shifted.sqrt()?)?;
        let bias = (beta - (&scale * mean)?)?;
        let wide = weight.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let folded = wide.broadcast_mul(&scale.reshape((outputs, 1, 1, 1))?)?;
        let place = |x: Tensor| x.to_dtype(weight.dtype())?.to_device(weight.device());
        Ok(Self {
            weight: place(folded)?,
            bias: place(bias)?,
            stride,
            padding,
            frozen: Arc::default(),
        })
    }

    /// Convolution and batch norm of a file: `CONVOLUTION.weight` and `NORM.{weight,bias,running_mean,running_var}`, to f32.
    ///
    /// # Errors
    /// As [`Weights::get`] and [`folded`](Self::folded).
    pub fn load(
        weights: &Weights,
        [convolution, norm]: [&str; 2],
        [outputs, inputs]: [usize; 2],
        (kernel, stride, padding): ((usize, usize), usize, (usize, usize)),
        eps: f64,
        device: &Device,
    ) -> Result<Self> {
        let weight = weights.get(
            &format!("{convolution}.weight"),
            &[outputs, inputs, kernel.0, kernel.1],
        )?;
        let part = |part: &str| weights.get(&format!("{norm}.{part}"), &[outputs]);
        let parameters = BatchNorm {
            gamma: part("weight")?,
            beta: part("bias")?,
            mean: part("running_mean")?,
            variance: part("running_var")?,
            eps,
        };
        let folded = Self::folded(&weight, &parameters, stride, padding).map_err(|reason| {
            Error::file(weights.path(), format!("batch norm `{norm}`: {reason}"))
        })?;
        folded.placed(device)
    }

    /// A convolution with a bias of a file: `NAME.{weight,bias}`, to f32.
    ///
    /// # Errors
    /// As [`Weights::get`].
    pub fn load_plain(
        weights: &Weights,
        name: &str,
        [outputs, inputs]: [usize; 2],
        (kernel, stride, padding): ((usize, usize), usize, (usize, usize)),
        device: &Device,
    ) -> Result<Self> {
        let shape = [outputs, inputs, kernel.0, kernel.1];
        let convolution = Self {
            weight: weights.get(&format!("{name}.weight"), &shape)?,
            bias: weights.get(&format!("{name}.bias"), &[outputs])?,
            stride,
            padding,
            frozen: Arc::default(),
        };
        convolution.placed(device)
    }

    fn placed(self, device: &Device) -> Result<Self> {
        let place = |x: Tensor| x.to_dtype(DType::F32)?.to_device(device);
        Ok(Self {
            weight: place(self.weight)?,
            bias: place(self.bias)?,
            ..self
        })
    }

    /// The convolution: `[N, C, H, W]` → `[N, O, H′, W′]`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        match Held::of(x) {
            Held::F32 => image_by_image(x, |map| self.frozen()?.of(&map, false)),
            Held::F64 => {
                let frozen = self.laid_out::<f64>()?;
                image_by_image(x, |map| frozen.of(&map, false))
            }
            Held::Batch => self.batch(x),
        }
    }

    /// The convolution of a whole batch by the device's own.
    pub(crate) fn batch(&self, x: &Tensor) -> CandleResult<Tensor> {
        conv2d_strided(x, &self.weight, Some(&self.bias), self.stride, self.padding)
    }

    /// The convolution for single images on the CPU.
    pub(crate) fn frozen(&self) -> CandleResult<&Frozen<f32>> {
        if let Some(frozen) = self.frozen.get() {
            return Ok(frozen);
        }
        let frozen = self.laid_out()?;
        Ok(self.frozen.get_or_init(|| frozen))
    }

    fn laid_out<R: Real>(&self) -> CandleResult<Frozen<R>> {
        let (outputs, channels, height, width) = self.weight.dims4()?;
        let sizes = [outputs, channels, height, width];
        with::<R, _>(&self.weight, |weight| {
            with(&self.bias, |bias| {
                Ok(Frozen::new(weight, bias, sizes, self.stride, self.padding))
            })
        })
    }
}

/// How the images of a layer are held.
enum Held {
    /// One by one on the CPU, in f32.
    F32,
    /// In f64.
    F64,
    /// As a batch, by the device's operations.
    Batch,
}

impl Held {
    fn of(x: &Tensor) -> Self {
        match (x.device(), x.dtype()) {
            (Device::Cpu, DType::F32) => Self::F32,
            (Device::Cpu, DType::F64) => Self::F64,
            _ => Self::Batch,
        }
    }
}

/// Output of a layer for each image of a batch, on the CPU.
fn image_by_image<R: Real + WithDType>(
    x: &Tensor,
    of: impl Fn(Map<R>) -> CandleResult<Map<R>> + Sync,
) -> CandleResult<Tensor> {
    let (count, channels, height, width) = x.dims4()?;
    let size = channels * height * width;
    if size == 0 {
        return Err(Error::shape(
            "images of a frozen network",
            "[N, C ≥ 1, H ≥ 1, W ≥ 1]",
            x.dims(),
        )
        .into());
    }
    let images = with::<R, _>(x, |x| {
        let images = x.par_chunks_exact(size);
        let image = |planes| of(Map::of_planes(planes, (height, width)));
        images.map(image).collect::<CandleResult<Vec<_>>>()
    })?;
    let shape = images.first().map(|image| (image.channels(), image.side()));
    let (channels, (height, width)) = shape.unwrap_or_default();
    let planes: Vec<R> = images
        .iter()
        .flat_map(|image| image.planes(|_, x| x))
        .collect();
    Tensor::from_vec(planes, (count, channels, height, width), x.device())
}

/// The greatest of each window of `side × side` pixels; a window that reaches over the edge has fewer.
///
/// # Formula `[eq:max-pool]`
/// ```text
/// y[n,c,i,j] = max { x[n,c,s·i+k−p,s·j+l−p] : 0 ≤ k, l < side, inside the image }
/// ```
///
/// # Shapes
/// `x: [N, C, H, W]` → sides `⌊(H + 2p − side)/s⌋ + 1`. `ceil`: the last window may be cut off by the edge, `⌈…⌉ + 1`.
///
/// # Errors
/// A window that does not fit.
pub fn max_pool(x: &Tensor, window: Window) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let (rows, columns) = (window.spans(height)?, window.spans(width)?);
    match Held::of(x) {
        Held::F32 => Ok(image_by_image::<f32>(x, |map| {
            Ok(greatest(&map, &rows, &columns))
        })?),
        Held::F64 => Ok(image_by_image::<f64>(x, |map| {
            Ok(greatest(&map, &rows, &columns))
        })?),
        Held::Batch => max_pool_batch(x, window),
    }
}

/// [`max_pool`] of a whole batch by the device's operations.
pub(crate) fn max_pool_batch(x: &Tensor, window: Window) -> Result<Tensor> {
    let mut y = x.contiguous()?;
    for axis in [2, 3] {
        let side = x.dim(axis)?;
        let outputs = window.outputs(side)?;
        let mut greatest: Option<Tensor> = None;
        for tap in 0..window.side {
            // Beyond the edge the edge's own pixel, which the window has already.
            let taps: Vec<u32> = (0..outputs)
                .map(|i| {
                    small(
                        (i * window.stride + tap)
                            .saturating_sub(window.padding)
                            .min(side - 1),
                    )
                })
                .collect();
            let taps = Tensor::from_vec(taps, outputs, x.device())?;
            let next = y.index_select(&taps, axis)?;
            greatest = Some(match greatest {
                None => next,
                Some(greatest) => greatest.maximum(&next)?,
            });
        }
        if let Some(greatest) = greatest {
            y = greatest;
        }
    }
    Ok(y)
}

/// Sizes of a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Side of the window.
    pub side: usize,
    /// Distance of two windows.
    pub stride: usize,
    /// How far the first window reaches over the edge; less than its side.
    pub padding: usize,
    /// Whether pixels left over at the end get a window of their own.
    pub ceil: bool,
}

impl Window {
    /// The first pixel of each window along `side` pixels, and the first behind it.
    pub(crate) fn spans(self, side: usize) -> Result<Vec<(usize, usize)>> {
        let span = |i: usize| {
            let start = i * self.stride;
            let first = start.saturating_sub(self.padding);
            let end = (start + self.side).saturating_sub(self.padding).min(side);
            // A window that begins beyond the edge: the edge's own pixel.
            (first.min(side - 1), end.max(first.min(side - 1) + 1))
        };
        Ok((0..self.outputs(side)?).map(span).collect())
    }

    /// Windows along `side` pixels.
    fn outputs(self, side: usize) -> Result<usize> {
        let room = (side + 2 * self.padding).checked_sub(self.side);
        match room {
            Some(room) if self.stride > 0 && self.padding < self.side && side > 0 => {
                let rest = usize::from(self.ceil && !room.is_multiple_of(self.stride));
                Ok(room / self.stride + 1 + rest)
            }
            _ => {
                let must = format!(
                    "fit into an image of side {side}, with a stride, its padding less than its side"
                );
                Err(Error::invalid("pooling window", must, format!("{self:?}")))
            }
        }
    }
}

/// The mean of each 3×3 window around a pixel, over the pixels that are inside the image.
///
/// # Formula `[eq:avg-pool]`
/// ```text
/// y[n,c,i,j] = mean { x[n,c,i+k,j+l] : −1 ≤ k, l ≤ 1, inside the image }
/// ```
/// TensorFlow's average: the zeros of the padding are not counted. The number of pixels inside is a product over the two
/// directions, so that elsewhere than on the CPU this is [`resample`] with means of two or three.
///
/// # Shapes
/// `x: [N, C, H, W]` → the same.
///
/// # Errors
/// Another number of axes.
pub fn avg_pool3(x: &Tensor) -> Result<Tensor> {
    match Held::of(x) {
        Held::F32 => Ok(image_by_image::<f32>(x, |map| Ok(mean3(&map)))?),
        Held::F64 => Ok(image_by_image::<f64>(x, |map| Ok(mean3(&map)))?),
        Held::Batch => avg_pool3_batch(x),
    }
}

/// [`avg_pool3`] of a whole batch by the device's operations.
pub(crate) fn avg_pool3_batch(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let means = |side: usize| -> Vec<Vec<(usize, f64)>> {
        let around = |i: usize| i.saturating_sub(1)..(i + 2).min(side);
        (0..side)
            .map(|i| {
                around(i)
                    .map(|j| (j, 1.0 / around(i).len() as f64))
                    .collect()
            })
            .collect()
    };
    resample(x, &means(height), &means(width))
}

/// Rows and columns of an image combined: `y = R x Cᵀ` for each channel.
///
/// `rows[i]` holds the sources of output row i with their weights, `columns[j]` those of output column j. Weights are
/// rounded once to the image's type; columns are combined first.
///
/// # Shapes
/// `x: [N, C, H, W]` → `[N, C, rows, columns]`.
///
/// # Errors
/// A source outside the image.
pub fn resample(
    x: &Tensor,
    rows: &[Vec<(usize, f64)>],
    columns: &[Vec<(usize, f64)>],
) -> Result<Tensor> {
    match Held::of(x) {
        Held::F32 => return resample_planes::<f32>(x, rows, columns),
        Held::F64 => return resample_planes::<f64>(x, rows, columns),
        Held::Batch => {}
    }
    let (n, c, height, width) = x.dims4()?;
    let across = |x: Tensor, combined: &[Vec<(usize, f64)>]| -> Result<Tensor> {
        let side = x.dim(3)?;
        let matrix = dense(combined, side)?;
        let matrix = from_f64(matrix, (side, combined.len()), x.device(), x.dtype())?;
        Ok(x.reshape(((), side))?.matmul(&matrix)?)
    };
    let y = across(x.contiguous()?, columns)?.reshape((n, c, height, columns.len()))?;
    let y = across(y.transpose(2, 3)?.contiguous()?, rows)?;
    debug_assert_eq!(width, x.dim(3)?);
    let y = y.reshape((n, c, columns.len(), rows.len()))?;
    Ok(y.transpose(2, 3)?.contiguous()?)
}

/// [`resample`] on the CPU: only the pixels that have a weight, plane by plane, on all threads.
fn resample_planes<R: Real + WithDType>(
    x: &Tensor,
    rows: &[Vec<(usize, f64)>],
    columns: &[Vec<(usize, f64)>],
) -> Result<Tensor> {
    let (n, c, height, width) = x.dims4()?;
    let rounded = |combined: &[Vec<(usize, f64)>], side: usize| -> Result<Vec<Vec<(usize, R)>>> {
        let beyond = combined
            .iter()
            .flatten()
            .find(|(source, _)| *source >= side);
        if let Some((source, _)) = beyond {
            let must = format!("be below {side}");
            return Err(Error::invalid("source of a resampled pixel", must, source));
        }
        let term = |(source, weight): &(usize, f64)| (*source, R::of(*weight));
        Ok(combined
            .iter()
            .map(|terms| terms.iter().map(term).collect())
            .collect())
    };
    let (by_row, by_column) = (rounded(rows, height)?, rounded(columns, width)?);
    let plane = |x: &[R]| -> Vec<R> {
        let across: Vec<R> = x
            .chunks_exact(width)
            .flat_map(|row| {
                by_column
                    .iter()
                    .map(|terms| combined(terms.iter().map(|(j, w)| (row[*j], *w))))
            })
            .collect();
        let mut y = vec![R::default(); rows.len() * columns.len()];
        for (to, terms) in y.chunks_exact_mut(columns.len()).zip(&by_row) {
            for (i, weight) in terms {
                let from = &across[i * columns.len()..][..columns.len()];
                to.iter_mut()
                    .zip(from)
                    .for_each(|(to, x)| *to += *x * *weight);
            }
        }
        y
    };
    let size = height * width;
    if size == 0 || columns.is_empty() {
        return Err(Error::shape(
            "images to resample",
            "[N, C, H ≥ 1, W ≥ 1]",
            x.dims(),
        ));
    }
    let planes: Vec<Vec<R>> =
        with::<R, _>(x, |x| Ok(x.par_chunks_exact(size).map(plane).collect()))?;
    Ok(Tensor::from_vec(
        planes.concat(),
        (n, c, rows.len(), columns.len()),
        x.device(),
    )?)
}

/// A weighted sum, in order.
fn combined<R: Real>(terms: impl Iterator<Item = (R, R)>) -> R {
    let mut sum = R::default();
    for (x, weight) in terms {
        sum += x * weight;
    }
    sum
}

/// The weights as a matrix `[sources, outputs]`.
fn dense(combined: &[Vec<(usize, f64)>], sources: usize) -> Result<Vec<f64>> {
    let outputs = combined.len();
    let mut matrix = vec![0.0; sources * outputs];
    for (i, terms) in combined.iter().enumerate() {
        for (source, weight) in terms {
            if *source >= sources {
                let must = format!("be below {sources}");
                return Err(Error::invalid("source of a resampled pixel", must, source));
            }
            matrix[source * outputs + i] += weight;
        }
    }
    Ok(matrix)
}

/// A coordinate: below 2³² in any image that fits into memory.
fn small(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
