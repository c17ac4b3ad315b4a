//! Generator and discriminator of points: two hidden layers with leaky ReLU.

use super::blocks::Linear;
use crate::diffusion_gan::Discriminator;
use crate::error::{Error, Result};
use crate::nn::{leaky_relu, leaky_relu_along, second_moment_norm, step_features};
use crate::params::{Builder, Init};
use candle_core::{D, Tensor};
use serde::{Deserialize, Serialize};

/// What a discriminator is told of t.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LevelEmbedding {
    /// Nothing.
    None,
    /// Waves of t, [`WAVES`] of them, through a linear map: another vector for every t from the start.
    Waves,
    /// t itself through a linear map without offset at first, over the root of its mean square: the published program's, which begins with
    /// one vector for all t ≥ 1.
    Published,
}

/// Waves of t that a discriminator is told.
pub const WAVES: usize = 32;

/// z → points. `[eq:gan-mlp]`
#[derive(Debug)]
pub struct MlpGenerator([Linear; 3]);

impl MlpGenerator {
    /// From `latent` coordinates through two layers of `width` to `dim`.
    ///
    /// # Errors
    /// Parameters of other shapes.
    pub fn new(latent: usize, width: usize, dim: usize, at: &Builder) -> Result<Self> {
        layers(latent, width, dim, at).map(Self)
    }

    /// # Shapes
    /// `[B, latent]` → `[B, dim]`.
    ///
    /// # Errors
    /// Another shape.
    pub fn forward(&self, z: &Tensor) -> Result<Tensor> {
        let [first, second, last] = &self.0;
        let h = leaky_relu(&first.forward(z)?)?;
        last.forward(&leaky_relu(&second.forward(&h)?)?)
    }
}

/// Points at their levels → logits, by projection. `[eq:gan-projection]`
#[derive(Debug)]
pub struct MlpDiscriminator {
    layers: [Linear; 3],
    time: Option<(LevelEmbedding, Linear)>,
    width: usize,
}

impl MlpDiscriminator {
    /// From `dim` coordinates through two layers of `width` to a logit.
    ///
    /// # Errors
    /// Parameters of other shapes.
    pub fn new(dim: usize, width: usize, embedding: LevelEmbedding, at: &Builder) -> Result<Self> {
        let at_time = at.pp("time");
        let time = match embedding {
            LevelEmbedding::None => None,
            LevelEmbedding::Waves => Some(Linear::new(WAVES, width, &at_time)?),
            LevelEmbedding::Published => {
                let init = Init::Normal { std: 1.0 };
                Some(Linear::with_init(1, width, init, &at_time)?)
            }
        };
        Ok(Self {
            layers: layers(dim, width, 1, at)?,
            time: time.map(|time| (embedding, time)),
            width,
        })
    }

    /// e(t)/√width, `[B, width]`.
    fn told(&self, t: &[usize], like: &Tensor) -> Result<Option<Tensor>> {
        let Some((embedding, map)) = &self.time else {
            return Ok(None);
        };
        let (device, dtype) = (like.device(), like.dtype());
        let t: Vec<f64> = t.iter().map(|t| *t as f64).collect();
        let e = if *embedding == LevelEmbedding::Published {
            let rows = t.len();
            let column = Tensor::from_vec(t, (rows, 1), device)?.to_dtype(dtype)?;
            second_moment_norm(&map.forward(&column)?)?
        } else {
            map.forward(&step_features(&t, WAVES, device, dtype)?)?
        };
        Ok(Some((e * (self.width as f64).sqrt().recip())?))
    }

    /// What stands before each leaky ReLU.
    fn before(&self, y: &Tensor) -> Result<[Tensor; 2]> {
        let [first, second, _] = &self.layers;
        let one = first.forward(y)?;
        let two = second.forward(&leaky_relu(&one)?)?;
        Ok([one, two])
    }
}

impl Discriminator for MlpDiscriminator {
    fn logits(&self, y: &Tensor, t: &[usize]) -> Result<Tensor> {
        check(y, t)?;
        let [_, before] = self.before(y)?;
        let h = leaky_relu(&before)?;
        let plain = self.layers[2].forward(&h)?.squeeze(D::Minus1)?;
        Ok(match self.told(t, y)? {
            Some(told) => (plain + (h * told)?.sum(D::Minus1)?)?,
            None => plain,
        })
    }

    /// The slope of a leaky ReLU does not change where it has one, so that the derivative along v is the network without its offsets.
    fn along(&self, y: &Tensor, t: &[usize], v: &Tensor) -> Result<Tensor> {
        check(y, t)?;
        let [one, two] = self.before(y)?;
        let [first, second, last] = &self.layers;
        let v = leaky_relu_along(&one, &first.forward_map(v)?)?;
        let v = leaky_relu_along(&two, &second.forward_map(&v)?)?;
        let plain = last.forward_map(&v)?.squeeze(D::Minus1)?;
        Ok(match self.told(t, y)? {
            Some(told) => (plain + (v * told)?.sum(D::Minus1)?)?,
            None => plain,
        })
    }
}

fn check(y: &Tensor, t: &[usize]) -> Result<()> {
    if y.rank() == 2 && y.dim(0)? == t.len() {
        return Ok(());
    }
    let must = format!("[{}, dim], a row for each t", t.len());
    Err(Error::shape(
        "points before a discriminator",
        must,
        y.dims(),
    ))
}

fn layers(inputs: usize, width: usize, outputs: usize, at: &Builder) -> Result<[Linear; 3]> {
    let layer = |from, to, name: &str| Linear::new(from, to, &at.pp(name));
    Ok([
        layer(inputs, width, "0")?,
        layer(width, width, "1")?,
        layer(width, outputs, "2")?,
    ])
}
