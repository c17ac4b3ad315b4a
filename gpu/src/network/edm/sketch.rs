//! EDM's networks as sizes.

use super::block::BlockConfig;
use super::layers::Resampling;
use super::song_unet::{Decoder, Encoder};
use super::{DhariwalUNetConfig, SongUNetConfig};
use crate::memory::layers::Images;
use crate::memory::sketch::{Id, NETWORK, Sketch};

/// A number of things as a size.
fn real(n: usize) -> f64 {
    n as f64
}

/// A network being sketched, with the embedding that its blocks take.
struct Sizes<'a> {
    s: &'a mut Sketch,
    embedded: Id,
    /// What the decoder will take.
    skips: Vec<Images>,
}

/// Channels of a level in units of `model_channels`, with its side.
fn levels(img_resolution: f64, channel_mult: &[usize]) -> Vec<(usize, f64, usize)> {
    let side = |level: usize| img_resolution / real(1 << level.min(60));
    let levels = channel_mult.iter().enumerate();
    levels
        .map(|(level, &mult)| (level, side(level), mult))
        .collect()
}

/// Whether there is attention at a side.
fn attends(attn_resolutions: &[usize], side: f64) -> bool {
    attn_resolutions
        .iter()
        .any(|&r| real(r).to_bits() == side.to_bits())
}

/// A [`SongUNet`](super::SongUNet).
pub(super) fn song_unet(
    s: &mut Sketch,
    config: &SongUNetConfig,
    x: Images,
    classes: f64,
) -> Images {
    let (batch, unit) = (x.batch, real(config.model_channels));
    let features = unit * real(config.channel_mult_noise);
    let width = unit * real(config.channel_mult_emb);
    s.at(format!("{NETWORK}.map_noise"));
    let mut e = s.input(batch * features);
    if classes > 0.0 {
        s.at(format!("{NETWORK}.map_label"));
        let rows = s.input(batch * classes);
        let mapped = s.linear(rows, batch, classes, features);
        e = s.sum(mapped, e);
    }
    let e = mapped(s, e, [batch, real(config.augment_dim), features, width]);
    let embedded = s.function(e);
    let mut net = Sizes::new(s, embedded);
    let levels = levels(x.side, &config.channel_mult);
    let (mut h, mut aux) = (x, x);
    let block = |inputs: f64, outputs: usize, resampling, attention| {
        // The numbers of channels that matter are the sketch's own.
        let inputs = if inputs.to_bits() == real(outputs).to_bits() {
            outputs
        } else {
            0
        };
        config.block([inputs, outputs], resampling, attention)
    };
    for &(level, side, mult) in &levels {
        let name = |part: &str| format!("enc.{side}x{side}_{part}");
        if level == 0 {
            h = net.conv(h, unit, 3.0, &name("conv"));
        } else {
            let shape = block(h.channels, whole(h.channels), Resampling::Down, false);
            h = net.block(h, h.channels, &shape, &name("down"));
            match config.encoder_type {
                Encoder::Standard => {}
                Encoder::Skip => {
                    aux = net.s.resampled(aux, 0.5);
                    let mapped = net.conv(aux, h.channels, 1.0, &name("aux_skip"));
                    let id = net.s.sum(h.id, mapped.id);
                    h = Images { id, ..h };
                }
                Encoder::Residual => {
                    let taps = real(config.resample_filter.len());
                    let wide = 2.0 * ((taps - 1.0) / 2.0).floor();
                    net.s.at(format!("{NETWORK}.{}", name("aux_residual")));
                    let wider = net.s.conv_grown(aux, h.channels, 3.0, wide);
                    let elements = net.s.elements(h.id);
                    let reduced = net.s.operation(elements, &[wider.id], [0.0; 2]);
                    let sum = net.s.sum(h.id, reduced);
                    h = Images {
                        id: net.s.function(sum),
                        ..h
                    };
                    aux = h;
                }
            }
        }
        net.skips.push(h);
        let outputs = config.model_channels * mult;
        let attention = attends(&config.attn_resolutions, side);
        for i in 0..config.num_blocks {
            let shape = block(h.channels, outputs, Resampling::None, attention);
            h = net.block(h, real(outputs), &shape, &name(&format!("block{i}")));
            net.skips.push(h);
        }
    }
    let last = levels.len().saturating_sub(1);
    let mut image: Option<Images> = None;
    for &(level, side, mult) in levels.iter().rev() {
        let name = |part: &str| format!("dec.{side}x{side}_{part}");
        let same = whole(h.channels);
        if level == last {
            for (part, attention) in [("in0", true), ("in1", false)] {
                let shape = block(h.channels, same, Resampling::None, attention);
                h = net.block(h, h.channels, &shape, &name(part));
            }
        } else {
            let shape = block(h.channels, same, Resampling::Up, false);
            h = net.block(h, h.channels, &shape, &name("up"));
        }
        let outputs = config.model_channels * mult;
        for i in 0..=config.num_blocks {
            h = net.with_skip(h, &name(&format!("block{i}")));
            let attention = i == config.num_blocks && attends(&config.attn_resolutions, side);
            let shape = block(h.channels, outputs, Resampling::None, attention);
            h = net.block(h, real(outputs), &shape, &name(&format!("block{i}")));
        }
        if config.decoder_type == Decoder::Skip || level == 0 {
            let coarse = image.map(|coarse| net.s.resampled(coarse, 2.0));
            net.s.at(format!("{NETWORK}.{}", name("aux_norm")));
            let n = net.s.group_norm(h);
            let own = net.conv(n, x.channels, 3.0, &name("aux_conv"));
            image = Some(match coarse {
                Some(coarse) => Images {
                    id: net.s.sum(coarse.id, own.id),
                    ..own
                },
                None => own,
            });
        }
    }
    image.unwrap_or(h)
}

