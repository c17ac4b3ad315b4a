//! Layouts against the published fingerprints, and conversions there and back.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};

use super::adm::adm as adm_of;
use super::dit::Dit;
use super::*;
use crate::weights::Weights;

/// The dimensions of a published DiT, letter and patch.
fn dit(letter: char, patch: usize, input: usize) -> Dit {
    let (depth, dim) = match letter {
        'X' => (28, 1152),
        'L' => (24, 1024),
        'B' => (12, 768),
        _ => (12, 384),
    };
    Dit {
        dim,
        patch,
        channels: 4,
        outputs: 8,
        tokens: (input / patch).pow(2),
        depth,
        hidden: 4 * dim,
        rows: 1001,
        times: 256,
    }
}

#[test]
fn the_published_sizes_have_the_published_fingerprints() {
    let mut made = BTreeMap::new();
    let mut put = |shapes: Shapes, parameters: usize| {
        let count = shapes.iter().filter(|(name, _)| !is_buffer(name));
        let count = elements(count.map(|(_, shape)| shape));
        assert!(
            parameters == 0 || count == parameters,
            "{count} parameters, not {parameters}"
        );
        made.insert(fingerprint(&shapes), shapes);
    };
    for (letter, patch, input, parameters) in [
        ('X', 2, 32, 675_129_632),
        ('X', 2, 64, 676_014_368),
        ('X', 4, 32, 675_074_432),
        ('X', 8, 32, 675_683_072),
        ('L', 2, 32, 458_102_816),
        ('L', 4, 32, 458_053_760),
        ('L', 8, 32, 458_594_816),
        ('B', 2, 32, 130_512_416),
        ('B', 4, 32, 130_475_648),
        ('B', 8, 32, 130_881_536),
        ('S', 2, 32, 32_963_360),
        ('S', 4, 32, 32_945_024),
        ('S', 8, 32, 33_148_160),
    ] {
        put(dit(letter, patch, input).shapes(), parameters);
    }
    for (name, parameters) in [
        ("cifar10-uncond-vp", 55_733_891),
        ("cifar10-cond-vp", 55_735_299),
        ("cifar10-uncond-ve", 56_397_827),
        ("cifar10-cond-ve", 56_400_643),
        ("64x64-vp", 61_805_571),
        ("64x64-ve", 62_761_091),
        ("imagenet-64", 295_899_267),
    ] {
        put(edm::published(name), parameters);
    }
    for (side, classes, parameters) in [
        (64, 1000, 295_904_454),
        (128, 1000, 421_529_606),
        (256, 1000, 553_838_086),
        (256, 0, 552_814_086),
        (512, 1000, 558_997_638),
    ] {
        put(adm_of(side, classes), parameters);
    }
    for layout in ["vae-diffusers", "vae-diffusers-old", "vae-compvis"] {
        put(autoencoder::published(layout), 83_653_863);
    }
    for decodes in [false, true] {
        put(taesd::published(decodes), 0);
    }
    for counted in [false, true] {
        put(inception::shapes(counted), 0);
    }
    for known in KNOWN.iter().filter(|known| !known.layouts.is_empty()) {
        let shapes = made.remove(known.fingerprint);
        let shapes = shapes
            .unwrap_or_else(|| panic!("{} is made by nothing: {:?}", known.name, made.keys()));
        let found = recognise(&shapes);
        let names: Vec<&str> = found.iter().map(|one| one.layout.name).collect();
        assert_eq!(names, known.layouts, "{}", known.name);
        for one in found {
            assert!(
                one.missing.is_empty() && one.left_over.is_empty(),
                "{}: {one:?}",
                known.name
            );
            assert_eq!(one.known(), Some(known));
        }
    }
    assert!(made.is_empty(), "not known: {:?}", made.keys());
}

