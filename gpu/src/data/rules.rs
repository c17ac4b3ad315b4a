//! Options for reading image files, and a record of what reading did: the same for training and evaluation.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// How files are read: the keys `data.range`, `data.depth` and `data.unread`, and evaluation's options of these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// What real numbers mean.
    pub range: PixelRange,
    /// What becomes of 16 bits.
    pub depth: Depth,
    /// What becomes of things that are not read.
    pub unread: Unread,
}

/// Range of the pixels in an array of real numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PixelRange {
    /// `signed`: from −1 to 1, some below 0. Where none is, they are likely to be meant from 0 to 1, and are refused.
    #[default]
    Signed,
    /// `-1..1`: from −1 to 1, even where none is below 0.
    Symmetric,
    /// `0..1`: v becomes 2v − 1.
    Unit,
    /// `0..255`: v becomes v/127.5 − 1.
    Bytes,
    /// `cut`: from −1 to 1, and what lies beyond, as in a model's samples, is cut where bytes are made of it.
    Cut,
}

/// Treatment of images of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Depth {
    /// `refuse`: they are refused, by name.
    #[default]
    Refuse,
    /// `high-byte`: v becomes the byte ⌊v/256⌋.
    HighByte,
    /// `0..N`: v becomes 2v/N − 1, all bits kept. `0..65535` is the whole depth, `0..4095` that of 12 bits in 16.
    To(u16),
}

/// Treatment of pictures in other formats, animations, folders inside classes, empty classes and labels under other names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Unread {
    /// `refuse`: the whole is refused, with the number of each.
    #[default]
    Refuse,
    /// `skip`: they are left out, and counted.
    Skip,
}

/// Names of ranges.
const RANGES: [(&str, PixelRange); 5] = [
    ("signed", PixelRange::Signed),
    ("-1..1", PixelRange::Symmetric),
    ("0..1", PixelRange::Unit),
    ("0..255", PixelRange::Bytes),
    ("cut", PixelRange::Cut),
];

/// The value called `got`.
fn named<T: Copy>(all: &[(&str, T)], got: &str) -> Result<T, String> {
    let found = all.iter().find(|(name, _)| *name == got);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        format!("must be one of {}, got `{got}`", names.join(", "))
    })
}

impl FromStr for PixelRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        named(&RANGES, text).map_err(|reason| format!("a range {reason}"))
    }
}

impl FromStr for Depth {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let white = text.strip_prefix("0..").and_then(|n| n.parse().ok());
        match (text, white) {
            ("refuse", _) => Ok(Self::Refuse),
            ("high-byte", _) => Ok(Self::HighByte),
            (_, Some(white @ 1..)) => Ok(Self::To(white)),
            _ => Err(format!(
                "a depth must be refuse, high-byte, or 0..N with N from 1 to 65535, got `{text}`"
            )),
        }
    }
}

impl FromStr for Unread {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        named(&[("refuse", Self::Refuse), ("skip", Self::Skip)], text)
            .map_err(|reason| format!("what becomes of unread files {reason}"))
    }
}

impl fmt::Display for PixelRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = RANGES.iter().find(|(_, range)| range == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}

impl fmt::Display for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuse => f.write_str("refuse"),
            Self::HighByte => f.write_str("high-byte"),
            Self::To(white) => write!(f, "0..{white}"),
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refuse => "refuse",
            Self::Skip => "skip",
        })
    }
}

