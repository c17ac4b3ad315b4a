//! The losses of a network that predicts noise, and variances where they are learnt.

use super::{Diffusion, GaussianError, column, means, predict, same_shape};
use ndarray::{ArrayD, Axis, concatenate};
use std::f64::consts::{FRAC_2_PI, LN_2};

/// What training descends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// ‖ε̂ − ε‖², and of learnt variances the bound's term, in which ε̂ is held fixed.
    Noise,
    /// The same with T/1000 of the bound's term.
    RescaledNoise,
    /// T times the bound's term alone, by both.
    Bound,
}

/// Terms of each sample, means over its elements.
#[derive(Debug, Clone, PartialEq)]
pub struct LossTerms {
    /// ‖ε̂ − ε‖²; none of [`Objective::Bound`].
    pub mse: Option<Vec<f64>>,
    /// The bound's term in bits, with the objective's factor; none of variances that are not learnt.
    pub vb: Option<Vec<f64>>,
    /// Their sum.
    pub loss: Vec<f64>,
}

/// Terms, and the gradient of `Σ_i weights_i loss_i` in the network's output.
#[derive(Debug, Clone, PartialEq)]
pub struct LossGrad {
    /// The terms.
    pub terms: LossTerms,
    /// `[B, 2C, …]` of learnt variances, else `[B, C, …]`.
    pub output: ArrayD<f64>,
}

/// The training loss and its gradient. `[eq:learned-variance-loss]`
///
/// # Formula
/// ```text
/// L = mean (ε̂ − ε)² + KL(q(x_{t−1} | x_t, x_0) ‖ p(x_{t−1} | x_t))/ln 2        at t = 0 the likelihood of 8-bit images in place of KL
/// ```
/// where the second term moves variances only; see [`Objective`] for the factors.
///
/// # Errors
/// Shapes or steps that do not fit.
///
/// # Source
/// Nichol and Dhariwal 2021 (arXiv:2102.09672), Eq. 16 with the factors of the published code of arXiv:2212.09748 (1 for the second term).
pub fn training_loss(
    diffusion: &Diffusion,
    objective: Objective,
    output: &ArrayD<f64>,
    (x0, noise): (&ArrayD<f64>, &ArrayD<f64>),
    t: &[usize],
    weights: &[f64],
) -> Result<LossGrad, GaussianError> {
    let x_t = diffusion.noised(x0, t, noise)?;
    let (eps, v) = diffusion.halves(output, x0)?;
    let each = x0.len() as f64 / t.len().max(1) as f64;
    let weight = |index: usize| weights.get(index).copied().unwrap_or(0.0);
    let numbers: Vec<usize> = (0..t.len()).collect();
    let factor = match objective {
        Objective::Noise => 1.0,
        Objective::RescaledNoise => diffusion.len() as f64 / 1000.0,
        Objective::Bound => diffusion.len() as f64,
    };
    let only_bound = objective == Objective::Bound;
    let bound =
        (only_bound || v.is_some()).then(|| bound_term(diffusion, output, (x0, &x_t), t, false));
    let bound = bound.transpose()?;
    let vb = bound
        .as_ref()
        .map(|b| b.bits.iter().map(|b| b * factor).collect::<Vec<f64>>());
    let error = &eps - noise;
    let mse = (!only_bound).then(|| means(&error.mapv(|e| e * e)));
    let loss = (0..t.len()).map(|i| {
        let of = |term: &Option<Vec<f64>>| term.as_ref().map_or(0.0, |term| term[i]);
        of(&mse) + of(&vb)
    });
    let loss = loss.collect();
    let mut d_eps = if only_bound {
        ArrayD::zeros(eps.raw_dim())
    } else {
        error * &column(&numbers, x0, |i| 2.0 * weight(i) / each)
    };
    let mut d_output = None;
    if let Some(b) = bound {
        let share = column(&numbers, x0, |i| weight(i) * factor / (each * LN_2));
        if only_bound {
            // μ = c_0 (x_t/√ᾱ − √(1/ᾱ − 1) ε̂) + c_t x_t.
            let slope = column(t, x0, |t| {
                -diffusion.of_x0[t] * (diffusion.alphas_bar[t].recip() - 1.0).sqrt()
            });
            d_eps = d_eps + b.d_mean * &slope * &share;
        }
        if v.is_some() {
            let slope = column(t, x0, |t| {
                0.5 * (diffusion.betas[t].ln() - diffusion.posterior_log_variance[t])
            });
            d_output = Some(b.d_log_variance * &slope * &share);
        }
    }
    let output = match d_output {
        None => d_eps,
        Some(d_v) => concatenate![Axis(1), d_eps, d_v],
    };
    let vb = vb.filter(|_| !only_bound);
    Ok(LossGrad {
        terms: LossTerms { mse, vb, loss },
        output,
    })
}

