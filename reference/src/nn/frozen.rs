//! Layers of networks that are only run: the batch norm of a trained network, poolings, changes of size.

use super::{Conv2dOptions, NnError, ranked, require, require_shape};
use ndarray::{Array4, ArrayD, ArrayView4, Ix4};

/// Batch norm with the statistics of training. `[eq:batch-norm]`
///
/// # Formula
/// ```text
/// y[b,c,i,j] = γ[c] (x[b,c,i,j] − μ[c])/√(v[c] + ε) + β[c]
/// ```
///
/// # Shapes
/// `x: [B, C, H, W]`, the others `[C]` → `[B, C, H, W]`.
///
/// # Errors
/// [`NnError::Shape`] naming the argument that does not fit.
///
/// # Source
/// Ioffe and Szegedy 2015 (arXiv:1502.03167), Algorithm 2.
pub fn batch_norm(
    x: &ArrayD<f64>,
    [gamma, beta]: [&ArrayD<f64>; 2],
    [mean, variance]: [&ArrayD<f64>; 2],
    eps: f64,
) -> Result<ArrayD<f64>, NnError> {
    const LAYER: &str = "batch_norm";
    let image = ranked::<Ix4>(LAYER, "x", "[B, C, H, W]", x)?;
    let channels = image.dim().1;
    for (name, parameter) in [
        ("gamma", gamma),
        ("beta", beta),
        ("mean", mean),
        ("variance", variance),
    ] {
        require_shape(LAYER, name, parameter, &[channels])?;
    }
    let y = Array4::from_shape_fn(image.dim(), |at| {
        let c = at.1;
        gamma[[c]] * (image[at] - mean[[c]]) / (variance[[c]] + eps).sqrt() + beta[[c]]
    });
    Ok(y.into_dyn())
}

/// The greatest of each `side × side` window, of the pixels inside the image. `[eq:max-pool]`
///
/// # Formula
/// ```text
/// y[b,c,i,j] = max { x[b,c,s·i+k−p,s·j+l−p] : 0 ≤ k, l < side, inside the image }
/// ```
///
/// # Shapes
/// `x: [B, C, H, W]` → sides `⌊(H + 2p − side)/s⌋ + 1`.
///
/// # Errors
/// [`NnError`] if the window does not fit, the stride is 0, or `p ≥ side`.
pub fn max_pool(
    x: &ArrayD<f64>,
    side: usize,
    options: Conv2dOptions,
) -> Result<ArrayD<f64>, NnError> {
    pooled("max_pool", x, side, options, |pixels| {
        // Of a number and NaN, NaN: f64::max would take the number.
        let greatest = |m: f64, &x: &f64| if x > m || x.is_nan() { x } else { m };
        pixels.iter().fold(f64::NEG_INFINITY, greatest)
    })
}

/// The mean of each `side × side` window, over the pixels inside the image only. `[eq:avg-pool]`
///
/// # Formula
/// ```text
/// y[b,c,i,j] = mean { x[b,c,s·i+k−p,s·j+l−p] : 0 ≤ k, l < side, inside the image }
/// ```
/// The zeros of the padding are not counted: TensorFlow's average, PyTorch's with `count_include_pad=False`.
///
/// # Shapes
/// As [`max_pool`].
///
/// # Errors
/// As [`max_pool`].
pub fn avg_pool(
    x: &ArrayD<f64>,
    side: usize,
    options: Conv2dOptions,
) -> Result<ArrayD<f64>, NnError> {
    pooled("avg_pool", x, side, options, |pixels| {
        pixels.iter().sum::<f64>() / pixels.len() as f64
    })
}

/// One number for the pixels of each window that lie inside the image.
fn pooled(
    layer: &'static str,
    x: &ArrayD<f64>,
    side: usize,
    options: Conv2dOptions,
    number: impl Fn(&[f64]) -> f64,
) -> Result<ArrayD<f64>, NnError> {
    let x = ranked::<Ix4>(layer, "x", "[B, C, H, W]", x)?;
    let (batch, channels, height, width) = x.dim();
    require(
        options.padding < side,
        layer,
        "padding",
        || format!("below the window's side {side}"),
        options.padding,
    )?;
    let outputs = |length: usize| {
        options
            .output_side(length, side)
            .ok_or_else(|| NnError::Value {
                layer,
                argument: "window side",
                must: format!(
                    "at most the padded image side {}, with a stride",
                    length + 2 * options.padding
                ),
                got: side,
            })
    };
    let shape = (batch, channels, outputs(height)?, outputs(width)?);
    let y = Array4::from_shape_fn(shape, |(b, c, i, j)| {
        let rows = (0..side).filter_map(|k| options.source(i, k, height));
        let pixels: Vec<f64> = rows
            .flat_map(|y| (0..side).filter_map(move |l| Some((y, options.source(j, l, width)?))))
            .map(|(y, x_at)| x[[b, c, y, x_at]])
            .collect();
        number(&pixels)
    });
    Ok(y.into_dyn())
}