/// A [`DhariwalUNet`](super::DhariwalUNet).
pub(super) fn dhariwal_unet(
    s: &mut Sketch,
    config: &DhariwalUNetConfig,
    x: Images,
    classes: f64,
) -> Images {
    let (batch, unit, width) = (x.batch, real(config.model_channels), real(config.emb()));
    s.at(format!("{NETWORK}.map_noise"));
    let e = s.input(batch * unit);
    let mut e = mapped(s, e, [batch, real(config.augment_dim), unit, width]);
    if classes > 0.0 {
        s.at(format!("{NETWORK}.map_label"));
        e = told(s, e, [batch, classes, width]);
    }
    let embedded = s.function(e);
    let mut net = Sizes::new(s, embedded);
    let levels = levels(x.side, &config.channel_mult);
    let Some(&first) = config.channel_mult.first() else {
        return x;
    };
    let block = |inputs: f64, outputs: usize, resampling, attention| {
        let inputs = if inputs.to_bits() == real(outputs).to_bits() {
            outputs
        } else {
            0
        };
        config.block([inputs, outputs], resampling, attention)
    };
    let mut h = net.conv(
        x,
        unit * real(first),
        3.0,
        &format!("enc.{0}x{0}_conv", x.side),
    );
    net.skips.push(h);
    for &(level, side, mult) in &levels {
        let name = |part: &str| format!("enc.{side}x{side}_{part}");
        if level > 0 {
            let shape = block(h.channels, whole(h.channels), Resampling::Down, false);
            h = net.block(h, h.channels, &shape, &name("down"));
            net.skips.push(h);
        }
        let outputs = config.model_channels * mult;
        let attention = attends(&config.attn_resolutions, side);
        for i in 0..config.num_blocks {
            let shape = block(h.channels, outputs, Resampling::None, attention);
            h = net.block(h, real(outputs), &shape, &name(&format!("block{i}")));
            net.skips.push(h);
        }
    }
    let last = levels.len().saturating_sub(1);
    for &(level, side, mult) in levels.iter().rev() {
        let name = |part: &str| format!("dec.{side}x{side}_{part}");
        let same = whole(h.channels);
        if level == last {
            for (part, attention) in [("in0", true), ("in1", false)] {
                let shape = block(h.channels, same, Resampling::None, attention);
                h = net.block(h, h.channels, &shape, &name(part));
            }
        } else {
            let shape = block(h.channels, same, Resampling::Up, false);
            h = net.block(h, h.channels, &shape, &name("up"));
        }
        let outputs = config.model_channels * mult;
        let attention = attends(&config.attn_resolutions, side);
        for i in 0..=config.num_blocks {
            h = net.with_skip(h, &name(&format!("block{i}")));
            let shape = block(h.channels, outputs, Resampling::None, attention);
            h = net.block(h, real(outputs), &shape, &name(&format!("block{i}")));
        }
    }
    net.s.at(format!("{NETWORK}.out_norm"));
    let n = net.s.group_norm(h);
    net.conv(n, x.channels, 3.0, "out_conv")
}

/// A number of channels that was a whole number before it was a size.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a size that is too large for an integer is refused as such"
)]
fn whole(channels: f64) -> usize {
    channels as usize
}

/// `e` and a linear map of labels, without a bias.
fn told(s: &mut Sketch, e: Id, [batch, labels, width]: [f64; 3]) -> Id {
    let rows = s.input(batch * labels);
    let weight = s.parameter("weight", labels * width);
    let mapped = s.operation(batch * width, &[rows, weight], [0.0; 2]);
    s.sum(e, mapped)
}

