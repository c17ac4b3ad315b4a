//! Bounds for the term of learnt variances.

use std::f64::consts::{FRAC_2_PI, LN_2};

use ndarray::{ArrayD, IxDyn};

use super::{Precision, Tracked};
use crate::gaussian::{self, Diffusion, GaussianError};

/// Bounds for a variance loss and its gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct VarianceBound {
    /// The loss, shape `[]`.
    pub loss: Tracked,
    /// Its gradient with respect to the variance channels.
    pub grad: Tracked,
}

/// Bound for [`gaussian::variance_loss`], every table rounded to `p`.
///
/// # Errors
/// As the quantity itself.
pub fn variance_loss(
    diffusion: &Diffusion,
    (eps, v): (&ArrayD<f64>, &ArrayD<f64>),
    (x0, x_t): (&ArrayD<f64>, &ArrayD<f64>),
    t: &[usize],
    p: Precision,
) -> Result<VarianceBound, GaussianError> {
    let exact = gaussian::variance_loss(diffusion, (eps, v), (x0, x_t), t)?;
    let d = diffusion;
    let of_steps = |number: &dyn Fn(usize) -> f64| {
        let mut shape = vec![1; x0.ndim()];
        shape[0] = t.len();
        Tracked::rounded(ArrayD::from_shape_fn(IxDyn(&shape), |i| number(t[i[0]])), p)
    };
    let given = |x: &ArrayD<f64>| Tracked::exact(x.clone());
    let (eps, v, x0, x_t) = (given(eps), given(v), given(x0), given(x_t));
    let (low, high) = (
        |t: usize| d.posterior_log_variance[t],
        |t: usize| d.betas[t].ln(),
    );
    let half = of_steps(&|t| (high(t) - low(t)) / 2.0);
    let log = v
        .mul(&half, p)
        .add(&of_steps(&|t| f64::midpoint(low(t), high(t))), p);
    let over = of_steps(&|t| d.alphas_bar[t].recip().sqrt());
    let noise = of_steps(&|t| (d.alphas_bar[t].recip() - 1.0).sqrt());
    let (of_x0, of_x_t) = (of_steps(&|t| d.of_x0[t]), of_steps(&|t| d.of_x_t[t]));
    let clean = x_t.mul(&over, p).sub(&eps.mul(&noise, p), p);
    let from = |x0: &Tracked| x0.mul(&of_x0, p).add(&x_t.mul(&of_x_t, p), p);
    let (mean, truth) = (from(&clean), from(&x0));

    let ratio = of_steps(&low).sub(&log, p);
    let square = truth.sub(&mean, p).square(p).mul(&log.neg().exp(p), p);
    let expanded = ratio.exp(p);
    let divergence = expanded
        .sub(&ratio, p)
        .add(&square, p)
        .scale(0.5, p)
        .add_scalar(-0.5, p);
    let by_log = expanded
        .neg()
        .add_scalar(1.0, p)
        .sub(&square, p)
        .scale(0.5, p);
    let (nats, by_log) = if t.contains(&0) {
        let [likelihood, slope] = likelihood(&x0, &mean, &log, p);
        let first = ArrayD::from_shape_fn(x0.value.raw_dim(), |i| t[i[0]] == 0);
        (
            Tracked::select(&first, &likelihood, &divergence),
            Tracked::select(&first, &slope, &by_log),
        )
    } else {
        (divergence, by_log)
    };
    let each = x0.value.len() as f64 / t.len().max(1) as f64;
    let bits = nats.sum_all(p).scale(1.0 / each, p).scale(LN_2.recip(), p);
    let loss = bits.scale(1.0 / t.len().max(1) as f64, p).scale(each, p);
    let share = 1.0 / (each * t.len().max(1) as f64);
    let grad = by_log
        .mul(&half, p)
        .scale(share, p)
        .scale(LN_2.recip(), p)
        .scale(each, p);
    Ok(VarianceBound {
        loss: loss.recentred(ArrayD::from_elem(IxDyn(&[]), exact.loss)),
        grad: grad.recentred(exact.grad),
    })
}

/// −ln of the probability of each number's bin, and its slope in the logarithm of the variance.
fn likelihood(x: &Tracked, mean: &Tracked, log: &Tracked, p: Precision) -> [Tracked; 2] {
    let precision = log.scale(-0.5, p).exp(p);
    let centred = x.sub(mean, p);
    let root = FRAC_2_PI.sqrt();
    // Value of the distribution function, and z times its slope.
    let at = |edge: f64| {
        let z = centred.add_scalar(edge, p).mul(&precision, p);
        let square = z.square(p);
        let inner = z
            .scale(root, p)
            .add(&z.mul(&square, p).scale(root * 0.044_715, p), p);
        let inner = inner.tanh(p);
        let slope = inner
            .square(p)
            .neg()
            .add_scalar(1.0, p)
            .scale(0.5 * root, p);
        let slope = slope.mul(&square.scale(3.0 * 0.044_715, p).add_scalar(1.0, p), p);
        [inner.scale(0.5, p).add_scalar(0.5, p), slope.mul(&z, p)]
    };
    let ([upper, by_upper], [lower, by_lower]) = (at(1.0 / 255.0), at(-1.0 / 255.0));
    let mask = |is: fn(f64) -> bool| x.value.mapv(is);
    let (left, right) = (mask(|x| x < -0.999), mask(|x| x > 0.999));
    let within = Tracked::select(
        &right,
        &lower.neg().add_scalar(1.0, p),
        &upper.sub(&lower, p),
    );
    let probability = Tracked::select(&left, &upper, &within);
    let within = Tracked::select(&right, &by_lower.neg(), &by_upper.sub(&by_lower, p));
    let moved = Tracked::select(&left, &by_upper, &within);
    let least = Tracked::exact(ArrayD::from_elem(IxDyn(&[]), 1e-12));
    let kept = probability.maximum(&least.broadcast_to(probability.shape()));
    let lost = probability.value.mapv(|q| q < 1e-12);
    let nothing = Tracked::exact(ArrayD::zeros(probability.value.raw_dim()));
    let slope = moved.div(&kept, p).scale(0.5, p);
    [kept.ln(p).neg(), Tracked::select(&lost, &nothing, &slope)]
}
