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

fn conv(outputs: usize, inputs: usize) -> Kind {
    Kind::Conv([outputs, inputs, 3])
}

/// Modules as they are added.
#[derive(Default)]
struct Modules(Vec<Module>);

impl Modules {
    fn push(&mut self, names: [String; 3], kind: Kind) {
        self.0.push(Module { names, kind });
    }

    /// One that diffusers always called the same.
    fn both(&mut self, diffusers: &str, compvis: &str, kind: Kind) {
        self.push([diffusers, diffusers, compvis].map(str::to_owned), kind);
    }

    /// One that all call the same.
    fn same(&mut self, name: &str, kind: Kind) {
        self.both(name, name, kind);
    }

    fn residual(&mut self, diffusers: &str, compvis: &str, [inputs, outputs]: [usize; 2]) {
        let layers = [
            ("norm1", Kind::Norm(inputs)),
            ("conv1", conv(outputs, inputs)),
            ("norm2", Kind::Norm(outputs)),
            ("conv2", conv(outputs, outputs)),
        ];
        for (layer, kind) in layers {
            let names = [diffusers, compvis].map(|stem| format!("{stem}.{layer}"));
            self.both(&names[0], &names[1], kind);
        }
        if inputs != outputs {
            self.both(
                &format!("{diffusers}.conv_shortcut"),
                &format!("{compvis}.nin_shortcut"),
                Kind::Conv([outputs, inputs, 1]),
            );
        }
    }

    /// The attention in the middle of the encoder or the decoder.
    fn attention(&mut self, side: &str, channels: usize) {
        for (new, old, compvis, kind) in [
            ("group_norm", "group_norm", "norm", Kind::Norm(channels)),
            ("to_q", "query", "q", Kind::Map(channels)),
            ("to_k", "key", "k", Kind::Map(channels)),
            ("to_v", "value", "v", Kind::Map(channels)),
            ("to_out.0", "proj_attn", "proj_out", Kind::Map(channels)),
        ] {
            let at = |layer| format!("{side}.mid_block.attentions.0.{layer}");
            let compvis = format!("{side}.mid.attn_1.{compvis}");
            self.push([at(new), at(old), compvis], kind);
        }
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
        if levels == 0 {
            return None;
        }
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
        let mut modules = Modules::default();
        self.encoder(&mut modules);
        self.decoder(&mut modules);
        let widest = self.widest();
        for side in ["encoder", "decoder"] {
            for j in 0..2 {
                modules.residual(
                    &format!("{side}.mid_block.resnets.{j}"),
                    &format!("{side}.mid.block_{}", j + 1),
                    [widest, widest],
                );
            }
            if self.attention {
                modules.attention(side, widest);
            }
        }
        if let Some(inner) = self.quantised {
            let moments = 2 * self.latent;
            let quant = Kind::Conv([2 * inner, moments, 1]);
            modules.both("quant_conv", "quant_conv", quant);
            let post = Kind::Conv([self.latent, inner, 1]);
            modules.both("post_quant_conv", "post_quant_conv", post);
        }
        modules.0
    }

    fn widest(&self) -> usize {
        self.channels.last().copied().unwrap_or(0)
    }

    /// The levels of the encoder, and what is before and after them.
    fn encoder(&self, modules: &mut Modules) {
        let name = |layer: &str| format!("encoder.{layer}");
        let mut width = self.channels[0];
        modules.same("encoder.conv_in", conv(width, self.image));
        for (level, &channels) in self.channels.iter().enumerate() {
            for j in 0..self.layers {
                modules.residual(
                    &format!("encoder.down_blocks.{level}.resnets.{j}"),
                    &format!("encoder.down.{level}.block.{j}"),
                    [width, channels],
                );
                width = channels;
            }
            if level + 1 < self.channels.len() {
                modules.both(
                    &format!("encoder.down_blocks.{level}.downsamplers.0.conv"),
                    &format!("encoder.down.{level}.downsample.conv"),
                    conv(channels, channels),
                );
            }
        }
        modules.both(&name("conv_norm_out"), &name("norm_out"), Kind::Norm(width));
        modules.same("encoder.conv_out", conv(2 * self.latent, width));
    }

    /// The levels of the decoder, which CompVis counts from the finest and diffusers from the coarsest.
    fn decoder(&self, modules: &mut Modules) {
        let name = |layer: &str| format!("decoder.{layer}");
        let (mut width, last) = (self.widest(), self.channels.len() - 1);
        modules.same("decoder.conv_in", conv(width, self.latent));
        for (level, &channels) in self.channels.iter().enumerate().rev() {
            let place = last - level;
            for j in 0..=self.layers {
                modules.residual(
                    &format!("decoder.up_blocks.{place}.resnets.{j}"),
                    &format!("decoder.up.{level}.block.{j}"),
                    [width, channels],
                );
                width = channels;
            }
            if level > 0 {
                modules.both(
                    &format!("decoder.up_blocks.{place}.upsamplers.0.conv"),
                    &format!("decoder.up.{level}.upsample.conv"),
                    conv(channels, channels),
                );
            }
        }
        modules.both(&name("conv_norm_out"), &name("norm_out"), Kind::Norm(width));
        modules.same("decoder.conv_out", conv(self.outputs, width));
    }

    fn shapes(&self, names: Names) -> Shapes {
        let mut keys = Keys::default();
        for module in self.modules() {
            let name = module.name(names);
            match module.kind {
                Kind::Norm(channels) => keys.norm(name, channels),
                Kind::Conv(sides) => keys.conv(name, sides),
                Kind::Map(channels) if names == Names::CompVis => {
                    keys.conv(name, [channels, channels, 1]);
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
