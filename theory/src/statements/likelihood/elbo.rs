//! The evidence bound of a diffusion model, exactly, for any affine denoiser.

use super::setting::{FIRST, LAST, STEPS, built, chain, tight_chain};
use crate::laws::chain::{Chain, Data};
use crate::laws::small_matrix::{congruence, exact, multiple_of_identity};
use crate::rounding::Rounded;
use crate::statements::setting::{DIMENSION, SCHEDULE};
use crate::statements::{About, Built, Evidence, Instance, Kind, Statement, StatementError};

/// `[thm:elbo]` −log p_θ(x) ≤ KL(q(z_T|x)‖p(z_T)) + E[−log p(x|z_0)] + Σ ½(SNR_s − SNR_t) E‖x − x̂_θ‖².
///
/// For every x, every affine denoiser, and averaged over data N(m, C): nothing is sampled, see
/// [`Chain`](crate::laws::chain::Chain). The averaged bound exceeds the entropy of the data by three divergences, computed
/// from the posterior of the data rather than from the objective.
///
/// # Values
/// Takes T(n² + n) values for the denoisers, then n for x, n for m and n² for F with C = FFᵀ + ¼I.
pub struct EvidenceBound;

/// The chain, a point and a Gaussian law of the data.
fn setting(instance: &Instance) -> Result<(Chain, Data, Data), StatementError> {
    let n = instance.size(DIMENSION.name)?;
    let mut values = instance.values();
    let chain = chain(instance, &mut values, n)?;
    let point = Data::point(&values.take(n)?);
    let mean = values.take(n)?;
    let root = exact(&values.matrix(n, n)?);
    let mut covariance = congruence(&root, &multiple_of_identity(1.0.into(), n));
    covariance
        .diag_mut()
        .mapv_inplace(|v| v + Rounded::exact(0.25));
    let data = Data {
        mean: mean.into_iter().map(Rounded::exact).collect(),
        covariance,
    };
    Ok((chain, point, data))
}

impl Statement for EvidenceBound {
    fn about(&self) -> About {
        About {
            id: "elbo",
            source: "VDM (arXiv:2107.00630), Eq. 11-13; the gap as three divergences in closed form is ours",
            kind: Kind::Bound,
            summary: "with SNR weights, prior and reconstruction the denoising objective bounds -log p(x)",
            terms: &[],
            parameters: &[SCHEDULE, STEPS, DIMENSION, FIRST, LAST],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let (chain, point, data) = setting(instance)?;
        Ok(built(&chain, &point, &data))
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (chain, point, data) = setting(instance)?;
        let objective = chain.objective(&data)?.total();
        let (gap, entropy) = (chain.gap(&data)?, data.entropy()?);
        let nll = chain.nll(&data)?;
        Ok(vec![
            Evidence::at_most(
                "-log p(x) ≤ prior + reconstruction + diffusion",
                chain.nll(&point)?,
                chain.objective(&point)?.total(),
            ),
            Evidence::at_most("E[-log p(x)] ≤ E[objective]", nll, objective),
            Evidence::at_most("H(x) ≤ E[-log p(x)]", entropy, nll),
            Evidence::equal(
                "E[objective] = H(x) + three divergences",
                objective,
                entropy + gap.total(),
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (tight, standard) = tight_chain(1)?;
        let (parts, nll) = (tight.objective(&standard)?, tight.nll(&standard)?);
        let (chain, point, data) = setting(&self.default_instance())?;
        let gap = chain.gap(&data)?;
        Ok(vec![
            Evidence::at_most(
                "control: the prior term can be dropped",
                nll,
                parts.diffusion + parts.reconstruction,
            ),
            Evidence::at_most(
                "control: the reconstruction term can be dropped",
                nll,
                parts.diffusion + parts.prior,
            ),
            Evidence::at_most(
                "control: half of the weights is enough",
                nll,
                parts.total() - parts.diffusion * 0.5,
            ),
            Evidence::equal(
                "control: the bound is tight at a point",
                chain.nll(&point)?,
                chain.objective(&point)?.total(),
            ),
            Evidence::equal(
                "control: the objective's excess is the diffusion part alone",
                chain.objective(&data)?.total(),
                data.entropy()? + gap.diffusion,
            ),
        ])
    }
}
