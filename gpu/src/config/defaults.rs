//! Default configuration.

use super::{
    AdversarialConfig, AdversarialEnd, CheckpointConfig, DataConfig, DatasetKind, Decay,
    EncoderTraining, GuidedEta, LimitBy, ObjectiveConfig, OnFailure, PhaseConfig, SampleConfig,
    ShadowConfig, StructureConfig, StructureMethod, TimeLaw, TimeSharing, TrainConfig, UpdateOrder,
};
use crate::data::{Depth, PixelRange, Unread};
use crate::forward::schedule::Schedule;
use crate::network::{Compute, Recompute};
use crate::objective::denoising::Weight;
use crate::objective::parametrisation::Parametrisation;
use crate::objective::preconditioner::NoiseCondition;
use crate::objective::variance::PredictedVariance;
use crate::sampler::{GuidedChannels, SamplerKind};
use crate::structure::{Diagonal, Distance, Eta, Relation};

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            dataset: DatasetKind::Digits,
            dir: String::new(),
            range: PixelRange::default(),
            depth: Depth::default(),
            unread: Unread::default(),
            holdout: 0.1,
            flip: false,
            augment: 0.0,
            limit: 0,
            limit_by: LimitBy::Random,
        }
    }
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        Self {
            schedule: Schedule::EDM,
            parametrisation: Parametrisation::Edm,
            noise_condition: NoiseCondition::LogSigma,
            weight: Weight::EDM,
            variance: PredictedVariance::None,
            sigma_data: 0.5,
            time: TimeLaw::LogNormal,
            time_min: 1e-3,
            time_max: 1.0,
            p_mean: -1.2,
            p_std: 1.2,
            sigma_min: 0.02,
            sigma_max: 100.0,
            time_sharing: TimeSharing::PerSample,
            label_dropout: 0.1,
        }
    }
}

impl Default for StructureConfig {
    fn default() -> Self {
        Self {
            method: StructureMethod::Adversarial,
            weight: 1.0,
            relation: Relation::COSINE,
            distance: Distance::SQUARED,
            diagonal: Diagonal::Include,
            eta: Eta::INVERSE_TIME,
            guided_eta: GuidedEta::SAME,
            eta_t_min: 0.1,
        }
    }
}

impl Default for EncoderTraining {
    fn default() -> Self {
        Self {
            widths: vec![32, 64, 64],
            groups: 8,
            dim: 64,
            batch: 64,
            learning_rate: 2e-3,
            weight_decay: 1e-2,
        }
    }
}

impl Default for AdversarialConfig {
    fn default() -> Self {
        Self {
            update_order: UpdateOrder::ThetaFirst,
            theta_steps: 1,
            phi_steps: 1,
            learning_rate: 3e-4,
            until: AdversarialEnd::Rounds,
            balance_window: 50,
            balance_tolerance: 0.05,
        }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 2000,
            planned: 0,
            batch: 64,
            micro_batches: 1,
            recompute: Recompute::None,
            compute: Compute::F32,
            learning_rate: 1e-3,
            warmup: 0.05,
            decay: Decay::Cosine,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.0,
            clip_norm: 1.0,
            ema_half_life: 10_000.0,
            ema_ramp: 0.05,
            log_every: 10,
            tensorboard: true,
            check_memory: true,
        }
    }
}

impl Default for PhaseConfig {
    fn default() -> Self {
        Self {
            encoder: 0.1,
            denoise: 0.4,
            guided: 0.3,
            adversarial: 0.2,
        }
    }
}

impl Default for SampleConfig {
    fn default() -> Self {
        Self {
            every: 500,
            count: 80,
            sampler: SamplerKind::HEUN,
            steps: 18,
            guidance: 1.0,
            guided_channels: GuidedChannels::All,
            respacing: String::new(),
            eta: 0.0,
            clip: false,
            sigma_min: 0.002,
            sigma_max: 80.0,
            rho: 7.0,
        }
    }
}

impl Default for ShadowConfig {
    fn default() -> Self {
        Self {
            every: 20,
            on_failure: OnFailure::Stop,
        }
    }
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every: 250,
            keep: 2,
        }
    }
}
