//! The tiny autoencoder of Stable Diffusion, each half by its two sets of names.
//!
//! Its program stores encoder and decoder in a file each, by the numbers of their layers; diffusers stores both in one, where the numbers of
//! the decoder's layers are one less.

use serde_json::{Value, json};

use super::plan::Plan;
use super::shapes::{Keys, Shapes, run_of, sides};
use super::{Found, Layout};

/// The encoder's own file.
pub(super) const ENCODER: Layout = Layout {
    name: "taesd-encoder",
    about: "the encoder of a tiny autoencoder (TAESD) as its program stores it: numbers of layers",
    family: "taesd-encoder",
    order: "",
    anchor: "1.conv.0.weight",
    find: |shapes| find(shapes, Names::ENCODER),
    to_hub: Plan::same,
    from_hub: Plan::same,
};

/// The encoder in a file of diffusers.
pub(super) const TINY_ENCODER: Layout = Layout {
    name: "tiny-encoder",
    about: "the same in diffusers' AutoencoderTiny: encoder.layers",
    anchor: "encoder.layers.1.conv.0.weight",
    find: |shapes| find(shapes, Names::TINY_ENCODER),
    to_hub: |shapes, _| convert(shapes, Names::TINY_ENCODER, Names::ENCODER),
    from_hub: |shapes, _| convert(shapes, Names::ENCODER, Names::TINY_ENCODER),
    ..ENCODER
};

/// The decoder's own file.
pub(super) const DECODER: Layout = Layout {
    name: "taesd-decoder",
    about: "the decoder of a tiny autoencoder (TAESD) as its program stores it: numbers of layers",
    family: "taesd-decoder",
    order: "",
    anchor: "3.conv.0.weight",
    find: |shapes| find(shapes, Names::DECODER),
    to_hub: Plan::same,
    from_hub: Plan::same,
};

/// The decoder in a file of diffusers.
pub(super) const TINY_DECODER: Layout = Layout {
    name: "tiny-decoder",
    about: "the same in diffusers' AutoencoderTiny: decoder.layers, numbers less by one",
    anchor: "decoder.layers.2.conv.0.weight",
    find: |shapes| find(shapes, Names::TINY_DECODER),
    to_hub: |shapes, _| convert(shapes, Names::TINY_DECODER, Names::DECODER),
    from_hub: |shapes, _| convert(shapes, Names::DECODER, Names::TINY_DECODER),
    ..DECODER
};

/// How the layers of one half are called.
#[derive(Debug, Clone, Copy)]
struct Names {
    before: &'static str,
    /// The number of the first convolution.
    first: usize,
    decodes: bool,
}

impl Names {
    const ENCODER: Self = Self {
        before: "",
        first: 0,
        decodes: false,
    };
    const TINY_ENCODER: Self = Self {
        before: "encoder.layers.",
        ..Self::ENCODER
    };
    const DECODER: Self = Self {
        before: "",
        first: 1,
        decodes: true,
    };
    const TINY_DECODER: Self = Self {
        before: "decoder.layers.",
        first: 0,
        decodes: true,
    };

    /// The layer that comes so many after the first convolution.
    fn layer(self, after: usize) -> String {
        format!("{}{}", self.before, self.first + after)
    }
}

/// Blocks of one resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stage {
    blocks: usize,
    /// Hidden channels of a branch beside each block, of the networks that have it.
    pool: Option<usize>,
}

/// Dimensions of one half, as shapes say them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Half {
    inputs: usize,
    width: usize,
    outputs: usize,
    stages: Vec<Stage>,
}

/// A layer: how far after the first convolution, and what it is.
enum Layer {
    Conv([usize; 2]),
    /// A convolution that halves, or follows a doubling: without a bias.
    Resampling,
    Block(Option<usize>),
}

impl Half {
    fn of(shapes: &Shapes, names: Names) -> Option<Self> {
        let [width, inputs, 3, 3] = sides(shapes, &format!("{}.weight", names.layer(0)))? else {
            return None;
        };
        // A block follows the first convolution, of a decoder after an activation.
        let mut at = if names.decodes { 2 } else { 1 };
        let mut stages = Vec::new();
        loop {
            let block = |j: usize| format!("{}.conv.0.weight", names.layer(at + j));
            let blocks = run_of(shapes, block);
            let pool = format!("{}.pool.0.weight", names.layer(at));
            let pool = sides::<4>(shapes, &pool).map(|[hidden, ..]| hidden);
            stages.push(Stage { blocks, pool });
            at += blocks;
            // A doubling has no parameters.
            let next = at + usize::from(names.decodes);
            let [weight, bias] =
                ["weight", "bias"].map(|part| format!("{}.{part}", names.layer(next)));
            if !shapes.contains_key(&weight) || shapes.contains_key(&bias) {
                break;
            }
            at = next + 1;
        }
        let [outputs, ..] = sides::<4>(shapes, &format!("{}.weight", names.layer(at)))?;
        Some(Self {
            inputs,
            width,
            outputs,
            stages,
        })
    }

