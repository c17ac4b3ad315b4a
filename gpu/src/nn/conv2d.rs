//! Convolution of images with zero padding; with stride 1 where it is trained.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::buffer::{PARTIALS, accumulate, by_dtype, load, tensor, with};
use super::linear::bias_or_zeros;
use super::product::{Left, Right, Run, multiply, pack, panel_width};
use super::real::{Real, sum, vectorised};
use super::{Path, composed};
use crate::Error;

/// Pixels that one product works on: enough to use each panel of weights several times while it is in the
/// first-level cache.
const PIXELS: usize = 128;
/// Fewest pixels whose share of ∂L/∂w is summed up separately: its matrix must be worth zeroing.
const PART: usize = 128;

/// Convolution (cross-correlation, as in every deep-learning library) with stride 1.
///
/// # Formula `[eq:conv2d]`
/// ```text
/// y[n,o,i,j] = b[o] + Σ_{c,k,l} w[o,c,k,l] · x[n,c,i+k−p,j+l−p]      x = 0 outside the image
/// ∂L/∂x      = the convolution of ∂L/∂y with w flipped in (k,l) and transposed in (o,c)
/// ∂L/∂w[o,c,k,l] = Σ_{n,i,j} ∂L/∂y[n,o,i,j] · x[n,c,i+k−p,j+l−p],   ∂L/∂b[o] = Σ_{n,i,j} ∂L/∂y[n,o,i,j]
/// ```
///
/// # Shapes
/// `x: [N, C, H, W]`, `weight: [O, C, kh, kw]`, `bias: [O]` → `[N, O, H + 2p − kh + 1, W + 2p − kw + 1]`.
///
/// # Errors
/// Shapes that do not fit, a kernel larger than the padded image, `padding ≥` the kernel's side.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    padding: usize,
) -> Result<Tensor> {
    conv2d_strided(x, weight, bias, 1, (padding, padding))
}

/// The convolution of a network that is only run: any stride, each direction with its own padding.
///
/// # Formula
/// `[eq:conv2d]` at every `stride`-th pixel: `y[n,o,i,j]` reads `x[n,c,s·i+k−p₀,s·j+l−p₁]`.
///
/// # Shapes
/// As [`conv2d`], the sides of the output `⌊(H + 2p − k)/s⌋ + 1`.
///
/// # Errors
/// As [`conv2d`]; stride 0; on the way back, a stride other than 1.
pub fn conv2d_strided(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: (usize, usize),
) -> Result<Tensor> {
    if Path::of(x) == Path::Composed {
        return composed::conv2d_strided(x, weight, bias, stride, padding);
    }
    let bias = bias_or_zeros(bias, weight)?;
    x.contiguous()?.apply_op3(
        &weight.contiguous()?,
        &bias.contiguous()?,
        Conv2d { stride, padding },
    )
}

/// The sizes of one convolution, checked.
#[derive(Clone, Copy)]
pub(super) struct Geometry {
    batch: usize,
    channels: usize,
    side: (usize, usize),
    outputs: usize,
    kernel: (usize, usize),
    stride: usize,
    padding: (usize, usize),
}

impl Geometry {
    pub(super) fn new(
        x: &[usize],
        weight: &[usize],
        bias: &[usize],
        stride: usize,
        padding: (usize, usize),
    ) -> Result<Self> {
        let &[batch, channels, height, width] = x else {
            return Err(Error::shape("conv2d input", "[N, C, H, W]", x).into());
        };
        let &[outputs, inner, kh, kw] = weight else {
            return Err(Error::shape("conv2d weight", "[O, C, kh, kw]", weight).into());
        };
        if inner != channels || channels == 0 || outputs == 0 {
            let must = format!("[O, {channels}, kh, kw] with no zero for input {x:?}");
            return Err(Error::shape("conv2d weight", must, weight).into());
        }
        if bias != [outputs] {
            return Err(Error::shape("conv2d bias", format!("[{outputs}]"), bias).into());
        }
        if stride == 0 {
            return Err(Error::invalid("conv2d stride", "be at least 1", stride).into());
        }
        let fits = |side: usize, kernel: usize, padding: usize| {
            side > 0 && kernel > padding && side + 2 * padding >= kernel
        };
        if !(fits(height, kh, padding.0) && fits(width, kw, padding.1)) {
            let must =
                format!("be larger than padding {padding:?} and fit into the padded image {x:?}");
            return Err(Error::invalid("conv2d kernel", must, format!("{kh}×{kw}")).into());
        }
        Ok(Self {
            batch,
            channels,
            side: (height, width),
            outputs,
            kernel: (kh, kw),
            stride,
            padding,
        })
    }

