//! Convolution of images with stride 1 and zero padding.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::buffer::{
    Matrix, PARTIALS, accumulate, by_dtype, load, matmul, slice_mut, tensor, with,
};
use super::linear::bias_or_zeros;
use super::real::{Real, sum, vectorised};
use super::{Path, composed};
use crate::Error;

/// Columns of the patch matrix that one product works on: large enough for the matrix kernel, small
/// enough for the matrix to stay in the second-level cache.
const COLUMNS: usize = 256;

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
    if Path::of(x) == Path::Composed {
        return composed::conv2d(x, weight, bias, padding);
    }
    let bias = bias_or_zeros(bias, weight)?;
    x.contiguous()?.apply_op3(
        &weight.contiguous()?,
        &bias.contiguous()?,
        Conv2d { padding },
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
    padding: (usize, usize),
}

impl Geometry {
    pub(super) fn new(
        x: &[usize],
        weight: &[usize],
        bias: &[usize],
        padding: usize,
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
        let fits = |side: usize, kernel: usize| {
            side > 0 && kernel > padding && side + 2 * padding >= kernel
        };
        if !(fits(height, kh) && fits(width, kw)) {
            let must =
                format!("be larger than padding {padding} and fit into the padded image {x:?}");
            return Err(Error::invalid("conv2d kernel", must, format!("{kh}×{kw}")).into());
        }
        Ok(Self {
            batch,
            channels,
            side: (height, width),
            outputs,
            kernel: (kh, kw),
            padding: (padding, padding),
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
        (height + 1 - self.kernel.0, width + 1 - self.kernel.1)
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
    /// Images whose patches are worked on together.
    #[inline(always)]
    fn group(&self) -> usize {
        (COLUMNS / self.pixels()).max(1)
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
    padding: usize,
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
        let geometry = Geometry::new(x_dims, w_dims, bias_layout.dims(), self.padding)?;
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
        let geometry = Geometry::new(x.dims(), weight.dims(), bias.dims(), self.padding)?;
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
    let y = convolve(&x?, weight?.into_owned(), Some(&bias?), geometry)?;
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
    with::<R, _>(grad, |grad| {
        let x_grad = if x.track_op() {
            let flipped = with(weight, |weight| Ok(flip(weight, geometry)))?;
            let values = convolve(grad, flipped, None, &geometry.transposed())?;
            Some(tensor(values, x.shape(), dtype))
        } else {
            None
        };
        if !(weight.track_op() || bias.track_op()) {
            return Ok((x_grad, None, None));
        }
        let (weight_grad, bias_grad) = with(x, |x| parameter_gradients(x, grad, geometry))?;
        let weight_grad = tensor(weight_grad, weight.shape(), dtype);
        let bias_grad = tensor(bias_grad, bias.shape(), dtype);
        Ok((x_grad, Some(weight_grad), Some(bias_grad)))
    })
}

/// `w[o,c,k,l]` → `w[c,o,kh−1−k,kw−1−l]`.
fn flip<R: Real>(weight: &[R], geometry: &Geometry) -> Vec<R> {
    let taps = geometry.kernel.0 * geometry.kernel.1;
    let mut flipped = vec![R::default(); weight.len()];
    for (o, row) in weight.chunks_exact(geometry.patch()).enumerate() {
        for (c, kernel) in row.chunks_exact(taps).enumerate() {
            let to = &mut flipped[(c * geometry.outputs + o) * taps..][..taps];
            for (to, &from) in to.iter_mut().zip(kernel.iter().rev()) {
                *to = from;
            }
        }
    }
    flipped
}

/// Workspace of one task: a padded image and the patch matrix of a group of images.
struct Patches<R> {
    padded: Vec<R>,
    matrix: CpuStorage,
}

impl<R: Real> Patches<R> {
    fn new(geometry: &Geometry) -> Self {
        let (height, width) = geometry.padded();
        let columns = geometry.group() * geometry.pixels();
        Self {
            padded: vec![R::default(); geometry.channels * height * width],
            matrix: R::store(vec![R::default(); geometry.patch() * columns], R::DTYPE),
        }
    }

    /// Fills the patch matrix `[C kh kw, images · pixels]` of the images in `x`.
    fn fill(&mut self, x: &[R], geometry: &Geometry) -> Result<Matrix<'_>> {
        let images = x.len() / geometry.image();
        let columns = images * geometry.pixels();
        let matrix = slice_mut::<R>(&mut self.matrix)?;
        vectorised(|| {
            for (i, image) in x.chunks_exact(geometry.image()).enumerate() {
                pad(&mut self.padded, image, geometry);
                gather(
                    &mut matrix[i * geometry.pixels()..],
                    columns,
                    &self.padded,
                    geometry,
                );
            }
        });
        Ok(Matrix::rows(&self.matrix, 0, (geometry.patch(), columns)))
    }
}

/// Copies an image into the middle of `padded`, whose border stays 0.
#[inline(always)]
fn pad<R: Real>(padded: &mut [R], image: &[R], geometry: &Geometry) {
    let (height, width) = geometry.padded();
    let planes = padded.chunks_exact_mut(height * width);
    for (to, from) in planes.zip(image.chunks_exact(geometry.side.0 * geometry.side.1)) {
        let rows = to.chunks_exact_mut(width).skip(geometry.padding.0);
        for (to, from) in rows.zip(from.chunks_exact(geometry.side.1)) {
            to[geometry.padding.1..][..from.len()].copy_from_slice(from);
        }
    }
}

/// Writes one image's patches: row `(c, k, l)` of the matrix is the image moved by `(k, l)`.
#[inline(always)]
fn gather<R: Real>(matrix: &mut [R], columns: usize, padded: &[R], geometry: &Geometry) {
    let (height, width) = geometry.padded();
    let ((_, out_width), pixels) = (geometry.out(), geometry.pixels());
    let mut rows = matrix.chunks_mut(columns);
    for plane in padded.chunks_exact(height * width) {
        for k in 0..geometry.kernel.0 {
            let taps = rows.by_ref().take(geometry.kernel.1);
            for (l, row) in taps.enumerate() {
                copy_window(
                    &mut row[..pixels],
                    out_width,
                    &plane[k * width + l..],
                    width,
                );
            }
        }
    }
}

/// Copies the first `width` elements of every `pitch` elements of `from`.
#[inline(always)]
fn copy_window<R: Real>(to: &mut [R], width: usize, from: &[R], pitch: usize) {
    match width {
        4 => copy_window_of::<R, 4>(to, from, pitch),
        8 => copy_window_of::<R, 8>(to, from, pitch),
        16 => copy_window_of::<R, 16>(to, from, pitch),
        32 => copy_window_of::<R, 32>(to, from, pitch),
        _ => {
            for (to, from) in to.chunks_exact_mut(width).zip(from.chunks(pitch)) {
                to.copy_from_slice(&from[..width]);
            }
        }
    }
}

/// [`copy_window`] with a width that the compiler knows.
#[inline(always)]
fn copy_window_of<R: Real, const WIDTH: usize>(to: &mut [R], from: &[R], pitch: usize) {
    let (rows, _) = to.as_chunks_mut::<WIDTH>();
    for (to, from) in rows.iter_mut().zip(from.chunks(pitch)) {
        to.copy_from_slice(&from[..WIDTH]);
    }
}

/// The convolution of every image, one group of images per task.
fn convolve<R: Real>(
    x: &[R],
    weight: Vec<R>,
    bias: Option<&[R]>,
    geometry: &Geometry,
) -> Result<Vec<R>> {
    let weight = R::store(weight, R::DTYPE);
    let weight = Matrix::rows(&weight, 0, (geometry.outputs, geometry.patch()));
    let group = geometry.group();
    let mut y = vec![R::default(); geometry.batch * geometry.out_image()];
    y.par_chunks_mut(group * geometry.out_image())
        .zip(x.par_chunks(group * geometry.image()))
        .try_for_each_init(
            || Patches::new(geometry),
            |patches, (y, x)| {
                let product = matmul(weight, patches.fill(x, geometry)?)?;
                vectorised(|| scatter(y, &product, bias, geometry));
                Ok::<_, candle_core::Error>(())
            },
        )?;
    Ok(y)
}

/// `[O, images, pixels]` → `[images, O, pixels]`, adding the bias.
#[inline(always)]
fn scatter<R: Real>(y: &mut [R], product: &[R], bias: Option<&[R]>, geometry: &Geometry) {
    let pixels = geometry.pixels();
    let images = y.len() / geometry.out_image();
    for (i, image) in y.chunks_exact_mut(geometry.out_image()).enumerate() {
        for (o, plane) in image.chunks_exact_mut(pixels).enumerate() {
            let from = &product[(o * images + i) * pixels..][..pixels];
            match bias {
                Some(bias) => {
                    for (y, &from) in plane.iter_mut().zip(from) {
                        *y = from + bias[o];
                    }
                }
                None => plane.copy_from_slice(from),
            }
        }
    }
}

/// The transpose of a matrix with `columns` columns.
fn transposed<R: Real>(x: &[R], columns: usize) -> Vec<R> {
    (0..columns)
        .flat_map(|j| x.iter().skip(j).step_by(columns).copied())
        .collect()
}

/// ∂L/∂w and ∂L/∂b: a partial sum for each of at most [`PARTIALS`] parts of the batch, added in
/// order.
fn parameter_gradients<R: Real>(
    x: &[R],
    grad: &[R],
    geometry: &Geometry,
) -> Result<(Vec<R>, Vec<R>)> {
    let group = geometry.group();
    let part = geometry.batch.div_ceil(group).div_ceil(PARTIALS) * group;
    let partials: Vec<(Vec<R>, Vec<R>)> = x
        .par_chunks(part * geometry.image())
        .zip(grad.par_chunks(part * geometry.out_image()))
        .map(|(x, grad)| partial_gradients(x, grad, geometry))
        .collect::<Result<_>>()?;
    let mut weight_grad = vec![R::default(); geometry.outputs * geometry.patch()];
    let mut bias_grad = vec![R::default(); geometry.outputs];
    for (weight, bias) in &partials {
        accumulate(&mut weight_grad, weight);
        accumulate(&mut bias_grad, bias);
    }
    Ok((transposed(&weight_grad, geometry.outputs), bias_grad))
}

/// (∂L/∂w)ᵀ, `[C kh kw, O]`, and ∂L/∂b of some images. In this order the product reads the large
/// patch matrix as it lies and only the small factor has to be turned.
fn partial_gradients<R: Real>(
    x: &[R],
    grad: &[R],
    geometry: &Geometry,
) -> Result<(Vec<R>, Vec<R>)> {
    let group = geometry.group();
    let mut patches = Patches::new(geometry);
    let mut rows = R::store(vec![R::default(); group * geometry.out_image()], R::DTYPE);
    let mut weight_grad = vec![R::default(); geometry.outputs * geometry.patch()];
    let mut bias_grad = vec![R::default(); geometry.outputs];
    let groups = x
        .chunks(group * geometry.image())
        .zip(grad.chunks(group * geometry.out_image()));
    for (x, grad) in groups {
        let columns = grad.len() / geometry.outputs;
        let values = slice_mut::<R>(&mut rows)?;
        vectorised(|| {
            collect_rows(values, grad, geometry);
            for (total, row) in bias_grad.iter_mut().zip(values.chunks_exact(columns)) {
                *total += sum(row, |x| x);
            }
        });
        let rows = Matrix::rows(&rows, 0, (geometry.outputs, columns));
        accumulate(
            &mut weight_grad,
            &matmul(patches.fill(x, geometry)?, rows.t())?,
        );
    }
    Ok((weight_grad, bias_grad))
}

/// `[images, O, pixels]` → `[O, images, pixels]`.
#[inline(always)]
fn collect_rows<R: Real>(rows: &mut [R], grad: &[R], geometry: &Geometry) {
    let pixels = geometry.pixels();
    let images = grad.len() / geometry.out_image();
    for (i, image) in grad.chunks_exact(geometry.out_image()).enumerate() {
        for (o, plane) in image.chunks_exact(pixels).enumerate() {
            rows[(o * images + i) * pixels..][..pixels].copy_from_slice(plane);
        }
    }
}
