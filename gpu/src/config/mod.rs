//! The typed configuration of a run: one TOML file, every key with a default, unknown keys refused.

mod defaults;
mod model;
mod parse;
mod presets;

use crate::Error;
use crate::coupling::CouplingConfig;
use crate::data::augment::Pipe;
use crate::data::{Depth, PixelRange, Rules, Unread};
use crate::features::EncoderConfig;
use crate::forward::schedule::Schedule;
use crate::network::{Compute, Recompute};
use crate::objective::Objective;
use crate::objective::denoising::Weight;
use crate::objective::parametrisation::Parametrisation;
use crate::objective::preconditioner::NoiseCondition;
use crate::objective::variance::PredictedVariance;
use crate::sampler::{GuidedChannels, SamplerKind};
use crate::structure::{Diagonal, Distance, Eta, Relation, StructureOptions};
use serde::{Deserialize, Serialize};

pub use model::ModelConfig;
pub use parse::ConfigError;
pub use presets::PRESETS;

/// Everything that decides a run. Two runs with equal configurations on one machine are equal bit for bit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seed of every random stream (initial parameters, noise, times, order of the data).
    pub seed: u64,
    /// The training images.
    pub data: DataConfig,
    /// The denoiser.
    pub model: ModelConfig,
    /// The denoising objective.
    pub objective: ObjectiveConfig,
    /// The coupling of noise and images.
    pub coupling: CouplingConfig,
    /// The structural objective.
    pub structure: StructureConfig,
    /// The feature space Ψ and its training as a classifier.
    pub encoder: EncoderTraining,
    /// The adversarial rounds (SADM Eq. 9–10).
    pub adversarial: AdversarialConfig,
    /// Steps, batch, optimiser, EMA.
    pub train: TrainConfig,
    /// How `train.steps` is divided among the phases.
    pub phases: PhaseConfig,
    /// Sample grids written during training, and the defaults of `sadm sample`.
    pub sample: SampleConfig,
    /// The check of live batches against the f64 reference.
    pub shadow: ShadowConfig,
    /// Checkpoints.
    pub checkpoint: CheckpointConfig,
}

/// Which images a run trains on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// `digits` (embedded), `mnist`, `cifar10` or `images` (from `dir`).
    pub dataset: DatasetKind,
    /// Folder with the files of `mnist` or `cifar10`, where empty means `$SADM_DATA_DIR/<dataset>`; for `images` a folder of
    /// PNG pictures, one subfolder for each class or none, or a `.npz` file.
    pub dir: String,
    /// Of `images`, where real numbers of an array lie: `signed`, `-1..1`, `0..1`, `0..255` or `cut`.
    pub range: PixelRange,
    /// Of `images`, what becomes of 16 bits a channel: `refuse`, `high-byte`, or `0..N`, where white is N.
    pub depth: Depth,
    /// Of `images`, what becomes of files, folders and labels that are not read: `refuse` or `skip`.
    pub unread: Unread,
    /// Mirror each training image, left for right, with probability 1/2.
    pub flip: bool,
    /// Augment training images as EDM does, each transformation with this probability (0: none), and tell the network by nine labels.
    pub augment: f64,
    /// Fraction of the images kept out of training, for the accuracy of Ψ.
    pub holdout: f64,
    /// Use only so many images (0: all).
    pub limit: usize,
    /// Which ones: `random` (by the seed) or `first`.
    pub limit_by: LimitBy,
}

/// Which images of a data set remain where `data.limit` takes fewer than there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitBy {
    /// A random subset, drawn by the seed.
    #[default]
    Random,
    /// Those that come first; of a file sorted by class these are of few classes.
    First,
}

impl DataConfig {
    /// The augmentation of training images; none where `augment` is 0.
    ///
    /// # Errors
    /// A probability outside [0, 1], which no checked configuration has.
    pub fn augmentation(&self) -> Result<Option<Pipe>, Error> {
        let on = self.augment > 0.0;
        on.then(|| Pipe::edm(self.augment)).transpose()
    }

    /// The number of augmentation labels that the network is told.
    pub fn augment_labels(&self) -> usize {
        if self.augment > 0.0 {
            Pipe::EDM_LABELS
        } else {
            0
        }
    }

