//! The convolutional denoiser.

use super::blocks::{attention_block, res_block};
use super::graph::{Graph, Value};
use super::{
    Architecture, Condition, Denoiser, NetworkError, condition_embedding, given, require_config,
    require_image,
};
use serde::Deserialize;

/// U-Net: residual blocks on a pyramid of resolutions, with a skip connection from each block on the way down to its
/// partner on the way up.
///
/// # Parameters
/// `time.{0,1}`, `class`, `conv_in`, `down.{i}.block.{j}`, `down.{i}.attn.{j}`, `mid.block.0`, `mid.attn`,
/// `mid.block.1`, `up.{i}.block.{j}`, `up.{i}.attn.{j}`, `up.{i}.conv`, `norm_out`, `conv_out`; a block holds
/// `norm1`, `conv1`, `emb`, `norm2`, `conv2` and, if the channels change, `skip`; an attention `norm`, `qkv`, `proj`.
///
/// # Source
/// Ronneberger et al. 2015 (arXiv:1505.04597); blocks after Ho et al. 2020 (arXiv:2006.11239), App. B.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNet {
    /// Channels of the image.
    #[serde(default)]
    pub in_channels: usize,
    /// Channels at each level, from full resolution downwards; each level halves the sides.
    pub channels: Vec<usize>,
    /// Residual blocks per level and direction.
    pub blocks: usize,
    /// Levels with attention after every block.
    pub attention: Vec<usize>,
    /// Heads of every attention.
    pub heads: usize,
    /// Groups of every group norm (at most one per channel).
    pub groups: usize,
    /// Width of the condition embedding.
    pub emb_dim: usize,
    /// Number of time features, even.
    pub time_dim: usize,
    /// Number of classes, if conditional.
    pub classes: Option<usize>,
}

/// The U-Net in the registry.
pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "unet",
    build: |dimensions, domain| {
        Ok(Box::new(UNet {
            in_channels: domain.channels,
            classes: domain.classes,
            ..given(dimensions)?
        }))
    },
    published: |config| Ok(Box::new(given::<UNet>(config)?)),
};

impl Denoiser for UNet {
    fn smallest_image(&self) -> [usize; 3] {
        let side = 1 << self.channels.len().saturating_sub(1).min(16);
        [self.in_channels, side, side]
    }

    fn build(
        &self,
        graph: &mut Graph<'_>,
        x: Value,
        condition: Condition<'_>,
    ) -> Result<Value, NetworkError> {
        let &[first, ..] = &self.channels[..] else {
            return Err(NetworkError::Config {
                what: "number of levels",
                must: "at least 1".to_owned(),
                got: 0,
            });
        };
        for &level in &self.attention {
            require_config(
                level < self.channels.len(),
                "attention level",
                "one of the levels",
                level,
            )?;
        }
        let [batch, ..] = require_image(graph, x, self.in_channels)?;
        let dims = [self.time_dim, self.emb_dim];
        let emb = condition_embedding(graph, condition, batch, dims, self.classes)?;

        let h = graph.conv2d(x, "conv_in", first, 3)?;
        let (h, skips) = self.down(graph, h, emb)?;
        let h = graph.scope("mid", |g| self.middle(g, h, emb))?;
        let h = self.up(graph, h, emb, skips)?;
        let h = graph.group_norm(h, "norm_out", self.groups)?;
        let h = graph.silu(h);
        graph.conv2d(h, "conv_out", self.in_channels, 3)
    }
}

impl UNet {
    /// The way down: the coarsest features and every block's output.
    fn down(
        &self,
        graph: &mut Graph<'_>,
        mut h: Value,
        emb: Value,
    ) -> Result<(Value, Vec<Value>), NetworkError> {
        let mut skips = Vec::new();
        for level in 0..self.channels.len() {
            for block in 0..self.blocks {
                h = graph.scope(&format!("down.{level}"), |g| {
                    self.stage(g, h, emb, level, block)
                })?;
                skips.push(h);
            }
            if level + 1 < self.channels.len() {
                h = graph.avg_pool2x(h)?;
            }
        }
        Ok((h, skips))
    }

    fn middle(&self, graph: &mut Graph<'_>, h: Value, emb: Value) -> Result<Value, NetworkError> {
        let width = graph.shape(h)[1];
        let h = graph.scope("block.0", |g| res_block(g, h, emb, width, self.groups))?;
        let h = graph.scope("attn", |g| attention_block(g, h, self.heads, self.groups))?;
        graph.scope("block.1", |g| res_block(g, h, emb, width, self.groups))
    }

    /// The way up, taking the skips from the last to the first.
    fn up(
        &self,
        graph: &mut Graph<'_>,
        mut h: Value,
        emb: Value,
        mut skips: Vec<Value>,
    ) -> Result<Value, NetworkError> {
        for (level, &width) in self.channels.iter().enumerate().rev() {
            for block in 0..self.blocks {
                if let Some(skip) = skips.pop() {
                    h = graph.concat(h, skip, 1)?;
                }
                h = graph.scope(&format!("up.{level}"), |g| {
                    self.stage(g, h, emb, level, block)
                })?;
            }
            if level > 0 {
                h = graph.upsample_nearest2x(h)?;
                h = graph.scope(&format!("up.{level}"), |g| g.conv2d(h, "conv", width, 3))?;
            }
        }
        Ok(h)
    }

    /// One residual block of a level and, if the level has it, its attention.
    fn stage(
        &self,
        graph: &mut Graph<'_>,
        h: Value,
        emb: Value,
        level: usize,
        block: usize,
    ) -> Result<Value, NetworkError> {
        let width = self.channels[level];
        let h = graph.scope(&format!("block.{block}"), |g| {
            res_block(g, h, emb, width, self.groups)
        })?;
        if !self.attention.contains(&level) {
            return Ok(h);
        }
        graph.scope(&format!("attn.{block}"), |g| {
            attention_block(g, h, self.heads, self.groups)
        })
    }
}
