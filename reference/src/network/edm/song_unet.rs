//! EDM's first network: DDPM++ and NCSN++.

use super::super::graph::{Graph, Value};
use super::super::{
    Architecture, Condition, Denoiser, Domain, NetworkError, Published, require_image, whole,
    within,
};
use super::block::{Convolution, Resampling, UNetBlock, group_norm};
use super::{augment_rows, class_rows, mapped, require_noise, sides};
use crate::nn;
use serde::Deserialize;
use std::f64::consts::FRAC_1_SQRT_2;

/// ε of every normalisation.
const EPS: f64 = 1e-6;

/// Features of the noise level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Embedding {
    /// Waves of fixed lengths: DDPM++.
    Positional,
    /// Waves of random lengths: NCSN++.
    Fourier,
}

/// What the encoder does besides its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoder {
    /// Nothing: DDPM++.
    Standard,
    /// Adds the image, reduced and mapped to the level's channels, at every level.
    Skip,
    /// Adds what the level before got, reduced and mapped, at every level: NCSN++.
    Residual,
}

/// What the decoder does besides its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decoder {
    /// Makes the image of the finest level.
    Standard,
    /// Adds an image of every level, enlarged.
    Skip,
}

/// DDPM++ and NCSN++ as EDM implements them, with the names of its dimensions and parameters.
///
/// # Parameters
/// `map_noise.freqs` (not trained), `map_label`, `map_augment`, `map_layer{0,1}`, `enc.{r}x{r}_{conv, down, block{i}, aux_down, aux_skip,
/// aux_residual}`, `dec.{r}x{r}_{in0, in1, up, block{i}, aux_up, aux_norm, aux_conv}`.
///
/// # Source
/// Song et al. 2021 (arXiv:2011.13456), App. H; Karras et al. 2022 (arXiv:2206.00364), App. F.1 and Table 7.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SongUNet {
    /// Side of the square images.
    #[serde(default)]
    pub img_resolution: usize,
    /// Channels of the input.
    #[serde(default)]
    pub in_channels: usize,
    /// Channels of the output.
    #[serde(default)]
    pub out_channels: usize,
    /// Number of classes; 0 for an unconditional network.
    #[serde(default)]
    pub label_dim: usize,
    /// Augmentation labels; 0 for none.
    #[serde(default)]
    pub augment_dim: usize,
    /// Channels of the first convolution.
    #[serde(default = "model_channels")]
    pub model_channels: usize,
    /// Channels of each level, the finest first, in units of `model_channels`.
    #[serde(default = "channel_mult")]
    pub channel_mult: Vec<usize>,
    /// Width of the embedding, in units of `model_channels`.
    #[serde(default = "channel_mult_emb")]
    pub channel_mult_emb: usize,
    /// Blocks of each level of the encoder; the decoder has one more.
    #[serde(default = "num_blocks")]
    pub num_blocks: usize,
    /// Sides of images at which there is attention.
    #[serde(default = "attn_resolutions")]
    pub attn_resolutions: Vec<usize>,
    /// Dropout of training, which a reference does not do.
    #[serde(default = "dropout")]
    pub dropout: f64,
    /// Dropout of class labels in training, which a reference does not do.
    #[serde(default)]
    pub label_dropout: f64,
    /// Features of the noise level.
    #[serde(default = "embedding_type")]
    pub embedding_type: Embedding,
    /// Number of these features, in units of `model_channels`.
    #[serde(default = "one")]
    pub channel_mult_noise: usize,
    /// The encoder's further branch.
    #[serde(default = "encoder_type")]
    pub encoder_type: Encoder,
    /// The decoder's further branch.
    #[serde(default = "decoder_type")]
    pub decoder_type: Decoder,
    /// Taps of the resampling filter.
    #[serde(default = "resample_filter")]
    pub resample_filter: Vec<f64>,
}