    /// Sides of the padded image.
    #[inline(always)]
    fn padded(&self) -> (usize, usize) {
        (
            self.side.0 + 2 * self.padding.0,
            self.side.1 + 2 * self.padding.1,
        )
    }
    /// Sides of the output.
    #[inline(always)]
    fn out(&self) -> (usize, usize) {
        let (height, width) = self.padded();
        (
            (height - self.kernel.0) / self.stride + 1,
            (width - self.kernel.1) / self.stride + 1,
        )
    }
    /// Pixels of one output image.
    #[inline(always)]
    fn pixels(&self) -> usize {
        self.out().0 * self.out().1
    }
    /// Elements of one input image.
    #[inline(always)]
    fn image(&self) -> usize {
        self.channels * self.side.0 * self.side.1
    }
    /// Elements of one output image.
    #[inline(always)]
    fn out_image(&self) -> usize {
        self.outputs * self.pixels()
    }
    /// Elements of one patch: the rows of the patch matrix.
    #[inline(always)]
    fn patch(&self) -> usize {
        self.channels * self.kernel.0 * self.kernel.1
    }
    /// Images that are worked on together.
    #[inline(always)]
    fn group(&self) -> usize {
        (PIXELS / self.pixels()).max(1)
    }
    /// Images whose share of ∂L/∂w is summed up separately: at most [`PARTIALS`] parts, of whole groups.
    fn part(&self) -> usize {
        let group = self.group();
        let images = self
            .batch
            .div_ceil(PARTIALS)
            .max(PART.div_ceil(self.pixels()));
        images.div_ceil(group) * group
    }
    /// Elements of one padded input image.
    #[inline(always)]
    fn padded_image(&self) -> usize {
        self.channels * self.padded().0 * self.padded().1
    }
    /// Contiguous elements of a padded image, channels last, under one row of the kernel.
    fn kernel_row(&self) -> usize {
        self.kernel.1 * self.channels
    }
    /// Distance of two rows of pixels in a padded image, channels last.
    #[inline(always)]
    fn pitch(&self) -> usize {
        self.padded().1 * self.channels
    }
    /// Where, in a row of padded images, the patch of each output pixel of `images` images begins.
    fn patches(&self, images: usize) -> Vec<usize> {
        let (height, width) = self.out();
        let start = |n: usize, y: usize, x: usize| {
            n * self.padded_image() + self.stride * (y * self.pitch() + x * self.channels)
        };
        (0..images)
            .flat_map(|n| (0..height).flat_map(move |y| (0..width).map(move |x| start(n, y, x))))
            .collect()
    }
    /// The convolution that maps ∂L/∂y to ∂L/∂x.
    fn transposed(&self) -> Self {
        Self {
            channels: self.outputs,
            side: self.out(),
            outputs: self.channels,
            padding: (
                self.kernel.0 - 1 - self.padding.0,
                self.kernel.1 - 1 - self.padding.1,
            ),
            ..*self
        }
    }
}

