//! The block and the convolution of which EDM's networks are made.

use super::super::graph::{Graph, Value};
use super::super::{NetworkError, require_config};
use crate::nn;
use ndarray::{ArrayD, IxDyn};

/// What a convolution does to the resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resampling {
    /// Nothing.
    None,
    /// Halves it.
    Down,
    /// Doubles it.
    Up,
}

/// A convolution with a change of resolution before it, or `fused` with it.
///
/// # Formula
/// With the filter f of `taps` (n of them, p = ⌊(n − 1)/2⌋), a kernel of side k and q = ⌊k/2⌋:
/// ```text
/// none:        y = conv(x; padding q)
/// down:        y = conv(fir_down(x; p); q)            fused:  y = fir_down(conv(x; q + p); 0)
/// up:          y = conv(fir_up(x; p); q)              fused:  y = conv(fir_up(x; max(p − q, 0)); max(q − p, 0))
/// ```
/// and without a kernel (k = 0) only the filter.
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), App. F.1; facts of the published code.
#[derive(Debug, Clone, PartialEq)]
pub struct Convolution {
    /// Output channels.
    pub outputs: usize,
    /// Side of the kernel; 0 for none.
    pub kernel: usize,
    /// What it does to the resolution.
    pub resampling: Resampling,
    /// The taps of the filter.
    pub taps: Vec<f64>,
    /// Whether filter and kernel are one operation.
    pub fused: bool,
}

impl Convolution {
    /// One that keeps the resolution.
    pub fn plain(outputs: usize, kernel: usize) -> Self {
        Self {
            outputs,
            kernel,
            resampling: Resampling::None,
            taps: vec![1.0, 1.0],
            fused: false,
        }
    }

    /// Appends it under `name`: `x: [B, C, H, W]` → `[B, outputs, H', W']`.
    ///
    /// # Parameters
    /// `name.weight`, `name.bias` with a kernel; the constant `name.resample_filter` with a change of resolution.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn build(
        &self,
        graph: &mut Graph<'_>,
        x: Value,
        name: &str,
    ) -> Result<Value, NetworkError> {
        let n = self.taps.len();
        let (p, q) = ((n.max(1) - 1) / 2, self.kernel / 2);
        let filter = match self.resampling {
            Resampling::None => None,
            _ => Some(self.filter(graph, name)?),
        };
        let conv = |graph: &mut Graph<'_>, x: Value, padding: usize| match self.kernel {
            0 => Ok(x),
            kernel => graph.conv2d_padded(x, name, self.outputs, kernel, padding),
        };
        let fused = self.fused && self.kernel > 0;
        match (self.resampling, filter) {
            (Resampling::Down, Some(f)) if fused => {
                let y = conv(graph, x, q + p)?;
                graph.fir_down(y, &f, 0)
            }
            (Resampling::Down, Some(f)) => {
                let y = graph.fir_down(x, &f, p)?;
                conv(graph, y, q)
            }
            (Resampling::Up, Some(f)) if fused => {
                let y = graph.fir_up(x, &f, p.saturating_sub(q))?;
                conv(graph, y, q.saturating_sub(p))
            }
            (Resampling::Up, Some(f)) => {
                let y = graph.fir_up(x, &f, p)?;
                conv(graph, y, q)
            }
            _ => conv(graph, x, q),
        }
    }

    /// The constant `name.resample_filter`, `[1, 1, n, n]`, as a matrix.
    fn filter(&self, graph: &mut Graph<'_>, name: &str) -> Result<ArrayD<f64>, NetworkError> {
        let n = self.taps.len();
        require_config(
            n > 0,
            "number of taps of the resampling filter",
            "at least 1",
            n,
        )?;
        let filter = nn::reshaped(&nn::fir_filter(&self.taps), IxDyn(&[1, 1, n, n]))?;
        let filter = graph.constant(&format!("{name}.resample_filter"), filter)?;
        Ok(nn::reshaped(&filter, IxDyn(&[n, n]))?)
    }
}

/// A residual block with an embedding of the condition, a change of resolution and self-attention.
///
/// # Formula
/// ```text
/// h = conv0(silu(norm0(x)))                                     resampled with x where it is
/// h = silu(norm1(h + affine(e)))                                or with (s, t) = halves of affine(e), adaptive:
/// h = silu(norm1(h) (1 + s) + t)
/// y = c (conv1(h) + skip(x))                                    c = skip_scale
/// y = c (y + proj(attention(qkv(norm2(y)))))                    with attention
/// ```
/// `skip` is the identity, a filter, or a convolution of side 1 where the channels change or `resample_proj` asks for one.
/// The outputs of `qkv` are ordered by head, then channel, then q, k, v, the last fastest.
///
/// # Parameters
/// `norm0`, `conv0`, `affine`, `norm1`, `conv1`, `skip`, `norm2`, `qkv`, `proj`.
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), App. F; Dhariwal and Nichol 2021 (arXiv:2105.05233) for the adaptive form.
#[derive(Debug, Clone, PartialEq)]
pub struct UNetBlock {
    /// Output channels.
    pub outputs: usize,
    /// What it does to the resolution.
    pub resampling: Resampling,
    /// The taps of the resampling filter.
    pub taps: Vec<f64>,
    /// Whether a change of resolution alone makes `skip` a convolution.
    pub resample_proj: bool,
    /// Heads of the attention; 0 for no attention.
    pub heads: usize,
    /// What each sum of a branch and its residual is multiplied by.
    pub skip_scale: f64,
    /// ε of the normalisations.
    pub eps: f64,
    /// Whether the embedding scales and shifts after the normalisation instead of being added before.
    pub adaptive_scale: bool,
}

