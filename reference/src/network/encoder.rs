//! The feature network Ψ.

use super::graph::{Graph, Rounding, Value};
use super::{NetworkError, Parameters, Pass, pass, recorded_shapes, require_image};
use ndarray::ArrayD;
use std::collections::BTreeMap;

/// Convolutional encoder Ψ, pre-trained as a classifier.
///
/// # Parameters
/// `conv_in`, `norm.{i}`, `conv.{i}`, `norm_out`, `features`, `classifier`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoder {
    /// Channels of the image.
    pub in_channels: usize,
    /// Channels of each convolution; the sides are halved between them.
    pub widths: Vec<usize>,
    /// Groups of every group norm (at most one per channel).
    pub groups: usize,
    /// Number of features.
    pub dim: usize,
    /// Number of classes.
    pub classes: usize,
}

/// Which output of an [`Encoder`] is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// ψ, `[B, dim]`.
    Features,
    /// The classifier's logits, `[B, classes]`.
    Logits,
}

impl Encoder {
    /// Names and shapes of all parameters.
    ///
    /// # Errors
    /// [`NetworkError::Config`] if the configuration is impossible.
    pub fn parameter_shapes(&self) -> Result<BTreeMap<String, Vec<usize>>, NetworkError> {
        let side = 1 << self.widths.len().saturating_sub(1).min(16);
        let input = [1, self.in_channels, side, side];
        recorded_shapes(&input, |g, x| self.build(g, x, Head::Logits))
    }

    /// Appends the network to a tape: `x: [B, C, H, W]` → `[B, dim]` or `[B, classes]`.
    ///
    /// # Errors
    /// [`NetworkError`] naming what does not fit.
    pub fn build(
        &self,
        graph: &mut Graph<'_>,
        x: Value,
        head: Head,
    ) -> Result<Value, NetworkError> {
        let &[first, ..] = &self.widths[..] else {
            return Err(NetworkError::Config {
                what: "number of widths",
                must: "at least 1".to_owned(),
                got: 0,
            });
        };
        require_image(graph, x, self.in_channels)?;
        let mut h = graph.conv2d(x, "conv_in", first, 3)?;
        for (i, &width) in self.widths.iter().enumerate() {
            let n = graph.group_norm(h, &format!("norm.{i}"), self.groups)?;
            let n = graph.silu(n);
            h = graph.conv2d(n, &format!("conv.{i}"), width, 3)?;
            if i + 1 < self.widths.len() {
                h = graph.avg_pool2x(h)?;
            }
        }
        let h = graph.group_norm(h, "norm_out", self.groups)?;
        let h = graph.silu(h);
        let h = graph.global_avg_pool(h)?;
        let psi = graph.linear(h, "features", self.dim)?;
        match head {
            Head::Features => Ok(psi),
            Head::Logits => graph.linear(psi, "classifier", self.classes),
        }
    }

    /// The output for given parameters and input.
    ///
    /// # Errors
    /// [`NetworkError`] naming what does not fit.
    pub fn forward(
        &self,
        parameters: &Parameters,
        x: &ArrayD<f64>,
        head: Head,
    ) -> Result<ArrayD<f64>, NetworkError> {
        let mut graph = Graph::new(parameters);
        let input = graph.input(x.clone());
        let output = self.build(&mut graph, input, head)?;
        Ok(graph.value(output).clone())
    }

    /// Output, and gradients of `⟨grad_output, output⟩` with respect to input and parameters.
    ///
    /// With [`Head::Features`] the classifier is not part of the network.
    ///
    /// # Errors
    /// [`NetworkError`] naming what does not fit.
    pub fn forward_backward(
        &self,
        parameters: &Parameters,
        x: &ArrayD<f64>,
        head: Head,
        grad_output: &ArrayD<f64>,
    ) -> Result<Pass, NetworkError> {
        pass(
            Graph::new(parameters),
            x,
            |g, x| self.build(g, x, head),
            grad_output,
        )
    }

    /// As [`Encoder::forward_backward`] with every intermediate result rounded by `rounding`.
    ///
    /// # Errors
    /// [`NetworkError`] naming what does not fit.
    pub fn forward_backward_rounded(
        &self,
        parameters: &Parameters,
        x: &ArrayD<f64>,
        head: Head,
        grad_output: &ArrayD<f64>,
        rounding: Rounding<'_>,
    ) -> Result<Pass, NetworkError> {
        let graph = Graph::rounded(parameters, rounding);
        pass(graph, x, |g, x| self.build(g, x, head), grad_output)
    }
}
