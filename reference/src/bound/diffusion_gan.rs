//! Bounds for what Diffusion-GAN lays before its discriminator.

use std::f64::consts::PI;

use ndarray::{Array1, ArrayD};

use super::{Precision, Tracked};
use crate::diffusion_gan::{self as exact, Betas, DiffusionGanError};

/// [`Betas::betas`] by the printed formulas in precision `p`, shape `[T]`.
///
/// # Errors
/// As the quantity itself.
pub fn betas(
    kind: Betas,
    start: f64,
    end: f64,
    steps: usize,
    p: Precision,
) -> Result<Tracked, DiffusionGanError> {
    let reference = list(kind.betas(start, end, steps)?);
    let total = steps as f64;
    let number = |x: f64| Tracked::exact(ndarray::arr1(&[x]).into_dyn());
    let of = |f: &dyn Fn(f64) -> f64| Tracked::exact(list((0..steps).map(|i| f(i as f64))));
    let share = of(&|i| i).div(&number((steps.max(2) - 1) as f64), p);
    let line = |a: &Tracked, b: &Tracked| a.add(&share.mul(&b.sub(a, p), p), p);
    let one = number(1.0);
    let bound = match kind {
        Betas::Linear => line(&number(start), &number(end)),
        Betas::Quad => line(
            &number(start).sqrt_of_nonnegative(p),
            &number(end).sqrt_of_nonnegative(p),
        )
        .square(p),
        Betas::Const => Tracked::exact(reference.clone()),
        Betas::Cosine => {
            let left = |t: &Tracked| {
                let u = t.div(&number(total), p).add_scalar(0.008, p);
                u.scale(PI / 2.0 / 1.008, p).cos(p).square(p)
            };
            let ratio = left(&of(&|i| i + 1.0)).div(&left(&of(&|i| i)), p);
            one.sub(&ratio, p).clamp(f64::NEG_INFINITY, 0.999)
        }
        Betas::ContinuousT => {
            let squares = of(&|i| 2.0 * i + 1.0).div(&number(total * total), p);
            let area = squares.scale(0.5 * 4.9, p).add_scalar(0.1 / total, p);
            one.sub(&area.neg().exp(p), p)
        }
        Betas::Jsd => one.div(&of(&|i| total - i), p),
        Betas::Sigmoid => {
            let x = line(&number(-6.0), &number(6.0));
            let span = number(end).sub(&number(start), p);
            x.sigmoid(p).mul(&span, p).add_scalar(start, p)
        }
    };
    Ok(bound.recentred(reference))
}

/// [`alpha_bars`](exact::alpha_bars) of β that may carry errors, shape `[T + 1]`: products one after the other, or e to a sum of logarithms' worth more.
///
/// # Errors
/// As the quantity itself.
pub fn alpha_bars(betas: &Tracked, p: Precision) -> Result<Tracked, DiffusionGanError> {
    let values: Vec<f64> = betas.value.iter().copied().collect();
    let reference = list(exact::alpha_bars(&values)?);
    let mut left = Tracked::exact(ndarray::arr1(&[1.0]).into_dyn());
    let mut bars = vec![left.clone()];
    for t in 0..values.len() {
        let kept = betas.narrow(0, t, 1).neg().add_scalar(1.0, p);
        left = left.mul(&kept, p);
        bars.push(left.clone());
    }
    let bars: Vec<&Tracked> = bars.iter().collect();
    Ok(Tracked::concat(&bars, 0).recentred(reference))
}

/// [`diffuse`](exact::diffuse) and the two factors of each sample, in precision `p`.
///
/// ᾱ are f64 numbers on the host; √ᾱ and s √(1 − ᾱ) are computed there and rounded to `p` where they meet the images.
#[derive(Debug, Clone)]
pub struct DiffuseBound {
    /// √ᾱ_t, shape `[B, 1, …]`.
    pub kept: Tracked,
    /// s √(1 − ᾱ_t).
    pub added: Tracked,
}

impl DiffuseBound {
    /// For samples of `rank` axes at levels whose ᾱ these are.
    pub fn new(alpha_bars: &Tracked, scale: f64, rank: usize, p: Precision) -> Self {
        let host = Precision::F64;
        let mut shape = vec![1; rank];
        shape[0] = alpha_bars.value.len();
        let rounded = |x: Tracked| x.stored_as(p).reshape(&shape);
        let left = alpha_bars.neg().add_scalar(1.0, host).clamp(0.0, 1.0);
        let scale = Tracked::exact(ndarray::arr1(&[scale]).into_dyn());
        Self {
            kept: rounded(alpha_bars.sqrt_of_nonnegative(host)),
            added: rounded(left.sqrt_of_nonnegative(host).mul(&scale, host)),
        }
    }

    /// Of y.
    pub fn y(&self, x: &Tracked, noise: &Tracked, p: Precision) -> Tracked {
        let kept = x.mul(&self.kept, p);
        kept.add(&noise.mul(&self.added, p), p)
    }

    /// Of the gradient in x for the upstream gradient `g`.
    pub fn grad(&self, g: &Tracked, p: Precision) -> Tracked {
        g.mul(&self.kept, p)
    }
}

fn list(values: impl IntoIterator<Item = f64>) -> ArrayD<f64> {
    values.into_iter().collect::<Array1<f64>>().into_dyn()
}
