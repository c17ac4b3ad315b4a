//! ADM by the names of openai/guided-diffusion, in both of its orders of q, k and v.
//!
//! The rows of a `qkv` weight are, for head h, channel c of a head and j of q, k, v:
//!
//! | layout | row |
//! |---|---|
//! | `adm` (the network for 64×64) | (j, h, c) |
//! | `adm-legacy` (128×128, 256×256, 512×512) | (h, j, c) |
//! | EDM's DhariwalUNet | (h, c, j) |
//!
//! Names and shapes of the first two are the same: a file of a size that nobody named may be either.

use serde_json::{Value, json};

use super::edm::{Unet, whole};
use super::plan::{Ask, Plan};
use super::shapes::{Keys, Shapes, sides};
use super::{ClassTable, Found, Layout};

/// Channels of a head.
const HEAD: usize = 64;

/// The order of q, k and v in the network for 64×64.
pub(super) const NEW: Layout = Layout {
    name: "adm",
    about: "ADM of guided-diffusion with its new order of attention, all of q before all of k and v (its 64×64 network)",
    family: "adm",
    order: "new",
    anchor: "input_blocks.0.0.weight",
    find,
    to_hub: |shapes, ask| to_hub(shapes, ask, Order::New),
    from_hub: |shapes, ask| from_hub(shapes, ask, Order::New),
};

/// The order of the larger networks.
pub(super) const LEGACY: Layout = Layout {
    name: "adm-legacy",
    about: "ADM of guided-diffusion with its legacy order of attention, q, k and v of one head after another (128, 256, 512)",
    family: "adm",
    order: "legacy",
    anchor: "input_blocks.0.0.weight",
    find,
    to_hub: |shapes, ask| to_hub(shapes, ask, Order::Legacy),
    from_hub: |shapes, ask| from_hub(shapes, ask, Order::Legacy),
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    New,
    Legacy,
}

impl Order {
    /// The row of q (j = 0), k or v of channel c of head h of so many.
    fn row(self, heads: usize, h: usize, j: usize, c: usize) -> usize {
        match self {
            Self::New => (j * heads + h) * HEAD + c,
            Self::Legacy => (h * 3 + j) * HEAD + c,
        }
    }
}

/// For each row of EDM's order the row of the other.
fn rows_of_edm(order: Order, channels: usize) -> Vec<usize> {
    let heads = channels / HEAD;
    let mut rows = Vec::with_capacity(3 * channels);
    for h in 0..heads {
        for c in 0..HEAD {
            rows.extend((0..3).map(|j| order.row(heads, h, j, c)));
        }
    }
    rows
}

/// A block, as it is called here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    inputs: usize,
    outputs: usize,
    attention: bool,
}

/// The dimensions of an ADM, as shapes say them: the side of the image is not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Adm {
    inputs: usize,
    outputs: usize,
    /// Outputs of the first convolution.
    first: usize,
    channels: Vec<usize>,
    blocks: usize,
    attention: Vec<bool>,
    middle: bool,
    /// Features of the time.
    noise: usize,
    emb: usize,
    classes: usize,
}

impl Adm {
    fn of(shapes: &Shapes) -> Option<Self> {
        let [first, inputs, _, _] = sides(shapes, "input_blocks.0.0.weight")?;
        let has = |name: String| shapes.contains_key(&name);
        let count = (0..=shapes.len())
            .take_while(|i| has(format!("output_blocks.{i}.0.in_layers.2.weight")))
            .count();
        // The last block of a level but the finest is followed by one that doubles the side.
        let grows =
            |i: &usize| (1..3).any(|k| has(format!("output_blocks.{i}.{k}.in_layers.2.weight")));
        let each = (0..count).find(grows).map_or(count, |last| last + 1);
        if each < 2 || !count.is_multiple_of(each) {
            return None;
        }
        let (levels, blocks) = (count / each, each - 1);
        let at = |level: usize| format!("input_blocks.{}", 1 + level * each);
        let channels = (0..levels)
            .map(|level| Some(sides::<1>(shapes, &format!("{}.0.in_layers.2.bias", at(level)))?[0]))
            .collect::<Option<Vec<_>>>()?;
        let [emb, noise] = sides(shapes, "time_embed.0.weight")?;
        Some(Self {
            inputs,
            outputs: sides::<1>(shapes, "out.2.bias")?[0],
            first,
            channels,
            blocks,
            attention: (0..levels)
                .map(|level| has(format!("{}.1.qkv.weight", at(level))))
                .collect(),
            middle: has("middle_block.1.qkv.weight".to_owned()),
            noise,
            emb,
            classes: sides::<2>(shapes, "label_emb.weight").map_or(0, |[rows, _]| rows),
        })
    }

