//! A small diffusion transformer.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::architecture::{checked, configured, given, setting};
use super::blocks::{ConditionEmbedding, Linear, check_heads, like, sketch_condition};
use super::recompute::{self, Given};
use super::{Architecture, Condition, Inputs, Mode, Network, Recompute, is_zero};
use crate::memory::layers::Images;
use crate::memory::sketch::{Id, NETWORK, Sketch};
use crate::nn::{self, from_f64, gated_sum, gelu, layer_norm};
use crate::params::Builder;
use crate::{Error, Result};

/// Shape of a [`DitSmall`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DitSmallConfig {
    /// Channels of the images; 0 stands for "as the data" in a configuration.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub in_channels: usize,
    /// Side of the (square) images; 0 stands for "as the data" in a configuration.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: usize,
    /// Side of a patch; divides `size`.
    pub patch: usize,
    /// Width of a token and of the embedding; a multiple of 4.
    pub dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the hidden layer of a block, in units of `dim`.
    pub mlp_ratio: usize,
    /// Sinusoidal features of the noise level.
    pub time_dim: usize,
    /// Number of classes; `None` for an unconditional network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
}

impl DitSmallConfig {
    fn check(&self) -> Result<()> {
        let positive = [
            ("network.in_channels", self.in_channels),
            ("network.size", self.size),
            ("network.patch", self.patch),
            ("network.dim", self.dim),
            ("network.mlp_ratio", self.mlp_ratio),
        ];
        for (name, value) in positive {
            if value == 0 {
                return Err(Error::invalid(name, "be positive", value));
            }
        }
        if !self.size.is_multiple_of(self.patch) {
            let must = format!("divide the image side {}", self.size);
            return Err(Error::invalid("network.patch", must, self.patch));
        }
        if !self.dim.is_multiple_of(4) {
            return Err(Error::invalid(
                "network.dim",
                "be a multiple of 4",
                self.dim,
            ));
        }
        check_heads(self.dim, self.heads)
    }

    /// Patches along a side.
    fn side(&self) -> usize {
        self.size / self.patch
    }
    /// Elements of a patch.
    fn patch_len(&self) -> usize {
        self.in_channels * self.patch * self.patch
    }
}

/// The small diffusion transformer in the registry.
pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "dit-small",
    defaults: "patch = 2
dim = 96
depth = 4
heads = 4
mlp_ratio = 4
time_dim = 64",
    small: &["patch = 2
dim = 8
depth = 2
heads = 2
mlp_ratio = 2
time_dim = 4"],
    depths: |dimensions| {
        let config: DitSmallConfig = given(dimensions)?;
        Ok(vec![("model.dit-small.depth", config.depth)])
    },
    build: |dimensions, domain, at| {
        let config = DitSmallConfig {
            in_channels: domain.channels,
            size: domain.size,
            classes: domain.classes,
            ..checked(dimensions)?
        };
        Ok(Box::new(DitSmall::new(&config, at)?))
    },
    published: |config, at| Ok(Box::new(DitSmall::new(&configured(config)?, at)?)),
    sizes: &[],
    inputs: Inputs::OURS,
    sketch: |dimensions, s, x, classes| {
        let config = given::<DitSmallConfig>(dimensions);
        config.map_or(x, |config| sketch(s, &config, x, classes))
    },
    smaller: |dimensions, _| {
        let setting = |key| setting("dit-small", dimensions, key);
        let patch = format!("(size/model.dit-small.patch)² with {}", setting("patch"));
        let mut widths = ["dim", "time_dim", "depth"].map(setting).to_vec();
        widths.push(patch);
        [Vec::new(), widths]
    },
};

/// Transformer over image patches, modulated by noise level and class (adaLN-zero: every block
/// starts as the identity, the network as 0).
///
/// After the published DiT, but not that network: names, features of the noise level and output channels are others.
///
/// # Source
/// Peebles and Xie 2022 (arXiv:2212.09748).
#[derive(Debug, Clone)]
pub struct DitSmall {
    config: DitSmallConfig,
    condition: ConditionEmbedding,
    patch: Linear,
    positions: Tensor,
    blocks: Vec<Block>,
    final_ada: Linear,
    final_linear: Linear,
    recompute: Recompute,
}

#[derive(Debug, Clone)]
struct Block {
    ada: Linear,
    qkv: Linear,
    proj: Linear,
    mlp: [Linear; 2],
    heads: usize,
}

