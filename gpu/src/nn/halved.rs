//! A convolution of every second pixel that can be trained.

use candle_core::{Result, Tensor};

use super::conv2d;
use super::shape::resample::even_sides;
use crate::Error;

/// Convolution of stride 2 with 3×3 kernels, on images of even sides.
///
/// # Formula `[eq:conv2d]`
/// ```text
/// y[n,o,i,j] = b[o] + Σ_{c,k,l} w[o,c,k,l] · x[n,c,2i+k−p,2j+l−p],   p = 1 if centred, else 0;   x = 0 outside the image
/// ```
/// computed as a convolution of stride 1 with 2×2 kernels of the blocks of 2×2 pixels, whose gradients are those of [`conv2d`].
///
/// # Shapes
/// `x: [N, C, H, W]`, `weight: [O, C, 3, 3]`, `bias: [O]` → `[N, O, H/2, W/2]`.
///
/// # Errors
/// Odd sides; other kernels.
pub fn conv2d_halved(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    centred: bool,
) -> Result<Tensor> {
    let (n, c, height, width) = even_sides(x)?;
    let (outputs, _, 3, 3) = weight.dims4()? else {
        let (must, got) = (format!("[O, {c}, 3, 3]"), weight.dims());
        return Err(Error::shape("kernels of a halving convolution", must, got).into());
    };
    let before = usize::from(centred);
    // One row and column more than the kernels reach, to be even.
    let mut x = x.clone();
    for axis in [2, 3] {
        x = x.pad_with_zeros(axis, before, 2 - before)?;
    }
    let (rows, columns) = (height / 2 + 1, width / 2 + 1);
    let blocks = (x.reshape(&[n, c, rows, 2, columns, 2])?)
        .permute([0, 1, 3, 5, 2, 4])?
        .contiguous()?
        .reshape((n, 4 * c, rows, columns))?;
    let kernels = weight.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?;
    let kernels = (kernels.reshape(&[outputs, c, 2, 2, 2, 2])?)
        .permute([0, 1, 3, 5, 2, 4])?
        .contiguous()?
        .reshape((outputs, 4 * c, 2, 2))?;
    conv2d(&blocks, &kernels, bias, 0)
}
