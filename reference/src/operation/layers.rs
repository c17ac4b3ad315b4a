//! The layers, each with its hand-derived backward pass.

use ndarray::Axis;

use super::{Given, Operation, OperationError};
use crate::bound::nn as bound;
use crate::nn::{self, Conv2dOptions, GROUP_NORM_EPS, LAYER_NORM_EPS};

pub(super) const LAYERS: &[Operation] = &[
    Operation {
        name: "linear",
        formula: "y = x Wᵀ + b",
        inputs: &["x", "weight", "bias"],
        value: |given| {
            let [x, weight, bias, g] = given.arrays(["x", "weight", "bias", "g"])?;
            let grad = nn::linear_vjp(x, weight, g)?;
            let y = nn::linear(x, weight, bias)?;
            Ok(vec![y, grad.x, grad.weight, grad.bias])
        },
        bound: |given, p| {
            let [x, weight, bias, g] = given.exact(["x", "weight", "bias", "g"])?;
            let grad = bound::linear_vjp(&x, &weight, &g, p)?;
            let y = bound::linear(&x, &weight, &bias, p)?;
            Ok(vec![y, grad.x, grad.weight, grad.bias])
        },
    },
    CONV2D,
    Operation {
        name: "conv2d.tiles",
        formula: "y = w ∗ x + b, 3×3 padded by 1, 32 channels: by tiles of 2×2 outputs",
        bound: |given, p| {
            let [x, weight, bias, g] = given.exact(["x", "weight", "bias", "g"])?;
            let grad = bound::conv2d_winograd_vjp(&x, &weight, &g, p)?;
            let y = bound::conv2d_winograd(&x, &weight, &bias, p)?;
            Ok(vec![y, grad.x, grad.weight, grad.bias])
        },
        ..CONV2D
    },
    Operation {
        name: "group-norm",
        formula: "y = γ (x − μ)/√(v + ε) + β over groups of channels and all pixels",
        inputs: &["x", "gamma", "beta"],
        value: |given| {
            let [x, gamma, beta, g] = given.arrays(["x", "gamma", "beta", "g"])?;
            let (groups, eps) = (given.count("groups")?, given.eps(GROUP_NORM_EPS));
            let grad = nn::group_norm_vjp(x, groups, gamma, g, eps)?;
            let y = nn::group_norm(x, groups, gamma, beta, eps)?;
            Ok(vec![y, grad.x, grad.gamma, grad.beta])
        },
        bound: |given, p| {
            let [x, gamma, beta, g] = given.exact(["x", "gamma", "beta", "g"])?;
            let (groups, eps) = (given.count("groups")?, given.eps(GROUP_NORM_EPS));
            let grad = bound::group_norm_vjp(&x, groups, &gamma, &g, eps, p)?;
            let y = bound::group_norm(&x, groups, &gamma, &beta, eps, p)?;
            Ok(vec![y, grad.x, there(grad.gamma)?, there(grad.beta)?])
        },
    },
    Operation {
        name: "layer-norm",
        formula: "y = (x − μ)/√(v + ε) over the last axis",
        inputs: &["x"],
        value: |given| {
            let ([x, g], eps) = (given.arrays(["x", "g"])?, given.eps(LAYER_NORM_EPS));
            let grad = nn::layer_norm_vjp(x, None, g, eps)?;
            Ok(vec![nn::layer_norm(x, None, eps)?, grad.x])
        },
        bound: |given, p| {
            let ([x, g], eps) = (given.exact(["x", "g"])?, given.eps(LAYER_NORM_EPS));
            let grad = bound::layer_norm_vjp(&x, None, &g, eps, p)?;
            Ok(vec![bound::layer_norm(&x, None, eps, p)?, grad.x])
        },
    },
    Operation {
        name: "layer-norm-affine",
        formula: "y = γ (x − μ)/√(v + ε) + β over the last axis",
        inputs: &["x", "gamma", "beta"],
        value: |given| {
            let [x, gamma, beta, g] = given.arrays(["x", "gamma", "beta", "g"])?;
            let eps = given.eps(LAYER_NORM_EPS);
            let grad = nn::layer_norm_vjp(x, Some(gamma), g, eps)?;
            let y = nn::layer_norm(x, Some((gamma, beta)), eps)?;
            let (grad_gamma, grad_beta) = there(grad.affine)?;
            Ok(vec![y, grad.x, grad_gamma, grad_beta])
        },
        bound: |given, p| {
            let [x, gamma, beta, g] = given.exact(["x", "gamma", "beta", "g"])?;
            let eps = given.eps(LAYER_NORM_EPS);
            let grad = bound::layer_norm_vjp(&x, Some(&gamma), &g, eps, p)?;
            let y = bound::layer_norm(&x, Some((&gamma, &beta)), eps, p)?;
            Ok(vec![y, grad.x, there(grad.gamma)?, there(grad.beta)?])
        },
    },
    Operation {
        name: "gated-sum",
        formula: "y = x + γ h with one γ for each sample",
        inputs: &["x", "gate", "h"],
        value: |given| {
            let [x, gate, h, g] = given.arrays(["x", "gate", "h", "g"])?;
            let gate = gate.clone().insert_axis(Axis(1));
            let (y, grad_gate) = (x + &(&gate * h), (g * h).sum_axis(Axis(1)));
            Ok(vec![y, g.clone(), grad_gate, &gate * g])
        },
        bound: |given, p| {
            let [x, gate, h, g] = given.exact(["x", "gate", "h", "g"])?;
            let gate = gate.insert_axis(1);
            let (y, grad_gate) = (
                x.add(&gate.mul(&h, p), p),
                g.mul(&h, p).sum_axis(1, false, p),
            );
            Ok(vec![y, g.clone(), grad_gate, gate.mul(&g, p)])
        },
    },
    Operation {
        name: "silu",
        formula: "y = x/(1 + e^{−x})",
        inputs: &["x"],
        value: |given| {
            let [x, g] = given.arrays(["x", "g"])?;
            Ok(vec![nn::silu(x), nn::silu_vjp(x, g)?])
        },
        bound: |given, p| {
            let [x, g] = given.exact(["x", "g"])?;
            Ok(vec![bound::silu(&x, p), bound::silu_vjp(&x, &g, p)?])
        },
    },
    Operation {
        name: "gelu",
        formula: "y = ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))",
        inputs: &["x"],
        value: |given| {
            let [x, g] = given.arrays(["x", "g"])?;
            Ok(vec![nn::gelu(x), nn::gelu_vjp(x, g)?])
        },
        bound: |given, p| {
            let [x, g] = given.exact(["x", "g"])?;
            Ok(vec![bound::gelu(&x, p), bound::gelu_vjp(&x, &g, p)?])
        },
    },
    Operation {
        name: "leaky-relu",
        formula: "y = x above 0, 0.2 x elsewhere",
        inputs: &["x"],
        value: |given| {
            let [x, g] = given.arrays(["x", "g"])?;
            Ok(vec![nn::leaky_relu(x), nn::leaky_relu_vjp(x, g)?])
        },
        bound: |given, p| {
            let [x, g] = given.exact(["x", "g"])?;
            let grad = bound::leaky_relu_vjp(&x, &g, p)?;
            Ok(vec![bound::leaky_relu(&x, p), grad])
        },
    },
    Operation {
        name: "second-moment-norm",
        formula: "y = x/√(mean x² + 10⁻⁸) over the last axis",
        inputs: &["x"],
        value: |given| {
            let [x, g] = given.arrays(["x", "g"])?;
            Ok(vec![
                nn::second_moment_norm(x)?,
                nn::second_moment_norm_vjp(x, g)?,
            ])
        },
        bound: |given, p| {
            let [x, g] = given.exact(["x", "g"])?;
            let grad = bound::second_moment_norm_vjp(&x, &g, p)?;
            Ok(vec![bound::second_moment_norm(&x, p)?, grad])
        },
    },
    Operation {
        name: "softmax",
        formula: "y = e^x/Σ e^x over the last axis",
        inputs: &["x"],
        value: |given| {
            let [x, g] = given.arrays(["x", "g"])?;
            Ok(vec![nn::softmax(x)?, nn::softmax_vjp(x, g)?])
        },
        bound: |given, p| {
            let [x, g] = given.exact(["x", "g"])?;
            Ok(vec![bound::softmax(&x, p)?, bound::softmax_vjp(&x, &g, p)?])
        },
    },
    Operation {
        name: "attention",
        formula: "y = softmax(Q Kᵀ/√d) V, one head for each leading index",
        inputs: &["q", "k", "v"],
        value: |given| {
            let [q, k, v, g] = given.arrays(["q", "k", "v", "g"])?;
            let grad = nn::attention_vjp(q, k, v, g)?;
            Ok(vec![nn::attention(q, k, v)?, grad.q, grad.k, grad.v])
        },
        bound: |given, p| {
            let [q, k, v, g] = given.exact(["q", "k", "v", "g"])?;
            let grad = bound::attention_vjp(&q, &k, &v, &g, p)?;
            Ok(vec![
                bound::attention(&q, &k, &v, p)?,
                grad.q,
                grad.k,
                grad.v,
            ])
        },
    },
    Operation {
        name: "upsample",
        formula: "each pixel repeated 2×2",
        inputs: &["x"],
        value: |given| {
            let [x, g] = given.arrays(["x", "g"])?;
            Ok(vec![
                nn::upsample_nearest2x(x)?,
                nn::upsample_nearest2x_vjp(g)?,
            ])
        },
        bound: |given, p| {
            let [x, g] = given.exact(["x", "g"])?;
            Ok(vec![
                bound::upsample_nearest2x(&x)?,
                bound::upsample_nearest2x_vjp(&g, p)?,
            ])
        },
    },
    Operation {
        name: "avg-pool",
        formula: "mean of each 2×2 block",
        inputs: &["x"],
        value: |given| {
            let [x, g] = given.arrays(["x", "g"])?;
            Ok(vec![nn::avg_pool2x(x)?, nn::avg_pool2x_vjp(g)?])
        },
        bound: |given, p| {
            let [x, g] = given.exact(["x", "g"])?;
            Ok(vec![
                bound::avg_pool2x(&x, p)?,
                bound::avg_pool2x_vjp(&g, p)?,
            ])
        },
    },
    Operation {
        name: "fir-down",
        formula: "every second pixel of the image filtered by r rᵀ/(Σ r)²",
        inputs: &["x"],
        value: |given| {
            let ([x, g], taps) = (given.arrays(["x", "g"])?, given.taps()?);
            let (f, padding) = (nn::fir_filter(&taps), given.count("padding")?);
            Ok(vec![
                nn::fir_down(x, &f, padding)?,
                nn::fir_down_vjp(x, &f, padding, g)?,
            ])
        },
        bound: |given, p| {
            let ([x, g], taps) = (given.exact(["x", "g"])?, given.taps()?);
            let padding = given.count("padding")?;
            Ok(vec![
                bound::fir_down(&x, &taps, padding, p)?,
                bound::fir_down_vjp(&x, &taps, padding, &g, p)?,
            ])
        },
    },
    Operation {
        name: "fir-up",
        formula: "the image with zeros between its pixels, filtered by 4 r rᵀ/(Σ r)²",
        inputs: &["x"],
        value: |given| {
            let ([x, g], taps) = (given.arrays(["x", "g"])?, given.taps()?);
            let (f, padding) = (nn::fir_filter(&taps), given.count("padding")?);
            Ok(vec![
                nn::fir_up(x, &f, padding)?,
                nn::fir_up_vjp(x, &f, padding, g)?,
            ])
        },
        bound: |given, p| {
            let ([x, g], taps) = (given.exact(["x", "g"])?, given.taps()?);
            let padding = given.count("padding")?;
            Ok(vec![
                bound::fir_up(&x, &taps, padding, p)?,
                bound::fir_up_vjp(&x, &taps, padding, &g, p)?,
            ])
        },
    },
    Operation {
        name: "global-avg-pool",
        formula: "mean over all pixels",
        inputs: &["x"],
        value: |given| {
            let [x, g] = given.arrays(["x", "g"])?;
            Ok(vec![
                nn::global_avg_pool(x)?,
                nn::global_avg_pool_vjp(x, g)?,
            ])
        },
        bound: |given, p| {
            let [x, g] = given.exact(["x", "g"])?;
            Ok(vec![
                bound::global_avg_pool(&x, p)?,
                bound::global_avg_pool_vjp(&x, &g, p)?,
            ])
        },
    },
    Operation {
        name: "embedding",
        formula: "rows of a table",
        inputs: &["table"],
        value: |given| {
            let ([table, g], index) = (given.arrays(["table", "g"])?, given.indices("index")?);
            Ok(vec![
                nn::embedding(table, &index)?,
                nn::embedding_vjp(table, &index, g)?,
            ])
        },
        bound: |given, p| {
            let ([table, g], index) = (given.exact(["table", "g"])?, given.indices("index")?);
            let grad = bound::embedding_vjp(&table, &index, &g, p)?;
            Ok(vec![bound::embedding(&table, &index)?, grad])
        },
    },
    Operation {
        name: "cross-entropy",
        formula: "L = mean of ln Σ e^z − z_label",
        inputs: &["logits"],
        value: |given| {
            let l = nn::cross_entropy(given.array("logits")?, &given.indices("labels")?)?;
            Ok(vec![ndarray::arr0(l.loss).into_dyn(), l.grad_logits])
        },
        bound: |given, p| {
            let [logits] = given.exact(["logits"])?;
            let l = bound::cross_entropy(&logits, &given.indices("labels")?, p)?;
            Ok(vec![l.loss, l.grad_logits])
        },
    },
];

