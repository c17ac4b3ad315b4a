//! The autoencoder of Stable Diffusion by its three sets of names.

use serde_json::{Value, json};

use super::plan::Plan;
use super::shapes::{Keys, Shapes, run_of, sides};
use super::{Found, Layout};

/// The names of diffusers.
pub(super) const NEW: Layout = Layout {
    name: "vae-diffusers",
    about: "diffusers' AutoencoderKL: attention as to_q, to_k, to_v, to_out.0",
    family: "autoencoder-kl",
    order: "",
    anchor: "encoder.down_blocks.0.resnets.0.conv1.weight",
    find: |shapes| find(shapes, Names::New),
    to_hub: Plan::same,
    from_hub: Plan::same,
};

/// The names of diffusers before 0.15.
pub(super) const OLD: Layout = Layout {
    name: "vae-diffusers-old",
    about: "the same with the older names of attention: query, key, value, proj_attn",
    find: |shapes| find(shapes, Names::Old),
    to_hub: |shapes, _| convert(shapes, Names::Old, Names::New),
    from_hub: |shapes, _| convert(shapes, Names::New, Names::Old),
    ..NEW
};

/// The names of CompVis/latent-diffusion and of checkpoints of Stable Diffusion.
pub(super) const COMPVIS: Layout = Layout {
    name: "vae-compvis",
    about: "latent-diffusion's AutoencoderKL: attention as 1×1 convolutions, the decoder's levels counted the other way",
    order: "",
    anchor: "encoder.down.0.block.0.conv1.weight",
    find: |shapes| find(shapes, Names::CompVis),
    to_hub: |shapes, _| convert(shapes, Names::CompVis, Names::New),
    from_hub: |shapes, _| convert(shapes, Names::New, Names::CompVis),
    ..NEW
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    New,
    Old,
    CompVis,
}

/// Dimensions, as shapes say them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Vae {
    image: usize,
    outputs: usize,
    latent: usize,
    channels: Vec<usize>,
    layers: usize,
    /// Whether there are 1×1 convolutions around the latents, and how many the decoder gets.
    quantised: Option<usize>,
    attention: bool,
}

/// A module by its name in each layout, and its shape.
struct Module {
    names: [String; 3],
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Norm(usize),
    /// Outputs, inputs, side.
    Conv([usize; 3]),
    /// A map of channels: a matrix, or in CompVis' names a 1×1 convolution.
    Map(usize),
}

impl Module {
    fn name(&self, names: Names) -> &str {
        &self.names[names as usize]
    }
}

impl Vae {
    fn of(shapes: &Shapes, names: Names) -> Option<Self> {
        let compvis = names == Names::CompVis;
        let block = |level: usize, j: usize| {
            if compvis {
                format!("encoder.down.{level}.block.{j}.conv1.weight")
            } else {
                format!("encoder.down_blocks.{level}.resnets.{j}.conv1.weight")
            }
        };
        let [_, image, _, _] = sides(shapes, "encoder.conv_in.weight")?;
        let [_, latent, _, _] = sides(shapes, "decoder.conv_in.weight")?;
        let levels = run_of(shapes, |level| block(level, 0));
        let channels = (0..levels).map(|level| Some(sides::<4>(shapes, &block(level, 0))?[0]));
        let attention = match names {
            Names::New => "encoder.mid_block.attentions.0.to_q.weight",
            Names::Old => "encoder.mid_block.attentions.0.query.weight",
            Names::CompVis => "encoder.mid.attn_1.q.weight",
        };
        let others = match names {
            Names::New => "encoder.mid_block.attentions.0.query.weight",
            _ => "encoder.mid_block.attentions.0.to_q.weight",
        };
        if shapes.contains_key(others) {
            return None;
        }
        Some(Self {
            image,
            outputs: sides::<1>(shapes, "decoder.conv_out.bias")?[0],
            latent,
            channels: channels.collect::<Option<_>>()?,
            layers: run_of(shapes, |j| block(0, j)),
            quantised: sides::<4>(shapes, "post_quant_conv.weight").map(|[_, inputs, _, _]| inputs),
            attention: shapes.contains_key(attention),
        })
    }

