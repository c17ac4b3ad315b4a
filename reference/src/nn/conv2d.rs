//! Two-dimensional cross-correlation, the "convolution" of neural networks.

use super::{NnError, ranked, require, require_shape};
use ndarray::{Array4, ArrayD, ArrayView4, Ix4};

const LAYER: &str = "conv2d";

/// Stride and zero padding of a convolution, the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Step between neighbouring outputs, ≥ 1.
    pub stride: usize,
    /// Zeros added on each of the four sides.
    pub padding: usize,
}

impl Conv2dOptions {
    /// Stride 1 and the padding that keeps the size under an odd `kernel`: 1 for 3×3, 0 for 1×1.
    pub fn same(kernel: usize) -> Self {
        Self {
            stride: 1,
            padding: kernel / 2,
        }
    }

    /// Output side `⌊(side + 2·padding − kernel)/stride⌋ + 1`, or `None` if the kernel does not fit.
    pub(crate) fn output_side(self, side: usize, kernel: usize) -> Option<usize> {
        let room = (side + 2 * self.padding).checked_sub(kernel)?;
        Some(room.checked_div(self.stride)? + 1)
    }

    /// The input coordinate under tap `tap` of output `out`, or `None` in the padding.
    pub(crate) fn source(self, out: usize, tap: usize, side: usize) -> Option<usize> {
        (out * self.stride + tap)
            .checked_sub(self.padding)
            .filter(|&i| i < side)
    }
}

/// Gradients of [`conv2d`].
#[derive(Debug, Clone, PartialEq)]
pub struct Conv2dGrad {
    /// With respect to the input, `[B, C, H, W]`.
    pub x: ArrayD<f64>,
    /// With respect to the kernel, `[O, C, kh, kw]`.
    pub weight: ArrayD<f64>,
    /// With respect to the bias, `[O]`.
    pub bias: ArrayD<f64>,
}

/// Cross-correlation with zero padding. `[eq:conv2d]`
///
/// # Formula
/// ```text
/// y[b,o,i,j] = bias[o] + Σ_{c,p,q} w[o,c,p,q] · x[b, c, s·i + p − pad, s·j + q − pad]
/// ```
/// # Shapes
/// `x: [B, C, H, W]`, `weight: [O, C, kh, kw]`, `bias: [O]` → `[B, O, H', W']`, `H' = ⌊(H + 2 pad − kh)/s⌋ + 1`.
///
/// # Errors
/// [`NnError`] if a shape does not fit, the stride is 0, or the kernel is larger than the padded image.
pub fn conv2d(
    x: &ArrayD<f64>,
    weight: &ArrayD<f64>,
    bias: &ArrayD<f64>,
    options: Conv2dOptions,
) -> Result<ArrayD<f64>, NnError> {
    let window = Window::new(x, weight, options)?;
    require_shape(LAYER, "bias", bias, &[window.output.1])?;
    let mut y = Array4::from_shape_fn(window.output, |(_, o, _, _)| bias[[o]]);
    window.each(|out, tap, source| y[out] += window.w[tap] * window.x[source]);
    Ok(y.into_dyn())
}

/// Gradients of `⟨grad, conv2d(x)⟩`: the same sum read three ways.
///
/// # Formula
/// ```text
/// ∂x[source] += w[tap] g[out],   ∂w[tap] += x[source] g[out],   ∂bias[o] += g[out]
/// ```
/// over all (out, tap, source) of [`conv2d`]; the first is the transposed convolution.
///
/// # Shapes
/// As [`conv2d`]; `grad: [B, O, H', W']`.
///
/// # Errors
/// As [`conv2d`].
pub fn conv2d_vjp(
    x: &ArrayD<f64>,
    weight: &ArrayD<f64>,
    grad: &ArrayD<f64>,
    options: Conv2dOptions,
) -> Result<Conv2dGrad, NnError> {
    let window = Window::new(x, weight, options)?;
    let (b, o, h, w) = window.output;
    require_shape(LAYER, "grad", grad, &[b, o, h, w])?;
    let g = ranked::<Ix4>(LAYER, "grad", "[B, O, H', W']", grad)?;
    let mut d_x = Array4::zeros(window.x.raw_dim());
    let mut d_weight = Array4::zeros(window.w.raw_dim());
    window.each(|out, tap, source| {
        d_x[source] += window.w[tap] * g[out];
        d_weight[tap] += window.x[source] * g[out];
    });
    let d_bias = ndarray::Array1::from_shape_fn(o, |o| g.index_axis(ndarray::Axis(1), o).sum());
    Ok(Conv2dGrad {
        x: d_x.into_dyn(),
        weight: d_weight.into_dyn(),
        bias: d_bias.into_dyn(),
    })
}

/// Which input lies under which tap of which output.
struct Window<'a> {
    x: ArrayView4<'a, f64>,
    w: ArrayView4<'a, f64>,
    output: (usize, usize, usize, usize),
    options: Conv2dOptions,
}

impl<'a> Window<'a> {
    fn new(
        x: &'a ArrayD<f64>,
        weight: &'a ArrayD<f64>,
        options: Conv2dOptions,
    ) -> Result<Self, NnError> {
        require(
            options.stride > 0,
            LAYER,
            "stride",
            || "at least 1".to_owned(),
            options.stride,
        )?;
        let x = ranked::<Ix4>(LAYER, "x", "[B, C, H, W]", x)?;
        let w = ranked::<Ix4>(LAYER, "weight", "[O, C, kh, kw]", weight)?;
        let (batch, channels, height, width) = x.dim();
        let (out_channels, in_channels, kh, kw) = w.dim();
        require_shape(LAYER, "weight", weight, &[out_channels, channels, kh, kw])?;
        debug_assert_eq!(in_channels, channels);
        let side = |side, kernel| {
            options
                .output_side(side, kernel)
                .ok_or_else(|| NnError::Value {
                    layer: LAYER,
                    argument: "kernel side",
                    must: format!(
                        "at most the padded image side {}",
                        side + 2 * options.padding
                    ),
                    got: kernel,
                })
        };
        let output = (batch, out_channels, side(height, kh)?, side(width, kw)?);
        Ok(Self {
            x,
            w,
            output,
            options,
        })
    }

    /// Calls `f(out, tap, source)` for every product of the sum.
    fn each(&self, mut f: impl FnMut([usize; 4], [usize; 4], [usize; 4])) {
        let (_, channels, height, width) = self.x.dim();
        let (_, _, kh, kw) = self.w.dim();
        for (b, o, i, j) in ndarray::indices(self.output) {
            for (p, y) in (0..kh).filter_map(|p| Some((p, self.options.source(i, p, height)?))) {
                for (q, x) in (0..kw).filter_map(|q| Some((q, self.options.source(j, q, width)?))) {
                    for c in 0..channels {
                        f([b, o, i, j], [o, c, p, q], [b, c, y, x]);
                    }
                }
            }
        }
    }
}