    /// Every block with its name here and, of an image of this side, in EDM.
    fn blocks(&self, size: usize) -> Vec<(String, String, Block)> {
        let mut blocks = Vec::new();
        let (mut width, mut skips, mut at) = (self.first, vec![self.first], 0);
        let levels = self.channels.len();
        for (level, &channels) in self.channels.iter().enumerate() {
            let side = size >> level;
            let mut push = |edm: String, block| {
                at += 1;
                blocks.push((
                    format!("input_blocks.{at}"),
                    format!("enc.{side}x{side}_{edm}"),
                    block,
                ));
            };
            if level > 0 {
                push("down".to_owned(), plain(width, false));
                skips.push(width);
            }
            for i in 0..self.blocks {
                push(
                    format!("block{i}"),
                    Block {
                        inputs: width,
                        outputs: channels,
                        attention: self.attention[level],
                    },
                );
                width = channels;
                skips.push(width);
            }
        }
        let deepest = size >> (levels - 1);
        for (i, attention) in [(0, self.middle), (2, false)] {
            let edm = format!("dec.{deepest}x{deepest}_in{}", i / 2);
            blocks.push((format!("middle_block.{i}"), edm, plain(width, attention)));
        }
        let mut at = 0;
        for (level, &channels) in self.channels.iter().enumerate().rev() {
            let side = size >> level;
            for i in 0..=self.blocks {
                let (here, edm) = (
                    format!("output_blocks.{at}"),
                    format!("dec.{side}x{side}_block{i}"),
                );
                blocks.push((
                    here.clone(),
                    edm,
                    Block {
                        inputs: width + skips.pop().unwrap_or(0),
                        outputs: channels,
                        attention: self.attention[level],
                    },
                ));
                width = channels;
                if level > 0 && i == self.blocks {
                    let place = 1 + usize::from(self.attention[level]);
                    let side = 2 * side;
                    let edm = format!("dec.{side}x{side}_up");
                    blocks.push((format!("{here}.{place}"), edm, plain(width, false)));
                }
                at += 1;
            }
        }
        blocks
    }

    fn shapes(&self) -> Shapes {
        let mut keys = Keys::default();
        keys.affine("time_embed.0", &[self.emb, self.noise]);
        keys.affine("time_embed.2", &[self.emb, self.emb]);
        if self.classes > 0 {
            keys.put("label_emb.weight", &[self.classes, self.emb]);
        }
        keys.conv("input_blocks.0.0", [self.first, self.inputs, 3]);
        for (
            name,
            _,
            Block {
                inputs,
                outputs,
                attention,
            },
        ) in self.blocks(1 << self.channels.len())
        {
            let residual = residual(&name);
            let at = |layer: &str| format!("{residual}.{layer}");
            keys.norm(&at("in_layers.0"), inputs);
            keys.conv(&at("in_layers.2"), [outputs, inputs, 3]);
            keys.affine(&at("emb_layers.1"), &[2 * outputs, self.emb]);
            keys.norm(&at("out_layers.0"), outputs);
            keys.conv(&at("out_layers.3"), [outputs, outputs, 3]);
            if inputs != outputs {
                keys.conv(&at("skip_connection"), [outputs, inputs, 1]);
            }
            if attention {
                let attended = attended(&name);
                keys.norm(&format!("{attended}.norm"), outputs);
                keys.affine(&format!("{attended}.qkv"), &[3 * outputs, outputs, 1]);
                keys.affine(&format!("{attended}.proj_out"), &[outputs, outputs, 1]);
            }
        }
        keys.norm("out.0", self.channels[0]);
        keys.conv("out.2", [self.outputs, self.channels[0], 3]);
        keys.0
    }

    fn config(&self) -> Value {
        let factor = |channels: usize| whole(channels as f64 / self.noise as f64);
        let mult: Vec<Value> = self
            .channels
            .iter()
            .map(|channels| factor(*channels))
            .collect();
        let attended = (0..self.channels.len()).filter(|level| self.attention[*level]);
        json!({
            "in_channels": self.inputs,
            "out_channels": self.outputs,
            "model_channels": self.noise,
            "channel_mult": mult,
            "num_res_blocks": self.blocks,
            "attention_downsampled_by": attended.map(|level| 1 << level).collect::<Vec<u64>>(),
            "num_classes": self.classes,
            "num_head_channels": HEAD,
        })
    }
}

fn plain(width: usize, attention: bool) -> Block {
    Block {
        inputs: width,
        outputs: width,
        attention,
    }
}

