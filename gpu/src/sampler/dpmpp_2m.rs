//! `dpmpp-2m`: DPM-Solver++(2M).

use super::{Kind, SamplerKind, Walk};
use crate::choice::Entry;
use crate::error::{Error, Result};
use candle_core::Tensor;

/// State of a multistep sampler.
#[derive(Debug, Clone)]
pub struct Previous {
    /// x̂ of that step.
    pub denoised: Tensor,
    /// Its level σ'_prev, above that of the present step.
    pub sigma: f64,
}

/// The step of DPM-Solver++(2M), for z = x/α.
///
/// # Formula
/// ```text
/// λ = −ln σ',   h = λ_to − λ_from,   r = (λ_from − λ_prev)/h
/// D = (1 + 1/2r) x̂ − 1/2r x̂_prev
/// z ← (σ'_to/σ'_from) z − (e^{−h} − 1) D
/// ```
/// Without a previous step, and down to σ'_to = 0 (where h = ∞), D = x̂: the step of DDIM.
/// # Errors
/// A previous level that is not above `from`.
/// # Source
/// Lu et al. (arXiv:2211.01095), Algorithm 2.
pub fn dpmpp_2m_step(
    z: &Tensor,
    denoised: &Tensor,
    previous: Option<&Previous>,
    from: f64,
    to: f64,
) -> Result<Tensor> {
    let h = (from / to).ln();
    let pull = -(-h).exp_m1();
    let kept = (z * (to / from))?;
    let Some(previous) = previous.filter(|_| to > 0.0) else {
        return Ok((kept + (denoised * pull)?)?);
    };
    let before = (previous.sigma / from).ln();
    if before.is_nan() || before <= 0.0 {
        let must = format!("be above the level of the step, {from}");
        return Err(Error::invalid(
            "the previous noise level",
            must,
            previous.sigma,
        ));
    }
    let half_inverse_r = 0.5 * h / before;
    let extrapolated =
        ((denoised * (1.0 + half_inverse_r))? - (&previous.denoised * half_inverse_r)?)?;
    Ok((kept + (extrapolated * pull)?)?)
}

impl SamplerKind {
    /// DPM-Solver++(2M): second order for one evaluation a step.
    pub const DPMPP_2M: Self = Self::new(&Entry::new("dpmpp-2m", Dpmpp2m));
}

struct Dpmpp2m;

impl Kind for Dpmpp2m {
    fn step(
        &self,
        walk: &Walk<'_>,
        z: &Tensor,
        previous: &mut Option<Previous>,
        _: u64,
        [from, to]: [f64; 2],
    ) -> Result<Tensor> {
        let denoised = walk.denoised(z, from)?;
        let next = dpmpp_2m_step(z, &denoised, previous.as_ref(), from, to)?;
        *previous = Some(Previous {
            denoised,
            sigma: from,
        });
        Ok(next)
    }

    fn order(&self) -> Option<f64> {
        Some(2.0)
    }
}
