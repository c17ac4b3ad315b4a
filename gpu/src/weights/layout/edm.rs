//! EDM's two U-Nets, by the names of their parameters.
//!
//! A network alone has the names of its modules (`enc.32x32_conv.weight`); in EDM's files it stands inside a preconditioner, which
//! writes `model.` before each. Buffers (the filters of resampling, random frequencies) are in the files and are no parameters.

use serde_json::{Value, json};

use super::plan::{Ask, Plan};
use super::shapes::{Keys, Shapes, below, run_of, sides};
use super::{ClassTable, Found, Layout};

/// SongUNet alone.
pub(super) const SONG: Layout = Layout {
    name: "song-unet",
    about: "EDM's SongUNet (DDPM++, NCSN++) alone",
    family: "song-unet",
    order: "",
    anchor: "enc.*_block0.affine.weight",
    find: |shapes| Unet::of(shapes)?.song.then(|| found(shapes))?,
    to_hub: Plan::same,
    from_hub: Plan::same,
};

/// SongUNet in a file of EDM.
pub(super) const SONG_PUBLISHED: Layout = Layout {
    name: "edm-song-unet",
    about: "EDM's SongUNet in its preconditioner: `model.` before each name",
    family: "song-unet",
    order: "",
    anchor: "model.enc.*_block0.affine.weight",
    find: |shapes| inside(shapes, SONG.find),
    to_hub: taken_out,
    from_hub: put_in,
};

/// DhariwalUNet alone.
pub(super) const DHARIWAL: Layout = Layout {
    name: "dhariwal-unet",
    about: "EDM's DhariwalUNet (ADM) alone: q, k and v of a channel lie beside each other",
    family: "adm",
    order: "",
    anchor: "enc.*_block0.affine.weight",
    find: |shapes| (!Unet::of(shapes)?.song).then(|| found(shapes))?,
    to_hub: Plan::same,
    from_hub: Plan::same,
};

/// DhariwalUNet in a file of EDM.
pub(super) const DHARIWAL_PUBLISHED: Layout = Layout {
    name: "edm-dhariwal-unet",
    about: "EDM's DhariwalUNet in its preconditioner: `model.` before each name",
    family: "adm",
    order: "",
    anchor: "model.enc.*_block0.affine.weight",
    find: |shapes| inside(shapes, DHARIWAL.find),
    to_hub: taken_out,
    from_hub: put_in,
};

/// What the published classes write before the names of the network.
const OUTER: &str = "model.";
/// The levels of noise that the wrapper of improved DDPM keeps.
const LEVELS: &str = "u";

fn outer(inner: &Shapes, levels: Option<&Vec<usize>>) -> Shapes {
    let named = |(name, shape): (&String, &Vec<usize>)| (format!("{OUTER}{name}"), shape.clone());
    let mut shapes: Shapes = inner.iter().map(named).collect();
    shapes.extend(levels.map(|shape| (LEVELS.to_owned(), shape.clone())));
    shapes
}

fn inside(shapes: &Shapes, find: fn(&Shapes) -> Option<Found>) -> Option<Found> {
    let found = find(&below(shapes, OUTER))?;
    Some(Found {
        shapes: outer(&found.shapes, shapes.get(LEVELS)),
        classes: None,
        ..found
    })
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one of the functions of a layout, of which others fail"
)]
fn taken_out(shapes: &Shapes, _: &Ask) -> Result<Plan, String> {
    let inner = below(shapes, OUTER);
    let mut plan = Plan::new(inner.clone());
    for name in inner.keys() {
        plan.same_of(name, format!("{OUTER}{name}"));
    }
    if shapes.contains_key(LEVELS) {
        plan.remark("`u`, the levels of noise of EDM's iDDPM preconditioner, is left out: they are computed");
        plan.must_equal(LEVELS, LEVELS);
    }
    Ok(plan)
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one of the functions of a layout, of which others fail"
)]
fn put_in(shapes: &Shapes, _: &Ask) -> Result<Plan, String> {
    let mut plan = Plan::new(outer(shapes, None));
    for name in shapes.keys() {
        plan.same_of(format!("{OUTER}{name}"), name);
    }
    Ok(plan)
}

/// How the encoder passes the image on beside its features.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Encoder {
    #[default]
    Standard,
    Skip,
    Residual,
}

/// What the decoder makes of its levels: an image of the last, or the sum of images of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Decoder {
    #[default]
    Standard,
    Skip,
}