/// The name of a block's residual part: a place in the middle or after another has no further number.
fn residual(block: &str) -> String {
    if block.starts_with("middle") || block.split('.').count() > 2 {
        block.to_owned()
    } else {
        format!("{block}.0")
    }
}

/// The name of a block's attention.
fn attended(block: &str) -> String {
    if block.starts_with("middle") {
        "middle_block.1".to_owned()
    } else {
        format!("{block}.1")
    }
}

fn find(shapes: &Shapes) -> Option<Found> {
    let adm = Adm::of(shapes)?;
    Some(Found {
        shapes: adm.shapes(),
        config: adm.config(),
        classes: (adm.classes > 0).then_some(ClassTable {
            name: "label_emb.weight",
            side: 0,
            no_class: false,
            per_root: false,
        }),
    })
}

/// Names of the layers of a residual part: here and in EDM.
const LAYERS: [(&str, &str); 5] = [
    ("in_layers.0", "norm0"),
    ("in_layers.2", "conv0"),
    ("emb_layers.1", "affine"),
    ("out_layers.0", "norm1"),
    ("out_layers.3", "conv1"),
];
/// Names of what is outside the blocks.
const OUTSIDE: [(&str, &str); 4] = [
    ("time_embed.0", "map_layer0"),
    ("time_embed.2", "map_layer1"),
    ("out.0", "out_norm"),
    ("out.2", "out_conv"),
];

/// Every module by its name here and in EDM but for `qkv` and the classes.
fn modules(adm: &Adm, size: usize) -> Vec<(String, String)> {
    let mut modules: Vec<(String, String)> = OUTSIDE
        .iter()
        .map(|(here, edm)| ((*here).to_owned(), (*edm).to_owned()))
        .collect();
    modules.push((
        "input_blocks.0.0".to_owned(),
        format!("enc.{size}x{size}_conv"),
    ));
    for (name, edm, block) in adm.blocks(size) {
        let residual = residual(&name);
        modules.extend(LAYERS.map(|(a, b)| (format!("{residual}.{a}"), format!("{edm}.{b}"))));
        if block.inputs != block.outputs {
            modules.push((format!("{residual}.skip_connection"), format!("{edm}.skip")));
        }
        if block.attention {
            let attended = attended(&name);
            modules.push((format!("{attended}.norm"), format!("{edm}.norm2")));
            modules.push((format!("{attended}.proj_out"), format!("{edm}.proj")));
        }
    }
    modules
}

/// Blocks with attention: names here and in EDM, and channels.
fn attentions(adm: &Adm, size: usize) -> Vec<(String, String, usize)> {
    let blocks = adm.blocks(size).into_iter();
    blocks
        .filter(|(.., block)| block.attention)
        .map(|(name, edm, block)| (attended(&name), edm, block.outputs))
        .collect()
}

/// The names of the filters in EDM: of each block that changes the image's side two.
fn filters(adm: &Adm, size: usize) -> impl Iterator<Item = String> {
    let blocks = adm.blocks(size).into_iter();
    let resampled = |edm: &String| edm.ends_with("_down") || edm.ends_with("_up");
    let stems = blocks.map(|(_, edm, _)| edm).filter(resampled);
    stems.flat_map(|edm| ["conv0", "skip"].map(|layer| format!("{edm}.{layer}.resample_filter")))
}

/// The mean of two neighbours along each side.
const BOX: [f32; 4] = [0.25; 4];

/// Norms have 32 groups here, and one for each four channels in EDM if that is less.
fn remark_on_norms(plan: &mut Plan, channels: &[usize]) {
    if channels.iter().any(|channels| *channels < 128) {
        plan.remark(
            "it has fewer than 128 channels somewhere: there EDM's norms have groups of four channels and guided-diffusion's 32 groups, so the two compute another function",
        );
    }
}

