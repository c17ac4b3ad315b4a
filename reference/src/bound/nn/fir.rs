//! Bounds for changes of resolution through a filter.

use crate::bound::{Precision, Tracked};
use crate::nn::{self, NnError};
use ndarray::{Array2, ArrayD};

/// [`nn::fir_down`] in precision `p` by [`nn::fir_filter`] of `taps`: in one sum over the filter, or by rows and columns.
///
/// # Errors
/// Those of [`nn::fir_down`].
pub fn fir_down(
    x: &Tracked,
    taps: &[f64],
    padding: usize,
    p: Precision,
) -> Result<Tracked, NnError> {
    let value = nn::fir_down(&x.value, &nn::fir_filter(taps), padding)?;
    let ways = Ways::new([&x.value, &value], taps, padding, 1.0);
    Ok(ways.applied(x, value, false, p))
}

/// [`nn::fir_down_vjp`] in precision `p`.
///
/// # Errors
/// Those of [`nn::fir_down_vjp`].
pub fn fir_down_vjp(
    x: &Tracked,
    taps: &[f64],
    padding: usize,
    grad: &Tracked,
    p: Precision,
) -> Result<Tracked, NnError> {
    let value = nn::fir_down_vjp(&x.value, &nn::fir_filter(taps), padding, &grad.value)?;
    let ways = Ways::new([&x.value, &grad.value], taps, padding, 1.0);
    Ok(ways.applied(grad, value, true, p))
}

/// [`nn::fir_up`] in precision `p`.
///
/// # Errors
/// Those of [`nn::fir_up`].
pub fn fir_up(x: &Tracked, taps: &[f64], padding: usize, p: Precision) -> Result<Tracked, NnError> {
    let value = nn::fir_up(&x.value, &nn::fir_filter(taps), padding)?;
    let ways = Ways::new([&value, &x.value], taps, padding, 2.0);
    Ok(ways.applied(x, value, true, p))
}

/// [`nn::fir_up_vjp`] in precision `p`.
///
/// # Errors
/// Those of [`nn::fir_up_vjp`].
pub fn fir_up_vjp(
    x: &Tracked,
    taps: &[f64],
    padding: usize,
    grad: &Tracked,
    p: Precision,
) -> Result<Tracked, NnError> {
    let value = nn::fir_up_vjp(&x.value, &nn::fir_filter(taps), padding, &grad.value)?;
    let ways = Ways::new([&grad.value, &x.value], taps, padding, 2.0);
    Ok(ways.applied(grad, value, false, p))
}

/// The small image as matrices times the large one: `y = R x Cᵀ`.
struct Ways {
    rows: Array2<f64>,
    columns: Array2<f64>,
}

impl Ways {
    /// For the shapes of the large and the small image; each direction has a `factor`.
    fn new([large, small]: [&ArrayD<f64>; 2], taps: &[f64], padding: usize, factor: f64) -> Self {
        let sum: f64 = taps.iter().sum();
        let of = |axis: usize| {
            Array2::from_shape_fn((small.shape()[axis], large.shape()[axis]), |(i, at)| {
                let tap = (at + padding).checked_sub(2 * i);
                tap.and_then(|k| taps.get(k))
                    .map_or(0.0, |r| factor * r / sum)
            })
        };
        Self {
            rows: of(2),
            columns: of(3),
        }
    }

    /// From large to small, or `back`. The taps are rounded once to `p`, or multiplied first and then rounded.
    fn applied(&self, x: &Tracked, value: ArrayD<f64>, back: bool, p: Precision) -> Tracked {
        let turned = |m: &Array2<f64>| if back { m.t().to_owned() } else { m.clone() };
        let [rows, columns] = [turned(&self.rows), turned(&self.columns)];
        let (h, w) = (x.shape()[2], x.shape()[3]);
        let (b, c) = (x.shape()[0], x.shape()[1]);
        let (to_h, to_w) = (rows.nrows(), columns.nrows());
        let shape = [b, c, to_h, to_w];
        let both = Array2::from_shape_fn((to_h * to_w, h * w), |(to, from)| {
            rows[[to / to_w, from / w]] * columns[[to % to_w, from % w]]
        });
        let matrix = |m: Array2<f64>| Tracked::rounded(m.into_dyn(), p);
        let at_once = x
            .reshape(&[b * c, h * w])
            .matmul(&matrix(both).transpose(), p)
            .reshape(&shape);
        let in_turn = x
            .permute(&[0, 1, 3, 2])
            .reshape(&[b * c * w, h])
            .matmul(&matrix(rows).transpose(), p)
            .reshape(&[b * c, w, to_h])
            .permute(&[0, 2, 1])
            .reshape(&[b * c * to_h, w])
            .matmul(&matrix(columns).transpose(), p)
            .reshape(&shape);
        at_once.either(&in_turn).recentred(value)
    }
}
