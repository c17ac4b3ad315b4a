//! The diffusion transformer as it was published.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::architecture::{checked, configured, given, setting};
use super::blocks::{Linear, check_condition, class_rows, like, no_classes, xavier_uniform};
use super::dit_small::{chunks, modulated_norm, sketch_block, sketch_norm};
use super::recompute::{self, Given};
use super::{Architecture, Condition, Domain, Inputs, Mode, Network, Recompute};
use crate::memory::layers::Images;
use crate::memory::sketch::{NETWORK, Sketch};
use crate::nn::{self, gated_sum, gelu, linear, silu, step_features};
use crate::params::{Builder, Init};
use crate::{Error, Result};

/// Sinusoidal features of the number of the step.
const STEP_FEATURES: usize = 256;
/// Deviation of the class table and of the maps of the step at the start.
const EMBEDDING_STD: f64 = 0.02;

/// Shape of a [`Dit`], by the names of the publication.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DitConfig {
    /// Side of the (square) images.
    pub input_size: usize,
    /// Side of a patch; divides `input_size`.
    pub patch_size: usize,
    /// Channels of the images.
    pub in_channels: usize,
    /// Width of a token and of the condition; a multiple of 4.
    pub hidden_size: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Width of the hidden layer of a block, in units of `hidden_size`; the product is rounded down.
    #[serde(deserialize_with = "ratio")]
    pub mlp_ratio: f64,
    /// Fraction of labels that training takes away (in a run: `objective.label_dropout`); with 0 there is no "no class".
    pub class_dropout_prob: f64,
    /// Number of classes; `None` for an unconditional network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_classes: Option<usize>,
    /// Whether variances are predicted too.
    pub learn_sigma: bool,
}

/// A ratio that is finite and positive.
fn ratio<'de, D: serde::Deserializer<'de>>(given: D) -> Result<f64, D::Error> {
    let ratio = f64::deserialize(given)?;
    if ratio.is_finite() && ratio > 0.0 {
        return Ok(ratio);
    }
    let refused = format!("mlp_ratio must be finite and > 0, got {ratio}");
    Err(serde::de::Error::custom(refused))
}

impl Default for DitConfig {
    fn default() -> Self {
        Self {
            input_size: 32,
            patch_size: 2,
            in_channels: 4,
            hidden_size: 1152,
            depth: 28,
            num_heads: 16,
            mlp_ratio: 4.0,
            class_dropout_prob: 0.1,
            num_classes: Some(1000),
            learn_sigma: true,
        }
    }
}

impl DitConfig {
    fn check(&self) -> Result<()> {
        let positive = [
            ("network.input_size", self.input_size),
            ("network.patch_size", self.patch_size),
            ("network.in_channels", self.in_channels),
            ("network.hidden_size", self.hidden_size),
            (
                "number of hidden units, network.hidden_size · network.mlp_ratio",
                self.hidden(),
            ),
        ];
        for (name, value) in positive {
            if value == 0 {
                return Err(Error::invalid(name, "be positive", value));
            }
        }
        if !self.input_size.is_multiple_of(self.patch_size) {
            let must = format!("divide the image side {}", self.input_size);
            return Err(Error::invalid("network.patch_size", must, self.patch_size));
        }
        if !self.hidden_size.is_multiple_of(4) {
            let (what, must) = ("network.hidden_size", "be a multiple of 4");
            return Err(Error::invalid(what, must, self.hidden_size));
        }
        if !(0.0..=1.0).contains(&self.class_dropout_prob) {
            let (what, must) = ("network.class_dropout_prob", "be in [0, 1]");
            return Err(Error::invalid(what, must, self.class_dropout_prob));
        }
        let (dim, heads) = (self.hidden_size, self.num_heads);
        if heads == 0 || !dim.is_multiple_of(heads) {
            let must = format!("be positive and divide the {dim} of network.hidden_size");
            return Err(Error::invalid("network.num_heads", must, heads));
        }
        Ok(())
    }

    /// Patches along a side.
    fn side(&self) -> usize {
        self.input_size / self.patch_size
    }

    /// Channels of the prediction: those of the images, and as many variances.
    fn predicted(&self) -> usize {
        self.in_channels * (1 + usize::from(self.learn_sigma))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a product that is not positive is refused as 0"
    )]
    fn hidden(&self) -> usize {
        (self.hidden_size as f64 * self.mlp_ratio).floor() as usize
    }

    /// For images and classes.
    pub(super) fn of(dimensions: &Table, domain: Domain) -> Result<Self> {
        Ok(Self {
            input_size: domain.size,
            in_channels: domain.channels,
            num_classes: domain.classes,
            ..checked(dimensions)?
        })
    }
}