    /// How files of `images` are read.
    pub fn rules(&self) -> Rules {
        Rules {
            range: self.range,
            depth: self.depth,
            unread: self.unread,
        }
    }
}

/// The data sets with a loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatasetKind {
    /// UCI optical digits, 1797 × 1×8×8, embedded in the program.
    Digits,
    /// MNIST, 1×28×28, four idx.gz files.
    Mnist,
    /// CIFAR-10, 3×32×32, official binary batches.
    Cifar10,
    /// Images of one's own, square and all of one size.
    Images,
}

/// The denoising objective: schedule, parametrisation, weight and the law of t.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectiveConfig {
    /// α_t, σ_t.
    pub schedule: Schedule,
    /// Parametrisation: the quantity that the network predicts.
    pub parametrisation: Parametrisation,
    /// Noise condition of the network: `log-sigma`, `vp-time`, `ddpm-step`, `log-half-sigma` or `iddpm-step`.
    pub noise_condition: NoiseCondition,
    /// w(λ_t) of the denoising loss.
    pub weight: Weight,
    /// Of a network that also predicts variances, what they learn: `none`, or `learned-range` (schedule `ddpm`, parametrisation `eps`).
    pub variance: PredictedVariance,
    /// Standard deviation of the data, for the EDM preconditioning and weight.
    pub sigma_data: f64,
    /// Law of t.
    pub time: TimeLaw,
    /// Smallest t of the uniform law (and floor of the soft-truncation law).
    pub time_min: f64,
    /// Largest t of the uniform law.
    pub time_max: f64,
    /// Mean of ln(σ_t/α_t) under the log-normal law.
    pub p_mean: f64,
    /// Standard deviation of ln(σ_t/α_t) under the log-normal law.
    pub p_std: f64,
    /// Smallest σ_t/α_t of the log-uniform law.
    pub sigma_min: f64,
    /// Largest σ_t/α_t of the log-uniform law.
    pub sigma_max: f64,
    /// One t for the whole batch (SADM Eq. 7) or one per sample.
    pub time_sharing: TimeSharing,
    /// Probability that a label is dropped (classifier-free guidance).
    pub label_dropout: f64,
}

/// How t is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeLaw {
    /// t ~ U[time_min, time_max].
    Uniform,
    /// ln(σ_t/α_t) ~ N(p_mean, p_std²) (EDM).
    LogNormal,
    /// τ ~ U[time_min, time_max] for the batch, then t ~ U[τ, time_max] (soft truncation).
    SoftTruncation,
    /// ln(σ_t/α_t) ~ U[ln sigma_min, ln sigma_max] (EDM's VE).
    LogUniform,
    /// σ_t/α_t one of the 1000 levels of improved DDPM, all equally likely (EDM's iDDPM).
    IddpmStep,
}

impl TimeLaw {
    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::LogNormal => "log-normal",
            Self::SoftTruncation => "soft-truncation",
            Self::LogUniform => "log-uniform",
            Self::IddpmStep => "iddpm-step",
        }
    }

    /// Whether it is a law of t itself, between `time_min` and `time_max`, and not of σ_t/α_t.
    pub fn is_of_t(self) -> bool {
        matches!(self, Self::Uniform | Self::SoftTruncation)
    }
}

/// Whether the batch shares its t.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeSharing {
    /// One t for the batch: η_t stands before the sum, as SADM Eq. 7 writes it.
    Shared,
    /// One t per sample, η_ij = √(η_i η_j).
    PerSample,
}

/// The structural loss S_t and its place in the objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StructureConfig {
    /// `none`, `guided` (Eq. 6, Ψ frozen) or `adversarial` (Eq. 7–10 after it).
    pub method: StructureMethod,
    /// Factor of S_t beside the denoising loss.
    pub weight: f64,
    /// R, by its name in the registry of relations, such as `cosine` or `rbf(BANDWIDTH)`.
    pub relation: Relation,
    /// D: `squared`, `absolute` or `huber(DELTA)`.
    pub distance: Distance,
    /// Whether i = j is in the sum (SADM Eq. 7 includes it).
    pub diagonal: Diagonal,
    /// η_t.
    pub eta: Eta,
    /// η_t of the guided phase, where it is another: SADM's Eq. 6 has no η_t (`constant`), its Eq. 8 has one (erratum E7).
    pub guided_eta: GuidedEta,
    /// Clamp of η_t = 1/t.
    pub eta_t_min: f64,
}

