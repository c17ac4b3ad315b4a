//! What is done between steps: the end of a phase, samples.

use super::metrics::Metrics;
use super::{Hooks, Trainer, players};
use crate::Result;
use crate::run::phases::{Phase, Span};
use crate::run::{self, SampleRequest};
use candle_core::DType;
use serde_json::json;

impl Trainer {
    /// What a phase's last step has to say; before its checkpoint, which carries it.
    pub(super) fn conclude(
        &mut self,
        span: Span,
        metrics: &mut Metrics,
        hooks: &mut dyn Hooks,
    ) -> Result<()> {
        if span.phase == Phase::Encoder && !self.holdout.is_empty() {
            let accuracy = self.accuracy()?;
            self.state.encoder_accuracy = Some(accuracy);
            let line = json!({"step": self.state.step, "phase": "encoder", "accuracy": accuracy});
            metrics.write(&line)?;
            hooks.metrics(&line)?;
            hooks.note(&format!(
                "Ψ classifies {:.1} % of {} held-out images correctly",
                100.0 * accuracy,
                self.holdout.len()
            ));
        }
        if let Some(step) = self.state.balanced_at {
            hooks.note(&format!(
                "the players are in balance at step {step}: the adversarial phase ends"
            ));
        }
        Ok(())
    }

    fn accuracy(&self) -> Result<f64> {
        let n = self.holdout.len();
        let mut right = 0usize;
        for start in (0..n).step_by(256) {
            let indices: Vec<usize> = (start..n.min(start + 256)).collect();
            let (x0, labels) = self.holdout.batch(&indices, &self.device, DType::F32)?;
            let guess = self
                .players
                .encoder_frozen
                .logits(&x0)?
                .argmax(1)?
                .to_vec1::<u32>()?;
            right += guess.iter().zip(&labels).filter(|(g, l)| g == l).count();
        }
        Ok(right as f64 / n as f64)
    }

    pub(super) fn draw_samples(&self, hooks: &mut dyn Hooks) -> Result<()> {
        if self.state.theta_updates == 0 {
            return Ok(());
        }
        let denoiser =
            players::denoiser(&self.config.model, self.images, self.ema.params().frozen())?;
        let count = self.config.sample.count;
        let request = SampleRequest {
            labels: self.conditions.in_order(count),
            seed: self.config.seed,
            ..SampleRequest::from_config(&self.config)
        };
        let images = run::sample(
            denoiser.as_ref(),
            &self.objective,
            self.images,
            &self.device,
            &request,
        )?;
        hooks.samples(&self.folder, self.state.step, &images)
    }
}
