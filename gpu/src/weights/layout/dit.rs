//! DiT and SiT by the names of their published files.

use serde_json::json;

use super::plan::{Ask, Plan};
use super::shapes::{Keys, Shapes, run_of, sides};
use super::{ClassTable, Found, Layout};

/// The published names of DiT.
pub(super) const DIT: Layout = Layout {
    name: "dit",
    about: "DiT as facebookresearch/DiT publishes it: predicts noise",
    family: "dit",
    order: "",
    anchor: "x_embedder.proj.weight",
    find,
    to_hub: Plan::same,
    from_hub: Plan::same,
};

/// The same names, read as a velocity.
pub(super) const SIT: Layout = Layout {
    name: "sit",
    about: "SiT as willisma/SiT publishes it: the names and shapes of DiT, its output a velocity",
    ..DIT
};

/// Dimensions of a DiT, as shapes say them: the number of heads is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dit {
    pub dim: usize,
    pub patch: usize,
    pub channels: usize,
    pub outputs: usize,
    pub tokens: usize,
    pub depth: usize,
    pub hidden: usize,
    /// Rows of the table of classes, "no class" among them.
    pub rows: usize,
    /// Features of the time.
    pub times: usize,
}

impl Dit {
    fn of(shapes: &Shapes) -> Option<Self> {
        let [dim, channels, patch, _] = sides(shapes, "x_embedder.proj.weight")?;
        let [width] = sides(shapes, "final_layer.linear.bias")?;
        Some(Self {
            dim,
            patch,
            channels,
            outputs: width.checked_div(patch * patch)?,
            tokens: sides::<3>(shapes, "pos_embed")?[1],
            depth: run_of(shapes, |i| format!("blocks.{i}.attn.qkv.weight")),
            hidden: sides::<2>(shapes, "blocks.0.mlp.fc1.weight")?[0],
            rows: sides::<2>(shapes, "y_embedder.embedding_table.weight")?[0],
            times: sides::<2>(shapes, "t_embedder.mlp.0.weight")?[1],
        })
    }

    pub(super) fn shapes(&self) -> Shapes {
        let (d, hidden) = (self.dim, self.hidden);
        let mut keys = Keys::default();
        keys.put("pos_embed", &[1, self.tokens, d]);
        keys.conv("x_embedder.proj", [d, self.channels, self.patch]);
        keys.affine("t_embedder.mlp.0", &[d, self.times]);
        keys.affine("t_embedder.mlp.2", &[d, d]);
        keys.put("y_embedder.embedding_table.weight", &[self.rows, d]);
        for i in 0..self.depth {
            let at = |name: &str| format!("blocks.{i}.{name}");
            keys.affine(&at("attn.qkv"), &[3 * d, d]);
            keys.affine(&at("attn.proj"), &[d, d]);
            keys.affine(&at("mlp.fc1"), &[hidden, d]);
            keys.affine(&at("mlp.fc2"), &[d, hidden]);
            keys.affine(&at("adaLN_modulation.1"), &[6 * d, d]);
        }
        let outputs = self.patch * self.patch * self.outputs;
        keys.affine("final_layer.linear", &[outputs, d]);
        keys.affine("final_layer.adaLN_modulation.1", &[2 * d, d]);
        keys.0
    }

    /// The side of the (square) input.
    fn size(&self) -> usize {
        self.tokens.isqrt() * self.patch
    }
}

fn find(shapes: &Shapes) -> Option<Found> {
    let dit = Dit::of(shapes)?;
    Some(Found {
        shapes: dit.shapes(),
        config: json!({
            "input_size": dit.size(),
            "patch_size": dit.patch,
            "in_channels": dit.channels,
            "hidden_size": dit.dim,
            "depth": dit.depth,
            "mlp_ratio": dit.hidden as f64 / dit.dim as f64,
            "num_classes": dit.rows.saturating_sub(1),
            "learn_sigma": dit.outputs == 2 * dit.channels,
        }),
        classes: Some(ClassTable {
            name: "y_embedder.embedding_table.weight",
            side: 0,
            no_class: true,
            per_root: false,
        }),
    })
}

/// The names of diffusers, in which the embeddings stand in each block again, q, k and v apart, and the positions are not stored.
pub(super) const DIFFUSERS: Layout = Layout {
    name: "dit-diffusers",
    about: "DiT as diffusers' DiTTransformer2DModel: positions not stored, embeddings repeated in each block",
    family: "dit",
    order: "",
    anchor: "transformer_blocks.0.norm1.linear.weight",
    find: find_diffusers,
    to_hub: from_diffusers,
    from_hub: to_diffusers,
};

