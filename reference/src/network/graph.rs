//! A tape: every node is a value with its hand-derived backward, so that layers compose into networks.

use super::{NetworkError, Parameters};
use crate::nn::{self, Conv2dOptions, NnError};
use ndarray::{ArrayD, Axis, Slice};
use std::collections::BTreeMap;

/// A node of a [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value(usize);

/// Maps (values of the parents, gradient of the node) to the gradients of the parents.
type Backward = Box<dyn Fn(&[&ArrayD<f64>], &ArrayD<f64>) -> Result<Vec<ArrayD<f64>>, NnError>>;

struct Node {
    value: ArrayD<f64>,
    parents: Vec<Value>,
    backward: Backward,
}

/// A rounding applied to the result of every arithmetic node, forward and backward.
///
/// The identity gives the exact network; rounding to f32, or multiplying by `1 + u ξ` with random ξ, gives one
/// evaluation in a coarser arithmetic, whose distance to the exact one measures the network's sensitivity.
pub type Rounding<'a> = &'a dyn Fn(f64) -> f64;

/// The tape of one forward pass.
///
/// Operations append nodes in the order of evaluation, so walking the tape backwards meets every node after all its
/// users. Parameters are looked up by name under the current prefix (see [`Graph::scope`]).
pub struct Graph<'a> {
    source: Option<&'a Parameters>,
    rounding: Option<Rounding<'a>>,
    nodes: Vec<Node>,
    parameters: BTreeMap<String, Value>,
    fixed: BTreeMap<String, Value>,
    constants: BTreeMap<String, ArrayD<f64>>,
    noted: BTreeMap<String, Value>,
    prefix: Vec<String>,
    kink: f64,
}

/// Gradients of every node of a tape for one gradient of its output.
pub struct Gradients(Vec<Option<ArrayD<f64>>>);

type Built = Result<Value, NetworkError>;

impl<'a> Graph<'a> {
    /// An empty tape reading `parameters`.
    pub fn new(parameters: &'a Parameters) -> Self {
        Self::with(Some(parameters), None)
    }

    /// An empty tape whose arithmetic is rounded after every node.
    pub fn rounded(parameters: &'a Parameters, rounding: Rounding<'a>) -> Self {
        Self::with(Some(parameters), Some(rounding))
    }

    /// An empty tape on which every parameter exists and is zero: it records which ones a network asks for.
    pub fn recording() -> Self {
        Self::with(None, None)
    }

    fn with(source: Option<&'a Parameters>, rounding: Option<Rounding<'a>>) -> Self {
        Self {
            source,
            rounding,
            nodes: Vec::new(),
            parameters: BTreeMap::new(),
            fixed: BTreeMap::new(),
            constants: BTreeMap::new(),
            noted: BTreeMap::new(),
            prefix: Vec::new(),
            kink: f64::INFINITY,
        }
    }

    /// The value of a node.
    ///
    /// # Panics
    /// If the node is of another, longer tape.
    pub fn value(&self, x: Value) -> &ArrayD<f64> {
        &self.nodes[x.0].value
    }

    /// The shape of a node.
    pub fn shape(&self, x: Value) -> Vec<usize> {
        self.value(x).shape().to_vec()
    }

    /// The parameters used so far, by full name.
    pub fn parameters(&self) -> &BTreeMap<String, Value> {
        &self.parameters
    }

    /// The [fixed](Self::fixed) tensors used so far, by full name.
    pub fn all_fixed(&self) -> &BTreeMap<String, Value> {
        &self.fixed
    }

    /// Keeps the full name of an intermediate result, by which a caller may look at it.
    pub fn note(&mut self, name: &str, x: Value) {
        let full = self.full_name(name);
        self.noted.insert(full, x);
    }

    /// The intermediate results with names.
    pub fn noted(&self) -> &BTreeMap<String, Value> {
        &self.noted
    }

    /// Builds a part of the network under `prefix.name`.
    ///
    /// # Errors
    /// What `build` returns.
    pub fn scope(&mut self, name: &str, build: impl FnOnce(&mut Self) -> Built) -> Built {
        self.prefix.push(name.to_owned());
        let built = build(self);
        self.prefix.pop();
        built
    }

