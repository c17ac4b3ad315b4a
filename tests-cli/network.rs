//! `sadm network`: tensors of the published sizes, passes against published numbers, and what is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::{ArrayD, Axis};

use crate::runs::{assert_same, contents, started, train};
use crate::support::{Folder, error_of, read_f64, sadm, says, write_f64};

/// The published numbers of the repository.
fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden/dit");
    folder.join(name)
}

/// The configuration of the network there.
fn config(folder: &Folder) -> PathBuf {
    let listed = std::fs::read_to_string(golden("networks.json")).expect("a file");
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let path = folder.path("config.json");
    std::fs::write(&path, listed[0]["config"].to_string()).expect("a file");
    path
}

fn printed(args: &[&str]) -> String {
    let output = sadm().args(args).assert().success().get_output().clone();
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A pass with files that each test may replace.
struct Forward {
    folder: Folder,
    architecture: &'static str,
    config: PathBuf,
    weights: PathBuf,
    input: PathBuf,
}

impl Forward {
    fn published() -> Self {
        let folder = Folder::new();
        Self {
            architecture: "dit",
            config: config(&folder),
            weights: golden("p2-sigma.weights.safetensors"),
            input: golden("p2-sigma.io.safetensors"),
            folder,
        }
    }

    fn output(&self) -> PathBuf {
        self.folder.path("answer.safetensors")
    }

    fn command(&self, more: &[&str]) -> assert_cmd::Command {
        let mut command = sadm();
        command
            .args(["network", "forward", "--architecture", self.architecture])
            .arg("--config")
            .arg(&self.config)
            .arg("--weights")
            .arg(&self.weights)
            .arg("--input")
            .arg(&self.input)
            .arg("--output")
            .arg(self.output())
            .args(more);
        command
    }

    fn answer(&self, more: &[&str]) -> BTreeMap<String, ArrayD<f64>> {
        self.command(more).assert().success();
        read_f64(&self.output())
    }

    /// The message of a pass that is refused, and leaves no file.
    fn refused(&self, more: &[&str]) -> String {
        let message = error_of(&mut self.command(more));
        assert!(!self.output().exists(), "{message}: a file was written");
        message
    }
}

/// Largest difference, of the largest entry.
fn apart(got: &ArrayD<f64>, want: &ArrayD<f64>) -> f64 {
    assert_eq!(got.shape(), want.shape());
    let largest = |x: &ArrayD<f64>| x.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    let difference = got - want;
    assert!(difference.iter().all(|d| d.is_finite()));
    largest(&difference) / largest(want)
}

/// The tensors of a file in f32 or f64.
fn read(path: &Path) -> BTreeMap<String, ArrayD<f64>> {
    let weights = sadm::gpu::weights::Weights::open(path).expect("a file");
    let names: Vec<String> = weights.names().map(str::to_owned).collect();
    let tensor = |name: String| {
        let shape = weights.shape(&name).expect("its name").to_vec();
        let values = weights.get(&name, &shape).expect("numbers");
        let values = values.flatten_all().and_then(|x| x.to_vec1::<f64>());
        let values = values.expect("f64");
        (
            name,
            ArrayD::from_shape_vec(shape, values).expect("as many"),
        )
    };
    names.into_iter().map(tensor).collect()
}

fn write(path: &Path, tensors: &BTreeMap<String, ArrayD<f64>>) {
    let named: Vec<(&str, ArrayD<f64>)> = tensors
        .iter()
        .map(|(name, x)| (name.as_str(), x.clone()))
        .collect();
    write_f64(path, &named);
}

/// Fingerprints, numbers of all tensors and of trained ones, as tabulated from the published code.
#[test]
fn the_published_sizes_have_the_published_tensors() {
    for (name, tensors, numbers, trained, fingerprint) in [
        (
            "dit-xl-2",
            292,
            675_129_632_u64,
            674_834_720_u64,
            "d2a05bc963b11c77",
        ),
        (
            "dit-xl-4",
            292,
            675_074_432,
            675_000_704,
            "be8702ee79e84c4a",
        ),
        (
            "dit-xl-8",
            292,
            675_683_072,
            675_664_640,
            "50cd3a4d7801e18f",
        ),
        ("dit-l-2", 252, 458_102_816, 457_840_672, "59314b9950afe88d"),
        ("dit-l-4", 252, 458_053_760, 457_988_224, "c4a04949b3e0fc35"),
        ("dit-l-8", 252, 458_594_816, 458_578_432, "b6ebbf6ab4b3981a"),
        ("dit-b-2", 132, 130_512_416, 130_315_808, "15860b1ec895ec58"),
        ("dit-b-4", 132, 130_475_648, 130_426_496, "bfec6419671a957f"),
        ("dit-b-8", 132, 130_881_536, 130_869_248, "8d0969be68c00a22"),
        ("dit-s-2", 132, 32_963_360, 32_865_056, "3fee7239b1e9caa1"),
        ("dit-s-4", 132, 32_945_024, 32_920_448, "d16d82dc5b5aced9"),
        ("dit-s-8", 132, 33_148_160, 33_142_016, "5a55b035c141aca6"),
        (
            "sit-xl-2",
            292,
            675_129_632,
            674_834_720,
            "d2a05bc963b11c77",
        ),
    ] {
        let said = printed(&["network", "shapes", name]);
        let told = format!(
            "tensors {tensors}\nnumbers {numbers}\ntrained {trained}\nfingerprint {fingerprint}\n"
        );
        assert!(said.ends_with(&told), "{name}: {said}");
        assert_eq!(said.lines().count(), tensors + 4, "{name}");
    }
    let folder = Folder::new();
    let large = folder.path("512.json");
    std::fs::write(&large, r#"{"input_size": 64}"#).expect("a file");
    let large = large.display().to_string();
    let said = printed(&["network", "shapes", "dit", "--config", &large]);
    says(
        &said,
        &["numbers 676014368\n", "fingerprint ba01ff24c8fdd12a\n"],
    );
    says(&said, &["pos_embed\t1,1024,1152\t1179648\tnot trained\n"]);
    says(
        &printed(&["network", "list"]),
        &["dit\tinputs x, t, y", "dit-s-8", "unet\t"],
    );
}

#[test]
fn both_engines_give_the_published_numbers() {
    let forward = Forward::published();
    let io = read(&forward.input);
    let weights = read(&forward.weights);
    for engine in ["candle", "reference"] {
        let answer = forward.answer(&["--gradients", "--engine", engine]);
        assert!(apart(&answer["output"], &io["output"]) < 1e-9, "{engine}");
        for (name, want) in &io {
            if !name.starts_with("grad.") {
                continue;
            }
            if let Some(key) = name.strip_prefix("grad.rows.") {
                let whole = &answer[&format!("grad.{key}")];
                let n = whole.len_of(Axis(0));
                let got = whole.select(Axis(0), &[0, n / 2, n - 1]);
                assert!(apart(&got, want) < 1e-8, "{engine}: {name}");
            } else if let Some(got) = answer.get(name) {
                assert!(apart(got, want) < 1e-8, "{engine}: {name}");
            }
        }
        // Whole, of every parameter and of the input.
        let grads = answer.keys().filter(|name| name.starts_with("grad."));
        assert_eq!(
            grads.count(),
            weights.len(),
            "all but pos_embed, and the input"
        );
        let bare = forward.answer(&["--engine", engine]);
        assert_eq!(bare.keys().collect::<Vec<_>>(), ["output"]);
        assert_eq!(bare["output"], answer["output"], "{engine}");
    }
    for (dtype, least, most) in [("f32", 1e-9, 1e-5), ("bf16", 1e-5, 0.1)] {
        let answer = forward.answer(&["--gradients", "--dtype", dtype]);
        let error = apart(&answer["output"], &io["output"]);
        assert!((least..most).contains(&error), "{dtype}: {error}");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written() {
    let mut forward = Forward::published();
    let whole = read(&forward.weights);
    let changed = |folder: &Folder, change: &dyn Fn(&mut BTreeMap<String, ArrayD<f64>>)| {
        let (path, mut tensors) = (folder.path("changed.safetensors"), whole.clone());
        change(&mut tensors);
        write(&path, &tensors);
        path
    };
    let key = "blocks.1.mlp.fc1.bias";
    let cases: [(&dyn Fn(&mut BTreeMap<String, ArrayD<f64>>), &[&str]); 5] = [
        (
            &|t| drop(t.remove(key)),
            &[
                "changed.safetensors",
                "there must be a tensor `blocks.1.mlp.fc1.bias` of shape [192]",
            ],
        ),
        (
            &|t| {
                let bias = t.remove(key).expect("there");
                t.insert("blocks.1.mlp.fc_1.bias".to_owned(), bias);
            },
            &["`blocks.1.mlp.fc1.bias`", "`blocks.1.mlp.fc_1.bias`"],
        ),
        (
            &|t| drop(t.insert("blocks.2.mlp.fc1.bias".to_owned(), ArrayD::ones(vec![192]))),
            &["`blocks.2.mlp.fc1.bias` is no part of dit"],
        ),
        (
            &|t| drop(t.insert(key.to_owned(), ArrayD::ones(vec![191]))),
            &["must have shape [192], got [191]"],
        ),
        (
            &|t| drop(t.insert(key.to_owned(), ArrayD::from_elem(vec![192], f64::NAN))),
            &["`blocks.1.mlp.fc1.bias` must be finite, got NaN"],
        ),
    ];
    for engine in ["candle", "reference"] {
        for (change, parts) in &cases {
            forward.weights = changed(&forward.folder, change);
            says(&forward.refused(&["--engine", engine]), parts);
        }
    }
    let published = golden("p2-sigma.weights.safetensors");
    let bytes = std::fs::read(&published).expect("a file");
    forward.weights = forward.folder.path("cut.safetensors");
    std::fs::write(&forward.weights, &bytes[..bytes.len() / 2]).expect("a file");
    says(&forward.refused(&[]), &["cut.safetensors"]);
    forward.weights = forward.folder.path("none.safetensors");
    says(&forward.refused(&[]), &["none.safetensors"]);
    forward.weights = published;

    let io = read(&forward.input);
    let some = |folder: &Folder, names: &[&str]| {
        let kept = io.iter().filter(|(name, _)| names.contains(&name.as_str()));
        let kept = kept.map(|(name, x)| (name.clone(), x.clone())).collect();
        let path = folder.path("input.safetensors");
        write(&path, &kept);
        path
    };
    forward.input = some(&forward.folder, &["x", "y"]);
    says(
        &forward.refused(&[]),
        &["there must be a tensor `t` of shape [B]"],
    );
    forward.input = some(&forward.folder, &["x", "t", "y"]);
    says(&forward.refused(&["--gradients"]), &["`probe`"]);
    forward.input = golden("p2-sigma.io.safetensors");
    let reference = ["--engine", "reference", "--dtype", "f32"];
    says(&forward.refused(&reference), &["--dtype must be f64"]);

    let given = |text: &str| {
        let mut forward = Forward::published();
        std::fs::write(&forward.config, text).expect("a file");
        let message = forward.refused(&[]);
        forward.architecture = "dot";
        says(&forward.refused(&[]), &["unknown network `dot`"]);
        message
    };
    says(
        &given(r#"{"hiden_size": 48}"#),
        &["unknown field `hiden_size`", "`hidden_size`"],
    );
    says(&given(r#"{"hidden_size": "48"}"#), &["hidden_size"]);
    says(
        &given(r#"{"input_size": 8, "patch_size": 3}"#),
        &["patch_size must divide the image side 8, got 3"],
    );
    says(&given("{"), &["config.json", "must be a JSON object"]);
}

/// Enough to be stopped in their midst.
const STEPS: usize = 120;

/// The published transformer is trained, stored with its names, and continued bit for bit.
#[test]
fn the_published_transformer_trains_and_resumes() {
    let folder = Folder::new();
    let (whole, halves) = (folder.path("whole"), folder.path("halves"));
    let published = [
        "--set=model.kind=dit",
        "--set=model.dit.hidden_size=16",
        "--set=model.dit.depth=2",
        "--set=model.dit.num_heads=2",
        "--set=model.dit.learn_sigma=true",
        "--set=objective.noise_condition=vp-time",
    ];
    train(&whole, STEPS, &published);
    let mut child = started(&halves, STEPS, 20, &published);
    child.kill().expect("SIGKILL is sent");
    child.wait().expect("the program is gone");
    train(&halves, STEPS, &[&published[..], &["--resume"]].concat());
    assert_same(&whole, &halves);
    let files = contents(&whole);
    let theta = folder.path("theta.safetensors");
    std::fs::write(&theta, &files["theta.safetensors"]).expect("a file");
    let theta = read(&theta);
    assert_eq!(theta["pos_embed"].shape(), [1, 16, 16]);
    assert_eq!(theta["final_layer.linear.weight"].shape(), [8, 16]);
    assert_eq!(theta["y_embedder.embedding_table.weight"].shape(), [11, 16]);
    let moved = theta["final_layer.linear.bias"]
        .iter()
        .any(|x| x.abs() > 0.0);
    assert!(moved, "the last layer starts at 0 and is trained");
}

/// The published autoencoders by their fingerprints, and all of their tensors.
#[test]
fn the_published_autoencoders_have_the_published_tensors() {
    let told = printed(&["network", "shapes", "sd-vae"]);
    for line in [
        "tensors 248",
        "numbers 83653863",
        "fingerprint 53cdf22229225aac",
        "decoder.up_blocks.2.resnets.0.conv_shortcut.weight\t256,512,1,1\t131072",
        "quant_conv.weight\t8,8,1,1\t64",
    ] {
        assert!(told.lines().any(|own| own == line), "{line}");
    }
    let list = printed(&["network", "list"]);
    says(
        &list,
        &[
            "autoencoder-kl\tinputs x, z\tconfigurations sd-vae",
            "autoencoder-tiny",
        ],
    );
    let message = error_of(sadm().args(["network", "shapes", "autoencoder-tin"]));
    says(&message, &["did you mean `autoencoder-tiny`"]);
}

/// A tensor that says where each number stands.
fn wave(shape: &[usize], frequency: f64) -> ArrayD<f64> {
    let numbers: usize = shape.iter().product();
    let values = (0..numbers).map(|i| ((frequency * i as f64).sin() * 256.0).round() / 512.0);
    ArrayD::from_shape_vec(shape.to_vec(), values.collect()).expect("as many")
}

/// A tiny autoencoder of random weights with its questions.
fn tiny() -> Forward {
    let folder = Folder::new();
    let config = folder.path("config.json");
    let text = r#"{"latent_channels": 2, "encoder_block_out_channels": [3, 3], "decoder_block_out_channels": [3, 3],
        "num_encoder_blocks": [1, 1], "num_decoder_blocks": [1, 1], "use_midblock_gn": true, "_class_name": "AutoencoderTiny", "shift_factor": null}"#;
    std::fs::write(&config, text).expect("a file");
    let (weights, input) = (
        folder.path("both.safetensors"),
        folder.path("in.safetensors"),
    );
    let shown = printed(&[
        "network",
        "shapes",
        "autoencoder-tiny",
        "--config",
        config.to_str().expect("UTF-8"),
    ]);
    let mut tensors = BTreeMap::new();
    for (i, line) in shown.lines().filter(|line| line.contains('\t')).enumerate() {
        let mut parts = line.split('\t');
        let name = parts.next().expect("a name").to_owned();
        let sides = parts.next().expect("sides").split(',');
        let shape: Vec<usize> = sides.map(|side| side.parse().expect("a side")).collect();
        tensors.insert(name, wave(&shape, 1.3 + 0.1 * i as f64));
    }
    write(&weights, &tensors);
    let asked = [
        ("x", wave(&[2, 3, 4, 4], 0.7)),
        ("z", wave(&[2, 2, 2, 2], 0.9)),
        ("probe.moments", wave(&[2, 2, 2, 2], 1.1)),
        ("probe.decoded", wave(&[2, 3, 4, 4], 1.7)),
    ];
    write_f64(&input, &asked);
    Forward {
        architecture: "autoencoder-tiny",
        config,
        weights,
        input,
        folder,
    }
}

#[test]
fn an_autoencoder_answers_by_both_engines_and_by_halves() {
    let asked = tiny();
    let both = asked.answer(&["--gradients"]);
    for name in [
        "moments",
        "mean",
        "std",
        "decoded",
        "grad.moments.x",
        "grad.decoded.z",
    ] {
        assert!(both.contains_key(name), "{name}");
    }
    assert!(both["std"].iter().all(|std| std.abs() <= 0.0));
    assert_eq!(both["moments"], both["mean"]);
    let exact = asked.answer(&["--gradients", "--engine=reference"]);
    assert!(exact.keys().eq(both.keys()));
    for (name, want) in exact.iter().filter(|(name, _)| *name != "std") {
        assert!(apart(&both[name], want) < 1e-11, "{name}");
    }
    // Each half in a file of its own, by the numbers of TAESD's program.
    let whole = read(&asked.weights);
    let halves = [("encoder.layers.", 0), ("decoder.layers.", 1)];
    let files = halves.map(|(before, more)| {
        let numbered = |(name, x): (&String, &ArrayD<f64>)| {
            let (number, rest) = name.strip_prefix(before)?.split_once('.')?;
            let number: usize = number.parse().expect("a number");
            Some((format!("{}.{rest}", number + more), x.clone()))
        };
        let path = asked.folder.path(&format!("{before}safetensors"));
        write(&path, &whole.iter().filter_map(numbered).collect());
        path
    });
    let with = |files: &[&PathBuf]| {
        let mut command = sadm();
        command.args(["network", "forward", "--architecture", "autoencoder-tiny"]);
        command
            .arg("--config")
            .arg(&asked.config)
            .arg("--gradients");
        for file in files {
            command.arg("--weights").arg(file);
        }
        command.arg("--input").arg(&asked.input);
        command
            .arg("--output")
            .arg(asked.output())
            .assert()
            .success();
        read_f64(&asked.output())
    };
    assert_eq!(with(&[&files[1], &files[0]]), both);
    let decoder = with(&[&files[1]]);
    assert_eq!(decoder["decoded"], both["decoded"]);
    assert!(!decoder.contains_key("moments"));
}

#[test]
fn an_autoencoder_refuses_what_is_not_its() {
    let mut asked = tiny();
    let mut tensors = read(&asked.weights);
    let removed = tensors.remove("decoder.layers.0.bias").expect("its tensor");
    asked.weights = asked.folder.path("less.safetensors");
    write(&asked.weights, &tensors);
    says(
        &asked.refused(&[]),
        &["there must be a tensor `decoder.layers.0.bias` of shape [3]"],
    );
    tensors.insert("decoder.layers.0.bias".to_owned(), removed);
    tensors.insert("decoder.layers.0.extra".to_owned(), wave(&[1], 1.0));
    write(&asked.weights, &tensors);
    says(
        &asked.refused(&[]),
        &["`decoder.layers.0.extra` is no part of autoencoder-tiny"],
    );
    tensors.remove("decoder.layers.0.extra");
    write(&asked.weights, &tensors);
    write_f64(&asked.input, &[("y", wave(&[1], 1.0))]);
    says(
        &asked.refused(&[]),
        &["there must be a tensor `x`", "or `z`"],
    );
    write_f64(&asked.input, &[("x", wave(&[1, 3, 5, 4], 1.0))]);
    says(&asked.refused(&[]), &["sides that 2 divides"]);
    write_f64(
        &asked.input,
        &[
            ("x", wave(&[1, 3, 4, 4], 1.0)),
            ("probe.moments", wave(&[1], 1.0)),
        ],
    );
    says(
        &asked.refused(&["--gradients"]),
        &["`probe.moments` must be shaped like `moments`"],
    );
    let published = Forward::published();
    let second = format!("--weights={}", published.weights.display());
    says(
        &published.refused(&[&second]),
        &["--weights must be given once for dit"],
    );
}

/// Learnt variances are trained by their term of the bound, which the shadow check holds against the reference at every step.
#[test]
fn learnt_variances_are_trained_and_checked() {
    let folder = Folder::new();
    let (with, without) = (folder.path("with"), folder.path("without"));
    let published = [
        "--set=model.kind=dit",
        "--set=model.dit.hidden_size=16",
        "--set=model.dit.depth=1",
        "--set=model.dit.num_heads=2",
        "--set=model.dit.learn_sigma=true",
        "--set=structure.method=none",
        "--set=objective.schedule=ddpm",
        "--set=objective.parametrisation=eps",
        "--set=objective.noise_condition=ddpm-step",
        "--set=objective.weight=snr",
        "--set=objective.time=uniform",
        "--set=objective.time_min=1e-9",
        "--set=shadow.every=1",
    ];
    let learnt = ["--set=objective.variance=learned-range"];
    train(&with, 12, &[&published[..], &learnt].concat());
    train(&without, 12, &published);
    // Rows of the last layer: of each of the 4 pixels of a patch ε, then the variance.
    let moved = |run: &Path| {
        let theta = folder.path("theta.safetensors");
        std::fs::write(&theta, &contents(run)["theta.safetensors"]).expect("a file");
        let bias = &read(&theta)["final_layer.linear.bias"];
        [0, 1].map(|half| bias.iter().skip(half).step_by(2).any(|x| x.abs() > 0.0))
    };
    assert_eq!(moved(&with), [true, true]);
    assert_eq!(moved(&without), [true, false]);
    let refused = |set: &str| {
        let mut command = sadm();
        let command = command.args(["train", "--preset=digits", "--threads=1"]);
        let command = command
            .arg("--out")
            .arg(folder.path("none"))
            .args(published);
        error_of(command.args(learnt).arg(set))
    };
    says(
        &refused("--set=objective.schedule=vp-linear"),
        &["objective.variance must be none unless"],
    );
    says(
        &refused("--set=model.dit.learn_sigma=false"),
        &["without variances"],
    );
}
