//! The published networks of EDM, with their names of parameters and dimensions.

mod block;
mod dhariwal_unet;
pub(super) mod layers;
mod sketch;
mod song_unet;

pub use block::{BlockConfig, UNetBlock};
pub(super) use dhariwal_unet::ARCHITECTURE as DHARIWAL_UNET;
pub use dhariwal_unet::{DhariwalUNet, DhariwalUNetConfig};
pub use layers::{Convolution, ConvolutionConfig, Resampling};
pub(super) use song_unet::ARCHITECTURE as SONG_UNET;
pub use song_unet::{Decoder, Embedding, Encoder, SongUNet, SongUNetConfig};

use candle_core::Tensor;

use super::recompute::Given;
use super::{Condition, Mode, Recompute};
use crate::nn::from_f64;
use crate::params::Builder;
use crate::{Error, Result};
use block::Starts;

/// The sides of the levels, the finest first: each half of the one before.
pub(super) fn sides<M>(img_resolution: usize, channel_mult: &[M]) -> Result<Vec<usize>> {
    if img_resolution == 0 || channel_mult.is_empty() {
        let must = "be positive, and network.channel_mult have an entry for each level";
        let got = format!("{img_resolution} with {} entries", channel_mult.len());
        return Err(Error::invalid("network.img_resolution", must, got));
    }
    super::blocks::halves("network.channel_mult", channel_mult.len(), img_resolution)?;
    let side = |level| img_resolution >> level;
    Ok((0..channel_mult.len()).map(side).collect())
}

/// Refuses a dimension of 0.
pub(super) fn positive<'a>(dimensions: impl IntoIterator<Item = (&'a str, usize)>) -> Result<()> {
    for (name, value) in dimensions {
        if value == 0 {
            return Err(Error::invalid(
                format!("network.{name}"),
                "be positive",
                value,
            ));
        }
    }
    Ok(())
}

/// Refuses a rate of dropout outside [0, 1).
pub(super) fn rate(name: &str, rate: f64) -> Result<()> {
    if (0.0..1.0).contains(&rate) {
        return Ok(());
    }
    let must = "be at least 0 and below 1";
    Err(Error::invalid(format!("network.{name}"), must, rate))
}

/// As many noise levels as images.
pub(super) fn check_noise(x: &Tensor, at: &Condition<'_>) -> Result<()> {
    let (batch, got) = (x.dim(0)?, at.noise.len());
    if batch == got {
        return Ok(());
    }
    let must = format!("be {batch}, one for each image");
    Err(Error::invalid("number of noise levels", must, got))
}

/// One sample's classes as weights `[B, K]` times `scale`; some rows are dropped in training, which makes them "no class".
pub(super) fn class_rows(
    x: &Tensor,
    at: &Condition<'_>,
    (classes, scale, dropout): (usize, f64, f64),
    mode: Mode<'_>,
) -> Result<Option<Tensor>> {
    let batch = x.dim(0)?;
    if classes == 0 {
        if at.labels.is_none() && at.soft_labels.is_none() {
            return Ok(None);
        }
        let must = "be absent for a network without classes";
        return Err(Error::invalid("labels", must, format!("{batch} labels")));
    }
    let kept = mode.kept(batch, dropout, "labels")?;
    if let Some(rows) = at.soft_labels {
        if rows.dims() != [batch, classes] {
            let must = format!("[{batch}, {classes}]");
            return Err(Error::shape("weights of classes", must, rows.dims()));
        }
        let factors = kept.iter().map(|&kept| if kept { scale } else { 0.0 });
        let factors = from_f64(factors.collect(), (batch, 1), x.device(), x.dtype())?;
        let rows = rows.to_device(x.device())?.to_dtype(x.dtype())?;
        return Ok(Some(rows.broadcast_mul(&factors)?));
    }
    let mut rows = vec![0.0; batch * classes];
    let labels = at.labels.unwrap_or_default();
    if at.labels.is_some() && labels.len() != batch {
        let must = format!("be {batch}, one for each image");
        return Err(Error::invalid("number of labels", must, labels.len()));
    }
    for ((row, &label), kept) in rows.chunks_exact_mut(classes).zip(labels).zip(kept) {
        let label = label as usize;
        if label > classes {
            let must = format!("be at most {classes}, which means no class");
            return Err(Error::invalid("label", must, label));
        }
        if label < classes && kept {
            row[label] = scale;
        }
    }
    Ok(Some(from_f64(
        rows,
        (batch, classes),
        x.device(),
        x.dtype(),
    )?))
}