    /// A constant or an input.
    pub fn input(&mut self, value: ArrayD<f64>) -> Value {
        self.push(value, Vec::new(), Box::new(|_, _| Ok(Vec::new())))
    }

    /// The parameter `name` under the current prefix, of the shape the network needs.
    ///
    /// # Errors
    /// [`NetworkError::Missing`] or [`NetworkError::Parameter`], with the full name.
    pub fn parameter(&mut self, name: &str, shape: &[usize]) -> Built {
        let full = self.full_name(name);
        if let Some(&known) = self.parameters.get(&full) {
            return Ok(known);
        }
        let node = self.given(&full, shape)?;
        self.parameters.insert(full, node);
        Ok(node)
    }

    /// The tensor `name` under the current prefix, given with the parameters, that is no parameter: it gets no gradient.
    ///
    /// # Errors
    /// As [`Graph::parameter`].
    pub fn fixed(&mut self, name: &str, shape: &[usize]) -> Built {
        let full = self.full_name(name);
        if let Some(&known) = self.fixed.get(&full) {
            return Ok(known);
        }
        let node = self.given(&full, shape)?;
        self.fixed.insert(full, node);
        Ok(node)
    }

    /// The [constants](Self::constant) used so far, by full name.
    pub fn constants(&self) -> &BTreeMap<String, ArrayD<f64>> {
        &self.constants
    }

    /// The [fixed](Self::fixed) tensor `name` whose numbers the configuration says.
    ///
    /// # Errors
    /// As [`Graph::parameter`]; [`NetworkError::Constant`] if it is given with other numbers, up to what a rounding to bf16 does and the
    /// perturbations of a measured allowance.
    pub fn constant(
        &mut self,
        name: &str,
        value: ArrayD<f64>,
    ) -> Result<ArrayD<f64>, NetworkError> {
        let full = self.full_name(name);
        let node = self.fixed(name, value.shape())?;
        if self.source.is_none() {
            self.constants.insert(full, value.clone());
            return Ok(value);
        }
        let given = self.value(node).clone();
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= b.abs() / 64.0;
        if !given.iter().zip(&value).all(near) {
            return Err(NetworkError::Constant { name: full });
        }
        self.constants.insert(full, value);
        Ok(given)
    }

    /// What the source holds under a full name, as an input.
    fn given(&mut self, full: &str, shape: &[usize]) -> Built {
        let name = full.to_owned();
        let value = match self.source {
            None => ArrayD::zeros(shape),
            Some(source) => match source.get(full) {
                None => return Err(NetworkError::Missing { name }),
                Some(value) => value.clone(),
            },
        };
        if value.shape() != shape {
            return Err(NetworkError::Parameter {
                name,
                must: shape.to_vec(),
                got: value.shape().to_vec(),
            });
        }
        Ok(self.input(value))
    }

    /// The full name of `name` under the current prefix.
    pub fn full_name(&self, name: &str) -> String {
        let mut parts = self.prefix.clone();
        parts.push(name.to_owned());
        parts.join(".")
    }

    /// [`nn::linear`] with the parameters `name.weight`, `name.bias`.
    ///
    /// # Errors
    /// [`NetworkError`] on a missing or ill-shaped parameter or input.
    pub fn linear(&mut self, x: Value, name: &str, out: usize) -> Built {
        let inputs = self.shape(x).last().copied().unwrap_or(0);
        let weight = self.parameter(&format!("{name}.weight"), &[out, inputs])?;
        let bias = self.parameter(&format!("{name}.bias"), &[out])?;
        self.affine(x, weight, bias)
    }

    /// [`nn::linear`] with a weight `[out, inputs]` and a bias that are nodes.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if the shapes do not fit.
    pub fn affine(&mut self, x: Value, weight: Value, bias: Value) -> Built {
        let y = nn::linear(self.value(x), self.value(weight), self.value(bias))?;
        Ok(self.arithmetic(y, &[x, weight, bias], |p, g| {
            let grad = nn::linear_vjp(p[0], p[1], g)?;
            Ok(vec![grad.x, grad.weight, grad.bias])
        }))
    }