const CONV2D: Operation = Operation {
    name: "conv2d",
    formula: "y = w ∗ x + b, 3×3 padded by 1 or 1×1",
    inputs: &["x", "weight", "bias"],
    value: |given| {
        let [x, weight, bias, g] = given.arrays(["x", "weight", "bias", "g"])?;
        let options = convolution(given)?;
        let grad = nn::conv2d_vjp(x, weight, g, options)?;
        let y = nn::conv2d(x, weight, bias, options)?;
        Ok(vec![y, grad.x, grad.weight, grad.bias])
    },
    bound: |given, p| {
        let [x, weight, bias, g] = given.exact(["x", "weight", "bias", "g"])?;
        let options = convolution(given)?;
        let grad = bound::conv2d_vjp(&x, &weight, &g, options, p)?;
        let y = bound::conv2d(&x, &weight, &bias, options, p)?;
        Ok(vec![y, grad.x, grad.weight, grad.bias])
    },
};

/// `padding`, and `stride` where it is given.
fn convolution(given: Given<'_>) -> Result<Conv2dOptions, OperationError> {
    Ok(Conv2dOptions {
        stride: given.count("stride").unwrap_or(1),
        padding: given.count("padding")?,
    })
}

/// The gradient of a normalisation's γ or β, which is there where γ was given.
fn there<T>(gradient: Option<T>) -> Result<T, OperationError> {
    gradient.ok_or(OperationError::Missing("gamma"))
}