impl UNetBlock {
    /// Appends it: `x: [B, C, H, W]`, `emb: [B, E]` → `[B, outputs, H', W']`.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn build(
        &self,
        graph: &mut Graph<'_>,
        x: Value,
        emb: Value,
    ) -> Result<Value, NetworkError> {
        let inputs = graph.shape(x)[1];
        let resampled = self.resampling != Resampling::None;
        let conv = |kernel: usize| Convolution {
            resampling: self.resampling,
            taps: self.taps.clone(),
            ..Convolution::plain(self.outputs, kernel)
        };
        let h = self.norm(graph, x, "norm0")?;
        let h = graph.silu(h);
        let h = conv(3).build(graph, h, "conv0")?;
        let h = self.condition(graph, h, emb)?;
        let h = graph.silu(h);
        let h = graph.conv2d(h, "conv1", self.outputs, 3)?;
        let skip = if inputs != self.outputs || (resampled && self.resample_proj) {
            conv(1).build(graph, x, "skip")?
        } else if resampled {
            conv(0).build(graph, x, "skip")?
        } else {
            x
        };
        let sum = graph.add(h, skip)?;
        let y = self.scaled(graph, sum);
        if self.heads == 0 {
            return Ok(y);
        }
        let n = self.norm(graph, y, "norm2")?;
        let a = attention(graph, n, self.heads)?;
        let a = graph.conv2d(a, "proj", self.outputs, 1)?;
        let sum = graph.add(a, y)?;
        Ok(self.scaled(graph, sum))
    }

    fn norm(&self, graph: &mut Graph<'_>, x: Value, name: &str) -> Result<Value, NetworkError> {
        group_norm(graph, x, name, self.eps)
    }

    /// The embedding's part, up to the activation.
    fn condition(
        &self,
        graph: &mut Graph<'_>,
        h: Value,
        emb: Value,
    ) -> Result<Value, NetworkError> {
        if self.adaptive_scale {
            let affine = graph.linear(emb, "affine", 2 * self.outputs)?;
            let halves = graph.chunk(affine, 1, 2)?;
            let h = self.norm(graph, h, "norm1")?;
            return graph.modulate(h, halves[0], halves[1], 1);
        }
        let shift = graph.linear(emb, "affine", self.outputs)?;
        let shift = graph.spread(shift, h, 1)?;
        let h = graph.add(h, shift)?;
        self.norm(graph, h, "norm1")
    }

    fn scaled(&self, graph: &mut Graph<'_>, x: Value) -> Value {
        if self.skip_scale.to_bits() == 1_f64.to_bits() {
            return x;
        }
        graph.scale(x, self.skip_scale)
    }
}

/// Group normalisation in `min(32, C/4)` groups, rounded down.
pub(super) fn group_norm(
    graph: &mut Graph<'_>,
    x: Value,
    name: &str,
    eps: f64,
) -> Result<Value, NetworkError> {
    let groups = (graph.shape(x)[1] / 4).min(32);
    graph.group_norm_eps(x, name, groups, eps)
}

/// Self-attention over the pixels, of the layer `qkv` whose outputs are ordered head, channel, (q, k, v).
fn attention(graph: &mut Graph<'_>, x: Value, heads: usize) -> Result<Value, NetworkError> {
    let shape = graph.shape(x);
    let [b, c, t] = [shape[0], shape[1], shape[2] * shape[3]];
    let must = format!("a divisor of the {c} channels");
    require_config(
        c.is_multiple_of(heads),
        "number of attention heads",
        &must,
        heads,
    )?;
    let d = c / heads;
    let qkv = graph.conv2d(x, "qkv", 3 * c, 1)?;
    let split = graph.reshape(qkv, &[b * heads, d, 3, t])?;
    let mut parts = Vec::with_capacity(3);
    for part in graph.chunk(split, 2, 3)? {
        let part = graph.reshape(part, &[b * heads, d, t])?;
        parts.push(graph.permute(part, &[0, 2, 1])?);
    }
    let y = graph.attention(parts[0], parts[1], parts[2])?;
    let y = graph.permute(y, &[0, 2, 1])?;
    graph.reshape(y, &shape)
}