impl DitSmall {
    /// Takes its parameters from `at`, making those that do not exist.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a configuration that cannot be built.
    pub fn new(config: &DitSmallConfig, at: Builder) -> Result<Self> {
        config.check()?;
        let (dim, patch_len) = (config.dim, config.patch_len());
        let blocks = (0..config.depth)
            .map(|i| Block::new(config, &at.pp(format!("block.{i}"))))
            .collect::<Result<_>>()?;
        let positions = position_features(config.side(), dim);
        let shape = (config.side() * config.side(), dim);
        Ok(Self {
            condition: ConditionEmbedding::new(config.time_dim, dim, config.classes, &at)?,
            patch: Linear::new(patch_len, dim, &at.pp("patch"))?,
            positions: from_f64(positions, shape, at.device(), at.dtype())?,
            blocks,
            final_ada: Linear::zero(dim, 2 * dim, &at.pp("final.ada"))?,
            final_linear: Linear::zero(dim, patch_len, &at.pp("final.linear"))?,
            recompute: at.recompute(),
            config: config.clone(),
        })
    }

    /// `[B, C, H, W]` → `[B, T, C p p]`: tokens row by row, inside a token (c, y, x).
    fn patchify(&self, x: &Tensor) -> Result<Tensor> {
        let DitSmallConfig {
            in_channels: c,
            size,
            patch: p,
            ..
        } = self.config;
        let side = self.config.side();
        let (batch, channels, height, width) = x.dims4()?;
        if (channels, height, width) != (c, size, size) {
            return Err(Error::shape(
                "network input",
                format!("[B, {c}, {size}, {size}]"),
                x.dims(),
            ));
        }
        let blocks = x
            .reshape(vec![batch, c, side, p, side, p])?
            .permute(vec![0, 2, 4, 1, 3, 5])?;
        Ok(blocks.reshape((batch, side * side, self.config.patch_len()))?)
    }

    /// The inverse of [`patchify`](Self::patchify).
    fn unpatchify(&self, tokens: &Tensor) -> Result<Tensor> {
        let DitSmallConfig {
            in_channels: c,
            size,
            patch: p,
            ..
        } = self.config;
        let (batch, side) = (tokens.dim(0)?, self.config.side());
        let blocks = tokens.reshape(vec![batch, side, side, c, p, p])?;
        Ok(blocks
            .permute(vec![0, 3, 1, 4, 2, 5])?
            .reshape((batch, c, size, size))?)
    }
}

impl Network for DitSmall {
    fn forward(&self, x: &Tensor, at: &Condition<'_>, mode: Mode<'_>) -> Result<Tensor> {
        let tokens = self.patchify(x)?;
        let emb = self.condition.forward(x, at)?;
        let mut h = self
            .patch
            .forward(&tokens)?
            .broadcast_add(&like(&self.positions, x)?)?;
        for block in &self.blocks {
            h = self.recompute.run(block, Given::One(&h), &emb, mode)?;
        }
        let modulation = chunks::<2>(&self.final_ada.forward(&emb)?)?;
        let [shift, scale] = &modulation;
        self.unpatchify(
            &self
                .final_linear
                .forward(&modulated_norm(&h, scale, shift)?)?,
        )
    }
}

impl Block {
    fn new(config: &DitSmallConfig, at: &Builder) -> Result<Self> {
        let (dim, hidden) = (config.dim, config.dim * config.mlp_ratio);
        Ok(Self {
            ada: Linear::zero(dim, 6 * dim, &at.pp("ada"))?,
            qkv: Linear::new(dim, 3 * dim, &at.pp("attn.qkv"))?,
            proj: Linear::new(dim, dim, &at.pp("attn.proj"))?,
            mlp: [
                Linear::new(dim, hidden, &at.pp("mlp.0"))?,
                Linear::new(hidden, dim, &at.pp("mlp.1"))?,
            ],
            heads: config.heads,
        })
    }
}

impl recompute::Block for Block {
    /// `x: [B, T, D]`, `emb: [B, D]` → `[B, T, D]`.
    fn forward(&self, x: [&Tensor; 2], emb: &Tensor, _: Mode<'_>) -> Result<Tensor> {
        let modulation = chunks::<6>(&self.ada.forward(emb)?)?;
        let [shift1, scale1, gate1, shift2, scale2, gate2] = &modulation;
        let qkv = self.qkv.forward(&modulated_norm(x[1], scale1, shift1)?)?;
        let h = nn::self_attention(&qkv, self.heads, nn::Packing::Tokens)?;
        let x = gated_sum(x[0], gate1, &self.proj.forward(&h)?)?;
        let h = gelu(&self.mlp[0].forward(&modulated_norm(&x, scale2, shift2)?)?)?;
        Ok(gated_sum(&x, gate2, &self.mlp[1].forward(&h)?)?)
    }
}

