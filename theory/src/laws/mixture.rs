//! A Gaussian mixture: closed-form density, score and denoiser, and more than one mode.

use ndarray::{Array1, Array2, Axis};

use super::gaussian::{GaussianLaw, SmoothPosterior};
use super::{FiniteLaw, LawError};

/// The law Σ_k p_k N(m_k, C_k) of x_0 in Rⁿ.
#[derive(Debug, Clone, PartialEq)]
pub struct MixtureLaw {
    components: Vec<GaussianLaw>,
    prior: Array1<f64>,
}

impl MixtureLaw {
    /// A law from its components and positive weights `[K]`, which are normalised by their sum.
    ///
    /// # Errors
    /// [`LawError::Empty`] if there is no component, [`LawError::Shape`] if a component lives in another dimension
    /// than the first, [`LawError::PriorLength`], [`LawError::PriorWeight`].
    pub fn new(components: Vec<GaussianLaw>, prior: Vec<f64>) -> Result<Self, LawError> {
        let Some(first) = components.first() else {
            return Err(LawError::Empty {
                atoms: 0,
                dimension: 0,
            });
        };
        let n = first.mean().len();
        if let Some(c) = components.iter().find(|c| c.mean().len() != n) {
            return Err(LawError::Shape {
                what: "component mean",
                want: vec![n],
                got: vec![c.mean().len()],
            });
        }
        // The weights obey the same rules as those of atoms at the means.
        let atoms = Array2::from_shape_fn((components.len(), n), |(k, i)| components[k].mean()[i]);
        let checked = FiniteLaw::new(atoms, prior)?;
        let total: f64 = checked.prior().iter().sum();
        let prior = checked.prior().iter().map(|p| p / total).collect();
        Ok(Self { components, prior })
    }

    /// The components.
    pub fn components(&self) -> &[GaussianLaw] {
        &self.components
    }

    /// The normalised weights `[K]`.
    pub fn prior(&self) -> &Array1<f64> {
        &self.prior
    }

    /// Posterior of x_0 given x_t = α x_0 + σ ε, and the weights of the components in it `[K]`.
    ///
    /// # Formula `[eq:mixture-posterior]`
    /// ```text
    /// ω_k ∝ p_k N(x_t; α m_k, α² C_k + σ² I)        μ_k, Σ_k: posterior of component k
    /// E[x_0|x_t] = μ = Σ_k ω_k μ_k      Cov[x_0|x_t] = Σ_k ω_k (Σ_k + (μ_k − μ)(μ_k − μ)ᵀ)
    /// ∇ log q_t(x_t) = Σ_k ω_k s_k(x_t)
    /// ```
    /// # Shapes
    /// x `[n]`.
    ///
    /// # Errors
    /// As [`GaussianLaw::posterior`].
    pub fn posterior(
        &self,
        x: &[f64],
        alpha: f64,
        sigma: f64,
    ) -> Result<(Array1<f64>, SmoothPosterior), LawError> {
        let parts: Vec<SmoothPosterior> = self
            .components
            .iter()
            .map(|c| c.posterior(x, alpha, sigma))
            .collect::<Result<_, _>>()?;
        let terms: Array1<f64> = parts
            .iter()
            .zip(&self.prior)
            .map(|(c, p)| p.ln() + c.log_density)
            .collect();
        let top = terms.fold(f64::NEG_INFINITY, |m, &t| m.max(t));
        let scaled = terms.mapv(|t| (t - top).exp());
        let total = scaled.sum();
        let weights = scaled / total;
        let n = x.len();
        let weighted = |f: fn(&SmoothPosterior) -> &Array1<f64>| {
            let start = Array1::zeros(n);
            parts
                .iter()
                .zip(&weights)
                .fold(start, |sum, (c, &w)| sum + f(c) * w)
        };
        let mean = weighted(|c| &c.mean);
        let mut covariance = Array2::zeros((n, n));
        for (c, &w) in parts.iter().zip(&weights) {
            let off = (&c.mean - &mean).insert_axis(Axis(1));
            covariance += &((&c.covariance + &off.dot(&off.t())) * w);
        }
        let posterior = SmoothPosterior {
            score: weighted(|c| &c.score),
            log_density: top + total.ln(),
            mean,
            covariance,
        };
        Ok((weights, posterior))
    }

    /// Samples of x_0 from uniform numbers, which choose the component, and standard normals.
    ///
    /// # Shapes
    /// uniform `[N]` in [0, 1), z `[N, n]` → `[N, n]`.
    ///
    /// # Errors
    /// [`LawError::Shape`].
    pub fn sample(&self, uniform: &[f64], z: &Array2<f64>) -> Result<Array2<f64>, LawError> {
        if z.nrows() != uniform.len() {
            return Err(LawError::Shape {
                what: "standard normals",
                want: vec![uniform.len(), z.ncols()],
                got: z.shape().to_vec(),
            });
        }
        let mut samples = Array2::zeros(z.dim());
        for (k, component) in self.components.iter().enumerate() {
            let drawn = component.sample(z)?;
            for (b, &u) in uniform.iter().enumerate() {
                if self.component(u) == k {
                    samples.row_mut(b).assign(&drawn.row(b));
                }
            }
        }
        Ok(samples)
    }

    /// The component whose part of [0, 1) contains u; the last one for what rounding leaves over.
    fn component(&self, u: f64) -> usize {
        let mut upper = 0.0;
        let found = self.prior.iter().position(|p| {
            upper += p;
            u < upper
        });
        found.unwrap_or(self.prior.len() - 1)
    }
}
