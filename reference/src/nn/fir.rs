//! Changing the resolution of images by a factor of two through a filter.

use super::{NnError, ranked, require};
use ndarray::{Array2, Array4, ArrayD, ArrayView2, ArrayView4, Ix2, Ix4};

const LAYER: &str = "fir";

/// The two-dimensional filter of the taps `r`: `f = r rᵀ/(Σ r)²`.
///
/// # Shapes
/// `taps: [n]` → `[n, n]`.
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), App. F.1: `[1, 1]` of DDPM++, `[1, 3, 3, 1]` of NCSN++.
pub fn fir_filter(taps: &[f64]) -> ArrayD<f64> {
    let sum: f64 = taps.iter().sum();
    Array2::from_shape_fn((taps.len(), taps.len()), |(k, l)| {
        taps[k] * taps[l] / (sum * sum)
    })
    .into_dyn()
}

/// Every second pixel of the image filtered by `f`, each channel by itself. `[eq:fir-down]`
///
/// # Formula
/// ```text
/// y[b,c,i,j] = Σ_{k,l} f[k,l] · x[b, c, 2i + k − p, 2j + l − p]        x = 0 outside the image
/// ```
/// # Shapes
/// `x: [B, C, H, W]`, `filter: [n, n]` → `[B, C, H', W']`, `H' = ⌊(H + 2p − n)/2⌋ + 1`.
///
/// # Errors
/// [`NnError`] if a shape does not fit, or the filter is larger than the padded image.
pub fn fir_down(
    x: &ArrayD<f64>,
    filter: &ArrayD<f64>,
    padding: usize,
) -> Result<ArrayD<f64>, NnError> {
    let (x, f, at) = Places::of_halving(x, filter, padding)?;
    let mut y = at.zeros(at.small);
    at.each(|small, tap, large| y[small] += f[tap] * x[large]);
    Ok(y.into_dyn())
}

/// Gradient of `⟨grad, fir_down(x)⟩`: each output's gradient spread over the pixels that it was made from.
///
/// # Formula
/// ```text
/// ∂x[b, c, 2i + k − p, 2j + l − p] += f[k,l] · g[b,c,i,j]
/// ```
/// # Shapes
/// `grad: [B, C, H', W']` → `[B, C, H, W]` with the sides of `x`.
///
/// # Errors
/// As [`fir_down`]; a gradient of other sides.
pub fn fir_down_vjp(
    x: &ArrayD<f64>,
    filter: &ArrayD<f64>,
    padding: usize,
    grad: &ArrayD<f64>,
) -> Result<ArrayD<f64>, NnError> {
    let (_, f, at) = Places::of_halving(x, filter, padding)?;
    let g = at.gradient(grad, at.small)?;
    let mut d_x = at.zeros(at.large);
    at.each(|small, tap, large| d_x[large] += f[tap] * g[small]);
    Ok(d_x.into_dyn())
}

/// Twice the resolution: the image with zeros between its pixels, filtered by `4 f`, each channel by itself. `[eq:fir-up]`
///
/// # Formula
/// ```text
/// y[b, c, 2i + k − p, 2j + l − p] += 4 f[k,l] · x[b,c,i,j]
/// ```
/// four times what [`fir_down_vjp`] does: of a filter with sum 1 that keeps a constant image, as its half and its half do in each direction.
///
/// # Shapes
/// `x: [B, C, H, W]`, `filter: [n, n]` → `[B, C, H', W']`, `H' = 2(H − 1) + n − 2p`.
///
/// # Errors
/// [`NnError`] if a shape does not fit, or the padding takes all.
pub fn fir_up(
    x: &ArrayD<f64>,
    filter: &ArrayD<f64>,
    padding: usize,
) -> Result<ArrayD<f64>, NnError> {
    let (x, f, at) = Places::of_doubling(x, filter, padding)?;
    let mut y = at.zeros(at.large);
    at.each(|small, tap, large| y[large] += 4.0 * f[tap] * x[small]);
    Ok(y.into_dyn())
}