/// The dimensions of an EDM U-Net, as shapes say them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unet {
    pub song: bool,
    /// Side of the image.
    pub size: usize,
    pub inputs: usize,
    pub outputs: usize,
    /// Outputs of the first convolution.
    pub first: usize,
    /// Channels of each level.
    pub channels: Vec<usize>,
    /// Blocks of a level of the encoder.
    pub blocks: usize,
    /// Levels with attention.
    pub attention: Vec<bool>,
    /// Whether there is attention in the middle: not where it is narrower than one head.
    pub middle: bool,
    /// Inputs of the first linear map.
    pub noise: usize,
    pub emb: usize,
    pub labels: usize,
    pub augment: usize,
    /// Taps of the resampling filter; 0 where nothing is resampled.
    pub taps: usize,
    pub fourier: bool,
    pub encoder: Encoder,
    pub decoder: Decoder,
}

/// A block: channels in and out, whether the image's side changes, whether it has attention.
struct Block {
    inputs: usize,
    outputs: usize,
    resamples: bool,
    attention: bool,
}

impl Unet {
    pub(super) fn of(shapes: &Shapes) -> Option<Self> {
        let sizes = |part: &str, what: &str| -> Vec<usize> {
            let size = |name: &String| {
                let (side, rest) = name.strip_prefix(part)?.split_once('x')?;
                let rest = rest.strip_prefix(side)?;
                (rest == what).then(|| side.parse().ok())?
            };
            let mut sizes: Vec<usize> = shapes.keys().filter_map(size).collect();
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            sizes
        };
        let levels = sizes("enc.", "_block0.affine.weight");
        let size = *levels.first()?;
        let halves = levels.windows(2).all(|pair| pair[0] == 2 * pair[1]);
        if !halves || size == 0 {
            return None;
        }
        let at = |size: usize, rest: &str| format!("enc.{size}x{size}_{rest}");
        let [first, inputs, _, _] = sides(shapes, &at(size, "conv.weight"))?;
        let channels = levels
            .iter()
            .map(|size| Some(sides::<4>(shapes, &at(*size, "block0.conv0.weight"))?[0]))
            .collect::<Option<Vec<_>>>()?;
        let [emb, noise] = sides(shapes, "map_layer0.weight")?;
        let [affine] = sides(shapes, &at(size, "block0.affine.bias"))?;
        let song = affine == channels[0];
        let last = if song {
            format!("dec.{size}x{size}_aux_conv.bias")
        } else {
            "out_conv.bias".to_owned()
        };
        let taps = shapes.iter().find_map(|(name, shape)| {
            name.ends_with(".resample_filter")
                .then(|| shape.last().copied())?
        });
        let deepest = *levels.last()?;
        let columns = |name: &str| sides::<2>(shapes, name).map_or(0, |[_, columns]| columns);
        let any = |what: &str| shapes.keys().any(|name| name.contains(what));
        Some(Self {
            song,
            size,
            inputs,
            outputs: sides::<1>(shapes, &last)?[0],
            first,
            blocks: run_of(shapes, |i| at(size, &format!("block{i}.affine.weight"))),
            attention: levels
                .iter()
                .map(|size| shapes.contains_key(&at(*size, "block0.qkv.weight")))
                .collect(),
            middle: shapes.contains_key(&format!("dec.{deepest}x{deepest}_in0.qkv.weight")),
            channels,
            noise,
            emb,
            labels: columns("map_label.weight"),
            augment: columns("map_augment.weight"),
            taps: taps.unwrap_or(0),
            fourier: shapes.contains_key("map_noise.freqs"),
            encoder: if any("_aux_residual.") {
                Encoder::Residual
            } else if any("_aux_skip.") {
                Encoder::Skip
            } else {
                Encoder::Standard
            },
            decoder: if any("_aux_up.") {
                Decoder::Skip
            } else {
                Decoder::Standard
            },
        })
    }

    fn filter(&self, keys: &mut Keys, stem: &str) {
        keys.put(
            format!("{stem}.resample_filter"),
            &[1, 1, self.taps, self.taps],
        );
    }

    fn block(&self, keys: &mut Keys, stem: &str, block: &Block) {
        let (i, o) = (block.inputs, block.outputs);
        keys.norm(&format!("{stem}.norm0"), i);
        keys.conv(&format!("{stem}.conv0"), [o, i, 3]);
        let affine = if self.song { o } else { 2 * o };
        keys.affine(&format!("{stem}.affine"), &[affine, self.emb]);
        keys.norm(&format!("{stem}.norm1"), o);
        keys.conv(&format!("{stem}.conv1"), [o, o, 3]);
        if block.resamples {
            self.filter(keys, &format!("{stem}.conv0"));
            self.filter(keys, &format!("{stem}.skip"));
        }
        if i != o || (block.resamples && self.song) {
            keys.conv(&format!("{stem}.skip"), [o, i, 1]);
        }
        if block.attention {
            keys.norm(&format!("{stem}.norm2"), o);
            keys.conv(&format!("{stem}.qkv"), [3 * o, o, 1]);
            keys.conv(&format!("{stem}.proj"), [o, o, 1]);
        }
    }

