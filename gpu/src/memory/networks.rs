//! The networks as sizes, layer by layer as [`network`](crate::network) makes them.

use super::layers::Images;
use super::sketch::{Id, Sketch};
use crate::features::EncoderConfig;
use crate::network::{DitConfig, UNetConfig};

/// A number of things as a size.
fn real(n: usize) -> f64 {
    n as f64
}

/// The silu of the embedded noise level and class: `[B, dim]`.
fn condition(
    s: &mut Sketch,
    batch: f64,
    [time_dim, dim]: [f64; 2],
    classes: f64,
    within: &str,
) -> Id {
    s.at(format!("{within}.time.0"));
    let features = s.input(batch * time_dim);
    let hidden = s.linear(features, batch, time_dim, dim);
    let hidden = s.function(hidden);
    s.at(format!("{within}.time.1"));
    let embedded = s.linear(hidden, batch, dim, dim);
    s.at(format!("{within}.class"));
    let table = s.parameter("weight", (classes + 1.0) * dim);
    let rows = s.operation(batch * dim, &[table], [0.0; 2]);
    let sum = s.sum(embedded, rows);
    s.function(sum)
}

/// A [`UNet`](crate::network::UNet) on images.
pub(super) fn unet(s: &mut Sketch, config: &UNetConfig, x: Images, classes: usize) -> Images {
    let widths: Vec<f64> = config.channels.iter().map(|&n| real(n)).collect();
    let (Some(&first), Some(&last)) = (widths.first(), widths.last()) else {
        return x;
    };
    let sizes = [config.time_dim, config.emb_dim].map(real);
    let embedded = condition(s, x.batch, sizes, real(classes), NETWORK);
    let mut net = Net {
        s,
        config,
        embedded,
    };
    let mut h = net.conv(x, first, 3.0, "conv_in");
    let mut skips = Vec::new();
    for (i, &width) in widths.iter().enumerate() {
        if i > 0 {
            net.s.at(format!("{NETWORK}.down.{i}"));
            h = net.s.resampled(h, 0.5);
        }
        for j in 0..config.blocks {
            h = net.stage(h, width, "down", i, j);
            skips.push(h);
        }
    }
    h = net.block(h, last, "mid.block.0");
    h = net.attention(h, "mid.attn");
    h = net.block(h, last, "mid.block.1");
    for (i, &width) in widths.iter().enumerate().rev() {
        for j in 0..config.blocks {
            if let Some(skip) = skips.pop() {
                net.s.at(format!("{NETWORK}.up.{i}.block.{j}"));
                h = net.s.concatenated(h, skip);
            }
            h = net.stage(h, width, "up", i, j);
        }
        if i > 0 {
            net.s.at(format!("{NETWORK}.up.{i}.conv"));
            h = net.s.resampled(h, 2.0);
            h = net.conv(h, h.channels, 3.0, &format!("up.{i}.conv"));
        }
    }
    net.s.at(format!("{NETWORK}.norm_out"));
    h = net.s.group_norm(h);
    net.conv(h, x.channels, 3.0, "conv_out")
}

/// What the names of the denoiser's layers begin with.
pub(super) const NETWORK: &str = "model";
/// What those of the encoder's begin with.
pub(super) const ENCODER: &str = "encoder";

/// A U-Net in the making.
struct Net<'a> {
    s: &'a mut Sketch,
    config: &'a UNetConfig,
    embedded: Id,
}

impl Net<'_> {
    fn conv(&mut self, x: Images, outputs: f64, kernel: f64, name: &str) -> Images {
        self.s.at(format!("{NETWORK}.{name}"));
        self.s.conv(x, outputs, kernel)
    }

    fn stage(&mut self, x: Images, width: f64, way: &str, i: usize, j: usize) -> Images {
        let h = self.block(x, width, &format!("{way}.{i}.block.{j}"));
        if self.config.attention.contains(&i) {
            return self.attention(h, &format!("{way}.{i}.attn.{j}"));
        }
        h
    }

    fn block(&mut self, x: Images, outputs: f64, name: &str) -> Images {
        let at = |part: &str| format!("{NETWORK}.{name}.{part}");
        self.s.at(at("emb"));
        let emb_dim = real(self.config.emb_dim);
        let modulation = self
            .s
            .linear(self.embedded, x.batch, emb_dim, 2.0 * outputs);
        let [scale, shift] = [(); 2].map(|()| self.s.part(modulation, x.batch * outputs));
        self.s.at(at("norm1"));
        let h = self.s.group_norm(x);
        self.s.at(at("conv1"));
        let h = self.s.conv(h, outputs, 3.0);
        self.s.at(at("norm2"));
        let h = self.s.modulated_norm(h, scale, shift);
        self.s.at(at("conv2"));
        let h = self.s.conv(h, outputs, 3.0);
        self.s.at(at("skip"));
        let skip = if x.channels.to_bits() == outputs.to_bits() {
            x
        } else {
            self.s.conv(x, outputs, 1.0)
        };
        let id = self.s.sum(skip.id, h.id);
        Images { id, ..h }
    }

    fn attention(&mut self, x: Images, name: &str) -> Images {
        let at = |part: &str| format!("{NETWORK}.{name}.{part}");
        self.s.at(at("norm"));
        let h = self.s.group_norm(x);
        self.s.at(at("qkv"));
        let qkv = self.s.conv(h, 3.0 * x.channels, 1.0);
        self.s.at(format!("{NETWORK}.{name}"));
        let packed = self.s.view(qkv.id);
        let tokens = x.side * x.side;
        let sizes = [x.batch, tokens, x.channels];
        let y = self.s.attention(packed, sizes, real(self.config.heads));
        let y = Images {
            id: self.s.view(y),
            ..x
        };
        self.s.at(at("proj"));
        let y = self.s.conv(y, x.channels, 1.0);
        let id = self.s.sum(x.id, y.id);
        Images { id, ..x }
    }
}