fn one() -> usize {
    1
}
fn model_channels() -> usize {
    128
}
fn channel_mult() -> Vec<usize> {
    vec![1, 2, 2, 2]
}
fn channel_mult_emb() -> usize {
    4
}
fn num_blocks() -> usize {
    4
}
fn attn_resolutions() -> Vec<usize> {
    vec![16]
}
fn dropout() -> f64 {
    0.1
}
fn embedding_type() -> Embedding {
    Embedding::Positional
}
fn encoder_type() -> Encoder {
    Encoder::Standard
}
fn decoder_type() -> Decoder {
    Decoder::Standard
}
fn resample_filter() -> Vec<f64> {
    vec![1.0, 1.0]
}

/// In the registry.
pub(in super::super) const ARCHITECTURE: Architecture = Architecture {
    name: "song-unet",
    build: within::<SongUNet>,
    published: whole::<SongUNet>,
};

impl Published for SongUNet {
    fn within(self, domain: Domain) -> Self {
        Self {
            img_resolution: domain.size,
            in_channels: domain.channels,
            out_channels: domain.channels,
            label_dim: domain.classes.unwrap_or(0),
            augment_dim: domain.augment,
            ..self
        }
    }
}

impl Denoiser for SongUNet {
    fn smallest_image(&self) -> [usize; 3] {
        [self.in_channels, self.img_resolution, self.img_resolution]
    }

    fn out_channels(&self) -> usize {
        self.out_channels
    }

    fn build(
        &self,
        graph: &mut Graph<'_>,
        x: Value,
        condition: Condition<'_>,
    ) -> Result<Value, NetworkError> {
        let sides = sides(self.img_resolution, self.channel_mult.len())?;
        let [batch, ..] = require_image(graph, x, self.in_channels)?;
        let emb = self.embedding(graph, condition, batch)?;
        let (h, skips) = self.encoder(graph, x, emb, &sides)?;
        self.decoder(graph, h, emb, skips, &sides)
    }
}

impl SongUNet {
    /// What conditions every block, `[B, model_channels · channel_mult_emb]`.
    ///
    /// ```text
    /// f = [sin, cos] features of the noise level + map_label(√K · classes) + map_augment(augmentation)
    /// e = silu(map_layer1(silu(map_layer0(f))))
    /// ```
    /// Both kinds of features come as cosines and sines, and are exchanged here.
    fn embedding(
        &self,
        graph: &mut Graph<'_>,
        condition: Condition<'_>,
        batch: usize,
    ) -> Result<Value, NetworkError> {
        require_noise(condition, batch)?;
        let width = self.model_channels * self.channel_mult_noise;
        let features = match self.embedding_type {
            Embedding::Positional => nn::positional_features(condition.noise, width)?,
            Embedding::Fourier => {
                let frequencies = graph.fixed("map_noise.freqs", &[width / 2])?;
                nn::fourier_features(condition.noise, graph.value(frequencies))
            }
        };
        let features = graph.input(features);
        let halves = graph.chunk(features, 1, 2)?;
        let mut e = graph.concat(halves[1], halves[0], 1)?;
        if let Some(rows) = class_rows(condition, batch, self.label_dim)? {
            let rows = graph.input(rows * (self.label_dim as f64).sqrt());
            let mapped = graph.linear(rows, "map_label", width)?;
            e = graph.add(e, mapped)?;
        }
        if self.augment_dim > 0 {
            // Without augmentation labels nothing is added; zeros say the same, and let the parameter be known.
            let rows = augment_rows(condition, batch, self.augment_dim)?;
            let rows =
                rows.unwrap_or_else(|| ndarray::ArrayD::zeros(vec![batch, self.augment_dim]));
            let rows = graph.input(rows);
            let mapped = graph.linear_map(rows, "map_augment", width)?;
            e = graph.add(e, mapped)?;
        } else {
            augment_rows(condition, batch, 0)?;
        }
        let e = mapped(graph, e, self.model_channels * self.channel_mult_emb)?;
        Ok(graph.silu(e))
    }

    fn block(&self, outputs: usize, resampling: Resampling, attention: bool) -> UNetBlock {
        UNetBlock {
            outputs,
            resampling,
            taps: self.resample_filter.clone(),
            resample_proj: true,
            heads: usize::from(attention),
            skip_scale: FRAC_1_SQRT_2,
            eps: EPS,
            adaptive_scale: false,
        }
    }