    /// [`nn::linear`] without a bias, parameter `name.weight`.
    ///
    /// # Errors
    /// [`NetworkError`] on a missing or ill-shaped parameter or input.
    pub fn linear_map(&mut self, x: Value, name: &str, out: usize) -> Built {
        let inputs = self.shape(x).last().copied().unwrap_or(0);
        let weight = self.parameter(&format!("{name}.weight"), &[out, inputs])?;
        let none = self.input(ArrayD::zeros(vec![out]));
        self.affine(x, weight, none)
    }

    /// [`nn::fir_down`] by a filter that is not trained.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if the shapes do not fit.
    pub fn fir_down(&mut self, x: Value, filter: &ArrayD<f64>, padding: usize) -> Built {
        let y = nn::fir_down(self.value(x), filter, padding)?;
        let filter = filter.clone();
        Ok(self.arithmetic(y, &[x], move |p, g| {
            Ok(vec![nn::fir_down_vjp(p[0], &filter, padding, g)?])
        }))
    }

    /// [`nn::fir_up`] by a filter that is not trained.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if the shapes do not fit.
    pub fn fir_up(&mut self, x: Value, filter: &ArrayD<f64>, padding: usize) -> Built {
        let y = nn::fir_up(self.value(x), filter, padding)?;
        let filter = filter.clone();
        Ok(self.arithmetic(y, &[x], move |p, g| {
            Ok(vec![nn::fir_up_vjp(p[0], &filter, padding, g)?])
        }))
    }

    /// `c x` with a constant.
    pub fn scale(&mut self, x: Value, c: f64) -> Value {
        let y = self.value(x) * c;
        self.arithmetic(y, &[x], move |_, g| Ok(vec![g * c]))
    }

    /// [`nn::conv2d`] with an odd square kernel that keeps the size, parameters `name.weight`, `name.bias`.
    ///
    /// # Errors
    /// [`NetworkError`] on a missing or ill-shaped parameter or input.
    pub fn conv2d(&mut self, x: Value, name: &str, out: usize, kernel: usize) -> Built {
        self.conv2d_padded(x, name, out, kernel, kernel / 2)
    }

    /// [`nn::conv2d`] of stride 1 with as many zeros around the image as one likes, parameters `name.weight`, `name.bias`.
    ///
    /// # Errors
    /// [`NetworkError`] on a missing or ill-shaped parameter or input.
    pub fn conv2d_padded(
        &mut self,
        x: Value,
        name: &str,
        out: usize,
        kernel: usize,
        padding: usize,
    ) -> Built {
        let channels = self.channels(x)?;
        let weight = self.parameter(&format!("{name}.weight"), &[out, channels, kernel, kernel])?;
        let bias = self.parameter(&format!("{name}.bias"), &[out])?;
        self.convolve(x, weight, bias, Conv2dOptions { stride: 1, padding })
    }

    /// [`nn::conv2d`] without a bias, parameter `name.weight`.
    ///
    /// # Errors
    /// [`NetworkError`] on a missing or ill-shaped parameter or input.
    pub fn conv2d_map(
        &mut self,
        x: Value,
        name: &str,
        out: usize,
        kernel: usize,
        options: Conv2dOptions,
    ) -> Built {
        let channels = self.channels(x)?;
        let weight = self.parameter(&format!("{name}.weight"), &[out, channels, kernel, kernel])?;
        let none = self.input(ArrayD::zeros(vec![out]));
        self.convolve(x, weight, none, options)
    }

    /// [`nn::conv2d`] with a kernel `[out, C, k, k]` and a bias that are nodes.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if the shapes do not fit.
    pub fn convolve(
        &mut self,
        x: Value,
        weight: Value,
        bias: Value,
        options: Conv2dOptions,
    ) -> Built {
        let y = nn::conv2d(self.value(x), self.value(weight), self.value(bias), options)?;
        Ok(self.arithmetic(y, &[x, weight, bias], move |p, g| {
            let grad = nn::conv2d_vjp(p[0], p[1], g, options)?;
            Ok(vec![grad.x, grad.weight, grad.bias])
        }))
    }