/// Gradient of `⟨grad, fir_up(x)⟩`: four times [`fir_down`] of it.
///
/// # Formula
/// ```text
/// ∂x[b,c,i,j] = 4 Σ_{k,l} f[k,l] · g[b, c, 2i + k − p, 2j + l − p]
/// ```
/// # Shapes
/// `grad: [B, C, H', W']` → `[B, C, H, W]` with the sides of `x`.
///
/// # Errors
/// As [`fir_up`]; a gradient of other sides.
pub fn fir_up_vjp(
    x: &ArrayD<f64>,
    filter: &ArrayD<f64>,
    padding: usize,
    grad: &ArrayD<f64>,
) -> Result<ArrayD<f64>, NnError> {
    let (_, f, at) = Places::of_doubling(x, filter, padding)?;
    let g = at.gradient(grad, at.large)?;
    let mut d_x = at.zeros(at.small);
    at.each(|small, tap, large| d_x[small] += 4.0 * f[tap] * g[large]);
    Ok(d_x.into_dyn())
}

type Arguments<'a> = (ArrayView4<'a, f64>, ArrayView2<'a, f64>);
type Placed<'a> = (ArrayView4<'a, f64>, ArrayView2<'a, f64>, Places);

fn arguments<'a>(x: &'a ArrayD<f64>, filter: &'a ArrayD<f64>) -> Result<Arguments<'a>, NnError> {
    let x = ranked::<Ix4>(LAYER, "x", "[B, C, H, W]", x)?;
    let f = ranked::<Ix2>(LAYER, "filter", "[n, n]", filter)?;
    super::require_shape(LAYER, "filter", filter, &[f.nrows(), f.nrows()])?;
    Ok((x, f))
}

fn reduced(side: usize, f: ArrayView2<'_, f64>, padding: usize) -> Result<usize, NnError> {
    let padded = side + 2 * padding;
    let must = || format!("between 1 and the padded image side {padded}");
    require(
        (1..=padded).contains(&f.nrows()),
        LAYER,
        "filter side",
        must,
        f.nrows(),
    )?;
    Ok((padded - f.nrows()) / 2 + 1)
}

fn enlarged(side: usize, f: ArrayView2<'_, f64>, padding: usize) -> Result<usize, NnError> {
    let whole = 2 * side.saturating_sub(1) + f.nrows();
    let must = || format!("less than half of the {whole} pixels that a side would have without it");
    require(
        side > 0 && f.nrows() > 0 && 2 * padding < whole,
        LAYER,
        "padding",
        must,
        padding,
    )?;
    Ok(whole - 2 * padding)
}

/// Which pixels meet which taps: the sides of the smaller and of the larger image, each channel by itself.
#[derive(Debug, Clone, Copy)]
struct Places {
    /// Samples and channels.
    images: [usize; 2],
    taps: usize,
    padding: usize,
    small: [usize; 2],
    large: [usize; 2],
}