/// Small networks of every family, by the names of its hub.
fn small() -> Vec<(&'static str, Shapes)> {
    let dit = Dit {
        dim: 8,
        patch: 2,
        channels: 3,
        outputs: 6,
        tokens: 4,
        depth: 2,
        hidden: 16,
        rows: 4,
        times: 6,
    };
    vec![
        ("dit", dit.shapes()),
        ("song-unet", edm::small(true)),
        ("dhariwal-unet", edm::small(false)),
        ("vae-diffusers", autoencoder::small()),
        ("taesd-encoder", taesd::small(false)),
        ("taesd-decoder", taesd::small(true)),
    ]
}

/// Numbers that say where they stand, of all tensors but those that a layout prescribes.
fn numbered(shapes: &Shapes) -> BTreeMap<String, Tensor> {
    let mut next = 0.0;
    let mut tensors = BTreeMap::new();
    for (name, shape) in shapes {
        let count: usize = shape.iter().product();
        let values: Vec<f64> = if name.ends_with("resample_filter") {
            vec![0.25; count]
        } else if name == "pos_embed" {
            let dim = shape[2];
            let table = dit::positions((count / dim).isqrt(), dim);
            table.into_iter().map(f64::from).collect()
        } else {
            (0..count)
                .map(|_| {
                    next += 1.0;
                    next
                })
                .collect()
        };
        let tensor = Tensor::from_vec(values, shape.clone(), &Device::Cpu);
        tensors.insert(name.clone(), tensor.expect("a tensor"));
    }
    tensors
}

/// The tensors of a file in another layout, through a file.
fn through_a_file(weights: &Weights, from: &str, to: &str) -> Weights {
    let part = weights.part(None).expect("a part");
    let said = layout(from).expect("a layout");
    let recognised = chosen(part.recognised(), Some(said), None).expect("recognised");
    let ask = Ask {
        size: Some(if from.starts_with("dit") { 4 } else { 16 }),
    };
    let conversion = convert(&part, &recognised, layout(to).expect("a layout"), &ask);
    let conversion = conversion.unwrap_or_else(|problem| panic!("{from} to {to}: {problem}"));
    assert_eq!(conversion.left_out, Vec::<String>::new(), "{from} to {to}");
    let mut bytes = Vec::new();
    let path = Path::new("made.safetensors");
    conversion
        .write(&mut bytes, &BTreeMap::new(), path)
        .expect("written");
    Weights::of_bytes(path, bytes).expect("read")
}

#[test]
fn every_layout_is_converted_and_back_bit_for_bit() {
    for (hub, shapes) in small() {
        let original = Weights::from_tensors("original", numbered(&shapes));
        let relatives: Vec<&str> = layout(hub)
            .expect("a hub")
            .relatives()
            .map(|one| one.name)
            .collect();
        assert!(relatives.len() > 1, "{hub}");
        for relative in relatives {
            if relative == hub {
                continue;
            }
            let there = through_a_file(&original, hub, relative);
            let back = through_a_file(&there, relative, hub);
            let (before, after) = (
                original.part(None).expect("all"),
                back.part(None).expect("all"),
            );
            assert_eq!(before.shapes(), after.shapes(), "{hub} by {relative}");
            for name in shapes.keys() {
                let prescribed = name == "pos_embed" || name.ends_with("resample_filter");
                let (a, b) = (
                    before.raw(name).expect("there"),
                    after.raw(name).expect("there"),
                );
                assert!(prescribed || a == b, "{name}, {hub} by {relative}");
                assert_eq!(a.values(), b.values(), "{name}, {hub} by {relative}");
            }
        }
    }
}