/// Written as their names in a configuration.
macro_rules! as_text {
    ($($kind:ty),*) => {$(
        impl TryFrom<String> for $kind {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
        impl From<$kind> for String {
            fn from(value: $kind) -> Self {
                value.to_string()
            }
        }
    )*};
}
as_text!(PixelRange, Depth, Unread);

impl PixelRange {
    /// Brings the pixels of `what` to [−1, 1], and says in `found` what was done.
    ///
    /// # Errors
    /// A value outside the range; none below 0 where the range was not said.
    pub(super) fn bring(self, what: &str, pixels: &mut [f32], found: &mut Found) -> Result<()> {
        let ends = pixels
            .iter()
            .fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], v| {
                [low.min(*v), high.max(*v)]
            });
        let [low, high] = ends;
        if low > high {
            return Ok(());
        }
        let [least, most] = match self {
            Self::Signed | Self::Symmetric | Self::Cut => [-1.0, 1.0],
            Self::Unit => [0.0, 1.0],
            Self::Bytes => [0.0, 255.0],
        };
        let unsaid = self == Self::Signed && low >= 0.0;
        if self != Self::Cut && (unsaid || low < least || high > most) {
            let must = if unsaid {
                "hold real numbers from −1 to 1, some below 0".to_owned()
            } else {
                format!("hold real numbers from {least} to {most}")
            };
            let got = format!(
                "numbers from {low} to {high}: say where they lie with data.range (--range in evaluate) = \"{}\", \
                 or make bytes of them ({})",
                probable(ends),
                "uint8, [N, H, W, C]"
            );
            return Err(Error::invalid(what, must, got));
        }
        match self {
            Self::Signed | Self::Symmetric => {}
            Self::Cut => {
                let beyond = pixels.iter().filter(|v| !(-1.0..=1.0).contains(*v));
                found.beyond += beyond.count();
            }
            Self::Unit => {
                for v in pixels {
                    *v = 2.0 * *v - 1.0;
                }
                found.range = Some(self);
            }
            Self::Bytes => {
                for v in pixels {
                    *v = *v / 127.5 - 1.0;
                }
                found.range = Some(self);
            }
        }
        Ok(())
    }
}

/// The range that numbers between such ends are likely to be meant in.
fn probable([low, high]: [f32; 2]) -> PixelRange {
    match (low < 0.0, high > 1.0) {
        (true, _) => PixelRange::Cut,
        (false, true) => PixelRange::Bytes,
        (false, false) => PixelRange::Unit,
    }
}

/// Values of 16 bits under a rule.
#[derive(Debug, PartialEq)]
pub(super) enum Deep {
    /// Their high bytes.
    Bytes(Vec<u8>),
    /// In [−1, 1].
    Reals(Vec<f32>),
}

/// What values of 16 bits must be, and what they are.
pub(super) struct TooDeep {
    pub(super) must: String,
    pub(super) got: String,
}

impl Depth {
    /// Brings values of 16 bits to what images are kept in.
    ///
    /// # Errors
    /// 16 bits at all, where they are refused; a value above white.
    pub(super) fn bring(self, values: &[u16]) -> Result<Deep, TooDeep> {
        match self {
            Self::Refuse => Err(TooDeep {
                must: "have 8 bits a channel".to_owned(),
                got: "16: say data.depth (--depth in evaluate) = \"0..65535\" to keep them, \"0..N\" where white is N \
                      (4095 for 12 bits), or \"high-byte\""
                    .to_owned(),
            }),
            Self::HighByte => {
                let high = |v: &u16| v.to_be_bytes()[0];
                Ok(Deep::Bytes(values.iter().map(high).collect()))
            }
            Self::To(white) => {
                if let Some(value) = values.iter().find(|v| **v > white) {
                    return Err(TooDeep {
                        must: format!("have values up to {white}, as data.depth says"),
                        got: value.to_string(),
                    });
                }
                #[expect(clippy::cast_possible_truncation, reason = "pixels are kept as f32")]
                let real = |v: &u16| (2.0 * f64::from(*v) / f64::from(white) - 1.0) as f32;
                Ok(Deep::Reals(values.iter().map(real).collect()))
            }
        }
    }

    /// Distance of neighbouring values in [−1, 1], where they become reals.
    pub(super) fn spacing(self) -> Option<f64> {
        match self {
            Self::To(white) => Some(2.0 / f64::from(white)),
            Self::Refuse | Self::HighByte => None,
        }
    }
}

/// Something that is not read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// A picture in another format, by its ending.
    Format(String),
    /// An animated PNG: which of its pictures is meant?
    Animated,
    /// A folder inside a class, or beside pictures.
    Folder,
    /// A class without a picture.
    EmptyClass,
    /// An array that may hold labels under another name.
    Array(String),
}