    /// [`nn::group_norm`] in `min(groups, C)` groups, parameters `name.weight`, `name.bias`.
    ///
    /// # Errors
    /// [`NetworkError`] on a missing or ill-shaped parameter, or if the groups do not divide the channels.
    pub fn group_norm(&mut self, x: Value, name: &str, groups: usize) -> Built {
        self.group_norm_eps(x, name, groups, nn::GROUP_NORM_EPS)
    }

    /// [`group_norm`](Self::group_norm) with an ε of its own.
    ///
    /// # Errors
    /// As [`group_norm`](Self::group_norm).
    pub fn group_norm_eps(&mut self, x: Value, name: &str, groups: usize, eps: f64) -> Built {
        let channels = self.channels(x)?;
        let groups = groups.min(channels);
        let gamma = self.parameter(&format!("{name}.weight"), &[channels])?;
        let beta = self.parameter(&format!("{name}.bias"), &[channels])?;
        let y = nn::group_norm(
            self.value(x),
            groups,
            self.value(gamma),
            self.value(beta),
            eps,
        )?;
        Ok(self.arithmetic(y, &[x, gamma, beta], move |p, g| {
            let grad = nn::group_norm_vjp(p[0], groups, p[1], g, eps)?;
            Ok(vec![grad.x, grad.gamma, grad.beta])
        }))
    }

    /// [`nn::layer_norm`] without gain and offset.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if the last axis is empty.
    pub fn layer_norm(&mut self, x: Value) -> Built {
        let y = nn::layer_norm(self.value(x), None, nn::LAYER_NORM_EPS)?;
        Ok(self.arithmetic(y, &[x], |p, g| {
            Ok(vec![
                nn::layer_norm_vjp(p[0], None, g, nn::LAYER_NORM_EPS)?.x,
            ])
        }))
    }

    /// [`nn::silu`].
    pub fn silu(&mut self, x: Value) -> Value {
        let y = nn::silu(self.value(x));
        self.arithmetic(y, &[x], |p, g| Ok(vec![nn::silu_vjp(p[0], g)?]))
    }

    /// [`nn::relu`].
    pub fn relu(&mut self, x: Value) -> Value {
        let nearest = (self.value(x).iter()).fold(self.kink, |m, x| m.min(x.abs()));
        self.kink = nearest;
        let y = nn::relu(self.value(x));
        self.structural(y, &[x], |p, g| Ok(vec![nn::relu_vjp(p[0], g)?]))
    }

    /// The least distance of an input of a [rectifier](Self::relu) so far from its kink, where no gradient is defined.
    pub fn nearest_kink(&self) -> f64 {
        self.kink
    }

    /// [`nn::soft_clamp`].
    pub fn soft_clamp(&mut self, x: Value, c: f64) -> Value {
        let y = nn::soft_clamp(self.value(x), c);
        self.arithmetic(y, &[x], move |p, g| {
            Ok(vec![nn::soft_clamp_vjp(p[0], c, g)?])
        })
    }

    /// `a x + b`.
    pub fn shifted(&mut self, x: Value, a: f64, b: f64) -> Value {
        let y = self.value(x) * a + b;
        self.arithmetic(y, &[x], move |_, g| Ok(vec![g * a]))
    }

    /// [`nn::gelu`].
    pub fn gelu(&mut self, x: Value) -> Value {
        let y = nn::gelu(self.value(x));
        self.arithmetic(y, &[x], |p, g| Ok(vec![nn::gelu_vjp(p[0], g)?]))
    }

    /// [`nn::leaky_relu`].
    pub fn leaky_relu(&mut self, x: Value) -> Value {
        let y = nn::leaky_relu(self.value(x));
        self.arithmetic(y, &[x], |p, g| Ok(vec![nn::leaky_relu_vjp(p[0], g)?]))
    }

    /// [`nn::second_moment_norm`].
    ///
    /// # Errors
    /// [`NetworkError::Layer`] for a number without an axis.
    pub fn second_moment_norm(&mut self, x: Value) -> Built {
        let y = nn::second_moment_norm(self.value(x))?;
        Ok(self.arithmetic(y, &[x], |p, g| {
            Ok(vec![nn::second_moment_norm_vjp(p[0], g)?])
        }))
    }