/// Softmax attention of one head and one query: Σ_s w_s v_s, w = softmax(q·k_s/√d).
fn attended(q: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>]) -> Vec<f64> {
    let dot = |k: &Vec<f64>| q.iter().zip(k).map(|(a, b)| a * b).sum::<f64>();
    let weights: Vec<f64> = keys
        .iter()
        .map(|k| (dot(k) / (q.len() as f64).sqrt()).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    let mut out = vec![0.0; q.len()];
    for (w, v) in weights.iter().zip(values) {
        out.iter_mut()
            .zip(v)
            .for_each(|(out, v)| *out += w / total * v);
    }
    out
}

/// Attention over two tokens with heads of 64 channels, where the row of j of q, k, v, channel c of head h is as each program reads it.
fn attention(qkv: &[f64], channels: usize, row: impl Fn(usize, usize, usize) -> usize) -> Vec<f64> {
    let tokens: Vec<Vec<f64>> = (0..2_usize)
        .map(|t| {
            (0..channels)
                .map(|c| ((c * 7 + t * 13) % 11) as f64 / 11.0 - 0.4)
                .collect()
        })
        .collect();
    let projected = |h: usize, j: usize, token: &[f64]| -> Vec<f64> {
        (0..64)
            .map(|c| {
                let weights = &qkv[row(h, j, c) * channels..][..channels];
                weights.iter().zip(token).map(|(w, x)| w * x).sum()
            })
            .collect()
    };
    let mut out = Vec::new();
    for h in 0..channels / 64 {
        let of = |j: usize| {
            tokens
                .iter()
                .map(|token| projected(h, j, token))
                .collect::<Vec<_>>()
        };
        let (queries, keys, values) = (of(0), of(1), of(2));
        out.extend(queries.iter().flat_map(|q| attended(q, &keys, &values)));
    }
    out
}

#[test]
fn q_k_and_v_are_permuted_and_a_rename_alone_computes_something_else() {
    let channels = 128;
    let mut tensors = numbered(&edm::small(false));
    let name = "enc.8x8_block0.qkv.weight";
    let values: Vec<f64> = (0..3 * channels * channels)
        .map(|i| ((i * 7919) % 1009) as f64 / 1009.0 - 0.5)
        .collect();
    let shape = vec![3 * channels, channels, 1, 1];
    tensors.insert(
        name.to_owned(),
        Tensor::from_vec(values.clone(), shape, &Device::Cpu).expect("a tensor"),
    );
    let edm = Weights::from_tensors("edm", tensors);
    // The orders as each program reads its rows: EDM by (head, channel, q/k/v); guided-diffusion new by (q/k/v, head, channel), legacy by (head, q/k/v, channel).
    let of_edm = |h: usize, j: usize, c: usize| (h * 64 + c) * 3 + j;
    let of_new = |h: usize, j: usize, c: usize| j * channels + h * 64 + c;
    let of_legacy = |h: usize, j: usize, c: usize| h * 192 + j * 64 + c;
    let want = attention(&values, channels, of_edm);
    let close = |a: &[f64]| a.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-12);
    let in_layout = |to: &str| {
        let there = through_a_file(&edm, "dhariwal-unet", to);
        let part = there.part(None).expect("all");
        part.raw("input_blocks.3.1.qkv.weight")
            .expect("the same attention")
            .values()
    };
    let (new, legacy) = (in_layout("adm"), in_layout("adm-legacy"));
    assert!(close(&attention(&new, channels, of_new)));
    assert!(close(&attention(&legacy, channels, of_legacy)));
    for renamed in [
        attention(&values, channels, of_new),
        attention(&values, channels, of_legacy),
        attention(&new, channels, of_legacy),
        attention(&legacy, channels, of_new),
    ] {
        assert!(!close(&renamed), "the orders would be the same");
    }
}

