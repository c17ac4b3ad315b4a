//! Tiny configurations: each key one of its values, drawn by proptest, which makes a failing one smaller by taking first values.

use std::fmt::Write;

use proptest::prelude::*;
use toml::{Table, Value};

/// Keys that vary, with their values as TOML; the first is the simplest.
const KEYS: &[(&str, &[&str])] = &[
    ("data.limit", &["40", "60", "23"]),
    ("data.limit_by", &["\"random\"", "\"first\""]),
    ("data.holdout", &["0.1", "0.0", "0.4"]),
    ("data.flip", &["false", "true"]),
    ("data.augment", &["0.0", "0.5"]),
    (
        "model",
        &[UNET, DEEP_UNET, TRANSFORMER, GROUPED_UNET, SONG_UNET],
    ),
    (
        "objective.schedule",
        &[
            "\"edm\"",
            "\"vp-linear\"",
            "\"cosine\"",
            "\"rectified-flow\"",
            "\"ddpm\"",
        ],
    ),
    (
        "objective.parametrisation",
        &["\"edm\"", "\"v\"", "\"eps\"", "\"x0\""],
    ),
    (
        "objective.noise_condition",
        &["\"log-sigma\"", "\"vp-time\"", "\"ddpm-step\""],
    ),
    (
        "objective.weight",
        &[
            "\"edm\"",
            "\"constant\"",
            "\"snr\"",
            "\"one-plus-snr\"",
            "\"min-snr\"",
            "\"min-snr(2)\"",
            "\"elbo\"",
            "\"soft-truncation\"",
        ],
    ),
    ("objective.sigma_data", &["0.75", "0.5"]),
    (
        "objective.time",
        &[
            "\"log-normal\"",
            "\"uniform\"",
            "\"soft-truncation\"",
            "\"log-uniform\"",
            "\"iddpm-step\"",
        ],
    ),
    ("objective.time_min", &["0.01", "0.05"]),
    ("objective.time_max", &["1.0", "0.8"]),
    ("objective.p_mean", &["-0.8", "0.3"]),
    ("objective.p_std", &["1.2", "0.7"]),
    ("objective.sigma_min", &["0.02", "0.2"]),
    ("objective.sigma_max", &["5.0", "100.0"]),
    ("objective.time_sharing", &["\"per-sample\"", "\"shared\""]),
    ("objective.label_dropout", &["0.1", "0.0", "0.5"]),
    (
        "coupling.method",
        &["\"independent\"", "\"independent\"", "\"optimal\""],
    ),
    ("coupling.cost", &["\"euclidean\"", "\"squared-euclidean\""]),
    ("coupling.classes", &["\"together\"", "\"within\""]),
    ("pools", &["0", "2", "3"]),
    (
        "structure.method",
        &[
            "\"adversarial\"",
            "\"adversarial\"",
            "\"guided\"",
            "\"none\"",
        ],
    ),
    ("structure.weight", &["10.0", "1.0", "0.3"]),
    (
        "structure.relation",
        &[
            "\"cosine\"",
            "\"inner-product\"",
            "\"euclidean\"",
            "\"squared-euclidean\"",
            "\"rbf(2.0)\"",
            "\"laplacian(3.0)\"",
        ],
    ),
    (
        "structure.distance",
        &["\"squared\"", "\"absolute\"", "\"huber(0.1)\""],
    ),
    ("structure.diagonal", &["\"include\"", "\"exclude\""]),
    (
        "structure.eta",
        &["\"inverse-time\"", "\"constant\"", "\"snr\""],
    ),
    (
        "structure.guided_eta",
        &["\"same\"", "\"constant\"", "\"snr\""],
    ),
    ("structure.eta_t_min", &["0.1", "0.5"]),
    ("encoder.widths", &["[4]", "[4, 6]"]),
    ("encoder.groups", &["2", "1"]),
    ("encoder.dim", &["3", "6"]),
    ("encoder.batch", &["5", "3"]),
    ("encoder.learning_rate", &["0.002", "0.02"]),
    ("encoder.weight_decay", &["0.01", "0.0", "0.3"]),
    (
        "adversarial.update_order",
        &["\"theta-first\"", "\"phi-first\""],
    ),
    ("adversarial.theta_steps", &["1", "2"]),
    ("adversarial.phi_steps", &["1", "2"]),
    ("adversarial.learning_rate", &["0.0003", "0.01"]),
    ("adversarial.until", &["\"rounds\"", "\"balance\""]),
    ("adversarial.balance_window", &["1", "2"]),
    ("adversarial.balance_tolerance", &["0.05", "0.4"]),
    ("train.steps", &["9", "7", "13"]),
    ("longer", &["0", "0", "0", "2", "-2"]),
    ("train.batch", &["4", "3", "5"]),
    ("train.micro_batches", &["1", "2", "3"]),
    ("train.recompute", &["\"none\"", "\"blocks\""]),
    ("train.learning_rate", &["0.001", "0.01"]),
    ("train.warmup", &["0.05", "0.0", "0.4"]),
    ("train.decay", &["\"cosine\"", "\"linear\"", "\"none\""]),
    ("train.beta1", &["0.9", "0.5"]),
    ("train.beta2", &["0.99", "0.9"]),
    ("train.epsilon", &["1e-8", "0.001"]),
    ("train.weight_decay", &["0.0", "0.1"]),
    ("train.clip_norm", &["1.0", "0.0", "30.0"]),
    ("train.ema_half_life", &["10000.0", "8.0"]),
    ("train.ema_ramp", &["0.05", "1.5"]),
    ("train.log_every", &["1", "2", "100"]),
    (
        "phases",
        &[
            "1, 1, 1, 1",
            "1, 3, 2, 2",
            "0, 1, 0, 2",
            "0, 0, 1, 1",
            "2, 1, 1, 3",
            "1, 0, 0, 3",
        ],
    ),
    ("sample.every", &["0", "3"]),
    ("shadow.every", &["1", "1", "3", "0"]),
    ("checkpoint.every", &["1", "1", "2", "0"]),
    ("checkpoint.keep", &["1", "3"]),
];