impl LeftOut {
    fn counted(&self, n: usize) -> String {
        let s = if n == 1 { "" } else { "s" };
        match self {
            Self::Format(ending) => format!("{n} .{ending}"),
            Self::Animated => format!("{n} animated"),
            Self::Folder => format!("{n} inner folder{s}"),
            Self::EmptyClass => format!(
                "{n} class{} without a picture",
                if n == 1 { "" } else { "es" }
            ),
            Self::Array(name) => format!("the array `{name}`"),
        }
    }
}

/// What reading did to files besides taking them as they are: said with the images.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Pictures turned or mirrored by the orientation that they carry.
    pub turned: usize,
    /// Real numbers were brought to [−1, 1] from this range.
    pub range: Option<PixelRange>,
    /// Values of 16 bits were brought to [−1, 1] by this rule.
    pub depth: Option<Depth>,
    /// Real values that lie beyond [−1, 1].
    pub beyond: usize,
    /// All labels were −1: there are none.
    pub unlabelled: bool,
    /// What was left out, and how often.
    pub left_out: BTreeMap<LeftOut, usize>,
}

impl Found {
    /// Whether files were taken as they are, and whole.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Counts what is left out, or refuses it.
    ///
    /// # Errors
    /// Anything at all, where the rule is to refuse.
    pub(super) fn leave_out(
        &mut self,
        left: Vec<(LeftOut, PathBuf)>,
        unread: Unread,
        whole: &Path,
    ) -> Result<()> {
        let mut named = BTreeMap::<LeftOut, (usize, PathBuf)>::new();
        for (what, path) in left {
            named.entry(what).or_insert((0, path)).0 += 1;
        }
        if unread == Unread::Refuse && !named.is_empty() {
            let said: Vec<_> = (named.iter())
                .map(|(what, (n, path))| match what {
                    LeftOut::Array(_) => what.counted(*n),
                    _ => format!("{} (`{}`)", what.counted(*n), path.display()),
                })
                .collect();
            let arrays = named.keys().all(|what| matches!(what, LeftOut::Array(_)));
            let remedy = if arrays {
                "call it `labels` if it holds the classes"
            } else {
                "convert pictures to PNG, or take these away"
            };
            return Err(Error::file(
                whole,
                format!(
                    "holds what is not read: {}; {remedy}, or leave out what is not read with data.unread (--unread in \
                     evaluate) = \"skip\"",
                    said.join(", ")
                ),
            ));
        }
        for (what, (n, _)) in named {
            *self.left_out.entry(what).or_insert(0) += n;
        }
        Ok(())
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        if self.turned > 0 {
            said.push(format!("{} turned upright", self.turned));
        }
        if let Some(range) = self.range {
            said.push(format!("reals of {range}"));
        }
        match self.depth {
            Some(Depth::HighByte) => said.push("16 bits cut to their high byte".to_owned()),
            Some(depth) => said.push(format!("16 bits of {depth}")),
            None => {}
        }
        if self.beyond > 0 {
            let s = if self.beyond == 1 { "" } else { "s" };
            said.push(format!("{} value{s} beyond −1..1", self.beyond));
        }
        if self.unlabelled {
            said.push("no labels (all −1)".to_owned());
        }
        if !self.left_out.is_empty() {
            let left = self.left_out.iter();
            let left: Vec<_> = left.map(|(what, n)| what.counted(*n)).collect();
            said.push(format!("left out: {}", left.join(", ")));
        }
        f.write_str(&said.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_read_back_from_its_name() {
        for (name, range) in RANGES {
            assert_eq!(
                (name.parse(), range.to_string()),
                (Ok(range), name.to_owned())
            );
        }
        for (name, depth) in [
            ("refuse", Depth::Refuse),
            ("high-byte", Depth::HighByte),
            ("0..4095", Depth::To(4095)),
        ] {
            assert_eq!(
                (name.parse(), depth.to_string()),
                (Ok(depth), name.to_owned())
            );
        }
        for bad in ["0..0", "0..65536", "1..2", "12"] {
            let reason = bad.parse::<Depth>().expect_err("no depth");
            assert!(reason.contains("0..N") && reason.contains(bad), "{reason}");
        }
        assert_eq!("skip".parse(), Ok(Unread::Skip));
        let reason = "[0,1]".parse::<PixelRange>().expect_err("no range");
        assert!(reason.contains("0..1, 0..255"), "{reason}");
    }
}