/// A term of the bound with its slopes.
struct BoundTerm {
    /// Bits per element of each sample.
    bits: Vec<f64>,
    /// Slope of each element's nats in the mean.
    d_mean: ArrayD<f64>,
    /// And in the logarithm of the variance.
    d_log_variance: ArrayD<f64>,
    /// The predicted clean image.
    x0: ArrayD<f64>,
}

/// KL of the posterior and the prediction; at the first step the likelihood of images in 256 levels, open beyond ±0.999.
fn bound_term(
    diffusion: &Diffusion,
    output: &ArrayD<f64>,
    (x0, x_t): (&ArrayD<f64>, &ArrayD<f64>),
    t: &[usize],
    clip: bool,
) -> Result<BoundTerm, GaussianError> {
    let predicted = predict(diffusion, output, x_t, t, clip)?;
    let of_x0 = column(t, x0, |t| diffusion.of_x0[t]);
    let of_x_t = column(t, x0, |t| diffusion.of_x_t[t]);
    let truth = x0 * &of_x0 + x_t * &of_x_t;
    let mut nats = ArrayD::zeros(x0.raw_dim());
    let (mut d_mean, mut d_log_variance) = (nats.clone(), nats.clone());
    for (index, value) in nats.indexed_iter_mut() {
        let step = t[index[0]];
        let (mean, log) = (predicted.mean[&index], predicted.log_variance[&index]);
        let [nat, by_mean, by_log] = if step == 0 {
            likelihood(x0[&index], mean, log)
        } else {
            let exact = diffusion.posterior_log_variance[step];
            let (off, precision) = (mean - truth[&index], (-log).exp());
            let ratio = (exact - log).exp();
            let square = off * off * precision;
            [
                0.5 * (-1.0 + log - exact + ratio + square),
                off * precision,
                0.5 * (1.0 - ratio - square),
            ]
        };
        *value = nat;
        d_mean[&index] = by_mean;
        d_log_variance[&index] = by_log;
    }
    let bits = means(&nats).into_iter().map(|nats| nats / LN_2).collect();
    Ok(BoundTerm {
        bits,
        d_mean,
        d_log_variance,
        x0: predicted.x0,
    })
}

/// −ln of the probability of the bin of width 2/255 around x, and its slopes in mean and logarithm of the variance.
fn likelihood(x: f64, mean: f64, log_variance: f64) -> [f64; 3] {
    const LEAST: f64 = 1e-12;
    let precision = (-0.5 * log_variance).exp();
    let at = |edge: f64| {
        let z = precision * (x - mean + edge);
        let (value, slope) = normal_cdf(z);
        // Value, slope in the mean, slope in the logarithm of the deviation.
        [value, -slope * precision, -slope * z]
    };
    let (plus, minus) = (at(1.0 / 255.0), at(-1.0 / 255.0));
    let probability = if x < -0.999 {
        plus
    } else if x > 0.999 {
        [1.0 - minus[0], -minus[1], -minus[2]]
    } else {
        [0, 1, 2].map(|i| plus[i] - minus[i])
    };
    let [p, by_mean, by_log_deviation] = probability;
    if p < LEAST {
        return [-LEAST.ln(), 0.0, 0.0];
    }
    [-p.ln(), -by_mean / p, -0.5 * by_log_deviation / p]
}

/// The approximation of the normal law's distribution function by tanh, and its slope.
fn normal_cdf(z: f64) -> (f64, f64) {
    let root = FRAC_2_PI.sqrt();
    let inner = (root * (z + 0.044_715 * z.powi(3))).tanh();
    let slope = 0.5 * (1.0 - inner * inner) * root * (1.0 + 3.0 * 0.044_715 * z * z);
    (0.5 * (1.0 + inner), slope)
}

/// Bits per element of one step of the bound, ‖x̂_0 − x_0‖² and ‖ε̂ − ε‖², of each sample.
///
/// # Errors
/// Shapes or steps that do not fit.
pub fn bits_per_dimension(
    diffusion: &Diffusion,
    output: &ArrayD<f64>,
    (x0, noise): (&ArrayD<f64>, &ArrayD<f64>),
    t: &[usize],
    clip: bool,
) -> Result<[Vec<f64>; 3], GaussianError> {
    let x_t = diffusion.noised(x0, t, noise)?;
    let term = bound_term(diffusion, output, (x0, &x_t), t, clip)?;
    let squares = |x: ArrayD<f64>| means(&x.mapv(|x| x * x));
    let eps = diffusion.noise_of(&term.x0, &x_t, t);
    Ok([term.bits, squares(&term.x0 - x0), squares(eps - noise)])
}

