//! EDM's second network: that of ADM.

use super::super::graph::{Graph, Value};
use super::super::{
    Architecture, Condition, Denoiser, Domain, NetworkError, Published, require_image, whole,
    within,
};
use super::block::{Resampling, UNetBlock, group_norm};
use super::{augment_rows, class_rows, mapped, require_noise, sides};
use crate::nn;
use ndarray::ArrayD;
use serde::Deserialize;

/// ε of every normalisation.
const EPS: f64 = 1e-5;
/// Channels of a head of attention. Fewer channels have no head: attention is then absent without a word.
const HEAD: usize = 64;

/// ADM as EDM implements it, with the names of its dimensions and parameters.
///
/// # Parameters
/// `map_augment`, `map_label` (both without bias), `map_layer{0,1}`, `enc.{r}x{r}_{conv, down, block{i}}`,
/// `dec.{r}x{r}_{in0, in1, up, block{i}}`, `out_norm`, `out_conv`.
///
/// # Source
/// Dhariwal and Nichol 2021 (arXiv:2105.05233), §3; Karras et al. 2022 (arXiv:2206.00364), App. F.2.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DhariwalUNet {
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
    /// Unit of the channels.
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
}

fn model_channels() -> usize {
    192
}
fn channel_mult() -> Vec<usize> {
    vec![1, 2, 3, 4]
}
fn channel_mult_emb() -> usize {
    4
}
fn num_blocks() -> usize {
    3
}
fn attn_resolutions() -> Vec<usize> {
    vec![32, 16, 8]
}
fn dropout() -> f64 {
    0.1
}

/// In the registry.
pub(in super::super) const ARCHITECTURE: Architecture = Architecture {
    name: "dhariwal-unet",
    build: within::<DhariwalUNet>,
    published: whole::<DhariwalUNet>,
};

impl Published for DhariwalUNet {
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

impl Denoiser for DhariwalUNet {
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
        let h = self.decoder(graph, h, emb, skips, &sides)?;
        let h = group_norm(graph, h, "out_norm", EPS)?;
        let h = graph.silu(h);
        graph.conv2d(h, "out_conv", self.out_channels, 3)
    }
}

impl DhariwalUNet {
    /// What conditions every block, `[B, model_channels · channel_mult_emb]`.
    ///
    /// ```text
    /// f = [cos, sin] features of the noise level + map_augment(augmentation)
    /// e = silu(map_layer1(silu(map_layer0(f))) + map_label(classes))
    /// ```
    fn embedding(
        &self,
        graph: &mut Graph<'_>,
        condition: Condition<'_>,
        batch: usize,
    ) -> Result<Value, NetworkError> {
        require_noise(condition, batch)?;
        let features = nn::step_features(condition.noise, self.model_channels)?;
        let mut e = graph.input(features);
        let rows = augment_rows(condition, batch, self.augment_dim)?;
        if self.augment_dim > 0 {
            let rows = rows.unwrap_or_else(|| ArrayD::zeros(vec![batch, self.augment_dim]));
            let rows = graph.input(rows);
            let mapped = graph.linear_map(rows, "map_augment", self.model_channels)?;
            e = graph.add(e, mapped)?;
        }
        let width = self.model_channels * self.channel_mult_emb;
        let mut e = mapped(graph, e, width)?;
        if let Some(rows) = class_rows(condition, batch, self.label_dim)? {
            let rows = graph.input(rows);
            let mapped = graph.linear_map(rows, "map_label", width)?;
            e = graph.add(e, mapped)?;
        }
        Ok(graph.silu(e))
    }

    fn block(outputs: usize, resampling: Resampling, attention: bool) -> UNetBlock {
        UNetBlock {
            outputs,
            resampling,
            taps: vec![1.0, 1.0],
            resample_proj: false,
            heads: if attention { outputs / HEAD } else { 0 },
            skip_scale: 1.0,
            eps: EPS,
            adaptive_scale: true,
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
        let first = self.model_channels * self.channel_mult[0];
        let mut h = graph.conv2d(x, &format!("enc.{0}x{0}_conv", sides[0]), first, 3)?;
        let mut skips = vec![h];
        for (level, (&side, &mult)) in sides.iter().zip(&self.channel_mult).enumerate() {
            let name = |part: &str| format!("enc.{side}x{side}_{part}");
            if level > 0 {
                let down = Self::block(graph.shape(h)[1], Resampling::Down, false);
                h = graph.scope(&name("down"), |g| down.build(g, h, emb))?;
                skips.push(h);
            }
            let attention = self.attn_resolutions.contains(&side);
            let block = Self::block(self.model_channels * mult, Resampling::None, attention);
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
        for (level, (&side, &mult)) in sides.iter().zip(&self.channel_mult).enumerate().rev() {
            let name = |part: &str| format!("dec.{side}x{side}_{part}");
            let width = graph.shape(h)[1];
            if level == last {
                for (part, attention) in [("in0", true), ("in1", false)] {
                    let block = Self::block(width, Resampling::None, attention);
                    h = graph.scope(&name(part), |g| block.build(g, h, emb))?;
                }
            } else {
                let up = Self::block(width, Resampling::Up, false);
                h = graph.scope(&name("up"), |g| up.build(g, h, emb))?;
            }
            let attention = self.attn_resolutions.contains(&side);
            let block = Self::block(self.model_channels * mult, Resampling::None, attention);
            for i in 0..=self.num_blocks {
                if let Some(skip) = skips.pop() {
                    h = graph.concat(h, skip, 1)?;
                }
                h = graph.scope(&name(&format!("block{i}")), |g| block.build(g, h, emb))?;
            }
        }
        Ok(h)
    }
}
