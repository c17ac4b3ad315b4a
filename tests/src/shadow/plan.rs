//! The course of a run, worked out from its configuration alone: which update a step's is, of how many, at which rate.

use sadm_gpu::{
    config::{Config, Decay as GpuDecay, StructureMethod, UpdateOrder},
    train::player::PHI,
};
use sadm_reference::{
    bound::{self, Precision, Tracked},
    rate::{self, Decay},
};

use crate::error::{Error, Result};

/// An update of a player, as the configuration and the step say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Planned {
    /// Updates of the optimiser before it.
    pub(super) updates: usize,
    /// Images in its batch.
    pub(super) batch: usize,
    /// Where its learning rate stands: so many updates of so many.
    pub(super) course: (usize, usize),
    /// The learning rate at its peak.
    pub(super) peak: f64,
    /// The weight decay.
    pub(super) weight_decay: f64,
}

impl Planned {
    /// The update of `player` in a step of `phase`; of several in one step the first.
    pub(super) fn of(config: &Config, step: usize, phase: &str, player: &str) -> Result<Self> {
        let lengths = lengths(config);
        let classifier = lengths[0];
        let denoisers: usize = lengths[1..].iter().sum();
        if phase == "encoder" {
            return Ok(Self {
                updates: step,
                batch: config.encoder.batch,
                course: (step, classifier),
                peak: config.encoder.learning_rate,
                weight_decay: config.encoder.weight_decay,
            });
        }
        let before = |first: usize| {
            step.checked_sub(first).ok_or_else(|| {
                Error::Reference(format!(
                    "step {step} is none of the phase `{phase}`, which begins at {first}"
                ))
            })
        };
        let number = before(classifier)?;
        if player != PHI {
            return Ok(Self {
                updates: number,
                batch: config.train.batch,
                course: (number, denoisers),
                peak: config.train.learning_rate,
                weight_decay: config.train.weight_decay,
            });
        }
        let adversarial = &config.adversarial;
        let rounds = before(lengths[..3].iter().sum())? / adversarial.theta_steps;
        // φ follows θ's course, which has come a step further where θ moves first.
        let ahead = match adversarial.update_order {
            UpdateOrder::PhiFirst => 0,
            UpdateOrder::ThetaFirst => 1,
        };
        Ok(Self {
            updates: rounds * adversarial.phi_steps,
            batch: config.train.batch,
            course: (number + ahead, denoisers),
            peak: adversarial.learning_rate,
            weight_decay: 0.0,
        })
    }

    /// Its learning rate and a bound for it.
    pub(super) fn learning_rate(&self, config: &Config, p: Precision) -> Tracked {
        let (number, total) = self.course;
        let (warmup, decay) = (config.train.warmup, decay(config));
        let factor = bound::rate::factor(number, total, warmup, decay, p);
        let peak = Tracked::exact(factor.value.mapv(|_| self.peak));
        let exact = rate::factor(number, total, warmup, decay) * self.peak;
        factor.mul(&peak, p).recentred(factor.value.mapv(|_| exact))
    }
}

/// The configured decay.
pub(super) fn decay(config: &Config) -> Decay {
    match config.train.decay {
        GpuDecay::None => Decay::None,
        GpuDecay::Linear => Decay::Linear,
        GpuDecay::Cosine => Decay::Cosine,
    }
}

/// Planned steps of the phases encoder, denoise, guided, adversarial.
fn lengths(config: &Config) -> [usize; 4] {
    let p = &config.phases;
    let shares = match config.structure.method {
        // Without S nobody needs Ψ.
        StructureMethod::None => [0.0, 1.0, 0.0, 0.0],
        StructureMethod::Guided => [p.encoder, p.denoise, p.guided + p.adversarial, 0.0],
        StructureMethod::Adversarial => [p.encoder, p.denoise, p.guided, p.adversarial],
    };
    let total = match config.train.planned {
        0 => config.train.steps,
        planned => planned,
    };
    divided(total, shares)
}

/// `total` steps in proportion to shares, by largest remainder: first whole steps; what is left goes one by one to shares that have
/// none yet, then to the largest remainders; who still has none takes one from the longest.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "parts of a number of steps"
)]
fn divided(total: usize, shares: [f64; 4]) -> [usize; 4] {
    let sum: f64 = shares.iter().sum();
    let ideal = shares.map(|share| share / sum * total as f64);
    let mut parts = ideal.map(|x| x as usize);
    let given: usize = parts.iter().sum();
    let mut waiting: Vec<usize> = (0..4).filter(|&i| shares[i] > 0.0).collect();
    waiting.sort_by(|&a, &b| ideal[b].fract().total_cmp(&ideal[a].fract()));
    // Stable: among the empty, and among the others, by remainder.
    waiting.sort_by_key(|&i| parts[i] > 0);
    let turns: Vec<usize> = waiting
        .iter()
        .copied()
        .cycle()
        .take(total - given)
        .collect();
    for i in turns {
        parts[i] += 1;
    }
    for i in waiting {
        let longest = (0..4).max_by_key(|&j| parts[j]).unwrap_or(i);
        if parts[i] == 0 && parts[longest] > 1 {
            parts[longest] -= 1;
            parts[i] += 1;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sadm_gpu::run::phases::{Phase, layout};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Worked out twice, by each side: the phases of any run.
        #[test]
        fn phases_are_those_of_the_training_system(
            steps in 4..400_usize,
            shares in prop::array::uniform4(0..20_u32),
            method in 0..3_usize,
        ) {
            prop_assume!(shares.iter().sum::<u32>() > 0);
            let mut config = Config::default();
            config.train.steps = steps;
            let [encoder, denoise, guided, adversarial] = shares.map(|s| f64::from(s) / 20.0);
            config.phases.encoder = encoder;
            config.phases.denoise = denoise;
            config.phases.guided = guided;
            config.phases.adversarial = adversarial;
            config.structure.method = [
                StructureMethod::None,
                StructureMethod::Guided,
                StructureMethod::Adversarial,
            ][method];
            prop_assume!(encoder + denoise + guided > 0.0);
            let mut want = [0; 4];
            for span in layout(&config) {
                let at = match span.phase {
                    Phase::Encoder => 0,
                    Phase::Denoise => 1,
                    Phase::Guided => 2,
                    Phase::Adversarial => 3,
                };
                want[at] = span.end - span.start;
            }
            prop_assert_eq!(lengths(&config), want);
        }
    }
}