/// Bits per element of KL(q(x_T | x_0) ‖ N(0, 1)) of each sample.
pub fn prior_bits(diffusion: &Diffusion, x0: &ArrayD<f64>) -> Vec<f64> {
    let last = diffusion.alphas_bar[diffusion.len() - 1];
    let variance = 1.0 - last;
    let nats = x0.mapv(|x| 0.5 * (-1.0 - variance.ln() + variance + x * x * last));
    means(&nats).into_iter().map(|nats| nats / LN_2).collect()
}

/// The term of learnt variances that a run adds to its denoising loss, with its gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct VarianceLoss {
    /// Bits summed over the elements of a sample, meant over the batch.
    pub loss: f64,
    /// Gradient in the variance channels, `[B, C, …]`.
    pub grad: ArrayD<f64>,
}

/// The bound's term at a noised batch, by the variances `v` of a network whose ε̂ is held: `[eq:learned-variance-loss]` without its first term, for each sample
/// the sum over its elements, as the denoising loss sums.
///
/// # Errors
/// Shapes or steps that do not fit; variances that are not learnt.
pub fn variance_loss(
    diffusion: &Diffusion,
    (eps, v): (&ArrayD<f64>, &ArrayD<f64>),
    (x0, x_t): (&ArrayD<f64>, &ArrayD<f64>),
    t: &[usize],
) -> Result<VarianceLoss, GaussianError> {
    for (what, given) in [("eps", eps), ("v", v), ("x_t", x_t)] {
        same_shape(what, given, x0)?;
    }
    let output = concatenate![Axis(1), *eps, *v];
    let term = bound_term(diffusion, &output, (x0, x_t), t, false)?;
    let batch = t.len().max(1) as f64;
    let each = x0.len() as f64 / batch;
    let slope = column(t, x0, |t| {
        0.5 * (diffusion.betas[t].ln() - diffusion.posterior_log_variance[t])
    });
    Ok(VarianceLoss {
        loss: term.bits.iter().sum::<f64>() / batch * each,
        grad: term.d_log_variance * &slope / (batch * LN_2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gaussian::Variance;

    /// Slopes of the likelihood and of the distribution function, against central differences, in the bins and in the open ends.
    #[test]
    fn slopes_of_the_likelihood_are_its_differences() {
        let h = 1e-6;
        for x in [-1.0, -0.3, 0.999, 1.0] {
            for (mean, log) in [(-0.9, -3.0), (0.4, -1.0), (0.95, -6.0)] {
                let [_, by_mean, by_log] = likelihood(x, mean, log);
                let value = |mean, log| likelihood(x, mean, log)[0];
                let differences = [
                    (
                        by_mean,
                        (value(mean + h, log) - value(mean - h, log)) / (2.0 * h),
                    ),
                    (
                        by_log,
                        (value(mean, log + h) - value(mean, log - h)) / (2.0 * h),
                    ),
                ];
                for (slope, difference) in differences {
                    let allowed = 1e-7 * (1.0 + slope.abs());
                    assert!(
                        (slope - difference).abs() < allowed,
                        "{x} {mean} {log}: {slope} {difference}"
                    );
                }
            }
        }
    }

    /// A prediction that is the truth costs what the posterior's variance does: nothing where the variances agree.
    #[test]
    fn a_perfect_prediction_costs_nothing() {
        let betas = super::super::linear_betas(100);
        let steps: Vec<usize> = (0..100).collect();
        let d = Diffusion::new(&betas, &steps, Variance::LearnedRange).expect("a process");
        let x0 = ArrayD::from_shape_fn(vec![1, 1, 2, 2], |i| 0.3 - 0.2 * i[3] as f64);
        let noise = ArrayD::from_shape_fn(vec![1, 1, 2, 2], |i| 0.5 * i[2] as f64 - 0.7);
        // v = −1 is the posterior's variance.
        let v = ArrayD::from_elem(vec![1, 1, 2, 2], -1.0);
        let output = concatenate![Axis(1), noise, v];
        let got = training_loss(&d, Objective::Noise, &output, (&x0, &noise), &[4], &[1.0]);
        let got = got.expect("it fits");
        assert!(got.terms.loss[0].abs() < 1e-12, "{:?}", got.terms);
        let wrong = same_shape("noise", &x0, &output).expect_err("shapes");
        assert!(
            wrong.to_string().contains("noise must have shape"),
            "{wrong}"
        );
    }
}