    /// The blocks in their order, encoder and decoder, with the names of each.
    fn blocks(&self) -> Vec<(String, Block)> {
        let mut blocks = Vec::new();
        let mut skips = vec![self.first];
        let mut width = self.first;
        let levels: Vec<(usize, usize)> = (self.channels.iter().enumerate())
            .map(|(level, channels)| (self.size >> level, *channels))
            .collect();
        for (level, &(side, channels)) in levels.iter().enumerate() {
            if level > 0 {
                blocks.push((
                    format!("enc.{side}x{side}_down"),
                    Block {
                        inputs: width,
                        outputs: width,
                        resamples: true,
                        attention: false,
                    },
                ));
                skips.push(width);
            }
            for i in 0..self.blocks {
                blocks.push((
                    format!("enc.{side}x{side}_block{i}"),
                    Block {
                        inputs: width,
                        outputs: channels,
                        resamples: false,
                        attention: self.attention[level],
                    },
                ));
                width = channels;
                skips.push(width);
            }
        }
        for (level, &(side, channels)) in levels.iter().enumerate().rev() {
            let plain = |attention| Block {
                inputs: width,
                outputs: width,
                resamples: false,
                attention,
            };
            if level + 1 == levels.len() {
                blocks.push((format!("dec.{side}x{side}_in0"), plain(self.middle)));
                blocks.push((format!("dec.{side}x{side}_in1"), plain(false)));
            } else {
                blocks.push((
                    format!("dec.{side}x{side}_up"),
                    Block {
                        resamples: true,
                        ..plain(false)
                    },
                ));
            }
            for i in 0..=self.blocks {
                let attention = self.attention[level] && (!self.song || i == self.blocks);
                blocks.push((
                    format!("dec.{side}x{side}_block{i}"),
                    Block {
                        inputs: width + skips.pop().unwrap_or(0),
                        outputs: channels,
                        resamples: false,
                        attention,
                    },
                ));
                width = channels;
            }
        }
        blocks
    }

    pub(super) fn shapes(&self) -> Shapes {
        let mut keys = Keys::default();
        let [emb, noise] = [self.emb, self.noise];
        if self.fourier {
            keys.put("map_noise.freqs", &[noise / 2]);
        }
        keys.affine("map_layer0", &[emb, noise]);
        keys.affine("map_layer1", &[emb, emb]);
        if self.labels > 0 && self.song {
            keys.affine("map_label", &[noise, self.labels]);
        } else if self.labels > 0 {
            keys.put("map_label.weight", &[emb, self.labels]);
        }
        if self.augment > 0 {
            keys.put("map_augment.weight", &[noise, self.augment]);
        }
        let first = format!("enc.{0}x{0}_conv", self.size);
        keys.conv(&first, [self.first, self.inputs, 3]);
        for (stem, block) in self.blocks() {
            self.block(&mut keys, &stem, &block);
        }
        if self.song {
            self.images(&mut keys);
        } else {
            keys.norm("out_norm", self.channels[0]);
            keys.conv("out_conv", [self.outputs, self.channels[0], 3]);
        }
        keys.0
    }

    /// The layers of SongUNet by which images go beside its features.
    fn images(&self, keys: &mut Keys) {
        let (mut width, mut image) = (self.first, self.inputs);
        for (level, channels) in self.channels.iter().enumerate() {
            let at = |what: &str| format!("enc.{0}x{0}_aux_{what}", self.size >> level);
            if level > 0 {
                match self.encoder {
                    Encoder::Standard => {}
                    Encoder::Skip => {
                        self.filter(keys, &at("down"));
                        keys.conv(&at("skip"), [width, image, 1]);
                    }
                    Encoder::Residual => {
                        keys.conv(&at("residual"), [width, image, 3]);
                        self.filter(keys, &at("residual"));
                        image = width;
                    }
                }
            }
            width = *channels;
        }
        for (level, channels) in self.channels.iter().enumerate() {
            let at = |what: &str| format!("dec.{0}x{0}_aux_{what}", self.size >> level);
            if self.decoder == Decoder::Skip && level + 1 < self.channels.len() {
                self.filter(keys, &at("up"));
            }
            if self.decoder == Decoder::Skip || level == 0 {
                keys.norm(&at("norm"), *channels);
                keys.conv(&at("conv"), [self.outputs, *channels, 3]);
            }
        }
    }

