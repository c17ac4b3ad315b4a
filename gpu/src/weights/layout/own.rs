//! Our own networks, by the names of their parameters.

use serde_json::json;

use super::plan::Plan;
use super::shapes::{Keys, Shapes, run_of, sides};
use super::{ClassTable, Found, Layout};

/// The small U-Net.
pub(super) const UNET: Layout = Layout {
    name: "unet",
    about: "the small U-Net of this program",
    family: "unet",
    order: "",
    anchor: "down.0.block.0.norm1.weight",
    find: find_unet,
    to_hub: Plan::same,
    from_hub: Plan::same,
};

/// The small diffusion transformer.
pub(super) const DIT_SMALL: Layout = Layout {
    name: "dit-small",
    about: "the small diffusion transformer of this program",
    family: "dit-small",
    order: "",
    anchor: "block.0.attn.qkv.weight",
    find: find_dit,
    to_hub: Plan::same,
    from_hub: Plan::same,
};

/// The embedding of noise level and class, whose width is `dim`.
fn condition(keys: &mut Keys, shapes: &Shapes) -> Option<usize> {
    let [dim, times] = sides(shapes, "time.0.weight")?;
    keys.affine("time.0", &[dim, times]);
    keys.affine("time.1", &[dim, dim]);
    if let Some([rows, _]) = sides(shapes, "class.weight") {
        keys.put("class.weight", &[rows, dim]);
    }
    Some(dim)
}

fn classes(shapes: &Shapes) -> Option<ClassTable> {
    shapes.contains_key("class.weight").then_some(ClassTable {
        name: "class.weight",
        side: 0,
        no_class: true,
        per_root: false,
    })
}

/// Number of classes; none for a network without.
fn class_count(shapes: &Shapes) -> Option<usize> {
    sides::<2>(shapes, "class.weight").map(|[rows, _]| rows.saturating_sub(1))
}

fn find_dit(shapes: &Shapes) -> Option<Found> {
    let mut keys = Keys::default();
    let dim = condition(&mut keys, shapes)?;
    let [_, patch] = sides(shapes, "patch.weight")?;
    let [hidden, _] = sides(shapes, "block.0.mlp.0.weight")?;
    let depth = run_of(shapes, |i| format!("block.{i}.attn.qkv.weight"));
    keys.affine("patch", &[dim, patch]);
    for i in 0..depth {
        let at = |layer: &str| format!("block.{i}.{layer}");
        keys.affine(&at("ada"), &[6 * dim, dim]);
        keys.affine(&at("attn.qkv"), &[3 * dim, dim]);
        keys.affine(&at("attn.proj"), &[dim, dim]);
        keys.affine(&at("mlp.0"), &[hidden, dim]);
        keys.affine(&at("mlp.1"), &[dim, hidden]);
    }
    keys.affine("final.ada", &[2 * dim, dim]);
    keys.affine("final.linear", &[patch, dim]);
    Some(Found {
        shapes: keys.0,
        config: json!({
            "dim": dim,
            "depth": depth,
            "mlp_ratio": hidden / dim.max(1),
            "patch_elements": patch,
            "classes": class_count(shapes),
        }),
        classes: classes(shapes),
    })
}

fn find_unet(shapes: &Shapes) -> Option<Found> {
    let mut keys = Keys::default();
    let emb = condition(&mut keys, shapes)?;
    let [first, images, _, _] = sides(shapes, "conv_in.weight")?;
    let name = |i: usize, j: usize| format!("down.{i}.block.{j}.conv1.bias");
    let levels = run_of(shapes, |i| name(i, 0));
    let blocks = run_of(shapes, |j| name(0, j));
    let channels = (0..levels)
        .map(|i| Some(sides::<1>(shapes, &name(i, 0))?[0]))
        .collect::<Option<Vec<_>>>()?;
    let attended: Vec<usize> = (0..levels)
        .filter(|i| shapes.contains_key(&format!("down.{i}.attn.0.qkv.weight")))
        .collect();
    keys.conv("conv_in", [first, images, 3]);
    let attention = |keys: &mut Keys, stem: &str, width: usize| {
        keys.norm(&format!("{stem}.norm"), width);
        keys.affine(&format!("{stem}.qkv"), &[3 * width, width]);
        keys.affine(&format!("{stem}.proj"), &[width, width]);
    };
    let block = |keys: &mut Keys, stem: &str, inputs: usize, outputs: usize| {
        keys.norm(&format!("{stem}.norm1"), inputs);
        keys.conv(&format!("{stem}.conv1"), [outputs, inputs, 3]);
        keys.affine(&format!("{stem}.emb"), &[2 * outputs, emb]);
        keys.norm(&format!("{stem}.norm2"), outputs);
        keys.conv(&format!("{stem}.conv2"), [outputs, outputs, 3]);
        if inputs != outputs {
            keys.conv(&format!("{stem}.skip"), [outputs, inputs, 1]);
        }
    };
    let (mut width, mut skips) = (first, Vec::new());
    let stage = |keys: &mut Keys, side: &str, [i, j]: [usize; 2], inputs: usize| {
        block(keys, &format!("{side}.{i}.block.{j}"), inputs, channels[i]);
        if attended.contains(&i) {
            attention(keys, &format!("{side}.{i}.attn.{j}"), channels[i]);
        }
    };
    for (i, outputs) in channels.iter().enumerate() {
        for j in 0..blocks {
            stage(&mut keys, "down", [i, j], width);
            width = *outputs;
            skips.push(width);
        }
    }
    block(&mut keys, "mid.block.0", width, width);
    attention(&mut keys, "mid.attn", width);
    block(&mut keys, "mid.block.1", width, width);
    for i in (0..levels).rev() {
        for j in 0..blocks {
            stage(&mut keys, "up", [i, j], width + skips.pop().unwrap_or(0));
            width = channels[i];
        }
        if i > 0 {
            keys.conv(&format!("up.{i}.conv"), [width, width, 3]);
        }
    }
    keys.norm("norm_out", width);
    keys.conv("conv_out", [images, width, 3]);
    Some(Found {
        shapes: keys.0,
        config: json!({
            "channels": channels,
            "blocks": blocks,
            "attention": attended,
            "emb_dim": emb,
            "classes": class_count(shapes),
        }),
        classes: classes(shapes),
    })
}
