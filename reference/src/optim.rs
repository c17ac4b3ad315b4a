//! The optimiser: AdamW and clipping by the global norm.

use ndarray::{ArrayD, Zip};
use std::collections::BTreeMap;

/// Why an optimiser step was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OptimError {
    /// Parameter, gradient and state must have one shape.
    #[error("{what} must have the parameter's shape {must:?}, got {got:?}")]
    Shape {
        /// The refused array.
        what: &'static str,
        /// The parameter's shape.
        must: Vec<usize>,
        /// Its shape.
        got: Vec<usize>,
    },
    /// A norm to clip to must be positive.
    #[error("the largest gradient norm must be > 0, got {got}")]
    MaxNorm {
        /// The refused value.
        got: f64,
    },
}

/// AdamW: Adam with decoupled weight decay.
///
/// # Formula
/// ```text
/// m' = β₁ m + (1 − β₁) g,           v' = β₂ v + (1 − β₂) g²,           k' = k + 1
/// θ' = (1 − lr·wd) θ − lr · m̂ / (√v̂ + ε),   m̂ = m'/(1 − β₁^k'),  v̂ = v'/(1 − β₂^k')
/// ```
/// # Source
/// Loshchilov and Hutter 2019 (arXiv:1711.05101), Algorithm 2 with the schedule factor inside `lr`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment, in [0, 1).
    pub beta1: f64,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f64,
    /// Added to √v̂, outside the root.
    pub eps: f64,
    /// Weight decay wd, multiplied by the learning rate.
    pub weight_decay: f64,
}

/// The state of [`AdamW`] for one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Steps taken so far, k.
    pub steps: u32,
    /// First moment m, shaped like the parameter.
    pub m: ArrayD<f64>,
    /// Second moment v, shaped like the parameter.
    pub v: ArrayD<f64>,
}

impl Moments {
    /// The state before the first step.
    pub fn zeros(shape: &[usize]) -> Self {
        Self {
            steps: 0,
            m: ArrayD::zeros(shape),
            v: ArrayD::zeros(shape),
        }
    }
}

impl AdamW {
    /// One step on one parameter: the new parameter and the new state.
    ///
    /// # Errors
    /// [`OptimError::Shape`] if gradient or moments are not shaped like the parameter.
    pub fn step(
        &self,
        theta: &ArrayD<f64>,
        grad: &ArrayD<f64>,
        state: &Moments,
    ) -> Result<(ArrayD<f64>, Moments), OptimError> {
        for (what, array) in [
            ("gradient", grad),
            ("first moment", &state.m),
            ("second moment", &state.v),
        ] {
            same_shape(what, theta, array)?;
        }
        let steps = state.steps.saturating_add(1);
        let (correction1, correction2) = self.corrections(steps);
        let m = &state.m * self.beta1 + grad * (1.0 - self.beta1);
        let v = &state.v * self.beta2 + grad * grad * (1.0 - self.beta2);
        let theta = Zip::from(theta)
            .and(&m)
            .and(&v)
            .map_collect(|&theta, &m, &v| {
                let direction = (m / correction1) / ((v / correction2).sqrt() + self.eps);
                theta * (1.0 - self.lr * self.weight_decay) - self.lr * direction
            });
        Ok((theta, Moments { steps, m, v }))
    }

    /// Bias corrections `(1 − β₁^k, 1 − β₂^k)` of step `k ≥ 1`.
    pub fn corrections(&self, step: u32) -> (f64, f64) {
        let power = |beta: f64| 1.0 - beta.powf(f64::from(step));
        (power(self.beta1), power(self.beta2))
    }
}

/// Gradients after clipping, with the norm before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Clipped {
    /// The gradients, by name.
    pub grads: BTreeMap<String, ArrayD<f64>>,
    /// The global norm before clipping.
    pub norm: f64,
}

/// Euclidean norm of all gradients together, `√(Σ g²)`.
pub fn global_norm(grads: &BTreeMap<String, ArrayD<f64>>) -> f64 {
    grads
        .values()
        .map(|g| g.mapv(|g| g * g).sum())
        .sum::<f64>()
        .sqrt()
}

/// Scales all gradients by one factor so that their global norm is at most `max_norm`.
///
/// # Formula
/// ```text
/// g' = g · min(1, max_norm/‖g‖)
/// ```
/// # Errors
/// [`OptimError::MaxNorm`] unless `max_norm > 0`.
///
/// # Source
/// Pascanu, Mikolov and Bengio 2013 (arXiv:1211.5063), Algorithm 1.
pub fn clip_by_global_norm(
    grads: &BTreeMap<String, ArrayD<f64>>,
    max_norm: f64,
) -> Result<Clipped, OptimError> {
    if max_norm.is_nan() || max_norm <= 0.0 {
        return Err(OptimError::MaxNorm { got: max_norm });
    }
    let norm = global_norm(grads);
    let factor = if norm > max_norm {
        max_norm / norm
    } else {
        1.0
    };
    let grads = grads
        .iter()
        .map(|(name, g)| (name.clone(), g * factor))
        .collect();
    Ok(Clipped { grads, norm })
}

pub(crate) fn same_shape(
    what: &'static str,
    theta: &ArrayD<f64>,
    array: &ArrayD<f64>,
) -> Result<(), OptimError> {
    if theta.shape() == array.shape() {
        return Ok(());
    }
    Err(OptimError::Shape {
        what,
        must: theta.shape().to_vec(),
        got: array.shape().to_vec(),
    })
}
