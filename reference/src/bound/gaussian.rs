//! Bounds for the term of learnt variances.

use std::f64::consts::{FRAC_2_PI, LN_2};

use ndarray::{ArrayD, IxDyn};

use super::{FUNCTION_ULPS, Precision, Tracked};
use crate::gaussian::{self, Diffusion, GaussianError};

/// Bounds for a variance loss and its gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct VarianceBound {
    /// The loss, shape `[]`.
    pub loss: Tracked,
    /// Its gradient with respect to the variance channels.
    pub grad: Tracked,
}

/// Bound for [`gaussian::variance_loss`], every table computed in f64 and rounded to `p`.
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
    let tables = Tables::of(d);
    let of_steps = |number: &dyn Fn(usize) -> Number| {
        let mut shape = vec![1; x0.ndim()];
        shape[0] = t.len();
        let part = |part: fn(Number) -> f64| {
            ArrayD::from_shape_fn(IxDyn(&shape), |i| part(number(t[i[0]])))
        };
        Tracked::rounded(part(|n| n.value), p).widened(&part(|n| n.error))
    };
    let given = |x: &ArrayD<f64>| Tracked::exact(x.clone());
    let (eps, v, x0, x_t) = (given(eps), given(v), given(x0), given(x_t));
    let (low, high) = (|t| tables.posterior_log(t), |t| tables.log_beta(t));
    let half = of_steps(&|t| high(t).plus(low(t), -1.0).half());
    let log = v
        .mul(&half, p)
        .add(&of_steps(&|t| high(t).plus(low(t), 1.0).half()), p);
    let over = of_steps(&|t| tables.over(t));
    let noise = of_steps(&|t| tables.noise(t));
    let (of_x0, of_x_t) = (
        of_steps(&|t| tables.of_x0(t)),
        of_steps(&|t| tables.of_x_t(t)),
    );
    let clean = x_t.mul(&over, p).sub(&eps.mul(&noise, p), p);
    let from = |x0: &Tracked| x0.mul(&of_x0, p).add(&x_t.mul(&of_x_t, p), p);
    let (mean, truth) = (from(&clean), from(&x0));

    let ratio = of_steps(&|t| low(t)).sub(&log, p);
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

/// A number of a table, and how far two computations of it in f64 may lie apart.
#[derive(Debug, Clone, Copy)]
struct Number {
    value: f64,
    error: f64,
}

impl Number {
    /// Of a relative error of each of two computations.
    fn off_by(value: f64, relative: f64) -> Self {
        Self {
            value,
            error: 2.0 * relative * value.abs(),
        }
    }

    /// This and `sign` times another.
    fn plus(self, other: Self, sign: f64) -> Self {
        Self {
            value: self.value + sign * other.value,
            error: self.error + other.error,
        }
    }

    fn half(self) -> Self {
        Self {
            value: self.value / 2.0,
            error: self.error / 2.0,
        }
    }
}

/// Tables of a process with their errors in f64, which are far beyond a unit where 1 − ᾱ or β is small: both are differences of numbers near 1.
struct Tables<'a> {
    process: &'a Diffusion,
    /// Absolute error of each β = 1 − ᾱ_t/ᾱ_{t−1}: four units for each factor of the quotient, which the whole process was made of, and two.
    beta: Vec<f64>,
    /// Relative error of each ᾱ, a product of 1 − β.
    bar: Vec<f64>,
}

/// Unit roundoff of f64.
const UNIT: f64 = Precision::F64.unit;

impl<'a> Tables<'a> {
    fn of(process: &'a Diffusion) -> Self {
        let (mut before, mut sum) = (0, 0.0);
        let (mut beta, mut bar) = (Vec::new(), Vec::new());
        for (&step, &b) in process.steps.iter().zip(&process.betas) {
            let factors = (step + 1 - before) as f64;
            before = step + 1;
            let error = (4.0 * factors + 2.0) * UNIT;
            sum += error / (1.0 - b) + 2.0 * UNIT;
            beta.push(error);
            bar.push(sum);
        }
        Self { process, beta, bar }
    }

    /// Relative error of β.
    fn of_beta(&self, t: usize) -> f64 {
        self.beta[t] / self.process.betas[t]
    }

    /// Relative error of 1 − ᾱ.
    fn of_rest(&self, t: usize) -> f64 {
        let bar = self.process.alphas_bar[t];
        (bar * self.bar[t] + UNIT) / (1.0 - bar)
    }

    /// The same before the step; of nothing before the first, which is exact.
    fn of_rest_before(&self, t: usize) -> f64 {
        t.checked_sub(1).map_or(0.0, |t| self.of_rest(t))
    }

    fn logarithm(value: f64, relative: f64) -> Number {
        let error = 2.0 * (relative + FUNCTION_ULPS * UNIT * value.abs());
        Number { value, error }
    }

    fn log_beta(&self, t: usize) -> Number {
        Self::logarithm(self.process.betas[t].ln(), self.of_beta(t))
    }

    /// Of β (1 − ᾱ_{t−1})/(1 − ᾱ_t), at the first step of the second.
    fn posterior_log(&self, t: usize) -> Number {
        let relative = |t| self.of_beta(t) + self.of_rest_before(t) + self.of_rest(t) + 2.0 * UNIT;
        let value = self.process.posterior_log_variance[t];
        Self::logarithm(value, relative(t.max(1)))
    }

    /// √(1/ᾱ).
    fn over(&self, t: usize) -> Number {
        let value = self.process.alphas_bar[t].recip().sqrt();
        Number::off_by(value, self.bar[t] / 2.0 + 2.0 * UNIT)
    }

    /// √(1/ᾱ − 1), whose square is (1 − ᾱ)/ᾱ.
    fn noise(&self, t: usize) -> Number {
        let over = self.process.alphas_bar[t].recip();
        let square = (over * (self.bar[t] + UNIT) + UNIT) / (over - 1.0);
        Number::off_by((over - 1.0).sqrt(), square / 2.0 + UNIT)
    }

    /// √ᾱ_{t−1} β/(1 − ᾱ_t).
    fn of_x0(&self, t: usize) -> Number {
        let relative = self.bar[t] / 2.0 + self.of_beta(t) + self.of_rest(t) + 4.0 * UNIT;
        Number::off_by(self.process.of_x0[t], relative)
    }

    /// √(1 − β) (1 − ᾱ_{t−1})/(1 − ᾱ_t).
    fn of_x_t(&self, t: usize) -> Number {
        let root = self.beta[t] / (1.0 - self.process.betas[t]) / 2.0;
        let relative = root + self.of_rest_before(t) + self.of_rest(t) + 4.0 * UNIT;
        Number::off_by(self.process.of_x_t[t], relative)
    }
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