/// Whole configurations of the publication: twelve sizes for latents of 32×32.
macro_rules! sizes {
    ($($name:literal: $depth:literal, $width:literal, $heads:literal, $patch:literal;)*) => {
        &[$((
            $name,
            concat!(
                "input_size = 32\npatch_size = ", $patch, "\nin_channels = 4\nhidden_size = ", $width,
                "\ndepth = ", $depth, "\nnum_heads = ", $heads, "\nnum_classes = 1000\nlearn_sigma = true"
            ),
        )),*]
    };
}

/// Dimensions of a run that names none.
pub(super) const DEFAULTS: &str = "patch_size = 2
hidden_size = 96
depth = 4
num_heads = 4
mlp_ratio = 4.0
learn_sigma = false";
/// Dimensions of the cross-checks: whole images as patches with variances, and without.
pub(super) const SMALL: &[&str] = &[
    "patch_size = 2
hidden_size = 8
depth = 2
num_heads = 2
mlp_ratio = 2.0
learn_sigma = true",
    "patch_size = 4
hidden_size = 12
depth = 1
num_heads = 3
mlp_ratio = 1.4
learn_sigma = false",
];

/// What the published code calls its inputs.
pub(super) const INPUTS: Inputs = Inputs {
    noise: "t",
    labels: "y",
    augment: None,
};

/// The published transformer in the registry.
pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "dit",
    defaults: DEFAULTS,
    small: SMALL,
    depths: |dimensions| {
        let config: DitConfig = given(dimensions)?;
        Ok(vec![("model.dit.depth", config.depth)])
    },
    build: |dimensions, domain, at| {
        Ok(Box::new(Dit::new(
            &DitConfig::of(dimensions, domain)?,
            &at,
        )?))
    },
    published: |config, at| Ok(Box::new(Dit::new(&configured(config)?, &at)?)),
    sizes: sizes! {
        "dit-xl-2": 28, 1152, 16, 2;
        "dit-xl-4": 28, 1152, 16, 4;
        "dit-xl-8": 28, 1152, 16, 8;
        "dit-l-2": 24, 1024, 16, 2;
        "dit-l-4": 24, 1024, 16, 4;
        "dit-l-8": 24, 1024, 16, 8;
        "dit-b-2": 12, 768, 12, 2;
        "dit-b-4": 12, 768, 12, 4;
        "dit-b-8": 12, 768, 12, 8;
        "dit-s-2": 12, 384, 6, 2;
        "dit-s-4": 12, 384, 6, 4;
        "dit-s-8": 12, 384, 6, 8;
    },
    inputs: INPUTS,
    sketch: |dimensions, s, x, classes| {
        let config = given::<DitConfig>(dimensions);
        config.map_or(x, |config| sketch(s, &config, x, classes))
    },
    smaller: |dimensions, _| [Vec::new(), smaller("dit", dimensions)],
};

/// Settings that make the network smaller.
pub(super) fn smaller(name: &str, dimensions: &Table) -> Vec<String> {
    let setting = |key| setting(name, dimensions, key);
    let patch = format!(
        "(size/model.{name}.patch_size)² with {}",
        setting("patch_size")
    );
    let widths = ["hidden_size", "mlp_ratio", "depth"].map(setting);
    widths.into_iter().chain([patch]).collect()
}