    fn resampled(&self, outputs: usize, kernel: usize, resampling: Resampling) -> Convolution {
        Convolution {
            resampling,
            taps: self.resample_filter.clone(),
            fused: true,
            ..Convolution::plain(outputs, kernel)
        }
    }

    /// The way down: the coarsest features, and what the decoder takes from each step.
    fn encoder(
        &self,
        graph: &mut Graph<'_>,
        x: Value,
        emb: Value,
        sides: &[usize],
    ) -> Result<(Value, Vec<Value>), NetworkError> {
        let mut aux = x;
        let mut h = graph.conv2d(
            x,
            &format!("enc.{0}x{0}_conv", sides[0]),
            self.model_channels,
            3,
        )?;
        let mut skips = vec![h];
        for (level, (&side, &mult)) in sides.iter().zip(&self.channel_mult).enumerate() {
            let name = |part: &str| format!("enc.{side}x{side}_{part}");
            if level > 0 {
                let width = graph.shape(h)[1];
                let down = self.block(width, Resampling::Down, false);
                h = graph.scope(&name("down"), |g| down.build(g, h, emb))?;
                match self.encoder_type {
                    Encoder::Standard => {}
                    Encoder::Skip => {
                        let down = self.resampled(self.in_channels, 0, Resampling::Down);
                        aux = down.build(graph, aux, &name("aux_down"))?;
                        let mapped = graph.conv2d(aux, &name("aux_skip"), width, 1)?;
                        h = graph.add(h, mapped)?;
                    }
                    Encoder::Residual => {
                        let down = self.resampled(width, 3, Resampling::Down);
                        let reduced = down.build(graph, aux, &name("aux_residual"))?;
                        let sum = graph.add(h, reduced)?;
                        h = graph.scale(sum, FRAC_1_SQRT_2);
                        aux = h;
                    }
                }
                skips.push(h);
            }
            let attention = self.attn_resolutions.contains(&side);
            let block = self.block(self.model_channels * mult, Resampling::None, attention);
            for i in 0..self.num_blocks {
                h = graph.scope(&name(&format!("block{i}")), |g| block.build(g, h, emb))?;
                skips.push(h);
            }
        }
        Ok((h, skips))
    }

    /// The way up, taking what the encoder left from the last to the first.
    fn decoder(
        &self,
        graph: &mut Graph<'_>,
        mut h: Value,
        emb: Value,
        mut skips: Vec<Value>,
        sides: &[usize],
    ) -> Result<Value, NetworkError> {
        let last = sides.len() - 1;
        let mut image = None;
        for (level, (&side, &mult)) in sides.iter().zip(&self.channel_mult).enumerate().rev() {
            let name = |part: &str| format!("dec.{side}x{side}_{part}");
            let width = graph.shape(h)[1];
            if level == last {
                for (part, attention) in [("in0", true), ("in1", false)] {
                    let block = self.block(width, Resampling::None, attention);
                    h = graph.scope(&name(part), |g| block.build(g, h, emb))?;
                }
            } else {
                let up = self.block(width, Resampling::Up, false);
                h = graph.scope(&name("up"), |g| up.build(g, h, emb))?;
            }
            for i in 0..=self.num_blocks {
                // As many blocks as the encoder has steps.
                if let Some(skip) = skips.pop() {
                    h = graph.concat(h, skip, 1)?;
                }
                let attention = i == self.num_blocks && self.attn_resolutions.contains(&side);
                let block = self.block(self.model_channels * mult, Resampling::None, attention);
                h = graph.scope(&name(&format!("block{i}")), |g| block.build(g, h, emb))?;
            }
            if self.decoder_type == Decoder::Skip || level == 0 {
                if let Some(coarse) = image {
                    let up = self.resampled(self.out_channels, 0, Resampling::Up);
                    image = Some(up.build(graph, coarse, &name("aux_up"))?);
                }
                let n = group_norm(graph, h, &name("aux_norm"), EPS)?;
                let n = graph.silu(n);
                let part = graph.conv2d(n, &name("aux_conv"), self.out_channels, 3)?;
                image = Some(match image {
                    Some(image) => graph.add(image, part)?,
                    None => part,
                });
            }
        }
        // There is a finest level.
        Ok(image.unwrap_or(h))
    }
}