/// How a module of DiT is called in diffusers, where it is only renamed.
const RENAMED: [(&str, &str); 3] = [
    ("x_embedder.proj", "pos_embed.proj"),
    ("final_layer.adaLN_modulation.1", "proj_out_1"),
    ("final_layer.linear", "proj_out_2"),
];
/// The same of a block.
const IN_BLOCK: [(&str, &str); 4] = [
    ("adaLN_modulation.1", "norm1.linear"),
    ("attn.proj", "attn1.to_out.0"),
    ("mlp.fc1", "ff.net.0.proj"),
    ("mlp.fc2", "ff.net.2"),
];
/// What stands in each block again.
const REPEATED: [(&str, &str); 5] = [
    (
        "t_embedder.mlp.0.weight",
        "timestep_embedder.linear_1.weight",
    ),
    ("t_embedder.mlp.0.bias", "timestep_embedder.linear_1.bias"),
    (
        "t_embedder.mlp.2.weight",
        "timestep_embedder.linear_2.weight",
    ),
    ("t_embedder.mlp.2.bias", "timestep_embedder.linear_2.bias"),
    (
        "y_embedder.embedding_table.weight",
        "class_embedder.embedding_table.weight",
    ),
];
/// Why the converted network is not quite the same function.
const OTHER_FUNCTION: &str = "diffusers computes another function of these weights: its features of the time divide by 127, not 128, \
     and one of its normalisations has another ε";

fn repeated(block: usize, name: &str) -> String {
    format!("transformer_blocks.{block}.norm1.emb.{name}")
}

/// The shapes of a DiT by diffusers' names.
fn diffusers_shapes(dit: &Dit) -> Shapes {
    let own = dit.shapes();
    let mut keys = Keys::default();
    for part in ["weight", "bias"] {
        for (from, to) in RENAMED {
            keys.put(format!("{to}.{part}"), &own[&format!("{from}.{part}")]);
        }
        for i in 0..dit.depth {
            for (from, to) in IN_BLOCK {
                let shape = &own[&format!("blocks.{i}.{from}.{part}")];
                keys.put(format!("transformer_blocks.{i}.{to}.{part}"), shape);
            }
        }
    }
    for i in 0..dit.depth {
        for (from, to) in REPEATED {
            keys.put(repeated(i, to), &own[from]);
        }
        for one in ["q", "k", "v"] {
            keys.affine(
                &format!("transformer_blocks.{i}.attn1.to_{one}"),
                &[dit.dim; 2],
            );
        }
    }
    keys.0
}

/// The dimensions but for the number of tokens, which is 0.
fn of_diffusers(shapes: &Shapes) -> Option<Dit> {
    let [dim, channels, patch, _] = sides(shapes, "pos_embed.proj.weight")?;
    let [width] = sides(shapes, "proj_out_2.bias")?;
    Some(Dit {
        dim,
        patch,
        channels,
        outputs: width.checked_div(patch * patch)?,
        tokens: 0,
        depth: run_of(shapes, |i| {
            format!("transformer_blocks.{i}.norm1.linear.weight")
        }),
        hidden: sides::<2>(shapes, "transformer_blocks.0.ff.net.0.proj.weight")?[0],
        rows: sides::<2>(shapes, &repeated(0, REPEATED[4].1))?[0],
        times: sides::<2>(shapes, &repeated(0, REPEATED[0].1))?[1],
    })
}

fn find_diffusers(shapes: &Shapes) -> Option<Found> {
    let dit = of_diffusers(shapes)?;
    Some(Found {
        shapes: diffusers_shapes(&dit),
        config: json!({
            "patch_size": dit.patch,
            "in_channels": dit.channels,
            "out_channels": dit.outputs,
            "hidden_size": dit.dim,
            "num_layers": dit.depth,
            "num_embeds_ada_norm": dit.rows.saturating_sub(1),
        }),
        classes: None,
    })
}

/// Each pair of names of one tensor: DiT's and diffusers'.
fn pairs(depth: usize) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for part in ["weight", "bias"] {
        let both = |from: String, to: String| (format!("{from}.{part}"), format!("{to}.{part}"));
        pairs.extend(RENAMED.map(|(from, to)| both(from.to_owned(), to.to_owned())));
        for i in 0..depth {
            pairs.extend(IN_BLOCK.map(|(from, to)| {
                both(
                    format!("blocks.{i}.{from}"),
                    format!("transformer_blocks.{i}.{to}"),
                )
            }));
        }
    }
    pairs
}