/// The published diffusion transformer: patches and positions, blocks modulated by step and class (adaLN-zero), and a
/// prediction of the noise, with variances or without.
///
/// Names and shapes of the parameters are those of the published files, `pos_embed` among them, which is stored and not trained.
///
/// # Source
/// Peebles and Xie 2022 (arXiv:2212.09748).
#[derive(Debug, Clone)]
pub struct Dit {
    config: DitConfig,
    patch: (Tensor, Tensor),
    positions: Tensor,
    time: [Linear; 2],
    class: Option<Tensor>,
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

/// Looks at an intermediate result, by its published name.
pub type Watch<'a> = dyn FnMut(&str, &Tensor) -> Result<()> + 'a;

impl Dit {
    /// Takes its parameters from `at`, making those that do not exist as the publication does.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a configuration that cannot be built.
    pub fn new(config: &DitConfig, at: &Builder) -> Result<Self> {
        config.check()?;
        let (dim, p, c) = (config.hidden_size, config.patch_size, config.in_channels);
        let patch = at.pp("x_embedder.proj");
        let init = xavier_uniform(c * p * p, dim);
        let tokens = config.side() * config.side();
        let small = Init::Normal { std: EMBEDDING_STD };
        let table = |classes: usize| {
            let rows = classes + usize::from(config.class_dropout_prob > 0.0);
            at.pp("y_embedder.embedding_table")
                .get((rows, dim), "weight", small)
        };
        let blocks = (0..config.depth).map(|i| Block::new(config, &at.pp(format!("blocks.{i}"))));
        let numbers = p * p * config.predicted();
        let last = at.pp("final_layer");
        Ok(Self {
            patch: (
                patch.get((dim, c, p, p), "weight", init)?,
                patch.get(dim, "bias", Init::Zeros)?,
            ),
            positions: at.fixed((1, tokens, dim), "pos_embed", || {
                column_positions(config.side(), dim)
            })?,
            time: [
                Linear::with_init(STEP_FEATURES, dim, small, &at.pp("t_embedder.mlp.0"))?,
                Linear::with_init(dim, dim, small, &at.pp("t_embedder.mlp.2"))?,
            ],
            class: config.num_classes.map(table).transpose()?,
            blocks: blocks.collect::<Result<_>>()?,
            final_ada: Linear::zero(dim, 2 * dim, &last.pp("adaLN_modulation.1"))?,
            final_linear: Linear::zero(dim, numbers, &last.pp("linear"))?,
            recompute: at.recompute(),
            config: config.clone(),
        })
    }

    /// The prediction, `[B, C or 2C, H, W]`; `watch` is shown what the layers make on the way, but for the inside of blocks that
    /// are made again.
    ///
    /// # Errors
    /// Those of [`Network::forward`], and those of `watch`.
    pub fn watched(&self, x: &Tensor, at: &Condition<'_>, watch: &mut Watch<'_>) -> Result<Tensor> {
        let tokens = self.embed(x)?;
        watch("x_embedder", &tokens)?;
        let mut h = tokens.broadcast_add(&like(&self.positions, x)?)?;
        let emb = silu(&self.condition(x, at, watch)?)?;
        for (i, block) in self.blocks.iter().enumerate() {
            h = match self.recompute {
                Recompute::None => {
                    let mut attended = |y: &Tensor| watch(&format!("blocks.{i}.attn"), y);
                    block.watched([&h, &h], &emb, &mut attended)?
                }
                again @ Recompute::Blocks => {
                    again.run(block, Given::One(&h), &emb, Mode::Evaluate)?
                }
            };
            watch(&format!("blocks.{i}"), &h)?;
        }
        let [shift, scale] = &chunks::<2>(&self.final_ada.forward(&emb)?)?;
        let y = (self.final_linear).forward(&modulated_norm(&h, scale, shift)?)?;
        watch("final_layer", &y)?;
        self.unpatchify(&y)
    }

    /// Embedded step and class: `[B, D]`.
    fn condition(&self, x: &Tensor, at: &Condition<'_>, watch: &mut Watch<'_>) -> Result<Tensor> {
        let batch = x.dim(0)?;
        check_condition(at, batch)?;
        let features = step_features(at.noise, STEP_FEATURES, x.device(), x.dtype())?;
        let [first, second] = &self.time;
        let time = second.forward(&silu(&first.forward(&features)?)?)?;
        watch("t_embedder", &time)?;
        let Some(table) = &self.class else {
            return at.labels.map_or(Ok(time), |_| Err(no_classes(batch)));
        };
        if at.labels.is_none() && self.config.class_dropout_prob <= 0.0 {
            let must =
                "be given to a network without a row for \"no class\" (class_dropout_prob = 0)";
            return Err(Error::invalid("labels", must, "none"));
        }
        let class = class_rows(&like(table, x)?, at.labels, batch)?;
        watch("y_embedder", &class)?;
        Ok((time + class)?)
    }