/// The value of `structure.guided_eta`: `same`, or the name of a weight η_t.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GuidedEta(Option<Eta>);

impl GuidedEta {
    /// As `structure.eta`.
    pub const SAME: Self = Self(None);

    /// The weight, where that of the other phases is `eta`.
    pub fn or(self, eta: Eta) -> Eta {
        self.0.unwrap_or(eta)
    }
}

impl TryFrom<String> for GuidedEta {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        if text == "same" {
            return Ok(Self::SAME);
        }
        let names = [vec!["same"], Eta::names()].concat();
        let unknown = |_| Error::unknown_name("guided_eta", &text, &names);
        text.parse().map(|eta| Self(Some(eta))).map_err(unknown)
    }
}

impl From<GuidedEta> for String {
    fn from(guided: GuidedEta) -> Self {
        guided
            .0
            .map_or_else(|| "same".to_owned(), |eta| eta.to_string())
    }
}

/// The values of the slot `Structure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StructureMethod {
    /// Denoising alone.
    None,
    /// Structural guidance with a frozen Ψ; the adversarial share of the steps goes to it too.
    Guided,
    /// Guidance, then adversarial rounds with a trained Ψ_φ.
    Adversarial,
}

/// Ψ: its dimensions and its training as a classifier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EncoderTraining {
    /// Output channels of the convolutions; every stage but the last halves the image.
    pub widths: Vec<usize>,
    /// Groups of the group norms.
    pub groups: usize,
    /// Dimension d of the features.
    pub dim: usize,
    /// Images in a batch.
    pub batch: usize,
    /// Learning rate.
    pub learning_rate: f64,
    /// AdamW weight decay.
    pub weight_decay: f64,
}

/// The adversarial rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdversarialConfig {
    /// The listing (θ first) or the text (φ first) of SADM Sec. 4.2; see erratum E6.
    pub update_order: UpdateOrder,
    /// θ-descents in a round.
    pub theta_steps: usize,
    /// φ-ascents in a round.
    pub phi_steps: usize,
    /// Peak learning rate of φ; it falls as θ's does, so that neither player wins by the schedule.
    pub learning_rate: f64,
    /// End of the phase: all its steps, or earlier at a measured balance.
    pub until: AdversarialEnd,
    /// Rounds over which the balance is averaged.
    pub balance_window: usize,
    /// Balance is reached when |gain of φ + gain of θ| ≤ tolerance · (|gain of φ| + |gain of θ|).
    pub balance_tolerance: f64,
}

/// Order of the players' updates in a round. `[eq:alternation]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateOrder {
    /// SADM Algorithm 1.
    ThetaFirst,
    /// SADM Sec. 4.2, text.
    PhiFirst,
}

/// End of the adversarial phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdversarialEnd {
    /// After its share of the steps.
    Rounds,
    /// As soon as the gains of the two players balance, at the latest after its share of the steps.
    Balance,
}

/// Steps, optimiser and EMA of θ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Steps of all phases together.
    pub steps: usize,
    /// Steps that phases and learning rates are laid out for, where a run was made longer or shorter after it had begun; 0: as
    /// many as `steps`.
    pub planned: usize,
    /// Images in a batch, |B|.
    pub batch: usize,
    /// Micro-batches that a batch is cut into, one after another in memory; the loss stays that of the whole batch.
    pub micro_batches: usize,
    /// What the denoiser keeps for the way back: everything (`none`), or what goes between its `blocks`, which are then made again;
    /// changes no number.
    pub recompute: Recompute,
    /// Element type that the networks compute in: `f32`, `bf16` with f32 parameters, losses and sums, or `f64` for all of it.
    pub compute: Compute,
    /// Peak learning rate of θ.
    pub learning_rate: f64,
    /// Fraction of each phase-group's steps over which the rate rises from 0.
    pub warmup: f64,
    /// Fall of the rate after the warm-up.
    pub decay: Decay,
    /// AdamW β₁.
    pub beta1: f64,
    /// AdamW β₂.
    pub beta2: f64,
    /// AdamW ε.
    pub epsilon: f64,
    /// AdamW weight decay.
    pub weight_decay: f64,
    /// Largest global gradient norm (0: no clipping).
    pub clip_norm: f64,
    /// EMA half-life in images.
    pub ema_half_life: f64,
    /// EMA ramp-up: the half-life is at most this fraction of the images seen.
    pub ema_ramp: f64,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: usize,
    /// Whether `sadm train` writes TensorBoard event files beside `metrics.jsonl`.
    pub tensorboard: bool,
    /// Whether a run is refused whose steps need more memory than there is.
    pub check_memory: bool,
}

