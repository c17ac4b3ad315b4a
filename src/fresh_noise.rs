//! Samplers that add noise, after a run whose noise was coupled to its images.

use sadm_gpu::config::Config;
use sadm_gpu::run::SampleRequest;
use sadm_gpu::sampler::SamplerKind;

use crate::progress;

/// Says that the sampler of a request is biased, where it adds noise.
pub fn note_for(config: &Config, request: &SampleRequest) {
    let eta = request.respacing.as_ref().map_or(0.0, |steps| steps.eta);
    let options = &request.options;
    note(config, &[options.kind], options.churn.amount.max(eta));
}

/// Says that such a sampler is biased, where one is about to be used; `noise` is the amount of churn, or η of DDIM.
pub fn note(config: &Config, samplers: &[SamplerKind], noise: f64) {
    let adds_noise = noise != 0.0 || samplers.contains(&SamplerKind::DDPM);
    if adds_noise && !config.coupling.is_independent() {
        progress::say(&format!(
            "note: the run's coupling.method is {}, under which x̂ gives no score: samplers that add noise (ddpm, churn) are biased; \
             heun, euler, ddim and dpmpp-2m are not",
            config.coupling.method
        ));
    }
}