/// Convention of resizing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpolation {
    /// Linear between the centres of pixels.
    Centres,
    /// Linear between their corners, as TensorFlow 1.
    Corners,
    /// Keys's cubic convolution with a = −½, as wide as the coarser of the two grids, as Pillow.
    Bicubic,
}

/// An image of another size. `[eq:resize-centres]` `[eq:resize-corners]` `[eq:resize-bicubic]`
///
/// # Formula
/// ```text
/// y[b,c,i,j] = Σ_{k,l} w(i,k) w(j,l) x[b,c,k,l]                                    r = from/to
/// centres:  w(i,k) = h(clamp((i + ½) r − ½, 0, from − 1) − k),   h(u) = max(1 − |u|, 0)
/// corners:  w(i,k) = h(min(i r, from − 1) − k)
/// bicubic:  w(i,k) = κ(k)/Σ_m κ(m),   κ(m) = keys((m + ½ − (i + ½) r)/max(r, 1))
/// keys(u)  = 3/2|u|³ − 5/2|u|² + 1 for |u| < 1,  −1/2|u|³ + 5/2|u|² − 4|u| + 2 for |u| < 2,  else 0
/// ```
///
/// # Shapes
/// `x: [B, C, H, W]`, `to` = (H′, W′) → `[B, C, H′, W′]`.
///
/// # Errors
/// [`NnError`] for an image or a size without pixels.
///
/// # Source
/// Keys 1981, doi:10.1109/TASSP.1981.1163711, Eq. 15; TensorFlow 1's `resize_bilinear` and Pillow's `resize` by their results.
pub fn interpolate(
    x: &ArrayD<f64>,
    rule: Interpolation,
    to: (usize, usize),
) -> Result<ArrayD<f64>, NnError> {
    const LAYER: &str = "interpolate";
    let x = ranked::<Ix4>(LAYER, "x", "[B, C, H, W]", x)?;
    let (batch, channels, height, width) = x.dim();
    for side in [height, width, to.0, to.1] {
        require(
            side > 0,
            LAYER,
            "image side",
            || "at least 1".to_owned(),
            side,
        )?;
    }
    let (rows, columns) = (weights(rule, height, to.0), weights(rule, width, to.1));
    let y = Array4::from_shape_fn((batch, channels, to.0, to.1), |(b, c, i, j)| {
        weighted(&x, [b, c], &rows[i], &columns[j])
    });
    Ok(y.into_dyn())
}

/// `Σ_{k,l} rows[k] columns[l] x[b,c,k,l]`.
fn weighted(x: &ArrayView4<f64>, [b, c]: [usize; 2], rows: &[f64], columns: &[f64]) -> f64 {
    let row = |k: usize| -> f64 {
        columns
            .iter()
            .enumerate()
            .map(|(l, w)| w * x[[b, c, k, l]])
            .sum()
    };
    rows.iter().enumerate().map(|(k, w)| w * row(k)).sum()
}

/// `w(i, k)` for each of `to` outputs i and `from` inputs k.
pub(crate) fn weights(rule: Interpolation, from: usize, to: usize) -> Vec<Vec<f64>> {
    let ratio = from as f64 / to as f64;
    let last = from as f64 - 1.0;
    let row = |i: usize| -> Vec<f64> {
        let i = i as f64;
        let hat = |u: f64| {
            (0..from)
                .map(|k| (1.0 - (u - k as f64).abs()).max(0.0))
                .collect()
        };
        match rule {
            Interpolation::Centres => hat(((i + 0.5) * ratio - 0.5).clamp(0.0, last)),
            Interpolation::Corners => hat((i * ratio).min(last)),
            Interpolation::Bicubic => {
                let kernel = |k: usize| keys((k as f64 + 0.5 - (i + 0.5) * ratio) / ratio.max(1.0));
                let total: f64 = (0..from).map(kernel).sum();
                (0..from).map(|k| kernel(k) / total).collect()
            }
        }
    };
    (0..to).map(row).collect()
}

fn keys(u: f64) -> f64 {
    let u = u.abs();
    if u < 1.0 {
        1.5 * u.powi(3) - 2.5 * u.powi(2) + 1.0
    } else if u < 2.0 {
        -0.5 * u.powi(3) + 2.5 * u.powi(2) - 4.0 * u + 2.0
    } else {
        0.0
    }
}