    /// The convolution of stride p with kernels of side p, as a linear map of each patch: `[B, C, S, S]` → `[B, T, D]`.
    fn embed(&self, x: &Tensor) -> Result<Tensor> {
        let (size, p, c) = (
            self.config.input_size,
            self.config.patch_size,
            self.config.in_channels,
        );
        let (batch, channels, height, width) = x.dims4()?;
        if (channels, height, width) != (c, size, size) {
            let must = format!("[B, {c}, {size}, {size}]");
            return Err(Error::shape("network input", must, x.dims()));
        }
        let side = self.config.side();
        let patches = x
            .reshape(vec![batch, c, side, p, side, p])?
            .permute(vec![0, 2, 4, 1, 3, 5])?
            .reshape((batch, side * side, c * p * p))?;
        let (weight, bias) = &self.patch;
        let weight = like(weight, x)?.reshape((self.config.hidden_size, c * p * p))?;
        Ok(linear(&patches, &weight, Some(&like(bias, x)?))?)
    }

    /// `[B, T, p p O]` → `[B, O, S, S]`: tokens row by row, inside a token (y, x, channel).
    fn unpatchify(&self, tokens: &Tensor) -> Result<Tensor> {
        let (size, p, side) = (
            self.config.input_size,
            self.config.patch_size,
            self.config.side(),
        );
        let (batch, out) = (tokens.dim(0)?, self.config.predicted());
        Ok(tokens
            .reshape(vec![batch, side, side, p, p, out])?
            .permute(vec![0, 5, 1, 3, 2, 4])?
            .reshape((batch, out, size, size))?)
    }
}

impl Network for Dit {
    fn forward(&self, x: &Tensor, at: &Condition<'_>, _: Mode<'_>) -> Result<Tensor> {
        self.watched(x, at, &mut |_, _| Ok(()))
    }
}

impl Block {
    fn new(config: &DitConfig, at: &Builder) -> Result<Self> {
        let (dim, hidden) = (config.hidden_size, config.hidden());
        Ok(Self {
            ada: Linear::zero(dim, 6 * dim, &at.pp("adaLN_modulation.1"))?,
            qkv: Linear::xavier(dim, 3 * dim, &at.pp("attn.qkv"))?,
            proj: Linear::xavier(dim, dim, &at.pp("attn.proj"))?,
            mlp: [
                Linear::xavier(dim, hidden, &at.pp("mlp.fc1"))?,
                Linear::xavier(hidden, dim, &at.pp("mlp.fc2"))?,
            ],
            heads: config.num_heads,
        })
    }