/// A [`Dit`](crate::network::Dit) on images.
pub(super) fn dit(s: &mut Sketch, config: &DitConfig, x: Images, classes: usize) -> Images {
    let [patch, dim, heads, ratio, time_dim] = [
        config.patch,
        config.dim,
        config.heads,
        config.mlp_ratio,
        config.time_dim,
    ]
    .map(real);
    let (batch, tokens) = (x.batch, (x.side / patch) * (x.side / patch));
    let (rows, patch_len) = (batch * tokens, x.channels * patch * patch);
    let at = |name: String| format!("{NETWORK}.{name}");
    s.at(at("patch".to_owned()));
    let image = s.elements(x.id);
    let patches = s.operation(image, &[x.id], [0.0; 2]);
    let embedded = condition(s, batch, [time_dim, dim], real(classes), NETWORK);
    s.at(at("patch".to_owned()));
    let h = s.linear(patches, rows, patch_len, dim);
    let mut h = s.function(h);
    for i in 0..config.depth {
        let within = |part: &str| at(format!("block.{i}.{part}"));
        s.at(within("ada"));
        let modulation = s.linear(embedded, batch, dim, 6.0 * dim);
        let part = |s: &mut Sketch| s.part(modulation, batch * dim);
        let [shift1, scale1, gate1, shift2, scale2, gate2] = [(); 6].map(|()| part(s));
        s.at(within("attn.qkv"));
        let y = layer_norm(s, h, batch * dim, scale1, shift1);
        let qkv = s.linear(y, rows, dim, 3.0 * dim);
        s.at(within("attn"));
        let y = s.attention(qkv, [batch, tokens, dim], heads);
        s.at(within("attn.proj"));
        let y = s.linear(y, rows, dim, dim);
        h = gated_sum(s, [h, gate1, y], batch * dim);
        s.at(within("mlp.0"));
        let y = layer_norm(s, h, batch * dim, scale2, shift2);
        let y = s.linear(y, rows, dim, ratio * dim);
        let y = s.function(y);
        s.at(within("mlp.1"));
        let y = s.linear(y, rows, ratio * dim, dim);
        h = gated_sum(s, [h, gate2, y], batch * dim);
    }
    s.at(at("final.ada".to_owned()));
    let modulation = s.linear(embedded, batch, dim, 2.0 * dim);
    let [shift, scale] = [(); 2].map(|()| s.part(modulation, batch * dim));
    s.at(at("final.linear".to_owned()));
    let h = layer_norm(s, h, batch * dim, scale, shift);
    let h = s.linear(h, rows, dim, patch_len);
    Images {
        id: s.operation(image, &[h], [0.0; 2]),
        ..x
    }
}

fn gated_sum(s: &mut Sketch, [x, gate, y]: [Id; 3], each: f64) -> Id {
    let gate = s.operation(each, &[gate], [0.0; 2]);
    s.operation(s.elements(x), &[x, gate, y], [0.0; 2])
}

fn layer_norm(s: &mut Sketch, x: Id, each: f64, scale: Id, shift: Id) -> Id {
    let scale = s.operation(each, &[scale], [0.0; 2]);
    // Parts of the modulation are cut out of it as they are needed.
    let shift = s.operation(each, &[shift], [0.0; 2]);
    s.operation(s.elements(x), &[x, scale, shift], [0.0; 2])
}

/// The features of an [`Encoder`](crate::features::Encoder) of images: `[B, d]`.
pub(super) fn encoder(s: &mut Sketch, config: &EncoderConfig, x: Images) -> Id {
    let at = |name: String| format!("{ENCODER}.{name}");
    let widths: Vec<f64> = config.widths.iter().map(|&n| real(n)).collect();
    let (Some(&first), Some(&last)) = (widths.first(), widths.last()) else {
        return x.id;
    };
    s.at(at("conv_in".to_owned()));
    let id = s.narrowed(x.id);
    let mut h = s.conv(Images { id, ..x }, first, 3.0);
    for (i, &width) in widths.iter().enumerate() {
        s.at(at(format!("norm.{i}")));
        if i > 0 {
            h = s.resampled(h, 0.5);
        }
        h = s.group_norm(h);
        s.at(at(format!("conv.{i}")));
        h = s.conv(h, width, 3.0);
    }
    s.at(at("norm_out".to_owned()));
    let h = s.group_norm(h);
    s.at(at("features".to_owned()));
    let dim = real(config.dim);
    let summed = s.operation(h.batch * last, &[h.id], [0.0; 2]);
    let pooled = s.function(summed);
    let features = s.linear(pooled, h.batch, last, dim);
    s.widened(features)
}

/// The logits of features.
pub(super) fn classifier(s: &mut Sketch, config: &EncoderConfig, features: Id, batch: f64) -> Id {
    s.at(format!("{ENCODER}.classifier"));
    // It computes in the type of its parameters.
    let width = std::mem::replace(&mut s.width, super::sketch::WIDE);
    let logits = s.linear(features, batch, real(config.dim), real(config.classes));
    s.width = width;
    logits
}