    /// [`nn::attention`].
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if the shapes do not fit.
    pub fn attention(&mut self, q: Value, k: Value, v: Value) -> Built {
        let y = nn::attention(self.value(q), self.value(k), self.value(v))?;
        Ok(self.arithmetic(y, &[q, k, v], |p, g| {
            let grad = nn::attention_vjp(p[0], p[1], p[2], g)?;
            Ok(vec![grad.q, grad.k, grad.v])
        }))
    }

    /// [`nn::embedding`] of the rows of the parameter `name.weight`, `[rows, dim]`.
    ///
    /// # Errors
    /// [`NetworkError`] on a missing or ill-shaped parameter or an index out of range.
    pub fn embedding(&mut self, name: &str, rows: usize, dim: usize, index: Vec<u32>) -> Built {
        let table = self.parameter(&format!("{name}.weight"), &[rows, dim])?;
        self.rows(table, index)
    }

    /// [`nn::embedding`] of the rows of a table that is a node.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] for an index out of range.
    pub fn rows(&mut self, table: Value, index: Vec<u32>) -> Built {
        let y = nn::embedding(self.value(table), &index)?;
        Ok(self.structural(y, &[table], move |p, g| {
            Ok(vec![nn::embedding_vjp(p[0], &index, g)?])
        }))
    }

    /// [`nn::upsample_nearest2x`].
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if `x` is not an image batch.
    pub fn upsample_nearest2x(&mut self, x: Value) -> Built {
        let y = nn::upsample_nearest2x(self.value(x))?;
        Ok(self.arithmetic(y, &[x], |_, g| Ok(vec![nn::upsample_nearest2x_vjp(g)?])))
    }

    /// [`nn::avg_pool2x`].
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if `x` is not an image batch with even sides.
    pub fn avg_pool2x(&mut self, x: Value) -> Built {
        let y = nn::avg_pool2x(self.value(x))?;
        Ok(self.arithmetic(y, &[x], |_, g| Ok(vec![nn::avg_pool2x_vjp(g)?])))
    }

    /// [`nn::global_avg_pool`].
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if `x` is not an image batch.
    pub fn global_avg_pool(&mut self, x: Value) -> Built {
        let y = nn::global_avg_pool(self.value(x))?;
        Ok(self.arithmetic(y, &[x], |p, g| Ok(vec![nn::global_avg_pool_vjp(p[0], g)?])))
    }

    /// Sum of two nodes of one shape.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if the shapes differ.
    pub fn add(&mut self, a: Value, b: Value) -> Built {
        nn::require_shape("add", "b", self.value(b), self.value(a).shape())?;
        let y = self.value(a) + self.value(b);
        Ok(self.arithmetic(y, &[a, b], |_, g| Ok(vec![g.clone(), g.clone()])))
    }

    /// Elementwise product of two nodes of one shape.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if the shapes differ.
    pub fn mul(&mut self, a: Value, b: Value) -> Built {
        nn::require_shape("mul", "b", self.value(b), self.value(a).shape())?;
        let y = self.value(a) * self.value(b);
        Ok(self.arithmetic(y, &[a, b], |p, g| Ok(vec![g * p[1], g * p[0]])))
    }

    /// `x · (1 + scale) + shift` with one scale and shift per sample and channel.
    ///
    /// # Shapes
    /// `scale, shift: [B, C]`; `x: [B, C, H, W]` for `channel_axis = 1`, `[B, T, C]` for 2.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if the shapes do not fit.
    pub fn modulate(&mut self, x: Value, scale: Value, shift: Value, channel_axis: usize) -> Built {
        let one_plus = {
            let y = self.value(scale) + 1.0;
            self.arithmetic(y, &[scale], |_, g| Ok(vec![g.clone()]))
        };
        let factor = self.spread(one_plus, x, channel_axis)?;
        let offset = self.spread(shift, x, channel_axis)?;
        let scaled = self.mul(x, factor)?;
        self.add(scaled, offset)
    }

