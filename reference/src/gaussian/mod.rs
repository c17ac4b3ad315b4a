//! Gaussian diffusion as it was published with learned variances: tables of a discrete process, its respacing, losses and steps.

mod loss;
mod respacing;
mod step;

pub use loss::{
    LossGrad, LossTerms, Objective, VarianceLoss, bits_per_dimension, prior_bits, training_loss,
    variance_loss,
};
pub use respacing::respaced_steps;
pub use step::{Prediction, ddim_step, ddpm_step, guided_pair, predict};

use ndarray::{ArrayD, Axis, IxDyn};

/// Why a diffusion refused its arguments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GaussianError {
    /// A value is outside its domain.
    #[error("{what} must {must}, got {got}")]
    Value {
        /// Which value.
        what: &'static str,
        /// What it must be, as the end of "… must …".
        must: String,
        /// What it is.
        got: String,
    },
}

/// An error on the value `what`.
fn refused(what: &'static str, must: impl Into<String>, got: impl ToString) -> GaussianError {
    GaussianError::Value {
        what,
        must: must.into(),
        got: got.to_string(),
    }
}

/// β_t of the linear schedule: from 0.1/T to 20/T in T ≥ 1 equal steps, which of T = 1000 are 10⁻⁴ and 0.02.
///
/// # Source
/// Ho et al. 2020 (arXiv:2006.11239), §4; the scaling with T of Nichol and Dhariwal 2021 (arXiv:2102.09672).
pub fn linear_betas(steps: usize) -> Vec<f64> {
    let scale = 1000.0 / steps as f64;
    let (first, last) = (1e-4 * scale, 0.02 * scale);
    let gap = (last - first) / steps.saturating_sub(1).max(1) as f64;
    (0..steps).map(|t| first + gap * t as f64).collect()
}

/// β_t of the cosine schedule, at most 0.999.
///
/// # Formula
/// ```text
/// β_t = 1 − f((t+1)/T)/f(t/T),   f(s) = cos²(π/2 · (s + 0.008)/1.008)
/// ```
/// # Source
/// Nichol and Dhariwal 2021 (arXiv:2102.09672), Eq. 17.
pub fn cosine_betas(steps: usize) -> Vec<f64> {
    let f = |t: usize| {
        let s = t as f64 / steps as f64;
        ((s + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2)
            .cos()
            .powi(2)
    };
    (0..steps)
        .map(|t| (1.0 - f(t + 1) / f(t)).min(0.999))
        .collect()
}

/// Variance of a step backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variance {
    /// β_t, except at the first step, which has that of the posterior of the second.
    FixedLarge,
    /// Between that of the posterior and β_t, where the network's second half of channels says.
    LearnedRange,
}

/// A discrete diffusion with what its steps need, some of its steps left out or none.
#[derive(Debug, Clone, PartialEq)]
pub struct Diffusion {
    /// Number of each step in the process that the network was trained on: what the network is told.
    pub steps: Vec<usize>,
    /// β_t.
    pub betas: Vec<f64>,
    /// ᾱ_t.
    pub alphas_bar: Vec<f64>,
    /// Variance of q(x_{t−1} | x_t, x_0): β_t (1 − ᾱ_{t−1})/(1 − ᾱ_t).
    pub posterior_variance: Vec<f64>,
    /// Its logarithm, where the first, which is −∞, is that of the second.
    pub posterior_log_variance: Vec<f64>,
    /// Factor of x_0 in the mean of the posterior: β_t √ᾱ_{t−1}/(1 − ᾱ_t).
    pub of_x0: Vec<f64>,
    /// Factor of x_t in it: (1 − ᾱ_{t−1}) √α_t/(1 − ᾱ_t).
    pub of_x_t: Vec<f64>,
    /// What a step's variance is.
    pub variance: Variance,
}

