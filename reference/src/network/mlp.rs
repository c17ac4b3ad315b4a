//! Generator and discriminator of points, as in the paper's experiment on 25 Gaussians: two hidden layers with leaky ReLU.

use std::collections::BTreeMap;

use ndarray::{Array1, ArrayD};

use super::graph::{Graph, Value};
use super::{NetworkError, recorded_shapes};
use crate::nn;

/// What a discriminator is told of t.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LevelEmbedding {
    /// Nothing.
    None,
    /// So many waves of t, which tell all levels apart from the start, through a linear map.
    Waves(usize),
    /// t itself through a linear map, over the root of its mean square: the published program's. As its bias begins at 0, it begins with one
    /// vector for all t ≥ 1.
    Published,
}

/// z → points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MlpGenerator {
    /// Coordinates of z.
    pub latent: usize,
    /// Units of both hidden layers.
    pub width: usize,
    /// Coordinates of a point.
    pub dim: usize,
}

/// Points and their levels → logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MlpDiscriminator {
    /// Coordinates of a point.
    pub dim: usize,
    /// Units of both hidden layers.
    pub width: usize,
    /// What it is told of t.
    pub embedding: LevelEmbedding,
}

/// Nodes of a discriminator on a tape.
#[derive(Debug, Clone, Copy)]
pub struct Judged {
    /// l, `[B, 1]`.
    pub logits: Value,
    /// ∇_y l, `[B, dim]`, itself differentiable in the parameters.
    pub slopes: Value,
}

impl MlpGenerator {
    /// Names and shapes of the parameters `0`, `1`, `2`, each with `weight` and `bias`.
    ///
    /// # Errors
    /// [`NetworkError::Config`] if the configuration is impossible.
    pub fn parameter_shapes(&self) -> Result<BTreeMap<String, Vec<usize>>, NetworkError> {
        recorded_shapes(&[1, self.latent], |g, z| self.build(g, z))
    }

    /// Appends the network to a tape: `z: [B, latent]` → `[B, dim]`. `[eq:gan-mlp]`
    ///
    /// # Formula
    /// ```text
    /// h_1 = a(W_0 z + b_0),  h_2 = a(W_1 h_1 + b_1),  x = W_2 h_2 + b_2,   a the leaky ReLU
    /// ```
    /// # Errors
    /// [`NetworkError`] naming what does not fit.
    /// # Source
    /// Diffusion-GAN (arXiv:2206.02262), §4.2.
    pub fn build(&self, graph: &mut Graph<'_>, z: Value) -> Result<Value, NetworkError> {
        let mut h = z;
        for name in ["0", "1"] {
            h = graph.linear(h, name, self.width)?;
            h = graph.leaky_relu(h);
        }
        graph.linear(h, "2", self.dim)
    }
}

impl MlpDiscriminator {
    /// Names and shapes of the parameters: those of the generator's kind, and `time` where it is told of t.
    ///
    /// # Errors
    /// [`NetworkError::Config`] if the configuration is impossible.
    pub fn parameter_shapes(&self) -> Result<BTreeMap<String, Vec<usize>>, NetworkError> {
        recorded_shapes(&[1, self.dim], |g, y| Ok(self.build(g, y, &[1])?.logits))
    }

    /// Appends the network to a tape: `y: [B, dim]`, t `[B]` → logits and their slopes in y. `[eq:gan-projection]`
    ///
    /// # Formula
    /// ```text
    /// l = ⟨w, h_2⟩ + b + ⟨e(t), h_2⟩/√width
    /// ∇_y l = W_0ᵀ (a'_1 ∘ W_1ᵀ (a'_2 ∘ (w + e(t)/√width)))
    /// ```
    /// a' is constant where the leaky ReLU has a slope, so that ∇_y l is a product of the weights, whose gradient in them is the second
    /// derivative of l.
    /// # Errors
    /// [`NetworkError`] naming what does not fit; another number of t than of points.
    /// # Source
    /// Miyato and Koyama 2018 (arXiv:1802.05637), Eq. 4, the projection with t for the class.
    pub fn build(
        &self,
        graph: &mut Graph<'_>,
        y: Value,
        t: &[usize],
    ) -> Result<Judged, NetworkError> {
        let before_1 = graph.linear(y, "0", self.width)?;
        let h_1 = graph.leaky_relu(before_1);
        let before_2 = graph.linear(h_1, "1", self.width)?;
        let h_2 = graph.leaky_relu(before_2);
        let weight = graph.parameter("2.weight", &[1, self.width])?;
        let bias = graph.parameter("2.bias", &[1])?;
        let told = self.embedded(graph, t)?;
        let plain = graph.affine(h_2, weight, bias)?;
        let rows = graph.shape(y)[0];
        let upstream = graph.repeat(weight, rows)?;
        let (logits, upstream) = match told {
            None => (plain, upstream),
            Some(told) => {
                let told = graph.scale(told, 1.0 / (self.width as f64).sqrt());
                let product = graph.mul(told, h_2)?;
                let ones = graph.input(ArrayD::ones(vec![1, self.width]));
                let none = graph.input(ArrayD::zeros(vec![1]));
                let projection = graph.affine(product, ones, none)?;
                (graph.add(plain, projection)?, graph.add(upstream, told)?)
            }
        };
        let mut slopes = upstream;
        for (before, name, inputs) in [(before_2, "1", self.width), (before_1, "0", self.dim)] {
            let mask = graph.value(before).mapv(slope);
            let mask = graph.input(mask);
            let g = graph.mul(slopes, mask)?;
            let weight = graph.parameter(&format!("{name}.weight"), &[self.width, inputs])?;
            let transposed = graph.permute(weight, &[1, 0])?;
            let none = graph.input(ArrayD::zeros(vec![inputs]));
            slopes = graph.affine(g, transposed, none)?;
        }
        Ok(Judged { logits, slopes })
    }

    /// e(t), `[B, width]`.
    fn embedded(&self, graph: &mut Graph<'_>, t: &[usize]) -> Result<Option<Value>, NetworkError> {
        let t: Array1<f64> = t.iter().map(|t| *t as f64).collect();
        match self.embedding {
            LevelEmbedding::None => Ok(None),
            LevelEmbedding::Waves(count) => {
                let waves = nn::step_features(&t.to_vec(), count)?;
                let waves = graph.input(waves);
                graph.linear(waves, "time", self.width).map(Some)
            }
            LevelEmbedding::Published => {
                let column = graph.input(t.insert_axis(ndarray::Axis(1)).into_dyn());
                let mapped = graph.linear(column, "time", self.width)?;
                graph.second_moment_norm(mapped).map(Some)
            }
        }
    }
}

/// The slope of the leaky ReLU.
fn slope(x: f64) -> f64 {
    if x > 0.0 { 1.0 } else { nn::LEAKY_SLOPE }
}
