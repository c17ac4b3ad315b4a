//! Arguments of `sadm evaluate`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::input::Stored;
use super::metric::{Kind, Metric};
use super::networks::NetworkArgs;
use super::subset::ReferenceBy;
use super::{nll, reading};
use crate::numbers;

const EXAMPLE: &str = "\
Examples:
  sadm evaluate --run runs/digits --count 1797 --reference digits --features encoder
  sadm evaluate --run runs/digits --reference digits --metrics nll
  sadm evaluate --run runs/digits --reference run:train --held-out run:holdout --metrics nn
  sadm evaluate --generated samples/ --reference real.npz --metrics fd --features pixels
  sadm evaluate --generated samples/ --reference real/ --features inception --metrics fid,sfid,is,kid,pr \\
      --weights pt_inception-2015-12-05-6726825d.pth --resize pytorch-fid
  sadm evaluate --generated features.npz --reference features-of-real.npy --features given \\
      --name inception --metrics fd,kid,pr,dc --json scores.json

A source is a folder of PNG pictures, or of such a folder for each class; a .npy or .npz file with images (uint8, [N, H, W, C]) or features
([N, d]); a .safetensors file with `images` (as `sadm sample` writes) or `features`; `labels` beside images are their classes; as a reference also a
data set (digits, mnist, cifar10), run:train or run:holdout for the images that --run was trained on or kept out, or a .npz
file with `mu` and `sigma`, as pytorch-fid and ADM write; the images beside them serve the metrics that need samples.
A Fréchet distance is named by its features: it is FID in those of the Inception network alone. nll is a number of the
model, not of its samples: the bits it needs for the reference's images. What is computed of a run's own samples is also
written to evaluation.jsonl in its folder, from which `sadm report` draws it.";

/// How the classes of a run's samples are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Classes {
    /// Each drawn at random in the shares of the images that the run learnt from: the mixture that the data has
    Data,
    /// Each drawn at random, all equally likely, as for ADM, EDM and DiT: samples are then independent, as estimates and intervals suppose
    Random,
    /// In turn, so that all have equal shares: what is compared with it scatters less, and kid is too low
    Equal,
}

impl Classes {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Data => "classes in the data's shares",
            Self::Random => "classes at random",
            Self::Equal => "classes in equal shares",
        }
    }
}

/// In what order the inception score's splits are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SplitOrder {
    /// After a shuffle: that of torch-fidelity, which gives its number to the last digits, or --shuffle SEED
    Shuffled,
    /// As the samples come, ADM's way: of a file sorted by class each split holds few classes
    Consecutive,
}

/// Divisor of a covariance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Divisor {
    /// N − 1, as pytorch-fid, torch-fidelity, ADM and EDM
    #[value(name = "n-1")]
    NMinusOne,
    /// N
    N,
}

impl Divisor {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NMinusOne => "N−1",
            Self::N => "N",
        }
    }
}