    /// Repeats `c: [B, C]` over all other axes of `like`, whose axis `channel_axis` is C.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if the shapes do not fit.
    pub fn spread(&mut self, c: Value, like: Value, channel_axis: usize) -> Built {
        let target = self.shape(like);
        let must = || format!("an axis after the first of {target:?}");
        nn::require(
            (1..target.len()).contains(&channel_axis),
            "spread",
            "channel axis",
            must,
            channel_axis,
        )?;
        let mut narrow = vec![1; target.len()];
        for axis in [0, channel_axis] {
            narrow[axis] = target[axis];
        }
        nn::require_shape(
            "spread",
            "c",
            self.value(c),
            &[target[0], target[channel_axis]],
        )?;
        let column = nn::reshaped(self.value(c), narrow.clone())?;
        let y = ArrayD::from_shape_fn(target, |index| {
            let mut at = index;
            for axis in (1..narrow.len()).filter(|&axis| axis != channel_axis) {
                at[axis] = 0;
            }
            column[at]
        });
        Ok(self.arithmetic(y, &[c], move |p, g| {
            let mut sum = g.clone();
            for axis in (1..g.ndim()).rev().filter(|&axis| axis != channel_axis) {
                sum = sum.sum_axis(Axis(axis));
            }
            Ok(vec![nn::reshaped(&sum, p[0].raw_dim())?])
        }))
    }

    /// `x: [1, …]` n times, `[n, …]`.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if the first axis is not 1.
    pub fn repeat(&mut self, x: Value, n: usize) -> Built {
        let mut shape = self.shape(x);
        let first = shape.first().copied().unwrap_or(0);
        nn::require(first == 1, "repeat", "first axis", || "1".to_owned(), first)?;
        shape[0] = n;
        let y = ArrayD::from_shape_fn(shape, |mut i| {
            i[0] = 0;
            self.value(x)[i]
        });
        Ok(self.arithmetic(y, &[x], |_, g| {
            Ok(vec![g.sum_axis(Axis(0)).insert_axis(Axis(0))])
        }))
    }

    /// The same numbers in row-major order under another shape.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if the sizes differ.
    pub fn reshape(&mut self, x: Value, shape: &[usize]) -> Built {
        let y = nn::reshaped(self.value(x), shape)?;
        Ok(self.structural(y, &[x], |p, g| Ok(vec![nn::reshaped(g, p[0].raw_dim())?])))
    }

