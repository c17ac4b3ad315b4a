//! The metrics, and the features that they compare.

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Metric {
    /// Fréchet distance
    Fd,
    /// The same, of Inception features only (--features inception, or given ones with --name inception)
    Fid,
    /// The same, of the spatial Inception features (given ones: --name inception-spatial)
    Sfid,
    /// Its limit for infinitely many samples
    FdInf,
    /// Kernel distance, cubic polynomial
    Kid,
    /// Inception score, of the network's or encoder's classifier or given probabilities
    Is,
    /// Precision and recall
    Pr,
    /// Density and coverage
    Dc,
    /// Nearest neighbours: copies
    Nn,
    /// Bits per dimension of the reference under the run's model
    Nll,
    /// Diversity: the mean LPIPS of pairs of generated images, with --lpips-weights FILE
    Lpips,
}

impl Metric {
    /// Whether it says something of the generated set alone.
    pub(super) fn needs_no_reference(self) -> bool {
        matches!(self, Self::Is | Self::Lpips)
    }

    /// Whether a stored mean and covariance of the reference are not enough.
    pub(super) fn needs_real_samples(self) -> bool {
        matches!(self, Self::Kid | Self::Pr | Self::Dc | Self::Nn | Self::Nll)
    }

    /// The name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fd => "fd",
            Self::Fid => "fid",
            Self::Sfid => "sfid",
            Self::FdInf => "fd-inf",
            Self::Kid => "kid",
            Self::Is => "is",
            Self::Pr => "pr",
            Self::Dc => "dc",
            Self::Nn => "nn",
            Self::Nll => "nll",
            Self::Lpips => "lpips",
        }
    }
}

/// What features are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// Pixels in [−1, 1]
    Pixels,
    /// What the encoder Ψ of a run says, as it was before adversarial rounds
    Encoder,
    /// The Inception network of 2015-12-05, with --weights FILE
    Inception,
    /// A residual network for CIFAR-10, with --weights FILE; named by its depth, such as resnet20
    Resnet,
    /// The files hold features already
    Given,
}
