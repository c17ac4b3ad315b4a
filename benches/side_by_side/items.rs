//! Timed items, as both sides are told.

use candle_core::Device;
use serde_json::{Value, json};

use super::Outcome;
use super::ours::{self, Work};
use sadm::gpu::config::Config;
use sadm::gpu::data::ImageKind;

/// One line of the table.
pub struct Item {
    /// Its name.
    pub name: String,
    /// What PyTorch is told; null for a line of ours alone.
    pub what: Value,
    /// Our side.
    pub make: Box<dyn Fn(&Device) -> Outcome<Work>>,
    /// Whether `torch.compile` can change anything.
    pub compilable: bool,
}

/// Every line for a device, in the order of the table.
pub fn items(device: &Device) -> Outcome<Vec<Item>> {
    let mut items = if device.is_cpu() {
        vec![
            step("digits", Some(64), (1, 8))?,
            step("digits-dit", Some(64), (1, 8))?,
            // The batches of these presets are meant for a GPU; a smaller one asks the same of a core.
            step("mnist", Some(16), (1, 28))?,
            step("cifar10", Some(8), (3, 32))?,
        ]
        .into_iter()
        .chain(published()?)
        .collect()
    } else {
        let [guided, plain] = large()?;
        vec![
            step("digits", None, (1, 8))?,
            step("digits-dit", None, (1, 8))?,
            step("mnist", None, (1, 28))?,
            step("cifar10", None, (3, 32))?,
            plain,
            guided,
        ]
    };
    items.extend(layers());
    items.push(optimizer());
    items.extend(INCEPTION_BATCHES.map(inception));
    for (batch, dim) in STRUCTURE_SHAPES {
        items.extend(structure(batch, dim));
    }
    for count in [512, 2048] {
        items.push(assignment(count)?);
    }
    items.push(pool());
    Ok(items)
}

/// Matrix of costs and optimal assignment of pairs of CIFAR-10's size, by `torch.cdist` and SciPy's solver there, on the same
/// numbers: the time depends on them.
fn assignment(count: usize) -> Outcome<Item> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("pairs.f32");
    Ok(Item {
        name: format!("assignment of {count}, d {}", ours::PIXELS),
        what: json!({"type": "assignment", "count": count, "dim": ours::PIXELS, "file": file}),
        make: Box::new(move |device| {
            ours::assignment(count, &folder.path().join("pairs.f32"), device)
        }),
        compilable: false,
    })
}

/// What `coupling.pool = 512` adds to the steps that use the pool up: assignment, mean costs, and a copy of each batch of 8.
fn pool() -> Item {
    Item {
        name: "  what a pool of 512 adds to 64 steps".to_owned(),
        what: Value::Null,
        make: Box::new(ours::pool),
        compilable: false,
    }
}

/// Images that go through the Inception network together.
const INCEPTION_BATCHES: [usize; 2] = [2, 16];