impl Diffusion {
    /// The process of these β_t, of which only the steps `kept` are made, in their order.
    ///
    /// # Formula
    /// ```text
    /// β'_i = 1 − ᾱ_{k_i}/ᾱ_{k_{i−1}},   ᾱ_{k_{−1}} = 1
    /// ```
    /// # Errors
    /// β outside (0, 1]; fewer than two steps kept, which leave no variance for the last; a step that does not exist or is not beyond the one before.
    ///
    /// # Source
    /// Nichol and Dhariwal 2021 (arXiv:2102.09672), §4.
    pub fn new(betas: &[f64], kept: &[usize], variance: Variance) -> Result<Self, GaussianError> {
        if let Some(beta) = betas.iter().find(|beta| !(**beta > 0.0 && **beta <= 1.0)) {
            return Err(refused("beta", "be in (0, 1]", beta));
        }
        if kept.len() < 2 {
            return Err(refused("number of steps", "be at least 2", kept.len()));
        }
        if let Some(pair) = kept.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(refused("a step", format!("be beyond {}", pair[0]), pair[1]));
        }
        if let Some(step) = kept.iter().find(|step| **step >= betas.len()) {
            return Err(refused("a step", format!("be below {}", betas.len()), step));
        }
        let whole: Vec<f64> = products(betas);
        let mut before = 1.0;
        let mut respaced = Vec::with_capacity(kept.len());
        for &step in kept {
            respaced.push(1.0 - whole[step] / before);
            before = whole[step];
        }
        Ok(Self::of(respaced, kept.to_vec(), variance))
    }

    fn of(betas: Vec<f64>, steps: Vec<usize>, variance: Variance) -> Self {
        let alphas_bar = products(&betas);
        let before = |t: usize| if t == 0 { 1.0 } else { alphas_bar[t - 1] };
        let table = |f: &dyn Fn(usize) -> f64| -> Vec<f64> { (0..betas.len()).map(f).collect() };
        let posterior_variance = table(&|t| betas[t] * (1.0 - before(t)) / (1.0 - alphas_bar[t]));
        Self {
            posterior_log_variance: table(&|t| posterior_variance[t.max(1)].ln()),
            of_x0: table(&|t| betas[t] * before(t).sqrt() / (1.0 - alphas_bar[t])),
            of_x_t: table(&|t| (1.0 - before(t)) * (1.0 - betas[t]).sqrt() / (1.0 - alphas_bar[t])),
            steps,
            variance,
            posterior_variance,
            alphas_bar,
            betas,
        }
    }

    /// Number of steps.
    pub fn len(&self) -> usize {
        self.betas.len()
    }

    /// Never: there are at least two steps.
    pub fn is_empty(&self) -> bool {
        self.betas.is_empty()
    }

    /// ᾱ_{t−1}, 1 before the first step.
    fn before(&self, t: usize) -> f64 {
        if t == 0 { 1.0 } else { self.alphas_bar[t - 1] }
    }

    /// Logarithm of the variance of a step that is not learnt.
    fn fixed_log_variance(&self, t: usize) -> f64 {
        if t == 0 {
            self.posterior_variance[1].ln()
        } else {
            self.betas[t].ln()
        }
    }

    /// x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε of each sample.
    ///
    /// # Errors
    /// Another number of steps than samples, a step that does not exist, another shape of the noise.
    pub fn noised(
        &self,
        x0: &ArrayD<f64>,
        t: &[usize],
        noise: &ArrayD<f64>,
    ) -> Result<ArrayD<f64>, GaussianError> {
        self.check(t, x0)?;
        same_shape("noise", noise, x0)?;
        let (root, rest) = (
            column(t, x0, |t| self.alphas_bar[t].sqrt()),
            column(t, x0, |t| (1.0 - self.alphas_bar[t]).sqrt()),
        );
        Ok(x0 * &root + noise * &rest)
    }

    fn check(&self, t: &[usize], x: &ArrayD<f64>) -> Result<(), GaussianError> {
        let batch = x.shape().first().copied().unwrap_or(0);
        if t.len() != batch {
            return Err(refused(
                "number of steps t",
                format!("be the batch size {batch}"),
                t.len(),
            ));
        }
        match t.iter().find(|t| **t >= self.len()) {
            Some(t) => Err(refused("step t", format!("be below {}", self.len()), t)),
            None => Ok(()),
        }
    }

    /// Prediction and variance channels of a network's output for images like `x`; no variance where none is learnt.
    fn halves(
        &self,
        output: &ArrayD<f64>,
        x: &ArrayD<f64>,
    ) -> Result<(ArrayD<f64>, Option<ArrayD<f64>>), GaussianError> {
        match self.variance {
            Variance::FixedLarge => {
                same_shape("output", output, x)?;
                Ok((output.clone(), None))
            }
            Variance::LearnedRange => {
                let mut must = x.shape().to_vec();
                let channels = must.get(1).copied().unwrap_or(0);
                if let Some(side) = must.get_mut(1) {
                    *side *= 2;
                }
                if output.shape() != must {
                    return Err(refused(
                        "output",
                        format!("have shape {must:?}"),
                        format!("{:?}", output.shape()),
                    ));
                }
                let (eps, v) = output.view().split_at(Axis(1), channels);
                Ok((eps.to_owned(), Some(v.to_owned())))
            }
        }
    }
}

/// Products of 1 − β.
fn products(betas: &[f64]) -> Vec<f64> {
    let mut product = 1.0;
    let next = |beta: &f64| {
        product *= 1.0 - beta;
        product
    };
    betas.iter().map(next).collect()
}

/// One number for each sample, shaped so that it is spread over the others of `like`.
fn column(t: &[usize], like: &ArrayD<f64>, of: impl Fn(usize) -> f64) -> ArrayD<f64> {
    let mut shape = vec![1; like.ndim()];
    shape[0] = t.len();
    ArrayD::from_shape_fn(IxDyn(&shape), |i| of(t[i[0]]))
}

fn same_shape(
    what: &'static str,
    got: &ArrayD<f64>,
    like: &ArrayD<f64>,
) -> Result<(), GaussianError> {
    if got.shape() == like.shape() {
        return Ok(());
    }
    let must = format!("have shape {:?}", like.shape());
    Err(refused(what, must, format!("{:?}", got.shape())))
}

/// Mean of each sample's elements.
fn means(x: &ArrayD<f64>) -> Vec<f64> {
    let rows = x.axis_iter(Axis(0));
    rows.map(|row| row.sum() / row.len() as f64).collect()
}