#[test]
fn names_and_shapes_of_two_orders_ask_which() {
    let edm = Weights::from_tensors("edm", numbered(&edm::small(false)));
    let file = through_a_file(&edm, "dhariwal-unet", "adm");
    let part = file.part(None).expect("all");
    let refused = chosen(part.recognised(), None, None).expect_err("two orders");
    assert!(
        refused.contains("adm or adm-legacy") && refused.contains("--from"),
        "{refused}"
    );
    // Two names of the same thing ask nothing.
    let dit = Weights::from_tensors("dit", numbered(&small()[0].1));
    chosen(dit.part(None).expect("all").recognised(), None, None).expect("dit or sit");
    // Without the side of the image there are no names.
    let legacy = layout("adm-legacy").expect("a layout");
    let recognised = chosen(part.recognised(), Some(legacy), None).expect("said");
    let to = layout("dhariwal-unet").expect("a layout");
    let refused = convert(&part, &recognised, to, &Ask::default()).expect_err("no side");
    assert!(refused.contains("--size 64"), "{refused}");
    let refused = convert(
        &part,
        &recognised,
        layout("dit").expect("a layout"),
        &Ask::default(),
    )
    .expect_err("another network");
    assert!(
        refused.contains("possible here: dhariwal-unet, edm-dhariwal-unet, adm, adm-legacy"),
        "{refused}"
    );
}

/// Both halves in one file, as diffusers has them: each is found, and taken out; a branch that diffusers does not know is not renamed.
#[test]
fn halves_of_a_tiny_autoencoder_are_taken_out_of_the_whole() {
    let mut whole = BTreeMap::new();
    for (hub, tiny, decodes) in [
        ("taesd-encoder", "tiny-encoder", false),
        ("taesd-decoder", "tiny-decoder", true),
    ] {
        let half = Weights::from_tensors("half", numbered(&taesd::small(decodes)));
        let there = through_a_file(&half, hub, tiny);
        let part = there.part(None).expect("all");
        for name in part.shapes().keys() {
            let tensor = part.raw(name).and_then(|raw| raw.tensor());
            whole.insert(name.clone(), tensor.expect("a tensor"));
        }
    }
    // By hand: encoder 0, 1, 2 (halves), 3, 4, 5; decoder 0, (1), 2, (3), 4, 5, 6, 7.
    assert!(whole.contains_key("encoder.layers.5.bias"));
    assert!(!whole.contains_key("encoder.layers.2.bias"));
    assert!(whole.contains_key("decoder.layers.7.bias"));
    assert!(!whole.contains_key("decoder.layers.4.bias"));
    assert!(whole.contains_key("decoder.layers.6.conv.4.bias"));
    let whole = Weights::from_tensors("whole", whole);
    let part = whole.part(None).expect("all");
    let found = part.recognised();
    let names: Vec<&str> = found.iter().map(|one| one.layout.name).collect();
    assert_eq!(names, ["tiny-encoder", "tiny-decoder"]);
    for (one, other) in [(0, "decoder.layers."), (1, "encoder.layers.")] {
        assert!(found[one].missing.is_empty());
        let mut left = found[one].left_over.iter();
        assert!(left.all(|name| name.starts_with(other)));
    }
    let pooled = Weights::from_tensors("pooled", numbered(&taesd::published(false)));
    let part = pooled.part(None).expect("all");
    let recognised = chosen(part.recognised(), None, None).expect("an encoder");
    let to = layout("tiny-encoder").expect("a layout");
    let refused = convert(&part, &recognised, to, &Ask::default()).expect_err("a branch");
    assert!(refused.contains("branch (`pool`)"), "{refused}");
}

#[test]
fn what_has_no_place_must_be_what_the_layout_prescribes() {
    let mut tensors = numbered(&small()[0].1);
    let moved = (tensors["pos_embed"].clone() + 0.5).expect("a sum");
    tensors.insert("pos_embed".to_owned(), moved);
    let weights = Weights::from_tensors("moved", tensors);
    let part = weights.part(None).expect("all");
    let recognised = chosen(part.recognised(), None, None).expect("a DiT");
    let to = layout("dit-diffusers").expect("a layout");
    let refused = convert(&part, &recognised, to, &Ask::default()).expect_err("other positions");
    assert!(refused.contains("`pos_embed` has no place"), "{refused}");
}