/// The augmentation labels, zeros if there are none; `None` for a network that knows none.
fn augment_rows(x: &Tensor, at: &Condition<'_>, augment_dim: usize) -> Result<Option<Tensor>> {
    let batch = x.dim(0)?;
    match at.augment {
        None if augment_dim == 0 => Ok(None),
        None => {
            let shape = (batch, augment_dim);
            Ok(Some(Tensor::zeros(shape, x.dtype(), x.device())?))
        }
        Some(rows) if augment_dim == 0 => {
            let must = "be absent for a network that knows none";
            let got = format!("shape {:?}", rows.dims());
            Err(Error::invalid("augmentation labels", must, got))
        }
        Some(rows) if rows.dims() == [batch, augment_dim] => {
            Ok(Some(rows.to_device(x.device())?.to_dtype(x.dtype())?))
        }
        Some(rows) => {
            let must = format!("[{batch}, {augment_dim}]");
            Err(Error::shape("augmentation labels", must, rows.dims()))
        }
    }
}

/// A network being made, block by block in the order in which they run.
struct Maker<'a> {
    at: &'a Builder,
    starts: Starts,
    /// A block of so many input and output channels.
    shape: &'a dyn Fn([usize; 2], Resampling, bool) -> BlockConfig,
    /// Channels at this point.
    width: usize,
    /// Channels of what the decoder will take from each step of the encoder.
    skips: Vec<usize>,
}

impl Maker<'_> {
    /// The next block, with `more` channels beside those that come.
    fn block(
        &mut self,
        name: &str,
        more: usize,
        outputs: usize,
        resampling: Resampling,
        attention: bool,
    ) -> Result<UNetBlock> {
        let shape = (self.shape)([self.width + more, outputs], resampling, attention);
        self.width = outputs;
        UNetBlock::with(shape, name, self.starts, &self.at.pp(name))
    }

    /// A block that halves or doubles the side.
    fn resampling(&mut self, name: &str, resampling: Resampling) -> Result<UNetBlock> {
        self.block(name, 0, self.width, resampling, false)
    }

    /// The blocks of a level of the encoder.
    fn down(
        &mut self,
        side: usize,
        [blocks, outputs]: [usize; 2],
        attention: bool,
    ) -> Result<Vec<UNetBlock>> {
        let block = |i| {
            let name = format!("enc.{side}x{side}_block{i}");
            let block = self.block(&name, 0, outputs, Resampling::None, attention)?;
            self.skips.push(self.width);
            Ok(block)
        };
        (0..blocks).map(block).collect()
    }

    /// What a level of the decoder begins with: two blocks on the coarsest, else one that doubles the side.
    fn enter(&mut self, side: usize, coarsest: bool) -> Result<Vec<UNetBlock>> {
        let name = |part: &str| format!("dec.{side}x{side}_{part}");
        if !coarsest {
            return Ok(vec![self.resampling(&name("up"), Resampling::Up)?]);
        }
        [("in0", true), ("in1", false)]
            .into_iter()
            .map(|(part, attention)| {
                self.block(&name(part), 0, self.width, Resampling::None, attention)
            })
            .collect()
    }

    /// The blocks of a level of the decoder, of which those that `attention` names have it.
    fn up(
        &mut self,
        side: usize,
        [blocks, outputs]: [usize; 2],
        attention: impl Fn(usize) -> bool,
    ) -> Result<Vec<UNetBlock>> {
        let block = |i| {
            let name = format!("dec.{side}x{side}_block{i}");
            let more = self.skips.pop().unwrap_or(0);
            self.block(&name, more, outputs, Resampling::None, attention(i))
        };
        (0..blocks).map(block).collect()
    }
}

/// How the blocks of a pass run.
#[derive(Clone, Copy)]
struct Runner<'a> {
    recompute: Recompute,
    emb: &'a Tensor,
    mode: Mode<'a>,
}

impl Runner<'_> {
    fn run(self, block: &UNetBlock, given: Given<'_>) -> Result<Tensor> {
        self.recompute.run(block, given, self.emb, self.mode)
    }

    /// Blocks of a level of the decoder, each of which takes what the encoder left last.
    fn with_skips(
        self,
        blocks: &[UNetBlock],
        mut h: Tensor,
        skips: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        for block in blocks {
            h = match skips.pop() {
                Some(skip) => self.run(block, Given::Joined(h, skip))?,
                None => self.run(block, Given::One(&h))?,
            };
        }
        Ok(h)
    }
}