    /// `x: [B, T, D]`, `emb: [B, D]` → `[B, T, D]`; `attended` is shown what attention gives.
    fn watched(
        &self,
        x: [&Tensor; 2],
        emb: &Tensor,
        attended: &mut dyn FnMut(&Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let modulation = chunks::<6>(&self.ada.forward(emb)?)?;
        let [shift1, scale1, gate1, shift2, scale2, gate2] = &modulation;
        let qkv = self.qkv.forward(&modulated_norm(x[1], scale1, shift1)?)?;
        let h = nn::self_attention(&qkv, self.heads, nn::Packing::Tokens)?;
        let h = self.proj.forward(&h)?;
        attended(&h)?;
        let x = gated_sum(x[0], gate1, &h)?;
        let h = gelu(&self.mlp[0].forward(&modulated_norm(&x, scale2, shift2)?)?)?;
        Ok(gated_sum(&x, gate2, &self.mlp[1].forward(&h)?)?)
    }
}

impl recompute::Block for Block {
    fn forward(&self, x: [&Tensor; 2], emb: &Tensor, _: Mode<'_>) -> Result<Tensor> {
        self.watched(x, emb, &mut |_| Ok(()))
    }
}

/// Positions of a square of `side²` tokens at the start: the first half of the features from the column, the second from the row.
///
/// # Formula `[eq:column-positions]`
/// ```text
/// [sin(c ω_0) … sin(c ω_{q−1}), cos(c ω_0) … cos(c ω_{q−1})] and the same of r,   ω_k = 10000^{−k/q},  q = dim/4
/// ```
fn column_positions(side: usize, dim: usize) -> Vec<f64> {
    let quarter = dim / 4;
    let frequencies: Vec<f64> = (0..quarter)
        .map(|k| 10_000_f64.powf(-(k as f64) / quarter as f64))
        .collect();
    let mut features = Vec::with_capacity(side * side * dim);
    for row in 0..side {
        for column in 0..side {
            for position in [column, row] {
                let phases = frequencies.iter().map(|f| position as f64 * f);
                features.extend(phases.clone().map(f64::sin));
                features.extend(phases.map(f64::cos));
            }
        }
    }
    features
}

/// A [`Dit`] as sizes.
pub(super) fn sketch(s: &mut Sketch, config: &DitConfig, x: Images, classes: f64) -> Images {
    let sizes = [
        config.patch_size,
        config.hidden_size,
        config.num_heads,
        config.hidden(),
    ];
    let [patch, dim, heads, hidden] = sizes.map(|n| n as f64);
    let (batch, tokens) = (x.batch, (x.side / patch) * (x.side / patch));
    let (rows, patch_len) = (batch * tokens, x.channels * patch * patch);
    let at = |name: String| format!("{NETWORK}.{name}");
    s.at(at("x_embedder.proj".to_owned()));
    let image = s.elements(x.id);
    let patches = s.operation(image, &[x.id], [0.0; 2]);
    let h = s.linear(patches, rows, patch_len, dim);
    let mut h = s.function(h);
    s.at(at("t_embedder.mlp.0".to_owned()));
    let features = s.input(batch * STEP_FEATURES as f64);
    let y = s.linear(features, batch, STEP_FEATURES as f64, dim);
    let y = s.function(y);
    s.at(at("t_embedder.mlp.2".to_owned()));
    let time = s.linear(y, batch, dim, dim);
    s.at(at("y_embedder.embedding_table".to_owned()));
    let table = s.parameter("weight", (classes + 1.0) * dim);
    let class = s.operation(batch * dim, &[table], [0.0; 2]);
    let sum = s.sum(time, class);
    let embedded = s.function(sum);
    for i in 0..config.depth {
        let names = [
            "adaLN_modulation.1",
            "attn.qkv",
            "attn",
            "attn.proj",
            "mlp.fc1",
            "mlp.fc2",
        ];
        let within = |part: &str| at(format!("blocks.{i}.{part}"));
        h = sketch_block(
            s,
            h,
            embedded,
            [batch, tokens, dim, heads, hidden],
            names.map(within),
        );
    }
    s.at(at("final_layer.adaLN_modulation.1".to_owned()));
    let modulation = s.linear(embedded, batch, dim, 2.0 * dim);
    let [shift, scale] = [(); 2].map(|()| s.part(modulation, batch * dim));
    s.at(at("final_layer.linear".to_owned()));
    let h = sketch_norm(s, h, batch * dim, scale, shift);
    let halves = 1.0 + f64::from(u8::from(config.learn_sigma));
    let h = s.linear(h, rows, dim, halves * patch_len);
    let whole = s.operation(halves * image, &[h], [0.0; 2]);
    // Variances are left out by the preconditioner.
    let id = if config.learn_sigma {
        s.part(whole, image)
    } else {
        whole
    };
    Images { id, ..x }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::params::Params;

    /// Mean, variance and largest size of a parameter's numbers.
    fn moments(params: &Params, name: &str) -> Result<[f64; 4]> {
        let numbers: Vec<f64> = params.tensors()[name].flatten_all()?.to_vec1()?;
        let n = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / n;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        Ok([
            n,
            mean,
            variance,
            numbers.iter().fold(0.0, |m, x| m.max(x.abs())),
        ])
    }

    #[test]
    fn parameters_start_by_the_published_laws() -> Result<()> {
        let config = DitConfig {
            input_size: 8,
            hidden_size: 64,
            depth: 2,
            num_heads: 4,
            num_classes: Some(99),
            ..DitConfig::default()
        };
        let params = Params::new(&Device::Cpu, DType::F64, 5);
        Dit::new(&config, &params.builder())?;
        // Uniform with variance 2/(inputs + outputs), whose fourth moment is 9/5 of the variance squared; normal, where it is 3 of it.
        let glorot = |inputs: f64, outputs: f64| (2.0 / (inputs + outputs), 9.0 / 5.0);
        let normal = (0.02 * 0.02, 3.0);
        let mut laws = vec![
            ("x_embedder.proj.weight".to_owned(), glorot(16.0, 64.0)),
            ("t_embedder.mlp.0.weight".to_owned(), normal),
            ("t_embedder.mlp.2.weight".to_owned(), normal),
            ("y_embedder.embedding_table.weight".to_owned(), normal),
        ];
        for i in 0..2 {
            for (name, inputs, outputs) in [
                ("attn.qkv", 64.0, 192.0),
                ("attn.proj", 64.0, 64.0),
                ("mlp.fc1", 64.0, 256.0),
                ("mlp.fc2", 256.0, 64.0),
            ] {
                laws.push((format!("blocks.{i}.{name}.weight"), glorot(inputs, outputs)));
            }
        }
        for (name, (variance, kurtosis)) in &laws {
            let [n, mean, got, largest] = moments(&params, name)?;
            // Five standard deviations of each estimate.
            assert!(
                mean.abs() < 5.0 * (variance / n).sqrt(),
                "{name}: mean {mean}"
            );
            let off = (got / variance - 1.0).abs();
            assert!(
                off < 5.0 * ((kurtosis - 1.0) / n).sqrt(),
                "{name}: variance {got}, not {variance}"
            );
            let uniform = *kurtosis < 2.0;
            assert!(
                !uniform || largest <= (3.0 * variance).sqrt(),
                "{name}: {largest}"
            );
        }
        let mut zeros = 0;
        for (name, var) in params.vars() {
            if laws.iter().all(|(drawn, _)| *drawn != name) {
                zeros += 1;
                let [_, _, _, largest] = moments(&params, &name)?;
                assert!(largest <= 0.0, "{name} {:?} must start at 0", var.dims());
            }
        }
        // Offsets of the embedders; of each block's four maps, with its adaLN; the last adaLN and the last layer.
        assert_eq!(zeros, 3 + 2 * (4 + 2) + 4);
        assert_eq!(params.vars().len(), laws.len() + zeros);
        assert!(params.get("pos_embed").is_none() && params.tensors().contains_key("pos_embed"));
        Ok(())
    }

    /// Stored with the parameters, copied and loaded with them, and moved by nobody.
    #[test]
    fn positions_are_stored_and_not_trained() -> Result<()> {
        let config = DitConfig {
            input_size: 4,
            hidden_size: 8,
            depth: 1,
            num_heads: 2,
            ..DitConfig::default()
        };
        let params = Params::new(&Device::Cpu, DType::F64, 5);
        Dit::new(&config, &params.builder())?;
        let positions = |params: &Params| -> Result<Vec<f64>> {
            Ok(params.tensors()["pos_embed"].flatten_all()?.to_vec1()?)
        };
        // Token 1 is row 0, column 1: the column comes first. The second frequency is 1/100.
        let (sin, cos) = (f64::sin, f64::cos);
        let want = [sin(1.0), sin(0.01), cos(1.0), cos(0.01), 0.0, 0.0, 1.0, 1.0];
        for (got, want) in positions(&params)?[8..16].iter().zip(want) {
            assert!((got - want).abs() < 1e-15, "{got}, not {want}");
        }
        let mut tensors = params.tensors();
        let moved = (&tensors["pos_embed"] + 1.0)?;
        tensors.insert("pos_embed".to_owned(), moved);
        let copy = params.fork()?;
        copy.load(&tensors)?;
        assert!((positions(&copy)?[0] - 1.0).abs() <= 0.0 && positions(&params)?[0].abs() <= 0.0);
        // A network that is made on loaded tensors takes what it finds.
        Dit::new(&config, &copy.builder())?;
        assert!((positions(&copy)?[0] - 1.0).abs() <= 0.0);
        tensors.remove("pos_embed");
        assert!(copy.load(&tensors).is_err(), "it must be given");
        Ok(())
    }

    #[test]
    fn configurations_that_cannot_be_built_are_refused() {
        let refused = |config: DitConfig, says: &str| {
            let at = Params::outline().builder();
            let message = Dit::new(&config, &at).expect_err(says).to_string();
            assert!(message.contains(says), "{message}");
        };
        let base = DitConfig::default;
        refused(
            DitConfig {
                patch_size: 3,
                ..base()
            },
            "patch_size must divide the image side 32",
        );
        refused(
            DitConfig {
                num_heads: 7,
                ..base()
            },
            "num_heads must be positive and divide",
        );
        refused(
            DitConfig {
                hidden_size: 18,
                num_heads: 2,
                ..base()
            },
            "a multiple of 4",
        );
        refused(
            DitConfig {
                mlp_ratio: -1.0,
                ..base()
            },
            "must be positive, got 0",
        );
        refused(
            DitConfig {
                class_dropout_prob: 1.5,
                ..base()
            },
            "be in [0, 1]",
        );
    }
}