/// `LN(x) (1 + scale) + shift` with one scale and shift for each sample.
pub(super) fn modulated_norm(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    Ok(layer_norm(x, Some((&(scale + 1.0)?, shift)))?)
}

/// `[B, N D]` → N times `[B, D]`.
pub(super) fn chunks<const N: usize>(x: &Tensor) -> Result<[Tensor; N]> {
    let parts = x.chunk(N, 1)?;
    let count = parts.len();
    parts
        .try_into()
        .map_err(|_| Error::invalid("modulation", format!("split in {N}"), count))
}

/// Fixed positions of a square of `side²` tokens: the first half of the features from the row, the
/// second from the column.
///
/// # Formula `[eq:position-features]`
/// ```text
/// [sin(r ω_0) … sin(r ω_{q−1}), cos(r ω_0) … cos(r ω_{q−1})] and the same of c,
/// ω_k = 10000^{−k/q},  q = dim/4
/// ```
fn position_features(side: usize, dim: usize) -> Vec<f64> {
    let quarter = dim / 4;
    let wave =
        |position: usize, k: usize| position as f64 * 10_000_f64.powf(-(k as f64) / quarter as f64);
    let mut features = Vec::with_capacity(side * side * dim);
    for row in 0..side {
        for column in 0..side {
            for position in [row, column] {
                features.extend((0..quarter).map(|k| wave(position, k).sin()));
                features.extend((0..quarter).map(|k| wave(position, k).cos()));
            }
        }
    }
    features
}

/// A [`DitSmall`] as sizes.
fn sketch(s: &mut Sketch, config: &DitSmallConfig, x: Images, classes: f64) -> Images {
    let [patch, dim, heads, ratio, time_dim] = [
        config.patch,
        config.dim,
        config.heads,
        config.mlp_ratio,
        config.time_dim,
    ]
    .map(|n| n as f64);
    let (batch, tokens) = (x.batch, (x.side / patch) * (x.side / patch));
    let (rows, patch_len) = (batch * tokens, x.channels * patch * patch);
    let at = |name: String| format!("{NETWORK}.{name}");
    s.at(at("patch".to_owned()));
    let image = s.elements(x.id);
    let patches = s.operation(image, &[x.id], [0.0; 2]);
    let embedded = sketch_condition(s, batch, [time_dim, dim], classes);
    s.at(at("patch".to_owned()));
    let h = s.linear(patches, rows, patch_len, dim);
    let mut h = s.function(h);
    for i in 0..config.depth {
        let names = ["ada", "attn.qkv", "attn", "attn.proj", "mlp.0", "mlp.1"];
        let within = |part: &str| at(format!("block.{i}.{part}"));
        let sizes = [batch, tokens, dim, heads, ratio * dim];
        h = sketch_block(s, h, embedded, sizes, names.map(within));
    }
    s.at(at("final.ada".to_owned()));
    let modulation = s.linear(embedded, batch, dim, 2.0 * dim);
    let [shift, scale] = [(); 2].map(|()| s.part(modulation, batch * dim));
    s.at(at("final.linear".to_owned()));
    let h = sketch_norm(s, h, batch * dim, scale, shift);
    let h = s.linear(h, rows, dim, patch_len);
    Images {
        id: s.operation(image, &[h], [0.0; 2]),
        ..x
    }
}