    fn layers(&self, decodes: bool) -> Vec<(usize, Layer)> {
        let mut layers = vec![(0, Layer::Conv([self.width, self.inputs]))];
        let mut at = if decodes { 2 } else { 1 };
        for (i, stage) in self.stages.iter().enumerate() {
            if i > 0 {
                at += usize::from(decodes);
                layers.push((at, Layer::Resampling));
                at += 1;
            }
            for _ in 0..stage.blocks {
                layers.push((at, Layer::Block(stage.pool)));
                at += 1;
            }
        }
        layers.push((at, Layer::Conv([self.outputs, self.width])));
        layers
    }

    fn shapes(&self, names: Names) -> Shapes {
        let (mut keys, width) = (Keys::default(), self.width);
        for (at, layer) in self.layers(names.decodes) {
            let name = names.layer(at);
            match layer {
                Layer::Conv([outputs, inputs]) => keys.conv(&name, [outputs, inputs, 3]),
                Layer::Resampling => keys.put(format!("{name}.weight"), &[width, width, 3, 3]),
                Layer::Block(pool) => {
                    for part in [0, 2, 4] {
                        keys.conv(&format!("{name}.conv.{part}"), [width, width, 3]);
                    }
                    if let Some(hidden) = pool {
                        keys.put(format!("{name}.pool.0.weight"), &[hidden, width, 1, 1]);
                        keys.norm(&format!("{name}.pool.1"), hidden);
                        keys.put(format!("{name}.pool.3.weight"), &[width, hidden, 1, 1]);
                    }
                }
            }
        }
        keys.0
    }

    fn config(&self, decodes: bool) -> Value {
        let [image, latent] = if decodes {
            [self.outputs, self.inputs]
        } else {
            [self.inputs, self.outputs]
        };
        let blocks: Vec<usize> = self.stages.iter().map(|stage| stage.blocks).collect();
        let with_pool = self.stages.iter().filter(|stage| stage.pool.is_some());
        json!({
            "image_channels": image,
            "latent_channels": latent,
            "channels": self.width,
            "num_blocks": blocks,
            "levels_with_pool": with_pool.count(),
        })
    }
}

fn find(shapes: &Shapes, names: Names) -> Option<Found> {
    let half = Half::of(shapes, names)?;
    Some(Found {
        shapes: half.shapes(names),
        config: half.config(names.decodes),
        classes: None,
    })
}

fn convert(shapes: &Shapes, from: Names, to: Names) -> Result<Plan, String> {
    let half = Half::of(shapes, from).ok_or("its shapes are not those of a tiny autoencoder")?;
    if half.stages.iter().any(|stage| stage.pool.is_some()) {
        return Err(
            "its blocks have a branch (`pool`) that diffusers' AutoencoderTiny does not have"
                .to_owned(),
        );
    }
    let (old, new) = (half.shapes(from), half.shapes(to));
    let mut plan = Plan::new(new);
    for (at, _) in half.layers(from.decodes) {
        let [before, after] = [from, to].map(|names| format!("{}.", names.layer(at)));
        let parts = old.keys().filter_map(|name| name.strip_prefix(&before));
        for part in parts {
            plan.same_of(format!("{after}{part}"), format!("{before}{part}"));
        }
    }
    Ok(plan)
}

/// The published halves, of TAESD or, with `pool`, of its variant for FLUX.2.
#[cfg(test)]
pub(super) fn published(decodes: bool) -> Shapes {
    let (latent, hidden) = (32, Some(256));
    let stage = |blocks, pool| Stage { blocks, pool };
    let (plain, pooled) = (stage(3, None), stage(3, hidden));
    let half = |inputs, outputs, stages: [Stage; 4]| Half {
        inputs,
        width: 64,
        outputs,
        stages: stages.into(),
    };
    if decodes {
        half(latent, 3, [pooled, plain, plain, stage(1, None)]).shapes(Names::DECODER)
    } else {
        half(3, latent, [stage(1, None), plain, plain, pooled]).shapes(Names::ENCODER)
    }
}

/// A small half.
#[cfg(test)]
pub(super) fn small(decodes: bool) -> Shapes {
    let half = Half {
        inputs: 3,
        width: 4,
        outputs: 2,
        stages: [1, 2].map(|blocks| Stage { blocks, pool: None }).into(),
    };
    half.shapes(if decodes {
        Names::DECODER
    } else {
        Names::ENCODER
    })
}