    fn config(&self) -> Value {
        let per_level = |level: &usize| *level as f64 / self.base() as f64;
        let resolutions = (0..self.channels.len()).map(|level| self.size >> level);
        let attended: Vec<usize> = resolutions
            .zip(&self.attention)
            .filter_map(|(side, attends)| attends.then_some(side))
            .collect();
        let mult: Vec<Value> = self.channels.iter().map(per_level).map(whole).collect();
        let mut config = json!({
            "model_type": if self.song { "SongUNet" } else { "DhariwalUNet" },
            "img_resolution": self.size,
            "in_channels": self.inputs,
            "out_channels": self.outputs,
            "model_channels": self.base(),
            "channel_mult": mult,
            "channel_mult_emb": whole(per_level(&self.emb)),
            "num_blocks": self.blocks,
            "attn_resolutions": attended,
            "label_dim": self.labels,
            "augment_dim": self.augment,
        });
        if let (true, Some(config)) = (self.song, config.as_object_mut()) {
            let filter: &[u8] = if self.taps == 4 {
                &[1, 3, 3, 1]
            } else {
                &[1, 1]
            };
            let encoder = match self.encoder {
                Encoder::Standard => "standard",
                Encoder::Skip => "skip",
                Encoder::Residual => "residual",
            };
            config.insert("channel_mult_noise".into(), whole(per_level(&self.noise)));
            config.insert("resample_filter".into(), json!(filter));
            config.insert("encoder_type".into(), json!(encoder));
            let decoder = match self.decoder {
                Decoder::Standard => "standard",
                Decoder::Skip => "skip",
            };
            config.insert("decoder_type".into(), json!(decoder));
            let embedding = if self.fourier {
                "fourier"
            } else {
                "positional"
            };
            config.insert("embedding_type".into(), json!(embedding));
        }
        config
    }

    /// The channels that the others are multiples of.
    fn base(&self) -> usize {
        if self.song { self.first } else { self.noise }
    }
}

/// A factor, without a fraction where it has none.
pub(super) fn whole(x: f64) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number that is small and not negative"
    )]
    if x.fract() == 0.0 {
        json!(x as u64)
    } else {
        json!(x)
    }
}

fn found(shapes: &Shapes) -> Option<Found> {
    let unet = Unet::of(shapes)?;
    Some(Found {
        shapes: unet.shapes(),
        config: unet.config(),
        classes: (unet.labels > 0).then_some(ClassTable {
            name: "map_label.weight",
            side: 1,
            no_class: false,
            per_root: unet.song,
        }),
    })
}

/// A published network of EDM in its file.
#[cfg(test)]
pub(super) fn published(name: &str) -> Shapes {
    let song = Unet {
        song: true,
        size: 32,
        inputs: 3,
        outputs: 3,
        first: 128,
        channels: vec![256; 3],
        blocks: 4,
        attention: vec![false, true, false],
        middle: true,
        noise: 128,
        emb: 512,
        augment: 9,
        taps: 2,
        ..Unet::default()
    };
    let unet = if name == "imagenet-64" {
        Unet {
            song: false,
            size: 64,
            first: 192,
            channels: vec![192, 384, 576, 768],
            blocks: 3,
            attention: vec![false, true, true, true],
            noise: 192,
            emb: 768,
            labels: 1000,
            augment: 0,
            ..song
        }
    } else {
        let ve = name.ends_with("ve");
        let large = name.starts_with("64x64");
        Unet {
            labels: if name.contains("-cond") { 10 } else { 0 },
            size: if large { 64 } else { 32 },
            channels: if large {
                vec![128, 256, 256, 256]
            } else {
                vec![256; 3]
            },
            attention: if large {
                vec![false, false, true, false]
            } else {
                vec![false, true, false]
            },
            noise: if ve { 256 } else { 128 },
            taps: if ve { 4 } else { 2 },
            fourier: ve,
            encoder: if ve {
                Encoder::Residual
            } else {
                Encoder::Standard
            },
            ..song
        }
    };
    outer(&unet.shapes(), None)
}

/// A small network: SongUNet with every layer beside its features, or DhariwalUNet with two heads.
#[cfg(test)]
pub(super) fn small(song: bool) -> Shapes {
    let dhariwal = Unet {
        size: 16,
        inputs: 3,
        outputs: 6,
        first: 8,
        channels: vec![8, 128],
        blocks: 1,
        attention: vec![false, true],
        middle: true,
        noise: 8,
        emb: 4,
        labels: 3,
        taps: 2,
        ..Unet::default()
    };
    let unet = if song {
        Unet {
            song,
            channels: vec![8, 12],
            augment: 9,
            fourier: true,
            encoder: Encoder::Skip,
            decoder: Decoder::Skip,
            ..dhariwal
        }
    } else {
        dhariwal
    };
    unet.shapes()
}
