//! The tiny autoencoder.

use super::{Autoencoder, Latent};
use crate::network::graph::{Graph, Value};
use crate::network::{NetworkError, require_config, require_image};
use crate::nn::Conv2dOptions;
use ndarray::ArrayD;
use serde::Deserialize;

/// Where the decoder clamps its latents.
const CLAMP: f64 = 3.0;
/// Groups of the normalisation beside the blocks of the coarsest level, and how many channels that has for each of the block's.
const POOL_GROUPS: usize = 4;
const POOL_EPS: f64 = 1e-5;

/// The tiny autoencoder of TAESD, with diffusers' names: `{encoder,decoder}.layers.{i}`.
///
/// A block is `layers.{i}.conv.{0,2,4}`, of some coarsest levels with `layers.{i}.pool.{0,1,3}` beside it.
///
/// # Source
/// madebyollin/taesd, and diffusers' `AutoencoderTiny`; there is no paper.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AutoencoderTiny {
    /// Channels of the images that are encoded.
    pub in_channels: usize,
    /// Channels of those that are decoded.
    pub out_channels: usize,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Channels of each level of the encoder, all the same.
    pub encoder_block_out_channels: Vec<usize>,
    /// Channels of each level of the decoder, all the same.
    pub decoder_block_out_channels: Vec<usize>,
    /// Blocks of each level of the encoder, the finest first.
    pub num_encoder_blocks: Vec<usize>,
    /// Blocks of each level of the decoder, the coarsest first.
    pub num_decoder_blocks: Vec<usize>,
    /// Whether the blocks of the coarsest level have a branch beside them that sees the whole image.
    pub use_midblock_gn: bool,
    /// Least and greatest value of an image; without it [0, 1] of networks with that branch, [−1, 1] of the others.
    pub image_range: Option<[f64; 2]>,
    /// What a latent is multiplied by for a diffusion model.
    pub scaling_factor: f64,
    /// What is taken from it before.
    pub shift_factor: f64,
    /// Said of a published file; of no account here.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// As above.
    #[serde(rename = "_diffusers_version")]
    pub diffusers_version: String,
    /// As above: the one that is built.
    pub act_fn: String,
    /// As above: the one that is built.
    pub upsample_fn: String,
    /// As above: the one that is built.
    pub upsampling_scaling_factor: usize,
    /// As above.
    pub block_out_channels: Vec<usize>,
    /// As above.
    pub latent_magnitude: f64,
    /// As above.
    pub latent_shift: f64,
    /// As above.
    pub force_upcast: bool,
}

impl Default for AutoencoderTiny {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 4,
            encoder_block_out_channels: vec![64; 4],
            decoder_block_out_channels: vec![64; 4],
            num_encoder_blocks: vec![1, 3, 3, 3],
            num_decoder_blocks: vec![3, 3, 3, 1],
            use_midblock_gn: false,
            image_range: None,
            scaling_factor: 1.0,
            shift_factor: 0.0,
            class_name: String::new(),
            diffusers_version: String::new(),
            act_fn: "relu".to_owned(),
            upsample_fn: "nearest".to_owned(),
            upsampling_scaling_factor: 2,
            block_out_channels: Vec::new(),
            latent_magnitude: 3.0,
            latent_shift: 0.5,
            force_upcast: false,
        }
    }
}

impl Autoencoder for AutoencoderTiny {
    fn encode(&self, graph: &mut Graph<'_>, x: Value) -> Result<Value, NetworkError> {
        let width = self.check()?[0];
        require_image(graph, x, self.in_channels)?;
        let [least, most] = self.range();
        // To [0, 1], as the layers were trained.
        let x = graph.shifted(x, (most - least).recip(), -least / (most - least));
        let mut layers = 0..;
        let mut name = || format!("layers.{}", layers.next().unwrap_or(0));
        let last = self.num_encoder_blocks.len() - 1;
        graph.scope("encoder", |g| {
            let mut h = g.conv2d(x, &name(), width, 3)?;
            for (level, &blocks) in self.num_encoder_blocks.iter().enumerate() {
                if level > 0 {
                    let options = Conv2dOptions {
                        stride: 2,
                        padding: 1,
                    };
                    h = g.conv2d_map(h, &name(), width, 3, options)?;
                }
                for _ in 0..blocks {
                    let pool = self.use_midblock_gn && level == last;
                    h = g.scope(&name(), |g| block(g, h, pool))?;
                }
            }
            g.conv2d(h, &name(), self.latent_channels, 3)
        })
    }