struct Conv2d {
    stride: usize,
    padding: (usize, usize),
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x_dims, w_dims) = (x_layout.dims(), weight_layout.dims());
        let geometry = Geometry::new(
            x_dims,
            w_dims,
            bias_layout.dims(),
            self.stride,
            self.padding,
        )?;
        let (height, width) = geometry.out();
        let shape = Shape::from((geometry.batch, geometry.outputs, height, width));
        let inputs = [(x, x_layout), (weight, weight_layout), (bias, bias_layout)];
        let y = by_dtype!(x.dtype(), "conv2d", forward(inputs, &geometry))?;
        Ok((y, shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        if self.stride != 1 {
            let what = "stride of a convolution with gradients";
            return Err(Error::invalid(what, "be 1", self.stride).into());
        }
        let geometry = Geometry::new(x.dims(), weight.dims(), bias.dims(), 1, self.padding)?;
        by_dtype!(
            x.dtype(),
            "conv2d",
            backward([x, weight, bias], grad, &geometry)
        )
    }
}

fn forward<R: Real>(
    inputs: [(&CpuStorage, &Layout); 3],
    geometry: &Geometry,
) -> Result<CpuStorage> {
    let [x, weight, bias] = inputs.map(|(storage, layout)| load::<R>(storage, layout));
    let (x, bias) = (x?, bias?);
    let convolution = Convolution::new(geometry, &weight?);
    let mut y = vec![R::default(); geometry.batch * geometry.out_image()];
    let group = geometry.group();
    y.par_chunks_mut(group * geometry.out_image())
        .zip(x.par_chunks(group * geometry.image()))
        .for_each_init(
            || Padded::new(geometry),
            |padded, (y, x)| convolution.apply(y, padded.fill(x, geometry), Some(&bias)),
        );
    Ok(R::store(y, inputs[0].0.dtype()))
}

type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

fn backward<R: Real>(
    inputs: [&Tensor; 3],
    grad: &Tensor,
    geometry: &Geometry,
) -> Result<Gradients> {
    let [x, weight, bias] = inputs;
    let dtype = x.dtype();
    let wants = (x.track_op(), weight.track_op() || bias.track_op());
    let (x_grad, parameters) = with::<R, _>(grad, |grad| {
        with(weight, |weight| {
            with(x, |x| Ok(gradients(x, weight, grad, geometry, wants)))
        })
    })?;
    let (weight_grad, bias_grad) = parameters.unzip();
    Ok((
        x_grad.map(|values| tensor(values, x.shape(), dtype)),
        weight_grad.map(|values| tensor(values, weight.shape(), dtype)),
        bias_grad.map(|values| tensor(values, bias.shape(), dtype)),
    ))
}

/// Padded images with the channels of a pixel side by side: a patch is then one contiguous run for each row of the
/// kernel, and no patch matrix is needed.
struct Padded<R> {
    values: Vec<R>,
}

impl<R: Real> Padded<R> {
    /// Room for a group of images, and for a panel that is read beyond the last of them.
    fn new(geometry: &Geometry) -> Self {
        let length = geometry.group() * geometry.padded_image() + panel_width::<R>();
        Self {
            values: vec![R::default(); length],
        }
    }

    /// Copies images into the middle of their frames, which stay 0.
    fn fill(&mut self, x: &[R], geometry: &Geometry) -> &[R] {
        let frames = self.values.chunks_exact_mut(geometry.padded_image());
        vectorised(|| {
            for (to, from) in frames.zip(x.chunks_exact(geometry.image())) {
                channels_last(to, from, geometry);
            }
        });
        &self.values
    }
}

/// Copies an image `[C, H, W]` into the middle of `[padded H, padded W, C]`.
#[inline(always)]
fn channels_last<R: Real>(to: &mut [R], image: &[R], geometry: &Geometry) {
    let (channels, (height, width)) = (geometry.channels, geometry.side);
    let rows = to
        .chunks_exact_mut(geometry.pitch())
        .skip(geometry.padding.0)
        .take(height);
    for (y, row) in rows.enumerate() {
        let row = &mut row[geometry.padding.1 * channels..][..width * channels];
        for (c, plane) in image.chunks_exact(height * width).enumerate() {
            let from = &plane[y * width..][..width];
            for (pixel, &from) in row.chunks_exact_mut(channels).zip(from) {
                pixel[c] = from;
            }
        }
    }
}