    /// Axis `k` of the result is axis `order[k]` of `x`; `order` is a permutation of the axes.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if `order` is not a permutation of the axes.
    pub fn permute(&mut self, x: Value, order: &[usize]) -> Built {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..self.value(x).ndim()) {
            return Err(NetworkError::Layer(NnError::Shape {
                layer: "permute",
                argument: "x",
                must: format!("of the {} axes of the order", order.len()),
                got: self.shape(x),
            }));
        }
        let y = permuted(self.value(x), order);
        let mut inverse = vec![0; order.len()];
        for (to, &from) in order.iter().enumerate() {
            inverse[from] = to;
        }
        Ok(self.structural(y, &[x], move |_, g| Ok(vec![permuted(g, &inverse)])))
    }

    /// The `len` entries from `start` of one axis.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if the axis has fewer entries.
    pub fn narrow(&mut self, x: Value, axis: usize, start: usize, len: usize) -> Built {
        let size = self.shape(x).get(axis).copied().unwrap_or(0);
        let must = || format!("at most the {size} entries of axis {axis}");
        nn::require(start + len <= size, "narrow", "end", must, start + len)?;
        let part = move || Slice::from(start..start + len);
        let y = self.value(x).slice_axis(Axis(axis), part()).to_owned();
        Ok(self.structural(y, &[x], move |p, g| {
            let mut whole = ArrayD::zeros(p[0].raw_dim());
            whole.slice_axis_mut(Axis(axis), part()).assign(g);
            Ok(vec![whole])
        }))
    }

    /// `n` equal parts of one axis.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if `n` does not divide the axis.
    pub fn chunk(&mut self, x: Value, axis: usize, n: usize) -> Result<Vec<Value>, NetworkError> {
        let size = self.shape(x).get(axis).copied().unwrap_or(0);
        let must = || format!("a divisor of the {size} entries of axis {axis}");
        nn::require(
            n > 0 && size.is_multiple_of(n),
            "chunk",
            "number of parts",
            must,
            n,
        )?;
        (0..n)
            .map(|i| self.narrow(x, axis, i * (size / n), size / n))
            .collect()
    }

    /// `a` followed by `b` along one axis.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if the other axes differ.
    pub fn concat(&mut self, a: Value, b: Value, axis: usize) -> Built {
        let y = ndarray::concatenate(Axis(axis), &[self.value(a).view(), self.value(b).view()])
            .map_err(|_| NnError::Shape {
                layer: "concat",
                argument: "b",
                must: format!("{:?} except on axis {axis}", self.shape(a)),
                got: self.shape(b),
            })?;
        Ok(self.structural(y, &[a, b], move |p, g| {
            let (first, second) = g.view().split_at(Axis(axis), p[0].len_of(Axis(axis)));
            Ok(vec![first.to_owned(), second.to_owned()])
        }))
    }

    /// Gradients of `⟨grad, output⟩` with respect to every node.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if `grad` is not shaped like the output.
    pub fn backward(&self, output: Value, grad: &ArrayD<f64>) -> Result<Gradients, NetworkError> {
        nn::require_shape(
            "network",
            "gradient of the output",
            grad,
            self.value(output).shape(),
        )?;
        let mut grads: Vec<Option<ArrayD<f64>>> = vec![None; self.nodes.len()];
        grads[output.0] = Some(grad.clone());
        for (index, node) in self.nodes.iter().enumerate().rev() {
            let Some(grad) = grads[index].clone() else {
                continue;
            };
            let values: Vec<_> = node.parents.iter().map(|&p| self.value(p)).collect();
            for (parent, part) in node.parents.iter().zip((node.backward)(&values, &grad)?) {
                let part = self.round(part);
                let sum = match grads[parent.0].take() {
                    Some(sum) => self.round(sum + part),
                    None => part,
                };
                grads[parent.0] = Some(sum);
            }
        }
        Ok(Gradients(grads))
    }

    fn channels(&self, x: Value) -> Result<usize, NetworkError> {
        match self.value(x).shape() {
            &[_, c, _, _] => Ok(c),
            got => Err(NetworkError::Layer(NnError::Shape {
                layer: "network",
                argument: "x",
                must: "[B, C, H, W]".to_owned(),
                got: got.to_vec(),
            })),
        }
    }

    fn round(&self, value: ArrayD<f64>) -> ArrayD<f64> {
        match self.rounding {
            Some(rounding) => value.mapv_into(rounding),
            None => value,
        }
    }

    /// A node whose value was computed, hence rounded.
    fn arithmetic(
        &mut self,
        value: ArrayD<f64>,
        parents: &[Value],
        backward: impl Fn(&[&ArrayD<f64>], &ArrayD<f64>) -> Result<Vec<ArrayD<f64>>, NnError> + 'static,
    ) -> Value {
        let value = self.round(value);
        self.push(value, parents.to_vec(), Box::new(backward))
    }

    /// A node that only moves numbers.
    fn structural(
        &mut self,
        value: ArrayD<f64>,
        parents: &[Value],
        backward: impl Fn(&[&ArrayD<f64>], &ArrayD<f64>) -> Result<Vec<ArrayD<f64>>, NnError> + 'static,
    ) -> Value {
        self.push(value, parents.to_vec(), Box::new(backward))
    }

    fn push(&mut self, value: ArrayD<f64>, parents: Vec<Value>, backward: Backward) -> Value {
        self.nodes.push(Node {
            value,
            parents,
            backward,
        });
        Value(self.nodes.len() - 1)
    }
}

impl Gradients {
    /// The gradient of a node, zero if the output does not depend on it.
    pub fn of(&self, graph: &Graph<'_>, x: Value) -> ArrayD<f64> {
        self.0[x.0]
            .clone()
            .unwrap_or_else(|| ArrayD::zeros(graph.shape(x)))
    }
}

/// A row-major copy with the axes in another order.
fn permuted(x: &ArrayD<f64>, order: &[usize]) -> ArrayD<f64> {
    x.view()
        .permuted_axes(order)
        .as_standard_layout()
        .into_owned()
}
