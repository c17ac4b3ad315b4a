//! Which weights of the denoising loss make a bound: those nowhere below the likelihood's.

use super::setting::{FIRST, LAST, STEPS, built, chain, tight_chain};
use crate::laws::chain::{Chain, Data, Parts};
use crate::laws::small_matrix::multiple_of_identity;
use crate::rounding::Rounded;
use crate::statements::setting::SCHEDULE;
use crate::statements::{
    About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError,
};

const FACTOR: Parameter = Parameter::logarithmic(
    "a",
    "largest factor on the likelihood's weight of a step, at least 1",
    1.0..=16.0,
    2.5,
);

/// `[thm:weights-that-bound]` Any weight that is nowhere below ½(SNR_s − SNR_t) makes the objective a bound; the smallest makes its diffusion part the
/// divergences themselves.
///
/// # Formula `[eq:weights-that-bound]`
/// ```text
/// −log p_θ(x) ≤ prior + reconstruction + Σ a_t ½(SNR_s − SNR_t) E‖x − x̂‖²     for all a_t ≥ 1
/// a_t = 1:   ½(SNR_s − SNR_t) E‖x − x̂‖² = E KL(q(z_s | z_t, x) ‖ p_θ(z_s | z_t)),   term by term
/// ```
/// "No other weight" would be wrong: a larger one bounds too, and is a looser bound by Σ(a_t − 1)(…). What the likelihood's weight has alone is
/// the second line, and that it is the smallest for which this proof works. (For weights that are monotone in the noise
/// level the loss is an evidence bound of noised data: Kingma and Gao 2023, arXiv:2303.00848.) Below it the sentence is false in
/// general: `[thm:e5]`, and the tight chain of the controls.
///
/// # Values
/// 2T for the denoisers of one number, 1 for x, 2 for its law, T for the factors.
pub struct WeightsThatBound;

struct Setting {
    chain: Chain,
    point: Data,
    data: Data,
    factors: Vec<Rounded>,
}

fn setting(instance: &Instance) -> Result<Setting, StatementError> {
    let mut values = instance.values();
    let chain = chain(instance, &mut values, 1)?;
    let point = Data::point(&values.take(1)?);
    let law = values.take(2)?;
    let data = Data {
        covariance: multiple_of_identity(Rounded::exact(law[1]).square() + Rounded::exact(0.25), 1),
        ..Data::point(&law[..1])
    };
    let most = instance.get(FACTOR.name)?;
    let one = Rounded::exact(1.0);
    // From 1 to `a`, by the values' size over 2.
    let factor = |v: &f64| one + (Rounded::exact(most) - one) * (v.abs() / 2.0);
    let factors = values
        .take(chain.steps().len())?
        .iter()
        .map(factor)
        .collect();
    Ok(Setting {
        chain,
        point,
        data,
        factors,
    })
}

/// E‖x − x̂‖² of one step, one number: (1 − αA)² E x² − …, written out.
fn error_of(chain: &Chain, step: usize, data: &Data) -> Rounded {
    let step = &chain.steps()[step];
    let (a, b) = (step.denoiser.matrix[[0, 0]], step.denoiser.shift[0]);
    let kept = Rounded::exact(1.0) - a * step.from.alpha;
    let off = kept * data.mean[0] - b;
    off.square() + kept.square() * data.covariance[[0, 0]] + (a * step.from.sigma).square()
}

/// E KL(q(z_s | z_t, x) ‖ p_θ(z_s | z_t)): two Gaussians of variance v = σ²_{t|s}σ_s²/σ_t², means c_0(x − x̂) apart.
fn divergence(chain: &Chain, step: usize, data: &Data) -> Rounded {
    let s = &chain.steps()[step];
    let ratio = (s.to.sigma / s.from.sigma).square();
    let apart = s.to.alpha * s.sigma2_ts / s.from.sigma.square();
    apart.square() * error_of(chain, step, data) / (s.sigma2_ts * ratio * 2.0)
}

/// Σ a_t ½(SNR_s − SNR_t) E‖x − x̂‖².
fn weighted(setting: &Setting, data: &Data) -> Rounded {
    let steps = setting.chain.steps();
    let term = |k: usize| {
        setting.factors[k] * steps[k].snr_drop() * error_of(&setting.chain, k, data) * 0.5
    };
    Rounded::sum((0..steps.len()).map(term))
}

impl Statement for WeightsThatBound {
    fn about(&self) -> About {
        About {
            id: "weights-that-bound",
            source: "VDM (arXiv:2107.00630), Eq. 11-13, for other weights; SADM (arXiv:2402.17563), the w of Eq. 15",
            kind: Kind::Bound,
            summary: "every weight nowhere below the SNR's makes a bound; the SNR's is the smallest, and its sum is the divergence",
            terms: &[],
            parameters: &[SCHEDULE, STEPS, FIRST, LAST, FACTOR],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let setting = setting(instance)?;
        let mut all = built(&setting.chain, &setting.point, &setting.data);
        let factors: Vec<f64> = setting.factors.iter().map(|f| f.value).collect();
        all.push(Built::row(
            "factors on the weights, latest step first",
            &factors,
        ));
        Ok(all)
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let setting = setting(instance)?;
        let Setting {
            chain, point, data, ..
        } = &setting;
        let ends = |data: &Data| -> Result<(Rounded, Rounded), StatementError> {
            let Parts {
                prior,
                reconstruction,
                diffusion,
            } = chain.objective(data)?;
            Ok((prior + reconstruction, diffusion))
        };
        let ((at_point, _), (averaged, diffusion)) = (ends(point)?, ends(data)?);
        let divergences = (0..chain.steps().len()).map(|k| divergence(chain, k, data));
        Ok(vec![
            Evidence::at_most(
                "-log p(x) ≤ prior + reconstruction + Σ a_t ½(SNR_s - SNR_t) ‖x - x̂‖², a_t ≥ 1",
                chain.nll(point)?,
                at_point + weighted(&setting, point),
            ),
            Evidence::at_most(
                "E[-log p(x)] ≤ the same, averaged",
                chain.nll(data)?,
                averaged + weighted(&setting, data),
            ),
            Evidence::at_most(
                "the larger weights are looser: Σ ½(SNR_s - SNR_t) E‖x - x̂‖² ≤ Σ a_t ½(SNR_s - SNR_t) E‖x - x̂‖²",
                diffusion,
                weighted(&setting, data),
            ),
            Evidence::equal(
                "a_t = 1: the diffusion part is the sum of the steps' divergences",
                diffusion,
                Rounded::sum(divergences),
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (tight, standard) = tight_chain(1)?;
        let parts = tight.objective(&standard)?;
        let nll = tight.nll(&standard)?;
        let setting = setting(&self.default_instance())?;
        let diffusion = setting.chain.objective(&setting.data)?.diffusion;
        Ok(vec![
            Evidence::at_most(
                "control: 0.85 of the SNR's weight is enough",
                nll,
                parts.prior + parts.reconstruction + parts.diffusion * 0.85,
            ),
            Evidence::equal(
                "control: the sum with larger weights is the divergence, too",
                weighted(&setting, &setting.data),
                diffusion,
            ),
        ])
    }
}
