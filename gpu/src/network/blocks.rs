//! Layers with parameters, and the embedding of the condition that the small networks share.

use candle_core::Tensor;

use super::Condition;
use crate::memory::sketch::{Id, NETWORK, Sketch};
use crate::nn::{
    self, conv2d, embedding, group_norm, group_norm_silu, linear, silu, time_features,
};
use crate::params::{Builder, Init};
use crate::{Error, Result};

/// Standard deviation of a class's embedding at the start: about that of the time embedding.
const CLASS_STD: f64 = 0.5;

/// A parameter in the element type of what it meets: narrower than its own in mixed precision, where its gradient is
/// widened again on the way back.
pub(crate) fn like(parameter: &Tensor, x: &Tensor) -> Result<Tensor> {
    Ok(parameter.to_dtype(x.dtype())?)
}

/// An affine map.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(crate) fn new(inputs: usize, outputs: usize, at: &Builder) -> Result<Self> {
        Self::with_init(inputs, outputs, Init::KaimingUniform { fan_in: inputs }, at)
    }

    /// One that gives 0 until it has been trained.
    pub(crate) fn zero(inputs: usize, outputs: usize, at: &Builder) -> Result<Self> {
        Self::with_init(inputs, outputs, Init::Zeros, at)
    }

    /// One whose weights are uniform with variance 2/(inputs + outputs) (Glorot and Bengio 2010).
    pub(crate) fn xavier(inputs: usize, outputs: usize, at: &Builder) -> Result<Self> {
        Self::with_init(inputs, outputs, xavier_uniform(inputs, outputs), at)
    }

    /// One that starts by `init`, with offsets of 0.
    pub(crate) fn with_init(
        inputs: usize,
        outputs: usize,
        init: Init,
        at: &Builder,
    ) -> Result<Self> {
        Ok(Self {
            weight: at.get((outputs, inputs), "weight", init)?,
            bias: at.get(outputs, "bias", Init::Zeros)?,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(linear(
            x,
            &like(&self.weight, x)?,
            Some(&like(&self.bias, x)?),
        )?)
    }

    /// Without the offset.
    pub(crate) fn forward_map(&self, x: &Tensor) -> Result<Tensor> {
        Ok(linear(x, &like(&self.weight, x)?, None)?)
    }

    /// The map of each pixel's channels, `[B, C, H, W]` → `[B, D, H, W]`.
    pub(crate) fn forward_pixels(&self, x: &Tensor) -> Result<Tensor> {
        let (outputs, inputs) = self.weight.dims2()?;
        let weight = like(&self.weight, x)?.reshape((outputs, inputs, 1, 1))?;
        Ok(conv2d(x, &weight, Some(&like(&self.bias, x)?), 0)?)
    }
}

/// Uniform with variance 2/(inputs + outputs).
pub(crate) fn xavier_uniform(inputs: usize, outputs: usize) -> Init {
    Init::Uniform {
        bound: (6.0 / (inputs + outputs).max(1) as f64).sqrt(),
    }
}

/// A convolution of stride 1 that keeps the image's size.
#[derive(Debug, Clone)]
pub(crate) struct Conv {
    weight: Tensor,
    bias: Tensor,
    padding: usize,
}

impl Conv {
    /// A 3×3 convolution.
    pub(crate) fn new(inputs: usize, outputs: usize, at: &Builder) -> Result<Self> {
        Self::with(
            inputs,
            outputs,
            3,
            Init::KaimingUniform { fan_in: 9 * inputs },
            at,
        )
    }

    /// A 3×3 convolution that gives 0 until it has been trained.
    pub(crate) fn zero(inputs: usize, outputs: usize, at: &Builder) -> Result<Self> {
        Self::with(inputs, outputs, 3, Init::Zeros, at)
    }

    /// A 1×1 convolution.
    pub(crate) fn pointwise(inputs: usize, outputs: usize, at: &Builder) -> Result<Self> {
        Self::with(
            inputs,
            outputs,
            1,
            Init::KaimingUniform { fan_in: inputs },
            at,
        )
    }

    fn with(inputs: usize, outputs: usize, side: usize, init: Init, at: &Builder) -> Result<Self> {
        Ok(Self {
            weight: at.get((outputs, inputs, side, side), "weight", init)?,
            bias: at.get(outputs, "bias", Init::Zeros)?,
            padding: side / 2,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (like(&self.weight, x)?, like(&self.bias, x)?);
        Ok(conv2d(x, &weight, Some(&bias), self.padding)?)
    }
}

/// Group normalisation with its affine map.
#[derive(Debug, Clone)]
pub(crate) struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
}

impl GroupNorm {
    /// At most `groups` groups, no more than channels.
    pub(crate) fn new(groups: usize, channels: usize, at: &Builder) -> Result<Self> {
        let groups = groups.min(channels);
        if groups == 0 || !channels.is_multiple_of(groups) {
            let must = format!("be positive and divide {channels} channels");
            return Err(Error::invalid("network.groups", must, groups));
        }
        Ok(Self {
            weight: at.get(channels, "weight", Init::Ones)?,
            bias: at.get(channels, "bias", Init::Zeros)?,
            groups,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (gamma, beta) = (like(&self.weight, x)?, like(&self.bias, x)?);
        Ok(group_norm(x, self.groups, &gamma, &beta)?)
    }

    /// `silu(norm(x))`.
    pub(crate) fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        let (gamma, beta) = (like(&self.weight, x)?, like(&self.bias, x)?);
        Ok(group_norm_silu(x, self.groups, &gamma, &beta)?)
    }

    /// `silu(norm(x) (1 + scale) + shift)` with `scale`, `shift`: `[B, C]`, both folded into the
    /// affine map of each sample: γ (1 + scale) and β (1 + scale) + shift.
    pub(crate) fn forward_modulated_silu(
        &self,
        x: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
    ) -> Result<Tensor> {
        let scale = (scale + 1.0)?;
        let gamma = scale.broadcast_mul(&like(&self.weight, x)?)?;
        let beta = (scale.broadcast_mul(&like(&self.bias, x)?)? + shift)?;
        Ok(group_norm_silu(x, self.groups, &gamma, &beta)?)
    }
}

/// Embedding of noise level and class: `time.1(silu(time.0(features))) + class.weight[label]`.
#[derive(Debug, Clone)]
pub(crate) struct ConditionEmbedding {
    time: [Linear; 2],
    class: Option<Tensor>,
    time_dim: usize,
}

impl ConditionEmbedding {
    pub(crate) fn new(
        time_dim: usize,
        dim: usize,
        classes: Option<usize>,
        at: &Builder,
    ) -> Result<Self> {
        if time_dim == 0 || !time_dim.is_multiple_of(2) {
            return Err(Error::invalid(
                "network.time_dim",
                "be even and positive",
                time_dim,
            ));
        }
        let table = |classes: usize| {
            let init = Init::Normal { std: CLASS_STD };
            at.pp("class").get((classes + 1, dim), "weight", init)
        };
        Ok(Self {
            time: [
                Linear::new(time_dim, dim, &at.pp("time.0"))?,
                Linear::new(dim, dim, &at.pp("time.1"))?,
            ],
            class: classes.map(table).transpose()?,
            time_dim,
        })
    }

    /// `silu(emb)`, as every block takes it: `[B, dim]`.
    pub(super) fn forward(&self, x: &Tensor, at: &Condition<'_>) -> Result<Tensor> {
        let (batch, labels) = (x.dim(0)?, at.labels);
        check_condition(at, batch)?;
        let features = time_features(at.noise, self.time_dim, x.device(), x.dtype())?;
        let hidden = silu(&self.time[0].forward(&features)?)?;
        let mut emb = self.time[1].forward(&hidden)?;
        match (&self.class, labels) {
            (None, None) => {}
            (None, Some(_)) => return Err(no_classes(batch)),
            (Some(table), labels) => emb = (emb + class_rows(&like(table, x)?, labels, batch)?)?,
        }
        Ok(silu(&emb)?)
    }
}

/// Refuses noise levels, or labels, that are not one for each image, and what only other networks know.
pub(super) fn check_condition(at: &Condition<'_>, batch: usize) -> Result<()> {
    let levels = ("number of noise levels", at.noise.len());
    let labels = at.labels.map(|labels| ("number of labels", labels.len()));
    for (what, got) in [levels].into_iter().chain(labels) {
        if got != batch {
            let must = format!("be {batch}, one for each image");
            return Err(Error::invalid(what, must, got));
        }
    }
    for (what, given) in [
        ("augmentation labels", at.augment),
        ("weights of classes", at.soft_labels),
    ] {
        if let Some(given) = given {
            let must = "be absent for a network that knows none";
            let got = format!("shape {:?}", given.dims());
            return Err(Error::invalid(what, must, got));
        }
    }
    Ok(())
}

/// Labels for a network that is told none.
pub(super) fn no_classes(batch: usize) -> Error {
    let must = "be absent for a network without classes";
    Error::invalid("labels", must, format!("{batch} labels"))
}

/// [`ConditionEmbedding`] as sizes: the silu of the embedded noise level and class, `[B, dim]`.
pub(super) fn sketch_condition(
    s: &mut Sketch,
    batch: f64,
    [time_dim, dim]: [f64; 2],
    classes: f64,
) -> Id {
    s.at(format!("{NETWORK}.time.0"));
    let features = s.input(batch * time_dim);
    let hidden = s.linear(features, batch, time_dim, dim);
    let hidden = s.function(hidden);
    s.at(format!("{NETWORK}.time.1"));
    let embedded = s.linear(hidden, batch, dim, dim);
    s.at(format!("{NETWORK}.class"));
    let table = s.parameter("weight", (classes + 1.0) * dim);
    let rows = s.operation(batch * dim, &[table], [0.0; 2]);
    let sum = s.sum(embedded, rows);
    s.function(sum)
}

/// Rows of the class table; the last one, "no class", for everything if there are no labels.
pub(super) fn class_rows(table: &Tensor, labels: Option<&[u32]>, batch: usize) -> Result<Tensor> {
    let last = table.dim(0)? - 1;
    let no_class =
        || u32::try_from(last).map_err(|_| Error::invalid("classes", "fit in u32", last));
    let labels = labels.map_or_else(
        || Ok(vec![no_class()?; batch]),
        |labels| Ok::<_, Error>(labels.to_vec()),
    )?;
    Ok(embedding(table, &labels)?)
}

/// Self-attention over the pixels of an image, added to it.
#[derive(Debug, Clone)]
pub(crate) struct PixelAttention {
    norm: GroupNorm,
    qkv: Linear,
    proj: Linear,
    heads: usize,
}

impl PixelAttention {
    pub(crate) fn new(channels: usize, heads: usize, groups: usize, at: &Builder) -> Result<Self> {
        check_heads(channels, heads)?;
        Ok(Self {
            norm: GroupNorm::new(groups, channels, &at.pp("norm"))?,
            qkv: Linear::new(channels, 3 * channels, &at.pp("qkv"))?,
            proj: Linear::zero(channels, channels, &at.pp("proj"))?,
            heads,
        })
    }

    /// `x: [B, C, H, W]` → the same.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let qkv = self
            .qkv
            .forward_pixels(&self.norm.forward(x)?)?
            .flatten_from(2)?;
        let y = nn::self_attention(&qkv, self.heads, nn::Packing::Channels)?.reshape(x.shape())?;
        Ok((x + self.proj.forward_pixels(&y)?)?)
    }
}

/// Refuses heads that do not divide the channels.
pub(crate) fn check_heads(channels: usize, heads: usize) -> Result<()> {
    if heads == 0 || !channels.is_multiple_of(heads) {
        let must = format!("be positive and divide {channels} channels");
        return Err(Error::invalid("network.heads", must, heads));
    }
    Ok(())
}

/// Whether images can be halved between so many levels.
pub(crate) fn halves(key: &str, levels: usize, size: usize) -> Result<()> {
    let most = size.trailing_zeros() as usize + 1;
    if levels > most {
        let must = format!(
            "have at most {most} entries for images of {size}×{size} pixels, which are halved between two of them"
        );
        return Err(Error::invalid(key, must, levels));
    }
    Ok(())
}