fn to_hub(shapes: &Shapes, ask: &Ask, order: Order) -> Result<Plan, String> {
    let adm = Adm::of(shapes).ok_or("its shapes are not those of an ADM")?;
    let levels = adm.channels.len();
    let Some(size) = ask.size else {
        return Err(
            "EDM's names hold the side of the image, which this file does not say: --size 64 for images of 64×64 pixels".to_owned(),
        );
    };
    if levels == 0 || !size.is_multiple_of(1 << (levels - 1)) || size == 0 {
        return Err(format!(
            "--size must be halved {} times, got {size}",
            levels.saturating_sub(1)
        ));
    }
    let unet = Unet {
        size,
        inputs: adm.inputs,
        outputs: adm.outputs,
        first: adm.first,
        channels: adm.channels.clone(),
        blocks: adm.blocks,
        attention: adm.attention.clone(),
        middle: adm.middle,
        noise: adm.noise,
        emb: adm.emb,
        labels: adm.classes,
        taps: 2,
        ..Unet::default()
    };
    let mut plan = Plan::new(unet.shapes());
    for (here, edm) in modules(&adm, size) {
        plan.module(&edm, &here);
    }
    for (here, edm, channels) in attentions(&adm, size) {
        check_heads(&here, channels)?;
        let rows: Vec<(usize, usize)> = rows_of_edm(order, channels)
            .into_iter()
            .map(|row| (0, row))
            .collect();
        for part in ["weight", "bias"] {
            plan.rows(
                format!("{edm}.qkv.{part}"),
                vec![format!("{here}.qkv.{part}")],
                rows.clone(),
            );
        }
    }
    if adm.classes > 0 {
        plan.turned("map_label.weight", "label_emb.weight");
    }
    for filter in filters(&adm, size) {
        plan.made(filter, BOX.to_vec());
    }
    remark_on_norms(&mut plan, &adm.channels);
    Ok(plan)
}

fn from_hub(shapes: &Shapes, _: &Ask, order: Order) -> Result<Plan, String> {
    let unet = Unet::of(shapes).ok_or("its shapes are not those of a DhariwalUNet")?;
    let adm = Adm {
        inputs: unet.inputs,
        outputs: unet.outputs,
        first: unet.first,
        channels: unet.channels.clone(),
        blocks: unet.blocks,
        attention: unet.attention.clone(),
        middle: unet.middle,
        noise: unet.noise,
        emb: unet.emb,
        classes: unet.labels,
    };
    if unet.taps != 2 && unet.channels.len() > 1 {
        return Err(format!(
            "it resamples by a filter of {} taps, and ADM by the mean of two",
            unet.taps
        ));
    }
    let mut plan = Plan::new(adm.shapes());
    for (here, edm) in modules(&adm, unet.size) {
        plan.module(&here, &edm);
    }
    for (here, edm, channels) in attentions(&adm, unet.size) {
        check_heads(&edm, channels)?;
        let mut rows = vec![(0, 0); 3 * channels];
        for (edm_row, row) in rows_of_edm(order, channels).into_iter().enumerate() {
            rows[row] = (0, edm_row);
        }
        for part in ["weight", "bias"] {
            plan.rows(
                format!("{here}.qkv.{part}"),
                vec![format!("{edm}.qkv.{part}")],
                rows.clone(),
            );
        }
    }
    if adm.classes > 0 {
        plan.turned("label_emb.weight", "map_label.weight");
    }
    for filter in filters(&adm, unet.size) {
        plan.must_be(filter, BOX.to_vec(), 0.0);
    }
    remark_on_norms(&mut plan, &adm.channels);
    Ok(plan)
}

fn check_heads(block: &str, channels: usize) -> Result<(), String> {
    if channels.is_multiple_of(HEAD) {
        return Ok(());
    }
    Err(format!(
        "`{block}` has attention of {channels} channels, which are no whole number of heads of {HEAD}"
    ))
}

/// A published network for images of this side.
#[cfg(test)]
pub(super) fn adm(side: usize, classes: usize) -> Shapes {
    let (noise, blocks) = if side == 64 { (192, 3) } else { (256, 2) };
    let halves: &[usize] = match side {
        64 => &[2, 4, 6, 8],
        128 => &[2, 2, 4, 6, 8],
        256 => &[2, 2, 4, 4, 8, 8],
        _ => &[1, 2, 2, 4, 4, 8, 8],
    };
    let adm = Adm {
        inputs: 3,
        outputs: 6,
        first: noise * halves[0] / 2,
        channels: halves.iter().map(|half| noise * half / 2).collect(),
        blocks,
        attention: (0..halves.len())
            .map(|level| (side >> level) <= 32)
            .collect(),
        middle: true,
        noise,
        emb: 4 * noise,
        classes,
    };
    adm.shapes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_q_k_and_v_are_where_each_order_has_them() {
        // Two heads: EDM's rows 0, 1, 2 are q, k, v of the first channel of the first head.
        let new = rows_of_edm(Order::New, 128);
        let legacy = rows_of_edm(Order::Legacy, 128);
        assert_eq!(new[..4], [0, 128, 256, 1]);
        assert_eq!(legacy[..4], [0, 64, 128, 1]);
        // The first channel of the second head.
        assert_eq!(new[192..195], [64, 192, 320]);
        assert_eq!(legacy[192..195], [192, 256, 320]);
        for mut rows in [new, legacy] {
            rows.sort_unstable();
            assert!(rows.into_iter().eq(0..384), "each once");
        }
    }
}