/// A block as sizes: of a batch, tokens, the width, heads and the hidden width; with the names of its layers.
pub(super) fn sketch_block(
    s: &mut Sketch,
    h: Id,
    embedded: Id,
    [batch, tokens, dim, heads, hidden]: [f64; 5],
    [ada, qkv, attention, proj, first, second]: [String; 6],
) -> Id {
    let rows = batch * tokens;
    s.block_begins();
    s.at(ada);
    let modulation = s.linear(embedded, batch, dim, 6.0 * dim);
    let part = |s: &mut Sketch| s.part(modulation, batch * dim);
    let [shift1, scale1, gate1, shift2, scale2, gate2] = [(); 6].map(|()| part(s));
    s.at(qkv);
    let y = sketch_norm(s, h, batch * dim, scale1, shift1);
    let qkv = s.linear(y, rows, dim, 3.0 * dim);
    s.at(attention);
    let y = s.attention(qkv, [batch, tokens, dim], heads);
    s.at(proj);
    let y = s.linear(y, rows, dim, dim);
    let h = sketch_gated_sum(s, [h, gate1, y], batch * dim);
    s.at(first);
    let y = sketch_norm(s, h, batch * dim, scale2, shift2);
    let y = s.linear(y, rows, dim, hidden);
    let y = s.function(y);
    s.at(second);
    let y = s.linear(y, rows, hidden, dim);
    let y = sketch_gated_sum(s, [h, gate2, y], batch * dim);
    s.block_ends();
    y
}

fn sketch_gated_sum(s: &mut Sketch, [x, gate, y]: [Id; 3], each: f64) -> Id {
    let gate = s.operation(each, &[gate], [0.0; 2]);
    s.operation(s.elements(x), &[x, gate, y], [0.0; 2])
}

pub(super) fn sketch_norm(s: &mut Sketch, x: Id, each: f64, scale: Id, shift: Id) -> Id {
    let scale = s.operation(each, &[scale], [0.0; 2]);
    // Parts of the modulation are cut out of it as they are needed.
    let shift = s.operation(each, &[shift], [0.0; 2]);
    s.operation(s.elements(x), &[x, scale, shift], [0.0; 2])
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::{DitSmall, DitSmallConfig, position_features};
    use crate::Result;
    use crate::params::Params;

    /// Two channels of 4×4 pixels in four patches of 2×2, pixel (c, y, x) holding 100 c + 10 y + x.
    fn image() -> Result<Tensor> {
        let pixel = |c: u8, y: u8, x: u8| f64::from(100 * c + 10 * y + x);
        let pixels =
            (0..2).flat_map(|c| (0..4).flat_map(move |y| (0..4).map(move |x| pixel(c, y, x))));
        Ok(Tensor::from_vec(
            pixels.collect::<Vec<_>>(),
            (1, 2, 4, 4),
            &Device::Cpu,
        )?)
    }

    fn dit() -> Result<DitSmall> {
        let config = DitSmallConfig {
            in_channels: 2,
            size: 4,
            patch: 2,
            dim: 8,
            depth: 0,
            heads: 1,
            mlp_ratio: 1,
            time_dim: 2,
            classes: None,
        };
        DitSmall::new(&config, Params::new(&Device::Cpu, DType::F64, 0).builder())
    }

    #[test]
    fn tokens_run_row_by_row_and_hold_channel_row_column() -> Result<()> {
        let tokens = dit()?.patchify(&image()?)?;
        assert_eq!(tokens.dims(), [1, 4, 8]);
        let tokens = tokens.squeeze(0)?.to_vec2::<f64>()?;
        assert_eq!(
            tokens[1],
            [2.0, 3.0, 12.0, 13.0, 102.0, 103.0, 112.0, 113.0]
        );
        assert_eq!(
            tokens[2],
            [20.0, 21.0, 30.0, 31.0, 120.0, 121.0, 130.0, 131.0]
        );
        Ok(())
    }

    #[test]
    fn unpatchify_undoes_patchify() -> Result<()> {
        let (dit, x) = (dit()?, image()?);
        let back = dit.unpatchify(&dit.patchify(&x)?)?;
        assert_eq!(back.dims(), x.dims());
        assert_eq!(
            back.flatten_all()?.to_vec1::<f64>()?,
            x.flatten_all()?.to_vec1::<f64>()?
        );
        Ok(())
    }

    #[test]
    fn positions_give_the_row_then_the_column() {
        // Side 3, 8 features: ω = 1 and 10000^(−1/2) = 1/100. Token 5 is row 1, column 2.
        let features = position_features(3, 8);
        let want = [
            1_f64.sin(),
            0.01_f64.sin(),
            1_f64.cos(),
            0.01_f64.cos(),
            2_f64.sin(),
            0.02_f64.sin(),
            2_f64.cos(),
            0.02_f64.cos(),
        ];
        for (got, want) in features[40..48].iter().zip(want) {
            // One rounding in the power, one in the product, one in the function.
            assert!((got - want).abs() <= 4.0 * f64::EPSILON, "{got} {want}");
        }
    }
}
