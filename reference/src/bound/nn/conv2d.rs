//! Bound for the convolution, as a product with the matrix of all windows.

use super::linear::{AffineBound, product_with_bias};
use crate::bound::{Precision, Tracked};
use crate::nn::{self, Conv2dOptions, NnError};
use ndarray::{Array2, ArrayD};

/// [`nn::conv2d`] in precision `p`: inner products of `C·kh·kw` terms and a bias, in any order.
///
/// # Errors
/// Those of [`nn::conv2d`].
pub fn conv2d(
    x: &Tracked,
    weight: &Tracked,
    bias: &Tracked,
    options: Conv2dOptions,
    p: Precision,
) -> Result<Tracked, NnError> {
    let y = nn::conv2d(&x.value, &weight.value, &bias.value, options)?;
    let layout = Layout::new(x, weight, &y, options);
    let rows = product_with_bias(&layout.windows(x), &layout.kernel_rows(weight), bias, p);
    let [b, o, h, w] = layout.y;
    Ok(rows.reshape(&[b, h, w, o]).permute(&[0, 3, 1, 2]))
}

/// [`nn::conv2d_vjp`] in precision `p`.
///
/// The input's gradient is counted as an inner product of `O·kh·kw` terms. That covers the transposed convolution,
/// and the product over O followed by adding up to kh·kw overlapping windows, since `O·kh·kw ≥ O + kh·kw − 1`.
///
/// # Errors
/// Those of [`nn::conv2d_vjp`].
pub fn conv2d_vjp(
    x: &Tracked,
    weight: &Tracked,
    grad: &Tracked,
    options: Conv2dOptions,
    p: Precision,
) -> Result<AffineBound, NnError> {
    nn::conv2d_vjp(&x.value, &weight.value, &grad.value, options)?;
    let layout = Layout::new(x, weight, &grad.value, options);
    let [b, c, h, w] = layout.x;
    let o = layout.y[1];
    let [_, _, kh, kw] = layout.w;
    let g_rows = grad
        .permute(&[1, 0, 2, 3])
        .reshape(&[o, grad.value.len() / o.max(1)]);
    let taps = weight.permute(&[0, 2, 3, 1]).reshape(&[o * kh * kw, c]);
    Ok(AffineBound {
        x: layout
            .users(grad)
            .matmul(&taps, p)
            .reshape(&[b, h, w, c])
            .permute(&[0, 3, 1, 2]),
        weight: g_rows.matmul(&layout.windows(x), p).reshape(&layout.w),
        bias: g_rows.sum_axis(1, false, p),
    })
}

/// Shapes of input, kernel and output.
struct Layout {
    x: [usize; 4],
    w: [usize; 4],
    y: [usize; 4],
    options: Conv2dOptions,
}

impl Layout {
    fn new(x: &Tracked, weight: &Tracked, y: &ArrayD<f64>, options: Conv2dOptions) -> Self {
        let four = |s: &[usize]| [s[0], s[1], s[2], s[3]];
        Self {
            x: four(x.shape()),
            w: four(weight.shape()),
            y: four(y.shape()),
            options,
        }
    }

    /// `[O, C, kh, kw]` → `[O, C·kh·kw]`.
    fn kernel_rows(&self, weight: &Tracked) -> Tracked {
        let [o, c, kh, kw] = self.w;
        weight.reshape(&[o, c * kh * kw])
    }

    /// What each output sees, `[B·H'·W', C·kh·kw]`, zero in the padding.
    fn windows(&self, x: &Tracked) -> Tracked {
        let ([_, c, height, width], [_, _, kh, kw]) = (self.x, self.w);
        let [b, _, h, w] = self.y;
        gather(x, [b * h * w, c * kh * kw], |row, column| {
            let (b, i, j) = (row / (h * w), row / w % h, row % w);
            let (c, p, q) = (column / (kh * kw), column / kw % kh, column % kw);
            let y = self.options.source(i, p, height)?;
            let x = self.options.source(j, q, width)?;
            Some([b, c, y, x])
        })
    }

    /// Which outputs each input pixel enters, `[B·H·W, O·kh·kw]`, zero where there is none.
    fn users(&self, grad: &Tracked) -> Tracked {
        let ([b, _, h, w], [_, _, kh, kw]) = (self.x, self.w);
        let [_, o, out_h, out_w] = self.y;
        let user = |side: usize, tap: usize, limit: usize| {
            let offset = (side + self.options.padding).checked_sub(tap)?;
            let out = offset / self.options.stride;
            (offset % self.options.stride == 0 && out < limit).then_some(out)
        };
        gather(grad, [b * h * w, o * kh * kw], |row, column| {
            let (b, y, x) = (row / (h * w), row / w % h, row % w);
            let (o, p, q) = (column / (kh * kw), column / kw % kh, column % kw);
            Some([b, o, user(y, p, out_h)?, user(x, q, out_w)?])
        })
    }
}

/// A matrix of elements of `x`, zero where `source` names none.
fn gather(
    x: &Tracked,
    [rows, columns]: [usize; 2],
    source: impl Fn(usize, usize) -> Option<[usize; 4]>,
) -> Tracked {
    let pick = |array: &ArrayD<f64>| {
        let element = |(r, c)| source(r, c).map_or(0.0, |at| array[at]);
        Array2::from_shape_fn((rows, columns), element).into_dyn()
    };
    Tracked {
        value: pick(&x.value),
        error: pick(&x.error),
    }
}