/// Pooled features of the Inception network of FID, of images that are 299×299 already: folded and forward only on our side, in
/// evaluation mode without gradients on PyTorch's, both with the same numbers of channels and weights of the same size.
fn inception(batch: usize) -> Item {
    Item {
        name: format!("features/inception-v3 299×299, batch {batch}"),
        what: json!({"type": "inception", "batch": batch}),
        make: Box::new(move |device| ours::inception(batch, device)),
        compilable: true,
    }
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

/// A preset's step, of its own batch if no other is given.
fn step(preset: &str, batch: Option<usize>, (channels, size): (usize, usize)) -> Outcome<Item> {
    let mut config = Config::preset(preset)?;
    config.train.batch = batch.unwrap_or(config.train.batch);
    let image = ImageKind {
        channels,
        size,
        classes: 10,
    };
    step_of(preset, config, image, true)
}

/// A transformer of the size of DiT-B/2 on latents of 4 × 32 × 32, guided by 2048 features and plain: the difference is what
/// the structure costs.
fn large() -> Outcome<[Item; 2]> {
    let config = Config::preset("digits-dit")?.with_sets([
        "train.batch=256",
        "encoder.dim=2048",
        "model.dit-small.dim=768",
        "model.dit-small.depth=12",
        "model.dit-small.heads=12",
        "model.dit-small.patch=2",
    ])?;
    let image = ImageKind {
        channels: 4,
        size: 32,
        classes: 1000,
    };
    Ok([
        step_of("DiT-B/2-sized", config.clone(), image, true)?,
        step_of("DiT-B/2-sized, plain", config, image, false)?,
    ])
}

/// The published networks at sizes that a CPU trains: denoising alone, in training mode with their dropout; and what a sampler
/// asks of them. A quarter of ADM's width has channels that its 32 groups do not divide; a third has not.
fn published() -> Outcome<Vec<Item>> {
    let cifar10 = [
        "kind=song-unet",
        "song-unet.channel_mult=[2, 2, 2]",
        "song-unet.dropout=0.13",
    ];
    let third = ["kind=dhariwal-unet", "dhariwal-unet.model_channels=64"];
    let dit = |width: usize, heads: usize| {
        let sizes = [
            ("hidden_size", width),
            ("num_heads", heads),
            ("depth", 12),
            ("patch_size", 2),
        ];
        let keys = sizes.map(|(key, value)| format!("dit.{key}={value}"));
        let more = ["kind=dit", "dit.learn_sigma=true"].map(str::to_owned);
        keys.into_iter().chain(more).collect::<Vec<_>>()
    };
    let owned = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
    let networks = [
        ("SongUNet CIFAR-10", owned(&cifar10), (3, 32, 10)),
        ("DhariwalUNet/3 64×64", owned(&third), (3, 64, 1000)),
        ("DiT-S/2", dit(384, 6), (4, 32, 1000)),
        ("DiT-B/2", dit(768, 12), (4, 32, 1000)),
    ];
    let mut items = Vec::new();
    for (name, keys, (channels, size, classes)) in networks {
        let keys = keys.into_iter().map(|key| format!("model.{key}"));
        let keys: Vec<String> = keys.chain(["train.batch=4".to_owned()]).collect();
        let config = Config::default().with_sets(keys.iter().map(String::as_str))?;
        let image = ImageKind {
            channels,
            size,
            classes,
        };
        items.push(forward_of(name, config.clone(), image)?);
        items.push(step_of(name, config.clone(), image, false)?);
        let again = config.with_sets(["train.recompute=blocks"])?;
        // Ours alone: the numbers are the same.
        items.push(Item {
            what: Value::Null,
            ..step_of(&format!("{name} recomputed"), again, image, false)?
        });
    }
    Ok(items)
}

/// The network's answer without gradients.
fn forward_of(name: &str, config: Config, image: ImageKind) -> Outcome<Item> {
    let mut item = step_of(name, config.clone(), image, false)?;
    item.name = item.name.replace("step/", "forward/");
    item.what["type"] = "forward".into();
    item.make = Box::new(move |device| ours::forward(&config, image, device));
    Ok(item)
}

fn step_of(name: &str, config: Config, image: ImageKind, guided: bool) -> Outcome<Item> {
    let (network, dimensions) = config.model.network()?;
    let what = json!({
        "type": "step", "kind": network.name, "network": dimensions, "image": image, "batch": config.train.batch,
        "encoder": config.encoder, "sigma_data": config.objective.sigma_data,
        "structure_weight": config.structure.weight, "guided": guided,
    });
    Ok(Item {
        name: format!("step/{name}, batch {}", config.train.batch),
        what,
        make: Box::new(move |device| ours::step(&config, image, guided, device)),
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
        make: Box::new(move |device| ours::layer(&ours, device)),
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
        make: Box::new(move |device| ours::optimizer(&sizes, device)),
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
            make: Box::new(move |device| ours::structure(batch, dim, device)),
            compilable: true,
        },
        Item {
            name: format!("  its two products |B| {batch}, d {dim}"),
            what: json!({"type": "products", "shapes": shapes}),
            make: Box::new(move |device| ours::products(&shapes, device)),
            compilable: false,
        },
        Item {
            name: format!("  its graph |B| {batch}, d {dim}"),
            what: json!({"type": "graph", "batch": batch, "dim": dim}),
            make: Box::new(move |device| ours::graph(batch, dim, device)),
            compilable: false,
        },
    ]
}