/// `e + map_augment(labels)`, if there are augmentation labels.
fn augmented(s: &mut Sketch, e: Id, [batch, labels, width]: [f64; 3]) -> Id {
    if labels <= 0.0 {
        return e;
    }
    s.at(format!("{NETWORK}.map_augment"));
    told(s, e, [batch, labels, width])
}

/// `map_layer1(silu(map_layer0(e + map_augment(labels))))`, the last where there are augmentation labels.
fn mapped(s: &mut Sketch, e: Id, [batch, labels, features, width]: [f64; 4]) -> Id {
    let e = augmented(s, e, [batch, labels, features]);
    s.at(format!("{NETWORK}.map_layer0"));
    let e = s.linear(e, batch, features, width);
    let e = s.function(e);
    s.at(format!("{NETWORK}.map_layer1"));
    s.linear(e, batch, width, width)
}

impl<'a> Sizes<'a> {
    fn new(s: &'a mut Sketch, embedded: Id) -> Self {
        Self {
            s,
            embedded,
            skips: Vec::new(),
        }
    }

    fn conv(&mut self, x: Images, outputs: f64, kernel: f64, name: &str) -> Images {
        self.s.at(format!("{NETWORK}.{name}"));
        self.s.conv(x, outputs, kernel)
    }

    fn with_skip(&mut self, h: Images, name: &str) -> Images {
        self.s.at(format!("{NETWORK}.{name}"));
        self.s.block_begins();
        match self.skips.pop() {
            Some(skip) => self.s.concatenated(h, skip),
            None => h,
        }
    }

    /// A [`UNetBlock`](super::UNetBlock).
    fn block(&mut self, x: Images, outputs: f64, config: &BlockConfig, name: &str) -> Images {
        self.s.block_begins();
        let y = self.block_of(x, outputs, config, name);
        self.s.block_ends();
        y
    }

    fn block_of(&mut self, x: Images, outputs: f64, config: &BlockConfig, name: &str) -> Images {
        let at = |part: &str| format!("{NETWORK}.{name}.{part}");
        let resampled = |s: &mut Sketch, x: Images| match config.resampling {
            Resampling::None => x,
            Resampling::Down => s.resampled(x, 0.5),
            Resampling::Up => s.resampled(x, 2.0),
        };
        let s = &mut *self.s;
        s.at(at("norm0"));
        let h = s.group_norm(x);
        s.at(at("conv0"));
        let h = resampled(s, h);
        let h = s.conv(h, outputs, 3.0);
        s.at(at("affine"));
        let emb = real(config.emb);
        let h = if config.adaptive_scale {
            let affine = s.linear(self.embedded, x.batch, emb, 2.0 * outputs);
            let [scale, shift] = [(); 2].map(|()| s.part(affine, x.batch * outputs));
            s.at(at("norm1"));
            s.modulated_norm(h, scale, shift)
        } else {
            let affine = s.linear(self.embedded, x.batch, emb, outputs);
            let shift = s.part(affine, s.elements(h.id));
            let id = s.sum(h.id, shift);
            s.at(at("norm1"));
            s.group_norm(Images { id, ..h })
        };
        s.at(at("conv1"));
        let h = s.dropped(h, config.dropout);
        let h = s.conv(h, outputs, 3.0);
        s.at(at("skip"));
        let residual = match config.skip() {
            None => x,
            Some(0) => resampled(s, x),
            Some(_) => {
                let x = resampled(s, x);
                s.conv(x, outputs, 1.0)
            }
        };
        let y = Images {
            id: self.scaled(h.id, residual.id, config),
            ..h
        };
        if config.heads == 0 {
            return y;
        }
        let id = self.attention(y, real(config.heads), at);
        Images {
            id: self.scaled(id, y.id, config),
            ..y
        }
    }

    fn scaled(&mut self, branch: Id, residual: Id, config: &BlockConfig) -> Id {
        if config.skip_scale.to_bits() == 1_f64.to_bits() {
            return self.s.sum(branch, residual);
        }
        let elements = self.s.elements(branch);
        self.s.operation(elements, &[branch, residual], [0.0; 2])
    }

    fn attention(&mut self, x: Images, heads: f64, at: impl Fn(&str) -> String) -> Id {
        let s = &mut *self.s;
        s.at(at("norm2"));
        let n = s.group_norm(x);
        s.at(at("qkv"));
        let y = s.attended(n, heads, true);
        s.at(at("proj"));
        s.conv(y, x.channels, 1.0).id
    }
}
