//! Samplers that add noise, after a run whose noise was coupled to its images.

use sadm_gpu::config::Config;
use sadm_gpu::sampler::SamplerKind;

use crate::progress;

/// Says that such a sampler is biased, where one is about to be used.
pub fn note(config: &Config, samplers: &[SamplerKind], churn: f64) {
    let adds_noise = churn != 0.0 || samplers.contains(&SamplerKind::DDPM);
    if adds_noise && !config.coupling.is_independent() {
        progress::say(&format!(
            "note: the run's coupling.method is {}, under which x̂ gives no score: samplers that add noise (ddpm, churn) are biased; \
             heun, euler, ddim and dpmpp-2m are not",
            config.coupling.method
        ));
    }
}
