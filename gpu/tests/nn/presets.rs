//! The published sizes: keys, shapes and counts without allocating anything, and the laws that parameters start from.

#![expect(clippy::float_cmp, reason = "zeros and ones are exact")]

use std::collections::BTreeMap;
use std::fmt::Write;

use candle_core::{DType, Device};
use sadm_gpu::network::{architecture, published};
use sadm_gpu::params::Params;
use sha2::{Digest, Sha256};
use toml::Table;

use crate::support::flat;

/// Sixteen hexadecimal digits of the SHA-256 of the sorted lines `key<TAB>d0,d1,…`.
fn fingerprint(shapes: &BTreeMap<String, Vec<usize>>) -> String {
    let line = |(key, shape): (&String, &Vec<usize>)| {
        let sides: Vec<String> = shape.iter().map(ToString::to_string).collect();
        format!("{key}\t{}", sides.join(","))
    };
    let lines: Vec<String> = shapes.iter().map(line).collect();
    let digest = Sha256::digest(lines.join("\n"));
    digest.iter().take(8).fold(String::new(), |mut text, byte| {
        // A string takes all that is written to it.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Tensors with those that are not trained, numbers of parameters, fingerprint; nothing is allocated.
fn measured(name: &str, dimensions: &str) -> (usize, usize, String) {
    let params = Params::outline();
    let dimensions: Table = dimensions.parse().expect("TOML");
    published(name, &dimensions, params.builder()).expect("a published network");
    let shapes = params.shapes();
    let trained = shapes.values().filter(|outlined| outlined.trained);
    let numbers = trained
        .map(|outlined| outlined.shape.iter().product::<usize>())
        .sum();
    let shapes = shapes
        .into_iter()
        .map(|(key, outlined)| match name {
            "adm" => (key, outlined.shape),
            _ => (format!("model.{key}"), outlined.shape),
        })
        .collect();
    (BTreeMap::len(&shapes), numbers, fingerprint(&shapes))
}

/// Every named size: what is inside a snapshot of EDM begins `model.` there, checkpoints of guided diffusion are as they are.
#[test]
fn named_sizes_have_the_published_tensors() {
    let published = [
        ("cifar10-uncond-vp", 425, 55_733_891, "d2d2ac16abddaac4"),
        ("cifar10-cond-vp", 427, 55_735_299, "6c2ce61dc35aa887"),
        ("cifar10-uncond-ve", 432, 56_397_827, "7d4ec07efa7bd0d8"),
        ("cifar10-cond-ve", 434, 56_400_643, "1e0b49e8cbc9378a"),
        ("ffhq-64-uncond-vp", 553, 61_805_571, "505933aeb059e311"),
        ("ffhq-64-uncond-ve", 563, 62_761_091, "5da206f2859fe29d"),
        ("afhqv2-64-uncond-vp", 553, 61_805_571, "505933aeb059e311"),
        ("afhqv2-64-uncond-ve", 563, 62_761_091, "5da206f2859fe29d"),
        ("imagenet-64-cond-adm", 553, 295_899_267, "e384a92bc2eb48e3"),
        (
            "baseline-iddpm-imagenet-64",
            553,
            295_904_454,
            "3aa583400fe7665e",
        ),
        ("adm-64", 541, 295_904_454, "b04c039ebf4fa51a"),
        ("adm-128", 493, 421_529_606, "4d8a98416feafc59"),
        ("adm-256", 567, 553_838_086, "6d25df057c4a258f"),
        ("adm-256-uncond", 566, 552_814_086, "e56f2bfcbfafe7ba"),
        ("adm-512", 645, 558_997_638, "bdf67b4a9ecb91a9"),
    ];
    let sizes = |name| {
        let sizes = architecture(name).expect("registered").sizes.iter();
        sizes.map(move |size| (name, size))
    };
    let named: Vec<_> = ["song-unet", "dhariwal-unet", "adm"]
        .into_iter()
        .flat_map(sizes)
        .collect();
    assert_eq!(named.len(), published.len());
    for ((name, (size, config)), (want, tensors, numbers, print)) in
        named.into_iter().zip(published)
    {
        assert_eq!(*size, want);
        assert_eq!(
            measured(name, config),
            (tensors, numbers, print.to_owned()),
            "{size}"
        );
    }
}

/// Mean and standard deviation of a parameter that is not all 0, and its largest element.
fn law(params: &Params, name: &str) -> [f64; 3] {
    let values = flat(
        params
            .get(name)
            .unwrap_or_else(|| panic!("no `{name}`"))
            .as_tensor(),
    );
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let largest = values.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    [mean, variance.sqrt(), largest]
}

/// A law with this standard deviation, uniform or normal: mean and deviation within five standard errors of a normal law.
fn assert_law(params: &Params, name: &str, std: f64, uniform: bool) {
    let [mean, got, largest] = law(params, name);
    let n = params.get(name).map_or(0, |var| var.elem_count()) as f64;
    assert!(
        mean.abs() < 5.0 * std / n.sqrt(),
        "{name}: mean {mean} with deviation {std}"
    );
    let error = 5.0 / (2.0 * n).sqrt();
    assert!(
        (got / std - 1.0).abs() < error,
        "{name}: deviation {got}, not {std}"
    );
    let bound = 3f64.sqrt() * std;
    assert_eq!(
        uniform,
        largest <= bound * 1.000_001,
        "{name}: largest {largest}, bound {bound}"
    );
}

fn zeros(params: &Params, names: &[&str]) {
    for name in names {
        assert_eq!(law(params, name), [0.0; 3], "{name}");
    }
}

fn made(name: &str, dimensions: &str) -> Params {
    let params = Params::new(&Device::Cpu, DType::F64, 3);
    let dimensions: Table = dimensions.parse().expect("TOML");
    published(name, &dimensions, params.builder()).expect("a network");
    params
}

/// Glorot's uniform law; last layers of branches by 1e-5, attention by √0.2; biases 0.
#[test]
fn song_unet_starts_as_published() {
    let params = made(
        "song-unet",
        "img_resolution = 8\nin_channels = 3\nout_channels = 3\nlabel_dim = 10\naugment_dim = 9\nmodel_channels = 32\n\
         channel_mult = [1, 2]\nnum_blocks = 1\nattn_resolutions = [8]\nembedding_type = \"fourier\"\n",
    );
    let glorot = |inputs: f64, outputs: f64| (2.0 / (inputs + outputs)).sqrt();
    let places = 9.0;
    assert_law(&params, "map_layer0.weight", glorot(32.0, 128.0), true);
    assert_law(&params, "map_augment.weight", glorot(9.0, 32.0), true);
    assert_law(
        &params,
        "enc.4x4_block0.conv0.weight",
        glorot(32.0 * places, 64.0 * places),
        true,
    );
    assert_law(
        &params,
        "enc.4x4_block0.conv1.weight",
        1e-5 * glorot(64.0 * places, 64.0 * places),
        true,
    );
    assert_law(
        &params,
        "enc.8x8_block0.qkv.weight",
        0.2_f64.sqrt() * glorot(32.0, 96.0),
        true,
    );
    assert_law(
        &params,
        "enc.8x8_block0.proj.weight",
        1e-5 * glorot(32.0, 32.0),
        true,
    );
    assert_law(
        &params,
        "enc.4x4_block0.skip.weight",
        glorot(32.0, 64.0),
        true,
    );
    assert_law(
        &params,
        "dec.8x8_aux_conv.weight",
        1e-5 * glorot(32.0 * places, 3.0 * places),
        true,
    );
    zeros(
        &params,
        &[
            "map_layer0.bias",
            "map_label.bias",
            "enc.8x8_conv.bias",
            "enc.8x8_block0.qkv.bias",
        ],
    );
    assert_eq!(law(&params, "enc.8x8_block0.norm0.weight"), [1.0, 0.0, 1.0]);
    let frequencies = flat(&params.tensors()["map_noise.freqs"]);
    assert!(
        frequencies.iter().any(|f| f.abs() > 16.0),
        "{frequencies:?}"
    );
    assert!(
        params.get("map_noise.freqs").is_none(),
        "a buffer is no parameter"
    );
    assert_eq!(
        flat(&params.tensors()["enc.4x4_down.conv0.resample_filter"]),
        [0.25; 4]
    );
}

/// He's uniform law by 1/√3 for weights and biases; last layers and the map of augmentation 0; classes standard normal.
#[test]
fn dhariwal_unet_and_adm_start_as_published() {
    let params = made(
        "dhariwal-unet",
        "img_resolution = 8\nin_channels = 3\nout_channels = 3\nlabel_dim = 10\naugment_dim = 9\nmodel_channels = 64\n\
         channel_mult = [1, 2]\nnum_blocks = 1\nattn_resolutions = [8]\n",
    );
    let third = |inputs: f64| (1.0 / (3.0 * inputs)).sqrt();
    assert_law(&params, "map_layer0.weight", third(64.0), true);
    assert_law(&params, "map_layer0.bias", third(64.0), true);
    assert_law(&params, "map_label.weight", 1.0, false);
    assert_law(
        &params,
        "enc.4x4_block0.conv0.weight",
        third(9.0 * 64.0),
        true,
    );
    assert_law(&params, "enc.8x8_block0.qkv.weight", third(64.0), true);
    zeros(
        &params,
        &[
            "map_augment.weight",
            "enc.4x4_block0.conv1.weight",
            "enc.4x4_block0.conv1.bias",
            "enc.8x8_block0.proj.weight",
            "out_conv.weight",
            "out_conv.bias",
        ],
    );

    let params = made(
        "adm",
        "image_size = 8\nin_channels = 3\nout_channels = 6\nnum_classes = 10\nmodel_channels = 64\nchannel_mult = [1.0, 2.0]\n\
         num_res_blocks = 1\nattention_resolutions = [8]\nnum_head_channels = 64\nuse_new_attention_order = false\n",
    );
    assert_law(&params, "time_embed.0.weight", third(64.0), true);
    assert_law(&params, "time_embed.0.bias", third(64.0), true);
    assert_law(&params, "label_emb.weight", 1.0, false);
    assert_law(
        &params,
        "input_blocks.1.0.in_layers.2.weight",
        third(9.0 * 64.0),
        true,
    );
    assert_law(&params, "input_blocks.1.1.qkv.weight", third(64.0), true);
    zeros(
        &params,
        &[
            "input_blocks.1.0.out_layers.3.weight",
            "input_blocks.1.1.proj_out.weight",
            "out.2.weight",
            "out.2.bias",
        ],
    );
}
