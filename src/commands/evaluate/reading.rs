//! How pictures and arrays are read, and in what their pixels are compared.

use sadm_gpu::data::{Depth, Images, PixelRange, Rules, Unread};

use super::metric::{Kind, Metric};

/// The arguments that concern the reading of files.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct ReadingArgs {
    /// Where real numbers of a file lie: signed (-1..1, and some below 0), -1..1, 0..1, 0..255, or cut (-1..1 and beyond)
    #[arg(long, default_value_t, allow_hyphen_values = true)]
    range: PixelRange,
    /// What becomes of 16 bits a channel: refuse, high-byte, or 0..N where white is N
    #[arg(long, default_value_t)]
    depth: Depth,
    /// What becomes of files, folders and labels that are not read: refuse or skip
    #[arg(long, default_value_t)]
    unread: Unread,
    /// What pixels are before features of them are taken
    #[arg(long = "as", value_name = "KIND", value_enum, default_value = "bytes")]
    pub taken: As,
}

/// What pixels are before features of them are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum As {
    /// Rounded to the nearest byte and cut, as in a picture: samples have the same numbers whether they come as reals or as bytes
    Bytes,
    /// As they are
    Reals,
}

impl ReadingArgs {
    /// How files are read.
    pub fn rules(self) -> Rules {
        Rules {
            range: self.range,
            depth: self.depth,
            unread: self.unread,
        }
    }

    /// Images as features of them are taken.
    pub fn taken(self, images: Images) -> Images {
        match self.taken {
            As::Bytes => images.into_bytes(),
            As::Reals => images,
        }
    }

    /// What the convention of a number says of it, where features are of `kind`.
    pub fn said(self, kind: Kind) -> &'static str {
        match (kind, self.taken) {
            // Their resizing begins with bytes, and says so.
            (Kind::Inception | Kind::Given, _) => "",
            (_, As::Bytes) => "; pixels as bytes",
            (_, As::Reals) => "; pixels as reals",
        }
    }

    /// Whether `--as reals` would change nothing.
    pub fn idle(self, kind: Kind, metrics: &[Metric]) -> bool {
        self.taken == As::Reals
            && matches!(kind, Kind::Inception | Kind::Given)
            && !metrics.contains(&Metric::Lpips)
    }
}