impl TrainConfig {
    /// Steps that phases and learning rates are laid out for.
    pub fn layout(&self) -> usize {
        if self.planned == 0 {
            self.steps
        } else {
            self.planned
        }
    }
}

/// Learning-rate decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Constant after the warm-up.
    None,
    /// Linear to zero at the last step.
    Linear,
    /// Half a cosine to zero at the last step.
    Cosine,
}

/// Shares of `train.steps`; they are normalised to sum to one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhaseConfig {
    /// Training Ψ as a classifier.
    pub encoder: f64,
    /// Denoising alone.
    pub denoise: f64,
    /// Denoising + structural guidance.
    pub guided: f64,
    /// Adversarial rounds.
    pub adversarial: f64,
}

/// Samples during training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SampleConfig {
    /// Steps between sample grids (0: only at the end).
    pub every: usize,
    /// Images of a grid.
    pub count: usize,
    /// The sampler.
    pub sampler: SamplerKind,
    /// Its steps.
    pub steps: usize,
    /// Classifier-free guidance g in x̂_u + g (x̂_c − x̂_u); 1: conditional, 0: unconditional.
    pub guidance: f64,
    /// Channels that it moves: `all`, or `first-three` as the published DiT samples latents of four.
    pub guided_channels: GuidedChannels,
    /// Of `ddpm` and `ddim`, the published steps in place of a walk through noise levels: so many of the 1000 (`250`), so many of each part
    /// (`10,15,20`), every k-th (`ddim50`); empty for the walk.
    pub respacing: String,
    /// η of the published `ddim`, in [0, 1].
    pub eta: f64,
    /// Whether the published steps keep x̂_0 in [−1, 1].
    pub clip: bool,
    /// Smallest σ_t/α_t of the grid of noise levels.
    pub sigma_min: f64,
    /// Largest σ_t/α_t.
    pub sigma_max: f64,
    /// Exponent of the grid.
    pub rho: f64,
}

/// The shadow check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShadowConfig {
    /// Steps between checks (0: never).
    pub every: usize,
    /// Consequence of a ratio error/bound above 1.
    pub on_failure: OnFailure,
}

/// Consequence of a failed shadow check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Stop the run with an error.
    Stop,
    /// Say it and go on.
    Warn,
}

/// Checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Steps between checkpoints (0: only at the end of each phase and when interrupted).
    pub every: usize,
    /// How many of the newest are kept, besides those at the end of a phase.
    pub keep: usize,
}

impl Config {
    /// The denoising objective.
    pub fn objective(&self) -> Objective {
        let o = &self.objective;
        Objective {
            schedule: o.schedule,
            parametrisation: o.parametrisation,
            noise: o.noise_condition,
            weight: o.weight,
            sigma_data: o.sigma_data,
            variance: o.variance,
        }
    }
}

impl StructureConfig {
    /// Relation, distance and diagonal as the structural loss takes them.
    pub fn options(&self) -> StructureOptions {
        StructureOptions {
            relation: self.relation,
            distance: self.distance,
            diagonal: self.diagonal,
        }
    }
}

impl EncoderTraining {
    /// The network's dimensions for images with `in_channels` channels and `classes` classes.
    pub fn network(&self, in_channels: usize, classes: usize) -> EncoderConfig {
        EncoderConfig {
            in_channels,
            widths: self.widths.clone(),
            groups: self.groups,
            dim: self.dim,
            classes,
        }
    }
}