/// A convolution with its weights laid out for it.
struct Convolution<'a, R> {
    geometry: &'a Geometry,
    /// The weights as a matrix of kernel rows, columns and channels by outputs.
    panels: Vec<R>,
    /// The patches of a group of images.
    patches: Vec<usize>,
    /// The rows of the kernel.
    runs: Vec<Run>,
}

impl<'a, R: Real> Convolution<'a, R> {
    /// The convolution with `w[o,c,k,l]`.
    fn new(geometry: &'a Geometry, weight: &[R]) -> Self {
        let taps = geometry.kernel.0 * geometry.kernel.1;
        let panels = pack(geometry.patch(), geometry.outputs, |p| {
            let (tap, c) = (p / geometry.channels, p % geometry.channels);
            move |o| weight[(o * geometry.channels + c) * taps + tap]
        });
        Self::with(geometry, panels)
    }

    /// The one that maps ∂L/∂y to ∂L/∂x, with `w[c,o,kh−1−k,kw−1−l]`; its channels are the outputs o of the other.
    fn back(geometry: &'a Geometry, weight: &[R]) -> Self {
        let taps = geometry.kernel.0 * geometry.kernel.1;
        let panels = pack(geometry.patch(), geometry.outputs, |p| {
            let (tap, o) = (p / geometry.channels, p % geometry.channels);
            move |c| weight[(o * geometry.outputs + c) * taps + taps - 1 - tap]
        });
        Self::with(geometry, panels)
    }

    fn with(geometry: &'a Geometry, panels: Vec<R>) -> Self {
        let row = geometry.kernel_row();
        let runs = (0..geometry.kernel.0).map(|k| Run {
            left: k * geometry.pitch(),
            right: k * row * panel_width::<R>(),
            len: row,
        });
        Self {
            geometry,
            panels,
            patches: geometry.patches(geometry.group()),
            runs: runs.collect(),
        }
    }

    /// The convolution of padded images.
    fn apply(&self, y: &mut [R], padded: &[R], bias: Option<&[R]>) {
        let geometry = self.geometry;
        let pixels = geometry.pixels();
        let right = Right::packed(&self.panels, geometry.patch(), geometry.outputs);
        // A tile must not reach from one image into the next.
        for (column, panel) in right.panels() {
            for (n, y) in y.chunks_exact_mut(geometry.out_image()).enumerate() {
                let rows = Left::Rows(&self.patches[n * pixels..][..pixels]);
                multiply(padded, rows, panel, &self.runs, |tile| {
                    tile.transpose_into(&mut y[column * pixels..], tile.row, pixels);
                });
            }
        }
        if let Some(bias) = bias {
            add_bias(y, bias, pixels);
        }
    }
}

/// Adds to every plane its channel's bias.
fn add_bias<R: Real>(y: &mut [R], bias: &[R], pixels: usize) {
    vectorised(|| {
        for (plane, &bias) in y.chunks_exact_mut(pixels).zip(bias.iter().cycle()) {
            for y in plane {
                *y += bias;
            }
        }
    });
}

/// ∂L/∂x and (∂L/∂w, ∂L/∂b), as far as they are wanted.
///
/// Each part of the batch makes its share of ∂L/∂x and a partial sum of the others, which are added in order.
fn gradients<R: Real>(
    x: &[R],
    weight: &[R],
    grad: &[R],
    geometry: &Geometry,
    (wants_x, wants_parameters): (bool, bool),
) -> (Option<Vec<R>>, Option<(Vec<R>, Vec<R>)>) {
    let transposed = geometry.transposed();
    let back = Convolution::back(&transposed, weight);
    let part = geometry.part();
    let mut x_grad = vec![R::default(); if wants_x { x.len() } else { 0 }];
    let mut x_parts: Vec<&mut [R]> = x_grad.chunks_mut(part * geometry.image()).collect();
    x_parts.resize_with(geometry.batch.div_ceil(part), Default::default);
    let partials: Vec<Partial<R>> = x_parts
        .into_par_iter()
        .zip(x.par_chunks(part * geometry.image()))
        .zip(grad.par_chunks(part * geometry.out_image()))
        .map(|((x_grad, x), grad)| {
            let mut partial = Partial::new(geometry, wants_parameters);
            let (mut padded_x, mut padded_grad) = (Padded::new(geometry), Padded::new(&transposed));
            let group = geometry.group();
            let mut x_grads = x_grad.chunks_mut(group * geometry.image());
            let groups = x
                .chunks(group * geometry.image())
                .zip(grad.chunks(group * geometry.out_image()));
            for (x, grad) in groups {
                let padded_grad = padded_grad.fill(grad, &transposed);
                if let Some(x_grad) = x_grads.next() {
                    back.apply(x_grad, padded_grad, None);
                }
                if wants_parameters {
                    let images = x.len() / geometry.image();
                    partial.add(padded_x.fill(x, geometry), padded_grad, images, geometry);
                    partial.add_bias(grad, geometry);
                }
            }
            partial
        })
        .collect();
    let parameters = wants_parameters.then(|| Partial::total(&partials, geometry));
    (wants_x.then_some(x_grad), parameters)
}