    fn modules(&self) -> Vec<Module> {
        let mut modules = Vec::new();
        let mut push = |new: String, old: String, compvis: String, kind| {
            modules.push(Module {
                names: [new, old, compvis],
                kind,
            });
        };
        let mut both = |new: String, compvis: String, kind| push(new.clone(), new, compvis, kind);
        let last = self.channels.len() - 1;
        let widest = self.channels[last];
        let conv = |outputs, inputs| Kind::Conv([outputs, inputs, 3]);
        both(
            "encoder.conv_in".into(),
            "encoder.conv_in".into(),
            conv(self.channels[0], self.image),
        );
        let mut residual = |new: String, compvis: String, inputs: usize, outputs: usize| {
            let layers = [
                ("norm1", Kind::Norm(inputs)),
                ("conv1", conv(outputs, inputs)),
                ("norm2", Kind::Norm(outputs)),
                ("conv2", conv(outputs, outputs)),
            ];
            for (layer, kind) in layers {
                both(format!("{new}.{layer}"), format!("{compvis}.{layer}"), kind);
            }
            if inputs != outputs {
                let kind = Kind::Conv([outputs, inputs, 1]);
                both(
                    format!("{new}.conv_shortcut"),
                    format!("{compvis}.nin_shortcut"),
                    kind,
                );
            }
        };
        let mut width = self.channels[0];
        for (level, &channels) in self.channels.iter().enumerate() {
            for j in 0..self.layers {
                residual(
                    format!("encoder.down_blocks.{level}.resnets.{j}"),
                    format!("encoder.down.{level}.block.{j}"),
                    width,
                    channels,
                );
                width = channels;
            }
        }
        for side in ["encoder", "decoder"] {
            for j in 0..2 {
                let (new, compvis) = (
                    format!("{side}.mid_block.resnets.{j}"),
                    format!("{side}.mid.block_{}", j + 1),
                );
                residual(new, compvis, widest, widest);
            }
        }
        for (level, &channels) in self.channels.iter().enumerate().rev() {
            for j in 0..=self.layers {
                residual(
                    format!("decoder.up_blocks.{}.resnets.{j}", last - level),
                    format!("decoder.up.{level}.block.{j}"),
                    width,
                    channels,
                );
                width = channels;
            }
        }
        for (level, &channels) in self.channels.iter().enumerate() {
            if level < last {
                both(
                    format!("encoder.down_blocks.{level}.downsamplers.0.conv"),
                    format!("encoder.down.{level}.downsample.conv"),
                    conv(channels, channels),
                );
            }
            if level > 0 {
                both(
                    format!("decoder.up_blocks.{}.upsamplers.0.conv", last - level),
                    format!("decoder.up.{level}.upsample.conv"),
                    conv(channels, channels),
                );
            }
        }
        let moments = 2 * self.latent;
        let inner = self.quantised.unwrap_or(self.latent);
        for (side, channels, out) in [
            ("encoder", widest, conv(moments, widest)),
            (
                "decoder",
                self.channels[0],
                conv(self.outputs, self.channels[0]),
            ),
        ] {
            both(
                format!("{side}.conv_norm_out"),
                format!("{side}.norm_out"),
                Kind::Norm(channels),
            );
            both(format!("{side}.conv_out"), format!("{side}.conv_out"), out);
        }
        both(
            "decoder.conv_in".into(),
            "decoder.conv_in".into(),
            conv(widest, self.latent),
        );
        if self.quantised.is_some() {
            for (name, kind) in [
                ("quant_conv", Kind::Conv([2 * inner, moments, 1])),
                ("post_quant_conv", Kind::Conv([self.latent, inner, 1])),
            ] {
                both(name.into(), name.into(), kind);
            }
        }
        if self.attention {
            for side in ["encoder", "decoder"] {
                for (new, old, compvis, kind) in [
                    ("group_norm", "group_norm", "norm", Kind::Norm(widest)),
                    ("to_q", "query", "q", Kind::Map(widest)),
                    ("to_k", "key", "k", Kind::Map(widest)),
                    ("to_v", "value", "v", Kind::Map(widest)),
                    ("to_out.0", "proj_attn", "proj_out", Kind::Map(widest)),
                ] {
                    let at = |layer| format!("{side}.mid_block.attentions.0.{layer}");
                    push(
                        at(new),
                        at(old),
                        format!("{side}.mid.attn_1.{compvis}"),
                        kind,
                    );
                }
            }
        }
        modules
    }

    fn shapes(&self, names: Names) -> Shapes {
        let mut keys = Keys::default();
        for module in self.modules() {
            let name = module.name(names);
            match module.kind {
                Kind::Norm(channels) => keys.norm(name, channels),
                Kind::Conv(sides) => keys.conv(name, sides),
                Kind::Map(channels) if names == Names::CompVis => {
                    keys.conv(name, [channels, channels, 1])
                }
                Kind::Map(channels) => keys.affine(name, &[channels, channels]),
            }
        }
        keys.0
    }

    fn config(&self) -> Value {
        json!({
            "in_channels": self.image,
            "out_channels": self.outputs,
            "latent_channels": self.latent,
            "block_out_channels": self.channels,
            "layers_per_block": self.layers,
            "mid_block_add_attention": self.attention,
            "use_quant_conv": self.quantised.is_some(),
        })
    }
}

fn find(shapes: &Shapes, names: Names) -> Option<Found> {
    let vae = Vae::of(shapes, names)?;
    Some(Found {
        shapes: vae.shapes(names),
        config: vae.config(),
        classes: None,
    })
}

fn convert(shapes: &Shapes, from: Names, to: Names) -> Result<Plan, String> {
    let vae = Vae::of(shapes, from).ok_or("its shapes are not those of an AutoencoderKL")?;
    let mut plan = Plan::new(vae.shapes(to));
    for module in vae.modules() {
        plan.module(module.name(to), module.name(from));
    }
    Ok(plan)
}

/// The published autoencoder of Stable Diffusion.
#[cfg(test)]
pub(super) fn published(layout: &str) -> Shapes {
    let names = match layout {
        "vae-diffusers" => Names::New,
        "vae-diffusers-old" => Names::Old,
        _ => Names::CompVis,
    };
    let vae = Vae {
        image: 3,
        outputs: 3,
        latent: 4,
        channels: vec![128, 256, 512, 512],
        layers: 2,
        quantised: Some(4),
        attention: true,
    };
    vae.shapes(names)
}

/// A small one.
#[cfg(test)]
pub(super) fn small() -> Shapes {
    let vae = Vae {
        image: 3,
        outputs: 3,
        latent: 2,
        channels: vec![2, 4, 6],
        layers: 1,
        quantised: Some(2),
        attention: true,
    };
    vae.shapes(Names::New)
}