fn from_diffusers(shapes: &Shapes, ask: &Ask) -> Result<Plan, String> {
    let mut dit = of_diffusers(shapes).ok_or("its shapes are not those of a DiT")?;
    let Some(size) = ask.size else {
        return Err(
            "diffusers' form of DiT does not store the positions, so the side of the network's input must be given: --size 32 for images of 256 pixels"
                .to_owned(),
        );
    };
    if dit.patch == 0 || !size.is_multiple_of(dit.patch) || !dit.dim.is_multiple_of(4) {
        return Err(format!(
            "--size must be a multiple of the patch's side {}, got {size}",
            dit.patch
        ));
    }
    dit.tokens = (size / dit.patch).pow(2);
    let mut plan = Plan::new(dit.shapes());
    for (own, theirs) in pairs(dit.depth) {
        plan.same_of(own, theirs);
    }
    for (own, theirs) in REPEATED {
        plan.same_of(own, repeated(0, theirs));
        for i in 1..dit.depth {
            plan.must_equal(repeated(i, theirs), repeated(0, theirs));
        }
    }
    for i in 0..dit.depth {
        for part in ["weight", "bias"] {
            let from =
                ["q", "k", "v"].map(|one| format!("transformer_blocks.{i}.attn1.to_{one}.{part}"));
            let rows = (0..3).flat_map(|k| (0..dit.dim).map(move |row| (k, row)));
            plan.rows(
                format!("blocks.{i}.attn.qkv.{part}"),
                from.to_vec(),
                rows.collect(),
            );
        }
    }
    plan.made("pos_embed", positions(size / dit.patch, dit.dim));
    plan.remark(OTHER_FUNCTION);
    Ok(plan)
}

fn to_diffusers(shapes: &Shapes, _: &Ask) -> Result<Plan, String> {
    let dit = Dit::of(shapes).ok_or("its shapes are not those of a DiT")?;
    let mut plan = Plan::new(diffusers_shapes(&dit));
    for (own, theirs) in pairs(dit.depth) {
        plan.same_of(theirs, own);
    }
    for i in 0..dit.depth {
        for (own, theirs) in REPEATED {
            plan.same_of(repeated(i, theirs), own);
        }
        for (k, one) in ["q", "k", "v"].into_iter().enumerate() {
            for part in ["weight", "bias"] {
                let rows = (0..dit.dim).map(|row| (0, k * dit.dim + row));
                let name = format!("transformer_blocks.{i}.attn1.to_{one}.{part}");
                plan.rows(
                    name,
                    vec![format!("blocks.{i}.attn.qkv.{part}")],
                    rows.collect(),
                );
            }
        }
    }
    plan.must_be("pos_embed", positions(dit.tokens.isqrt(), dit.dim), 1e-5);
    plan.remark(OTHER_FUNCTION);
    Ok(plan)
}

/// The sines and cosines of DiT's positions, token by token: of the column, then of the row.
///
/// # Formula
/// ```text
/// p[token, j]          = sin(u ω_j),  p[token, D/4 + j] = cos(u ω_j),  u the column, ω_j = 10000^(−j/(D/4))
/// p[token, D/2 + …]      the same of the row
/// ```
pub(super) fn positions(side: usize, dim: usize) -> Vec<f32> {
    let quarter = dim / 4;
    let mut values = Vec::with_capacity(side * side * dim);
    for token in 0..side * side {
        for place in [token % side, token / side] {
            let angle = |j: usize| place as f64 * 10_000_f64.powf(-(j as f64) / quarter as f64);
            #[expect(clippy::cast_possible_truncation, reason = "stored as f32")]
            {
                values.extend((0..quarter).map(|j| angle(j).sin() as f32));
                values.extend((0..quarter).map(|j| angle(j).cos() as f32));
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_the_published_ones() {
        let table = positions(16, 1152);
        let at = |token: usize, j: usize| f64::from(table[token * 1152 + j]);
        // sin 1 and cos 1 of the column, nothing of the row; then of the row.
        for (got, want) in [
            (at(1, 0), 0.841_470_984_808),
            (at(1, 1), 0.824_051_347_839),
            (at(1, 288), 0.540_302_305_868),
            (at(1, 576), 0.0),
            (at(1, 864), 1.0),
            (at(16, 0), 0.0),
            (at(16, 576), 0.841_470_984_808),
        ] {
            assert!((got - want).abs() < 1e-7, "{got} {want}");
        }
        let sum: f64 = table.iter().map(|x| f64::from(*x)).sum();
        assert!((sum - 134_598.947_803_885).abs() < 1e-2, "{sum}");
    }
}