/// A partial sum of ∂L/∂w, `[kh, O, kw C]`, and of ∂L/∂b.
struct Partial<R> {
    weight: Vec<R>,
    bias: Vec<R>,
}

impl<R: Real> Partial<R> {
    fn new(geometry: &Geometry, wanted: bool) -> Self {
        let size = |n: usize| vec![R::default(); if wanted { n } else { 0 }];
        Self {
            weight: size(geometry.outputs * geometry.patch()),
            bias: size(geometry.outputs),
        }
    }

    /// Adds the images' share of ∂L/∂w: for each row k of the kernel the product over the pixels of their ∂L/∂y
    /// with the row's part of their patches.
    fn add(&mut self, x: &[R], grad: &[R], images: usize, geometry: &Geometry) {
        let (height, width) = geometry.out();
        let (back, outputs, row) = (
            geometry.transposed(),
            geometry.outputs,
            geometry.kernel_row(),
        );
        let rows = Left::Columns {
            stride: outputs,
            count: outputs,
        };
        for k in 0..geometry.kernel.0 {
            let pixel_rows = |n: usize| {
                (0..height).map(move |y| Run {
                    left: n * back.padded_image()
                        + (y + back.padding.0) * back.pitch()
                        + back.padding.1 * outputs,
                    right: n * geometry.padded_image() + (y + k) * geometry.pitch(),
                    len: width,
                })
            };
            let runs: Vec<Run> = (0..images).flat_map(pixel_rows).collect();
            let total = &mut self.weight[k * outputs * row..][..outputs * row];
            let right = Right::rows(x, geometry.channels, row);
            multiply(grad, rows, right, &runs, |tile| {
                for (i, values) in tile.rows().enumerate() {
                    accumulate(&mut total[(tile.row + i) * row + tile.column..], values);
                }
            });
        }
    }

    fn add_bias(&mut self, grad: &[R], geometry: &Geometry) {
        vectorised(|| {
            for image in grad.chunks_exact(geometry.out_image()) {
                for (total, plane) in self
                    .bias
                    .iter_mut()
                    .zip(image.chunks_exact(geometry.pixels()))
                {
                    *total += sum(plane, |g| g);
                }
            }
        });
    }

    /// The sum in order, as `[O, C, kh, kw]` and `[O]`.
    fn total(partials: &[Self], geometry: &Geometry) -> (Vec<R>, Vec<R>) {
        let mut sum = Self::new(geometry, true);
        for partial in partials {
            accumulate(&mut sum.weight, &partial.weight);
            accumulate(&mut sum.bias, &partial.bias);
        }
        let (channels, (kh, kw), outputs) = (geometry.channels, geometry.kernel, geometry.outputs);
        let mut weight = Vec::with_capacity(sum.weight.len());
        for o in 0..outputs {
            for c in 0..channels {
                for k in 0..kh {
                    let row = &sum.weight[(k * outputs + o) * kw * channels..];
                    weight.extend((0..kw).map(|l| row[l * channels + c]));
                }
            }
        }
        (weight, sum.bias)
    }
}