impl Places {
    /// Of `x` as the larger image.
    fn of_halving<'a>(
        x: &'a ArrayD<f64>,
        filter: &'a ArrayD<f64>,
        padding: usize,
    ) -> Result<Placed<'a>, NnError> {
        let (x, f) = arguments(x, filter)?;
        let (b, c, h, w) = x.dim();
        let places = Self {
            images: [b, c],
            taps: f.nrows(),
            padding,
            small: [reduced(h, f, padding)?, reduced(w, f, padding)?],
            large: [h, w],
        };
        Ok((x, f, places))
    }

    /// Of `x` as the smaller image.
    fn of_doubling<'a>(
        x: &'a ArrayD<f64>,
        filter: &'a ArrayD<f64>,
        padding: usize,
    ) -> Result<Placed<'a>, NnError> {
        let (x, f) = arguments(x, filter)?;
        let (b, c, h, w) = x.dim();
        let places = Self {
            images: [b, c],
            taps: f.nrows(),
            padding,
            small: [h, w],
            large: [enlarged(h, f, padding)?, enlarged(w, f, padding)?],
        };
        Ok((x, f, places))
    }

    fn zeros(&self, [h, w]: [usize; 2]) -> Array4<f64> {
        Array4::zeros((self.images[0], self.images[1], h, w))
    }

    /// A gradient of images with these sides.
    fn gradient<'a>(
        &self,
        grad: &'a ArrayD<f64>,
        [h, w]: [usize; 2],
    ) -> Result<ArrayView4<'a, f64>, NnError> {
        let [b, c] = self.images;
        super::require_shape(LAYER, "grad", grad, &[b, c, h, w])?;
        ranked::<Ix4>(LAYER, "grad", "[B, C, H', W']", grad)
    }

    /// Calls `f(small, tap, large)` for every tap of every pixel of the smaller image that lies in the larger.
    fn each(&self, mut f: impl FnMut([usize; 4], [usize; 2], [usize; 4])) {
        let inside = |at: usize, side: usize| at.checked_sub(self.padding).filter(|&at| at < side);
        let ([b, c], [h, w]) = (self.images, self.small);
        for (b, c, i, j) in ndarray::indices((b, c, h, w)) {
            for (k, l) in ndarray::indices((self.taps, self.taps)) {
                let (y, x) = (
                    inside(2 * i + k, self.large[0]),
                    inside(2 * j + l, self.large[1]),
                );
                if let (Some(y), Some(x)) = (y, x) {
                    f([b, c, i, j], [k, l], [b, c, y, x]);
                }
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "quarters and sixty-fourths are exact")]
mod tests {
    use super::*;
    use crate::nn::{avg_pool2x, upsample_nearest2x};

    fn wave(shape: &[usize]) -> ArrayD<f64> {
        let mut k = 0.0;
        ArrayD::from_shape_simple_fn(ndarray::IxDyn(shape), || {
            k += 0.7;
            f64::sin(k)
        })
    }

    /// Two equal taps are the mean of blocks and its opposite.
    #[test]
    fn two_equal_taps_average_and_repeat() {
        let (x, f) = (wave(&[2, 3, 4, 6]), fir_filter(&[1.0, 1.0]));
        let close = |a: ArrayD<f64>, b: ArrayD<f64>| {
            assert_eq!(a.shape(), b.shape());
            assert!((a - b).iter().all(|d| d.abs() < 1e-15));
        };
        close(
            fir_down(&x, &f, 0).expect("fits"),
            avg_pool2x(&x).expect("even"),
        );
        close(
            fir_up(&x, &f, 0).expect("fits"),
            upsample_nearest2x(&x).expect("an image"),
        );
    }

    /// A filter that tells left from right and its place: one tap of [1, 3, 3, 1] reads one pixel back.
    #[test]
    fn four_taps_reach_one_pixel_over_the_edge() {
        let f = fir_filter(&[1.0, 3.0, 3.0, 1.0]);
        assert_eq!(f[[1, 2]], 9.0 / 64.0);
        assert_eq!(f[[0, 3]], 1.0 / 64.0);
        let mut x = ArrayD::zeros(ndarray::IxDyn(&[1, 1, 4, 4]));
        x[[0, 0, 1, 2]] = 1.0;
        let y = fir_down(&x, &f, 1).expect("fits");
        assert_eq!(y.shape(), [1, 1, 2, 2]);
        // Row 1 is tap 2 of output 0 and tap 0 of output 1; column 2 is tap 3 of output 0, tap 1 of output 1.
        let want = [[3.0 * 1.0, 3.0 * 3.0], [1.0 * 1.0, 1.0 * 3.0]];
        for (i, row) in want.iter().enumerate() {
            for (j, &want) in row.iter().enumerate() {
                assert_eq!(y[[0, 0, i, j]], want / 64.0, "{i} {j}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (x, f) = (wave(&[1, 1, 2, 2]), fir_filter(&[1.0; 5]));
        let message = |r: Result<ArrayD<f64>, NnError>| r.expect_err("a refusal").to_string();
        assert!(message(fir_down(&x, &f, 1)).contains("padded image side 4, got 5"));
        assert!(message(fir_up(&x, &f, 4)).contains("half of the 7 pixels"));
        assert!(message(fir_up(&wave(&[2, 2]), &f, 0)).contains("[B, C, H, W]"));
        let oblong = wave(&[2, 3]);
        assert!(message(fir_down(&x, &oblong, 0)).contains("filter must have shape [2, 2]"));
    }
}