const UNET: &str = "kind = \"unet\"\n[model.unet]\nchannels = [4]\nblocks = 1\nattention = []\nheads = 1\ngroups = 2\nemb_dim = 6\ntime_dim = 4\n";
const DEEP_UNET: &str = "kind = \"unet\"\n[model.unet]\nchannels = [4, 6]\nblocks = 1\nattention = [1]\nheads = 2\ngroups = 2\nemb_dim = 6\ntime_dim = 4\n";
const GROUPED_UNET: &str = "kind = \"unet\"\n[model.unet]\nchannels = [3, 4]\nblocks = 2\nattention = [0]\nheads = 1\ngroups = 1\nemb_dim = 5\ntime_dim = 2\n";
const TRANSFORMER: &str = "kind = \"dit-small\"\n[model.dit-small]\npatch = 4\ndim = 8\ndepth = 1\nheads = 2\nmlp_ratio = 2\ntime_dim = 4\n";

const SONG_UNET: &str = "kind = \"song-unet\"\n[model.song-unet]\nmodel_channels = 4\nchannel_mult = [2]\nchannel_mult_emb = 1\nnum_blocks = 1\nattn_resolutions = []\ndropout = 0.0\nlabel_dropout = 0.0\nembedding_type = \"positional\"\nchannel_mult_noise = 1\nencoder_type = \"standard\"\ndecoder_type = \"standard\"\nresample_filter = [1.0, 1.0]\n";

/// Texts of configurations that both sides take.
pub(super) fn configurations() -> BoxedStrategy<String> {
    let choices: Vec<BoxedStrategy<usize>> = KEYS
        .iter()
        .map(|(_, values)| (0..values.len()).boxed())
        .collect();
    (0..1_000_000_u32, choices)
        .prop_map(|(seed, choices)| text(seed, &choices))
        .boxed()
}

/// A choice of values as TOML, those changed that do not go together.
fn text(seed: u32, choices: &[usize]) -> String {
    let of = |key: &str| {
        let at = KEYS.iter().position(|(known, _)| *known == key);
        at.map_or("", |at| KEYS[at].1[choices[at]])
    };
    let number = |key: &str| of(key).parse::<i64>().unwrap_or_default();
    let edm = of("objective.schedule") == "\"edm\"";
    let batch = number("train.batch");
    let mut out = format!("seed = {seed}\n");
    let mut section = "";
    for (key, _) in KEYS {
        let Some((table, name)) = key.split_once('.') else {
            if *key == "model" {
                let _ = write!(out, "\n[model]\n{}", of(key));
                section = "";
            }
            if *key == "phases" {
                let shares: Vec<&str> = of(key).split(", ").collect();
                out.push_str("\n[phases]\n");
                let names = ["encoder", "denoise", "guided", "adversarial"];
                for (name, share) in names.iter().zip(shares) {
                    let _ = writeln!(out, "{name} = {share}");
                }
                section = "";
            }
            continue;
        };
        if table != section {
            let _ = write!(out, "\n[{table}]\n");
            section = table;
        }
        let _ = writeln!(out, "{name} = {}", of(key));
    }
    let mut table: Table = out.parse().expect("TOML");
    let mut set = |path: &str, value: Value| {
        if let Some((section, key)) = path.split_once('.') {
            let section = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = section {
                section.insert(key.to_owned(), value);
            }
        }
    };
    set("train.compute", "f64".into());
    // The others cannot be told how images were augmented.
    if of("model") != SONG_UNET {
        set("data.augment", 0.0.into());
    }
    set("sample.count", 1.into());
    set("sample.steps", 1.into());
    // A pool is a number of batches.
    set("coupling.pool", (batch * number("pools")).into());
    // t = σ lies in another range.
    if edm && of("objective.time_max") == "0.8" {
        set("objective.time_max", 5.0.into());
    }
    // A run that was made longer or shorter than planned: shorter under a fall of the rate, longer without.
    let longer = number("longer");
    let steps = number("train.steps");
    if longer < 0 || (longer > 0 && of("train.decay") == "\"none\"") {
        set("train.planned", (steps - longer).into());
    }
    table.to_string()
}