    fn decode(&self, graph: &mut Graph<'_>, z: Value) -> Result<Value, NetworkError> {
        let width = self.check()?[1];
        require_image(graph, z, self.latent_channels)?;
        let z = graph.soft_clamp(z, CLAMP);
        let mut place = 0;
        let mut name = |places: usize| {
            place += places;
            format!("layers.{}", place - places)
        };
        let last = self.num_decoder_blocks.len() - 1;
        let y = graph.scope("decoder", |g| {
            // An activation takes the second place.
            let mut h = g.conv2d(z, &name(2), width, 3)?;
            h = g.relu(h);
            for (level, &blocks) in self.num_decoder_blocks.iter().enumerate() {
                for _ in 0..blocks {
                    let pool = self.use_midblock_gn && level == 0;
                    h = g.scope(&name(1), |g| block(g, h, pool))?;
                }
                if level < last {
                    h = g.upsample_nearest2x(h)?;
                    // The doubling takes a place.
                    name(1);
                    h = g.conv2d_map(h, &name(1), width, 3, Conv2dOptions::same(3))?;
                }
            }
            g.conv2d(h, &name(1), self.out_channels, 3)
        })?;
        let [least, most] = self.range();
        Ok(graph.shifted(y, most - least, least))
    }

    fn latent(&self, moments: &ArrayD<f64>) -> Result<Latent, NetworkError> {
        Ok(Latent {
            mean: moments.clone(),
            std: ArrayD::zeros(moments.raw_dim()),
        })
    }

    fn smallest(&self) -> [[usize; 3]; 2] {
        let levels = |blocks: &[usize]| blocks.len().saturating_sub(1).min(16);
        let side = 1 << levels(&self.num_encoder_blocks);
        [[self.in_channels, side, side], [self.latent_channels, 1, 1]]
    }
}

impl AutoencoderTiny {
    fn range(&self) -> [f64; 2] {
        let own = if self.use_midblock_gn {
            [0.0, 1.0]
        } else {
            [-1.0, 1.0]
        };
        self.image_range.unwrap_or(own)
    }

    /// Channels of encoder and decoder.
    fn check(&self) -> Result<[usize; 2], NetworkError> {
        for (what, as_built) in [
            ("act_fn", self.act_fn == "relu"),
            ("upsample_fn", self.upsample_fn == "nearest"),
            (
                "upsampling_scaling_factor",
                self.upsampling_scaling_factor == 2,
            ),
            ("image_range", self.range()[0] < self.range()[1]),
        ] {
            require_config(as_built, what, "the published one: others are not built", 0)?;
        }
        let half = |what, widths: &[usize], levels: usize| {
            let width = widths.first().copied().unwrap_or(0);
            let same = width > 0 && widths.iter().all(|&w| w == width) && widths.len() == levels;
            let must = format!("the same number for each of {levels} levels");
            require_config(same, what, &must, width)?;
            Ok::<_, NetworkError>(width)
        };
        let [down, up] = [&self.num_encoder_blocks, &self.num_decoder_blocks].map(Vec::len);
        Ok([
            half(
                "encoder_block_out_channels",
                &self.encoder_block_out_channels,
                down,
            )?,
            half(
                "decoder_block_out_channels",
                &self.decoder_block_out_channels,
                up,
            )?,
        ])
    }
}

/// A residual block.
///
/// ```text
/// y = x + pool.3(relu(pool.1(pool.0(x))))          y = x without the branch
/// z = relu(conv.4(relu(conv.2(relu(conv.0(y))))) + y)
/// ```
fn block(graph: &mut Graph<'_>, x: Value, pool: bool) -> Result<Value, NetworkError> {
    let width = graph.shape(x)[1];
    let mut y = x;
    if pool {
        let hidden = POOL_GROUPS * width;
        let same = Conv2dOptions::same(1);
        let p = graph.conv2d_map(x, "pool.0", hidden, 1, same)?;
        let p = graph.group_norm_eps(p, "pool.1", POOL_GROUPS, POOL_EPS)?;
        let p = graph.relu(p);
        let p = graph.conv2d_map(p, "pool.3", width, 1, same)?;
        y = graph.add(x, p)?;
    }
    let mut h = graph.conv2d(y, "conv.0", width, 3)?;
    for layer in ["conv.2", "conv.4"] {
        h = graph.relu(h);
        h = graph.conv2d(h, layer, width, 3)?;
    }
    let h = graph.add(h, y)?;
    Ok(graph.relu(h))
}
