//! The evidence bound of a chain, in its three parts.

use super::{Affine, Chain, ChainError, Data, Step};
use crate::laws::finite::two_pi;
use crate::laws::small_matrix::{multiple_of_identity, plus, scaled};
use crate::rounding::Rounded;

/// The three parts of the evidence bound, or of its gap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parts {
    /// What z_T owes to the prior.
    pub prior: Rounded,
    /// What x owes to the decoder.
    pub reconstruction: Rounded,
    /// What the steps owe to the denoiser.
    pub diffusion: Rounded,
}

impl Parts {
    /// Their sum.
    pub fn total(self) -> Rounded {
        self.prior + self.reconstruction + self.diffusion
    }
}

impl Chain {
    /// The evidence bound, averaged over the data.
    ///
    /// # Formula `[eq:elbo]`
    /// ```text
    /// prior           KL(q(z_T|x) ‖ p(z_T)) = ½(n σ_T² + α_T² ‖x‖² − n − n log σ_T²)
    /// reconstruction  E[−log p(x|z_0)]      = ½ n log(2π σ_0²/α_0²) + ½ n
    /// diffusion       Σ ½ (SNR_s − SNR_t) E‖x − x̂_θ(z_t, t)‖²
    /// E‖x − x̂‖² = E‖(I − αA) x − b‖² + σ² ‖A‖²
    /// ```
    /// # Errors
    /// [`ChainError::Dimension`].
    pub fn objective(&self, data: &Data) -> Result<Parts, ChainError> {
        self.check(data)?;
        let n = self.dimension as f64;
        let (noisy, clean) = self.ends();
        let one = Rounded::exact(1.0);
        let identity = multiple_of_identity(one, self.dimension);
        let zero = data.mean.mapv(|_| Rounded::exact(0.0));
        let sigma2 = noisy.sigma.square();
        let signal = noisy.alpha.square() * data.squared_norm(&identity, &zero);
        let diffusion = self
            .steps
            .iter()
            .map(|s| s.snr_drop() * denoising_error(s, data) * 0.5);
        Ok(Parts {
            prior: ((sigma2 - one - sigma2.ln()) * n + signal) * 0.5,
            reconstruction: ((two_pi() / clean.snr()).ln() + one) * (0.5 * n),
            diffusion: Rounded::sum(diffusion),
        })
    }
}

/// E‖x − x̂(z_t)‖² over x and z_t = αx + σε.
fn denoising_error(step: &Step, data: &Data) -> Rounded {
    let Affine { matrix, shift } = &step.denoiser;
    let n = shift.len();
    let kept = plus(
        &multiple_of_identity(1.0.into(), n),
        &scaled(matrix, -step.from.alpha),
    );
    let noise = Rounded::sum(matrix.iter().map(|a| a.square()));
    data.squared_norm(&kept, shift) + step.from.sigma.square() * noise
}