/// The arguments of `sadm evaluate`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
#[command(group(clap::ArgGroup::new("judged").args(["generated", "run"]).required(true).multiple(true)))]
pub struct Args {
    /// What is judged: a folder or a file
    #[arg(long, value_name = "SOURCE")]
    pub(super) generated: Option<String>,
    /// A run, whose samples are judged if --generated is not given, and whose encoder gives features
    #[arg(long, value_name = "DIR")]
    pub(super) run: Option<PathBuf>,
    /// Samples drawn from the run
    #[arg(long, value_name = "N", default_value = "1000", value_parser = numbers::drawn)]
    pub(super) count: NonZeroUsize,
    /// Of which classes they are
    #[arg(long, value_enum, default_value = "data")]
    pub(super) classes: Classes,
    /// One class, by its name or number: samples of it, held against the reference's images of it
    #[arg(
        long,
        value_name = "K",
        requires = "run",
        conflicts_with_all = ["classes", "generated"]
    )]
    pub(super) class: Option<String>,
    /// What it is held against: a folder, a file or a data set
    #[arg(long, value_name = "SOURCE")]
    pub(super) reference: Option<String>,
    /// Samples of the reference that are used [default: all]
    #[arg(long, value_name = "N", value_parser = numbers::from_one)]
    pub(super) reference_count: Option<NonZeroUsize>,
    /// Which of them
    #[arg(
        long,
        value_enum,
        default_value = "random",
        requires = "reference_count"
    )]
    pub(super) reference_by: ReferenceBy,
    /// A run whose encoder gives the features of --features encoder [default: that of --run]
    #[arg(long, value_name = "DIR")]
    pub(super) encoder: Option<PathBuf>,
    /// Real samples the model never saw, for nn: do generated ones lie nearer to the reference?
    #[arg(long, value_name = "SOURCE")]
    pub(super) held_out: Option<String>,
    /// The metrics, separated by commas
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "fd,kid,pr,dc"
    )]
    pub(super) metrics: Vec<Metric>,
    /// The features they compare
    #[arg(long, value_enum, default_value = "pixels")]
    pub(super) features: Kind,
    #[command(flatten)]
    pub(super) reading: reading::ReadingArgs,
    #[command(flatten)]
    pub(super) network: NetworkArgs,
    /// Name of given features in the answer
    #[arg(long, default_value = "given")]
    pub(super) name: String,
    /// Which arrays of a statistics file are read
    #[arg(long, value_enum, default_value = "pooled")]
    pub(super) moments: Stored,
    /// Divisor of the covariances of samples, also of those that --save-statistics writes
    #[arg(long, value_enum, default_value = "n-1")]
    pub(super) covariance: Divisor,
    /// Neighbours of pr and dc
    #[arg(short, default_value_t = 3)]
    pub(super) k: usize,
    /// Open balls in pr, as the package prdc; closed ones otherwise
    #[arg(long)]
    pub(super) open_balls: bool,
    /// Round features to f16 for pr and dc, as ADM's evaluator (whose sums are in f16 too), or to f32 where one overflows
    #[arg(long)]
    pub(super) half: bool,
    /// Splits of is
    #[arg(long, default_value_t = 10)]
    pub(super) splits: usize,
    /// In what order is splits the samples
    #[arg(long, value_enum, default_value = "shuffled")]
    pub(super) split_order: SplitOrder,
    /// Shuffle the samples for is with this seed, instead of torch-fidelity's 2020
    #[arg(long, value_name = "SEED")]
    pub(super) shuffle: Option<u64>,
    /// Draw the subsets of kid exactly as torch-fidelity does with its seed 2020, which is shuffles with anyway
    #[arg(long, conflicts_with = "shuffle")]
    pub(super) torch_fidelity_draws: bool,
    /// Also average kid over subsets of this many samples, as torch-fidelity (1000)
    #[arg(long, value_name = "N")]
    pub(super) kid_subset_size: Option<usize>,
    /// Number of those subsets
    #[arg(long, value_name = "N", default_value = "100", requires = "kid_subset_size", value_parser = numbers::drawn)]
    pub(super) kid_subsets: NonZeroUsize,
    /// Resamples of the confidence intervals; 0 for none
    #[arg(long, value_name = "N", default_value = "100", value_parser = numbers::repeated)]
    pub(super) resamples: usize,
    /// Seed of samples, subsets and resamples
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    #[command(flatten)]
    pub(super) nll: nll::Options,
    /// The run's checkpoint after this many steps [default: the newest]
    #[arg(long, value_name = "STEPS", requires = "run")]
    pub(super) step: Option<usize>,
    /// Where the run computes: cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    pub(super) device: String,
    /// CPU threads [default: all]
    #[arg(long, value_name = "N", value_parser = numbers::from_one)]
    pub(super) threads: Option<NonZeroUsize>,
    /// Write mean and covariance of the generated set's features as `mu` and `sigma`
    #[arg(long, value_name = "FILE.npz")]
    pub(super) save_statistics: Option<PathBuf>,
    /// Write the answer as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}
