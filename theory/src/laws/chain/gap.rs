//! Gap of the evidence bound, from the posterior of the data.

use super::{Affine, Chain, ChainError, Data, Level, Parts, factor};
use crate::laws::small_matrix::{
    Matrix, apply, difference, inner, multiple_of_identity, plus, scaled, trace,
};
use crate::rounding::Rounded;

impl Chain {
    /// By how much the averaged bound exceeds the entropy of the data: three Kullback-Leibler divergences.
    ///
    /// # Formula `[eq:elbo-gap]`
    /// ```text
    /// E[objective] = H(x) + KL(q(z_T)‖p(z_T)) + Σ E KL(q(z_s|z_t)‖p(z_s|z_t)) + E KL(q(x|z_0)‖p(x|z_0))
    /// ```
    /// because both sides are E log q(x, z_0, …, z_T)/p(x, z_0, …, z_T) + H(x), once factored forwards and once backwards.
    /// With P_t = (C⁻¹ + SNR_t I)⁻¹ = Cov[x|z_t] and D_t = E[x|z_t] = (α_t/σ_t²) P_t z_t + h_t:
    /// ```text
    /// step:            ½[(SNR_s − SNR_t)(tr P_t + E‖D_t − x̂‖²) − log det(I + (SNR_s − SNR_t) P_t)]
    /// reconstruction:  ½[SNR_0 (tr P_0 + E‖D_0 − z_0/α_0‖²) − n − log det(SNR_0 P_0)]
    /// ```
    /// # Errors
    /// [`ChainError::Dimension`], [`ChainError::NotDefinite`] for a singular C.
    pub fn gap(&self, data: &Data) -> Result<Parts, ChainError> {
        self.check(data)?;
        let n = self.dimension;
        let (noisy, clean) = self.ends();
        let ideal = |level: Level| Ideal::new(data, level);
        let last = ideal(noisy)?;
        let log_det = factor(&last.noised.covariance, "the noised data's covariance")?.log_det();
        let mean2 = inner(&last.noised.mean, &last.noised.mean);
        let count = Rounded::exact(n as f64);
        let first = ideal(clean)?;
        let (inverse, snr) = (Rounded::exact(1.0) / clean.alpha, clean.snr());
        let decoder = Affine {
            matrix: multiple_of_identity(inverse, n),
            shift: data.mean.mapv(|_| 0.0.into()),
        };
        let reconstruction = snr * first.error_of(&decoder)
            - count
            - factor(&scaled(&first.spread, snr), "Cov[x|z_0]")?.log_det();
        let mut diffusion = Rounded::exact(0.0);
        for step in &self.steps {
            let (here, drop) = (ideal(step.from)?, step.snr_drop());
            let growth = plus(
                &multiple_of_identity(1.0.into(), n),
                &scaled(&here.spread, drop),
            );
            let log_det = factor(&growth, "I + (SNR_s - SNR_t) Cov[x|z_t]")?.log_det();
            diffusion = diffusion + (drop * here.error_of(&step.denoiser) - log_det) * 0.5;
        }
        Ok(Parts {
            prior: (trace(&last.noised.covariance) + mean2 - count - log_det) * 0.5,
            reconstruction: reconstruction * 0.5,
            diffusion,
        })
    }
}

/// The posterior of Gaussian data at one level.
struct Ideal {
    /// The law of z_t.
    noised: Data,
    /// E[x|z_t].
    denoiser: Affine,
    /// Cov[x|z_t].
    spread: Matrix,
}

impl Ideal {
    fn new(data: &Data, level: Level) -> Result<Self, ChainError> {
        let n = data.mean.len();
        let precision = factor(&data.covariance, "the data's covariance")?.inverse();
        let sharper = plus(&precision, &multiple_of_identity(level.snr(), n));
        let spread = factor(&sharper, "the posterior precision")?.inverse();
        let gain = scaled(&spread, level.alpha / level.sigma.square());
        let explained = apply(&gain, &data.mean.mapv(|v| v * level.alpha));
        let noised = Data {
            mean: data.mean.mapv(|v| v * level.alpha),
            covariance: plus(
                &scaled(&data.covariance, level.alpha.square()),
                &multiple_of_identity(level.sigma.square(), n),
            ),
        };
        Ok(Self {
            noised,
            denoiser: Affine {
                matrix: gain,
                shift: difference(&data.mean, &explained),
            },
            spread,
        })
    }

    /// E‖x − x̂(z_t)‖² = tr Cov[x|z_t] + E‖E[x|z_t] − x̂(z_t)‖².
    fn error_of(&self, other: &Affine) -> Rounded {
        let matrix = plus(&self.denoiser.matrix, &scaled(&other.matrix, (-1.0).into()));
        let shift = difference(&other.shift, &self.denoiser.shift);
        trace(&self.spread) + self.noised.squared_norm(&matrix, &shift)
    }
}
