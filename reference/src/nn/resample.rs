//! Changing the resolution of images by a factor of two, and averaging it away.

use super::{NnError, ranked, require, require_shape};
use ndarray::{Array4, ArrayD, ArrayView4, Axis, Ix2, Ix4};

/// Repeats every pixel in a 2×2 block. `[eq:upsample-nearest2x]`
///
/// # Shapes
/// `x: [B, C, H, W]` → `[B, C, 2H, 2W]`, `y[…, i, j] = x[…, ⌊i/2⌋, ⌊j/2⌋]`.
///
/// # Errors
/// [`NnError::Shape`] if `x` is not an image batch.
pub fn upsample_nearest2x(x: &ArrayD<f64>) -> Result<ArrayD<f64>, NnError> {
    Ok(repeat(image("upsample_nearest2x", "x", x)?, 1.0))
}

/// Gradient of `⟨grad, upsample_nearest2x(x)⟩`: the sum over each 2×2 block.
///
/// # Shapes
/// `grad: [B, C, 2H, 2W]` → `[B, C, H, W]`.
///
/// # Errors
/// [`NnError`] if `grad` is not an image batch with even sides.
pub fn upsample_nearest2x_vjp(grad: &ArrayD<f64>) -> Result<ArrayD<f64>, NnError> {
    block_sum("upsample_nearest2x", "grad", grad, 1.0)
}

/// Mean over each 2×2 block. `[eq:avg-pool2x]`
///
/// # Shapes
/// `x: [B, C, 2H, 2W]` → `[B, C, H, W]`.
///
/// # Errors
/// [`NnError`] if `x` is not an image batch with even sides.
pub fn avg_pool2x(x: &ArrayD<f64>) -> Result<ArrayD<f64>, NnError> {
    block_sum("avg_pool2x", "x", x, 0.25)
}

/// Gradient of `⟨grad, avg_pool2x(x)⟩`: a quarter of it to each pixel of the block.
///
/// # Shapes
/// `grad: [B, C, H, W]` → `[B, C, 2H, 2W]`.
///
/// # Errors
/// [`NnError::Shape`] if `grad` is not an image batch.
pub fn avg_pool2x_vjp(grad: &ArrayD<f64>) -> Result<ArrayD<f64>, NnError> {
    Ok(repeat(image("avg_pool2x", "grad", grad)?, 0.25))
}

/// Mean over all pixels.
///
/// # Shapes
/// `x: [B, C, H, W]` → `[B, C]`.
///
/// # Errors
/// [`NnError::Shape`] if `x` is not an image batch with at least one pixel.
pub fn global_avg_pool(x: &ArrayD<f64>) -> Result<ArrayD<f64>, NnError> {
    let view = image("global_avg_pool", "x", x)?;
    let (_, _, h, w) = view.dim();
    require(
        h * w > 0,
        "global_avg_pool",
        "number of pixels",
        || "at least 1".to_owned(),
        0,
    )?;
    Ok((view.sum_axis(Axis(3)).sum_axis(Axis(2)) / (h * w) as f64).into_dyn())
}

/// Gradient of `⟨grad, global_avg_pool(x)⟩`: `grad/(H W)` in every pixel.
///
/// # Shapes
/// `x: [B, C, H, W]`, `grad: [B, C]` → `[B, C, H, W]`.
///
/// # Errors
/// [`NnError::Shape`] naming the argument that does not fit.
pub fn global_avg_pool_vjp(x: &ArrayD<f64>, grad: &ArrayD<f64>) -> Result<ArrayD<f64>, NnError> {
    let (b, c, h, w) = image("global_avg_pool", "x", x)?.dim();
    require_shape("global_avg_pool", "grad", grad, &[b, c])?;
    let g = ranked::<Ix2>("global_avg_pool", "grad", "[B, C]", grad)?;
    Ok(Array4::from_shape_fn((b, c, h, w), |(b, c, _, _)| g[[b, c]] / (h * w) as f64).into_dyn())
}

fn image<'a>(
    layer: &'static str,
    argument: &'static str,
    x: &'a ArrayD<f64>,
) -> Result<ArrayView4<'a, f64>, NnError> {
    ranked::<Ix4>(layer, argument, "[B, C, H, W]", x)
}

fn repeat(x: ArrayView4<'_, f64>, factor: f64) -> ArrayD<f64> {
    let (b, c, h, w) = x.dim();
    Array4::from_shape_fn((b, c, 2 * h, 2 * w), |(b, c, i, j)| {
        factor * x[[b, c, i / 2, j / 2]]
    })
    .into_dyn()
}

fn block_sum(
    layer: &'static str,
    argument: &'static str,
    x: &ArrayD<f64>,
    factor: f64,
) -> Result<ArrayD<f64>, NnError> {
    let x = image(layer, argument, x)?;
    let (b, c, h, w) = x.dim();
    for side in [h, w] {
        require(
            side.is_multiple_of(2),
            layer,
            "image side",
            || "even".to_owned(),
            side,
        )?;
    }
    Ok(Array4::from_shape_fn((b, c, h / 2, w / 2), |(b, c, i, j)| {
        let (i, j) = (2 * i, 2 * j);
        factor
            * (x[[b, c, i, j]]
                + x[[b, c, i, j + 1]]
                + x[[b, c, i + 1, j]]
                + x[[b, c, i + 1, j + 1]])
    })
    .into_dyn())
}
