//! What is timed, as both sides are told.

use serde_json::{Value, json};

use super::Outcome;
use super::ours::{self, Work};
use sadm::gpu::config::{Config, ModelKind};
use sadm::gpu::train::players::ImageKind;

/// One line of the table.
pub struct Item {
    /// Its name.
    pub name: String,
    /// What PyTorch is told.
    pub what: Value,
    /// Our side.
    pub make: Box<dyn Fn() -> Outcome<Work>>,
    /// Whether `torch.compile` can change anything.
    pub compilable: bool,
}

/// Every line, in the order of the table.
pub fn items() -> Outcome<Vec<Item>> {
    let mut items = vec![
        step("digits", 64, (1, 8))?,
        step("digits-dit", 64, (1, 8))?,
        // The batches of these presets are meant for a card; a smaller one asks the same of a core.
        step("mnist", 16, (1, 28))?,
        step("cifar10", 8, (3, 32))?,
    ];
    items.extend(layers());
    items.push(optimizer());
    for (batch, dim) in STRUCTURE_SHAPES {
        items.extend(structure(batch, dim));
    }
    Ok(items)
}

/// |B| and d of the structural loss.
const STRUCTURE_SHAPES: [(usize, usize); 9] = [
    (8, 64),
    (64, 64),
    (64, 2048),
    (256, 64),
    (256, 2048),
    (1024, 256),
    (2048, 2048),
    (8192, 64),
    (8192, 512),
];

fn step(preset: &'static str, batch: usize, (channels, size): (usize, usize)) -> Outcome<Item> {
    let image = ImageKind {
        channels,
        size,
        classes: 10,
    };
    let mut config = Config::preset(preset)?;
    config.train.batch = batch;
    let (kind, network) = match config.model.kind {
        ModelKind::Unet => ("unet", serde_json::to_value(&config.model.unet)?),
        ModelKind::Dit => ("dit", serde_json::to_value(&config.model.dit)?),
    };
    let what = json!({
        "type": "step", "kind": kind, "network": network, "image": image, "batch": batch,
        "encoder": config.encoder, "sigma_data": config.objective.sigma_data,
        "structure_weight": config.structure.weight,
    });
    Ok(Item {
        name: format!("step/{preset}, batch {batch}"),
        what,
        make: Box::new(move || ours::step(&config, image)),
        compilable: true,
    })
}

/// Layers, forward and backward, in shapes of the presets and in larger ones.
fn layers() -> Vec<Item> {
    let image = |n: usize, c: usize, side: usize| json!([n, c, side, side]);
    let mut shapes = Vec::new();
    for (n, c, o, side) in [
        (64, 32, 32, 8),
        (64, 64, 64, 4),
        (64, 128, 64, 4),
        (16, 64, 64, 32),
        (8, 256, 256, 8),
    ] {
        shapes.push(json!({"op": "conv2d", "shape": image(n, c, side), "outputs": o, "kernel": 3}));
    }
    for (n, c, o, side) in [(64, 64, 192, 4), (16, 64, 128, 32)] {
        shapes.push(json!({"op": "conv2d", "shape": image(n, c, side), "outputs": o, "kernel": 1}));
    }
    for (n, c, side) in [(64, 32, 8), (16, 64, 32)] {
        shapes.push(json!({"op": "group_norm_silu", "shape": image(n, c, side), "groups": 8}));
        shapes.push(json!({"op": "upsample", "shape": image(n, c, side)}));
        shapes.push(json!({"op": "avg_pool", "shape": image(n, c, side)}));
    }
    for (b, t, d, o) in [(64, 16, 96, 288), (64, 16, 384, 96), (8, 256, 384, 1536)] {
        shapes.push(json!({"op": "linear", "shape": [b, t, d], "outputs": o}));
    }
    for (b, t, d) in [(64, 16, 96), (8, 256, 384)] {
        shapes.push(json!({"op": "modulated_layer_norm", "shape": [b, t, d]}));
        shapes.push(json!({"op": "gelu", "shape": [b, t, 4 * d]}));
        shapes.push(json!({"op": "self_attention", "shape": [b, t, 3 * d], "heads": d / 24}));
    }
    shapes.push(json!({"op": "silu", "shape": image(16, 64, 32)}));
    shapes.push(json!({"op": "softmax", "shape": [4096, 512]}));
    shapes.into_iter().map(layer).collect()
}

fn layer(mut what: Value) -> Item {
    let dims: Vec<String> = what["shape"]
        .as_array()
        .into_iter()
        .flatten()
        .map(Value::to_string)
        .collect();
    let mut name = format!(
        "{} {}",
        what["op"].as_str().unwrap_or_default(),
        dims.join("×")
    );
    if let Some(outputs) = what["outputs"].as_u64() {
        name = format!("{name} → {outputs}");
    }
    if let Some(kernel) = what["kernel"].as_u64() {
        name = format!("{name}, {kernel}×{kernel}");
    }
    what["type"] = "layer".into();
    let ours = what.clone();
    Item {
        name,
        what,
        make: Box::new(move || ours::layer(&ours)),
        compilable: true,
    }
}

/// AdamW and EMA of as many parameters as a small U-Net has.
fn optimizer() -> Item {
    let sizes: Vec<usize> = (0..52)
        .map(|i| if i % 2 == 0 { 200_000 } else { 64 })
        .collect();
    Item {
        name: "AdamW and EMA, 5.2 M parameters".to_owned(),
        what: json!({"type": "optimizer", "sizes": sizes}),
        make: Box::new(move || ours::optimizer(&sizes)),
        compilable: false,
    }
}

/// The loss with its gradient, the two products it needs, and what candle's graph takes for any operation with such a
/// gradient.
fn structure(batch: usize, dim: usize) -> [Item; 3] {
    let shapes = ours::products_of_loss(batch, dim);
    [
        Item {
            name: format!("structural loss |B| {batch}, d {dim}"),
            what: json!({"type": "structure", "batch": batch, "dim": dim}),
            make: Box::new(move || ours::structure(batch, dim)),
            compilable: true,
        },
        Item {
            name: format!("  its two products |B| {batch}, d {dim}"),
            what: json!({"type": "products", "shapes": shapes}),
            make: Box::new(move || ours::products(&shapes)),
            compilable: false,
        },
        Item {
            name: format!("  its graph |B| {batch}, d {dim}"),
            what: json!({"type": "graph", "batch": batch, "dim": dim}),
            make: Box::new(move || ours::graph(batch, dim)),
            compilable: false,
        },
    ]
}
