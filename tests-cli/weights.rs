//! `sadm weights`, and runs that begin with weights from a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::runs::{contents, newest, tiny, train};
use crate::support::{Folder, error_of, sadm, says};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

fn layouts(name: &str) -> PathBuf {
    fixture("layouts").join(name)
}

/// What `inspect --json` says of a file.
fn inspected(file: &Path, more: &[&str]) -> Value {
    let mut command = sadm();
    command
        .args(["weights", "inspect"])
        .arg(file)
        .arg("--json")
        .args(more);
    let output = command.assert().success().get_output().clone();
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn convert(file: &Path, to: &str, out: &Path, more: &[&str]) -> assert_cmd::Command {
    let mut command = sadm();
    command
        .args(["weights", "convert"])
        .arg(file)
        .args(["--to", to])
        .arg("--out")
        .arg(out)
        .args(more);
    command
}

/// Converts, and what was said beside it.
pub fn converted(file: &Path, to: &str, out: &Path, more: &[&str]) -> String {
    let output = convert(file, to, out, more)
        .assert()
        .success()
        .get_output()
        .clone();
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// Type, shape and bytes of each tensor of a file of safetensors.
pub fn tensors(path: &Path) -> BTreeMap<String, (String, Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(path).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    file.iter()
        .map(|(name, view)| {
            let dtype = format!("{:?}", view.dtype());
            (
                name.to_owned(),
                (dtype, view.shape().to_vec(), view.data().to_vec()),
            )
        })
        .collect()
}

fn layouts_of(answer: &Value) -> Vec<&str> {
    let all = answer["layouts"].as_array().expect("layouts").iter();
    all.map(|one| one["layout"].as_str().expect("a name"))
        .collect()
}

#[test]
fn a_file_is_recognised_with_all_that_is_in_it() {
    let dit = inspected(&layouts("dit.pt"), &[]);
    assert_eq!(layouts_of(&dit), ["dit", "sit"]);
    let config = &dit["layouts"][0]["config"];
    for (key, value) in [
        ("input_size", 4),
        ("patch_size", 2),
        ("in_channels", 2),
        ("hidden_size", 8),
        ("depth", 2),
        ("num_classes", 3),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
    assert_eq!(config["learn_sigma"], true);
    assert_eq!(dit["tensors"], 32);
    assert_eq!(dit["dtypes"], serde_json::json!({"F16": 31, "F32": 1}));
    // By hand: 32 positions, 64+8 patch, 48+8 and 64+8 time, 32 classes, twice 216+72+288+264+432, 128+16 and 128+16 at the end.
    let block = 192 + 24 + 72 + 256 + 32 + 256 + 8 + 384 + 48;
    assert_eq!(
        dit["parameters"],
        32 + 72 + 56 + 72 + 32 + 2 * block + 16 * 9 + 16 * 9
    );
    assert_eq!(dit["buffers"], 0);
    assert_eq!(dit["averaged"], Value::Null);
    assert_eq!(dit["published"], Value::Null);
    for part in ["missing", "left_over"] {
        assert_eq!(dit["layouts"][0][part], serde_json::json!([]), "{part}");
    }
    let sit = inspected(&layouts("sit-repa.pt"), &[]);
    assert_eq!(
        sit["layouts"][1]["left_over"],
        serde_json::json!(["projectors.0.0.bias", "projectors.0.0.weight"])
    );
    let whole = inspected(&layouts("stable-diffusion.ckpt"), &[]);
    assert_eq!(layouts_of(&whole), ["vae-compvis"]);
    assert_eq!(whole["dictionary"], "state_dict");
    assert_eq!(whole["layouts"][0]["prefix"], "first_stage_model.");
    assert_eq!(
        whole["layouts"][0]["left_over"],
        serde_json::json!(["model.diffusion_model.out.2.bias"])
    );
    assert_eq!(
        whole["layouts"][0]["config"]["block_out_channels"],
        serde_json::json!([4, 8, 8])
    );
}

#[test]
fn of_several_dictionaries_the_averaged_one_is_taken_unless_another_is_asked_for() {
    let file = layouts("dit-train.pt");
    let answer = inspected(&file, &[]);
    let keys = answer["dictionaries"].as_array().expect("dictionaries");
    let keys: Vec<(&str, u64, bool)> = keys
        .iter()
        .map(|one| {
            let key = one["key"].as_str().expect("a key");
            (
                key,
                one["tensors"].as_u64().expect("a count"),
                one["averaged"] == true,
            )
        })
        .collect();
    assert_eq!(
        keys,
        [("model", 32, false), ("ema", 32, true), ("opt", 2, false)]
    );
    assert_eq!(
        (&answer["dictionary"], &answer["averaged"]),
        (&"ema".into(), &true.into())
    );
    assert_eq!(layouts_of(&answer), ["dit", "sit"]);
    let model = inspected(&file, &["--key", "model"]);
    assert_eq!(
        (&model["dictionary"], &model["averaged"]),
        (&"model".into(), &false.into())
    );
    // `model` of it is the content of dit.pt, `ema` another.
    let folder = Folder::new();
    let [plain, ema, of_model] =
        ["plain", "ema", "model"].map(|name| folder.path(&format!("{name}.safetensors")));
    converted(&layouts("dit.pt"), "dit", &plain, &[]);
    converted(&file, "dit", &ema, &[]);
    converted(&file, "dit", &of_model, &["--key", "model"]);
    assert_eq!(tensors(&plain), tensors(&of_model));
    assert_ne!(tensors(&plain), tensors(&ema));
    assert_eq!(inspected(&ema, &[])["averaged"], true);
    let refused = error_of(
        sadm()
            .args(["weights", "inspect", "--key", "net"])
            .arg(&file),
    );
    says(
        &refused,
        &["holds no dictionary `net`, but `model`, `ema`, `opt`"],
    );
    let flat = error_of(
        sadm()
            .args(["weights", "inspect", "--key", "ema"])
            .arg(layouts("dit.pt")),
    );
    says(
        &flat,
        &["one dictionary of tensors, without a dictionary `ema`"],
    );
}

#[test]
fn an_empty_dictionary_is_refused_by_its_key_and_a_shared_one_is_whole_under_both() {
    let inspect = |file: &Path, key: &[&str]| {
        let mut command = sadm();
        command.args(["weights", "inspect"]).arg(file).args(key);
        command
    };
    let ema = error_of(&mut inspect(&layouts("empty-ema.pt"), &["--key", "ema"]));
    says(
        &ema,
        &["its dictionary `ema` holds no tensor; there are `model` (1 tensors)"],
    );
    let model = error_of(&mut inspect(&layouts("empty-model.pt"), &[]));
    says(&model, &["its dictionary `model` holds no tensor"]);
    for file in ["shared.pt", "shared-old.pt"] {
        let file = fixture("weights").join(file);
        let [one, other] = ["model", "ema"].map(|key| inspected(&file, &["--key", key]));
        assert_eq!(one["tensors"], 8, "{one}");
        assert_eq!(one["fingerprint"], other["fingerprint"]);
        assert_eq!(one["parameters"], other["parameters"]);
    }
}

#[test]
fn files_by_other_names_are_those_that_torch_made() {
    let folder = Folder::new();
    let out = |name: &str| folder.path(&format!("{name}.safetensors"));
    // What there is, to which layout, and the fixture with the same tensors by those names.
    converted(&layouts("dit.pt"), "dit-diffusers", &out("theirs"), &[]);
    assert_eq!(
        tensors(&out("theirs")),
        tensors(&layouts("dit-diffusers.safetensors"))
    );
    converted(&layouts("dit.pt"), "dit", &out("dit"), &[]);
    let said = converted(
        &layouts("dit-diffusers.safetensors"),
        "dit",
        &out("back"),
        &["--size", "4"],
    );
    says(&said, &["diffusers computes another function"]);
    let (mut back, mut dit) = (tensors(&out("back")), tensors(&out("dit")));
    // Positions are computed: sines differ in their last place between libraries.
    let positions = [&mut back, &mut dit].map(|all| all.remove("pos_embed").expect("positions"));
    assert_eq!(positions[0].1, positions[1].1);
    let numbers = positions.map(|(_, _, bytes)| {
        let (chunks, _) = bytes.as_chunks::<4>();
        chunks
            .iter()
            .map(|x| f32::from_le_bytes(*x))
            .collect::<Vec<_>>()
    });
    assert!(
        numbers[0]
            .iter()
            .zip(&numbers[1])
            .all(|(a, b)| (a - b).abs() < 1e-6)
    );
    assert_eq!(back, dit);

    converted(&layouts("vae.bin"), "vae-diffusers-old", &out("old"), &[]);
    assert_eq!(
        tensors(&out("old")),
        tensors(&layouts("vae-old.safetensors"))
    );
    let said = converted(
        &layouts("stable-diffusion.ckpt"),
        "vae-diffusers",
        &out("new"),
        &[],
    );
    says(
        &said,
        &["not taken over: 1 tensors: model.diffusion_model.out.2.bias"],
    );
    converted(&layouts("vae.bin"), "vae-diffusers", &out("vae"), &[]);
    assert_eq!(tensors(&out("new")), tensors(&out("vae")));
    converted(
        &layouts("vae-old.safetensors"),
        "vae-compvis",
        &out("compvis"),
        &[],
    );
    converted(&out("compvis"), "vae-diffusers", &out("again"), &[]);
    assert_eq!(tensors(&out("again")), tensors(&out("vae")));
    let compvis = tensors(&out("compvis"));
    assert_eq!(
        compvis["decoder.mid.attn_1.proj_out.weight"].1,
        [8, 8, 1, 1]
    );
    // diffusers' first level of the decoder is CompVis' last.
    let level = |all: &BTreeMap<_, (String, Vec<usize>, Vec<u8>)>, name: &str| all[name].2.clone();
    assert_eq!(
        level(&compvis, "decoder.up.2.block.1.conv2.weight"),
        level(
            &tensors(&out("vae")),
            "decoder.up_blocks.0.resnets.1.conv2.weight"
        )
    );
    assert_ne!(
        level(&compvis, "decoder.up.1.block.1.conv2.weight"),
        level(
            &tensors(&out("vae")),
            "decoder.up_blocks.0.resnets.1.conv2.weight"
        )
    );
    // The same conversion, the same bytes.
    converted(&layouts("vae.bin"), "vae-diffusers", &out("twice"), &[]);
    assert_eq!(
        fs::read(out("twice")).expect("a file"),
        fs::read(out("vae")).expect("a file")
    );
    assert_eq!(
        inspected(&out("vae"), &[])["metadata"]["layout"],
        "vae-diffusers"
    );
}

#[test]
fn what_cannot_be_converted_is_refused_and_nothing_is_written() {
    let folder = Folder::new();
    let out = folder.path("out.safetensors");
    let dit = layouts("dit.pt");
    for (file, to, more, parts) in [
        (
            &dit,
            "did",
            &[][..],
            &["unknown layout `did`", "did you mean `dit`?"][..],
        ),
        (
            &dit,
            "vae-compvis",
            &[],
            &[
                "it is dit, of which there is no way to vae-compvis; possible here: dit, sit, dit-diffusers",
            ],
        ),
        (
            &dit,
            "sit",
            &["--from", "unet"],
            &["said to be unet", "of dit or sit"],
        ),
        (
            &layouts("dit-diffusers.safetensors"),
            "dit",
            &[],
            &["does not store the positions", "--size 32"],
        ),
        (
            &layouts("dit-diffusers.safetensors"),
            "dit",
            &["--size", "5"],
            &["--size must be a multiple of the patch's side 2, got 5"],
        ),
        (
            &fixture("weights/protocol-5.pt"),
            "dit",
            &[],
            &["no layout that is known"],
        ),
    ] {
        let refused = error_of(&mut convert(file, to, &out, more));
        says(&refused, parts);
    }
    let refused = error_of(&mut convert(&dit, "dit", &folder.path("out.pt"), &[]));
    says(&refused, &["--out must end with .safetensors"]);
    let refused = error_of(&mut convert(
        &dit,
        "dit",
        &folder.path("none/out.safetensors"),
        &[],
    ));
    says(&refused, &["cannot write"]);
    let left = fs::read_dir(folder.path("")).expect("a folder").count();
    assert_eq!(left, 0, "something was written");
}

#[test]
fn files_that_are_no_weights_are_refused_by_what_they_are() {
    let folder = Folder::new();
    let inspect = |path: &Path| error_of(sadm().args(["weights", "inspect"]).arg(path));
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path(name);
        fs::write(&path, bytes).expect("written");
        path
    };
    let dit = fs::read(layouts("dit.pt")).expect("a fixture");
    let diffusers = fs::read(layouts("dit-diffusers.safetensors")).expect("a fixture");
    for (path, parts) in [
        (
            write("cut.pt", &dit[..dit.len() / 2]),
            &["not a whole PyTorch file"][..],
        ),
        (
            write("cut.safetensors", &diffusers[..diffusers.len() - 8]),
            &["not a whole safetensors file"],
        ),
        (
            write("page.pt", b"<!DOCTYPE html><html>"),
            &["a web page and not the file"],
        ),
        (
            write("opcode.pkl", b"\x80\x02Pname\n."),
            &["instruction PERSID of protocol 0"],
        ),
        (
            write(
                "global.pkl",
                b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.",
            ),
            &["an object of `os.system`"],
        ),
        (
            layouts("edm-snapshot.pkl"),
            &["snapshot of EDM", "scripts/export_edm.py"],
        ),
        (fixture("layouts"), &["cannot read"]),
        (folder.path("none.pt"), &["cannot read"]),
    ] {
        says(&inspect(&path), parts);
    }
    // An ending says nothing: safetensors under the name of another.
    let renamed = write("weights.pt", &diffusers);
    assert_eq!(layouts_of(&inspected(&renamed, &[])), ["dit-diffusers"]);
}

/// A file of safetensors with one matrix replaced, and the rest as it was.
fn with(
    path: &Path,
    out: &Path,
    change: impl FnOnce(&mut BTreeMap<String, (Vec<usize>, Vec<f32>)>),
) {
    let mut all: BTreeMap<String, (Vec<usize>, Vec<f32>)> = tensors(path)
        .into_iter()
        .map(|(name, (dtype, shape, bytes))| {
            assert_eq!(dtype, "F32");
            let (chunks, _) = bytes.as_chunks::<4>();
            (
                name,
                (
                    shape,
                    chunks.iter().map(|x| f32::from_le_bytes(*x)).collect(),
                ),
            )
        })
        .collect();
    change(&mut all);
    let all = all.into_iter().map(|(name, (shape, values))| {
        let tensor = candle_core::Tensor::from_vec(values, shape, &candle_core::Device::Cpu);
        (name, tensor.expect("as many as the shape"))
    });
    candle_core::safetensors::save(&all.collect(), out).expect("a file");
}

/// The file of a run's newest averaged parameters.
pub fn average(run: &Path) -> PathBuf {
    newest(run).join("theta.average.safetensors")
}

#[test]
fn our_own_networks_are_recognised_and_what_is_wrong_with_a_file_is_listed() {
    let folder = Folder::new();
    let run = folder.path("run");
    train(&run, 4, &[]);
    let answer = inspected(&average(&run), &[]);
    assert_eq!(layouts_of(&answer), ["unet"]);
    assert_eq!(answer["layouts"][0]["left_over"], serde_json::json!([]));
    assert_eq!(answer["averaged"], true);
    assert_eq!(answer["layouts"][0]["config"]["classes"], 10);
    let spoilt = folder.path("spoilt.safetensors");
    with(&average(&run), &spoilt, |all| {
        all.remove("time.1.bias");
        let (_, values) = all.get_mut("conv_in.weight").expect("there");
        values[3] = f32::NAN;
        values[5] = f32::INFINITY;
    });
    let answer = inspected(&spoilt, &[]);
    assert_eq!(
        answer["layouts"][0]["missing"],
        serde_json::json!(["time.1.bias"])
    );
    assert_eq!(
        answer["not_finite"],
        serde_json::json!([{"name": "conv_in.weight", "count": 2}])
    );
    let refused = error_of(&mut convert(
        &spoilt,
        "unet",
        &folder.path("out.safetensors"),
        &[],
    ));
    says(
        &refused,
        &["as unet it is not whole: 1 of", "the first time.1.bias"],
    );
    let text = sadm()
        .args(["weights", "inspect"])
        .arg(&spoilt)
        .assert()
        .success()
        .get_output()
        .clone();
    let text = String::from_utf8(text.stdout).expect("UTF-8");
    says(
        &text,
        &[
            "layout unet",
            "missing: 1: time.1.bias",
            "not finite: 2 elements of conv_in.weight",
            "left over: nothing",
        ],
    );
}

/// A run that begins with a file and is stopped by its own end after some steps.
pub fn begun(run: &Path, file: &Path, more: &[&str]) -> (bool, String) {
    let mut command = sadm();
    command
        .args(tiny(run, 4))
        .arg("--init-from")
        .arg(file)
        .args(more);
    command.arg("--set=checkpoint.keep=9");
    let output = command.output().expect("it runs");
    (
        output.status.success(),
        String::from_utf8(output.stderr).expect("UTF-8"),
    )
}

#[test]
fn a_run_begins_with_the_weights_of_a_file() {
    let folder = Folder::new();
    let [first, second, third] = ["first", "second", "third"].map(|name| folder.path(name));
    train(&first, 8, &[]);
    let file = average(&first);
    let (done, said) = begun(&second, &file, &[]);
    assert!(done, "{said}");
    says(&said, &["weights from", "layout unet", "averaged there"]);
    let start = second.join("checkpoints/00000000");
    let [theta, averaged] =
        ["theta", "theta.average"].map(|name| tensors(&start.join(format!("{name}.safetensors"))));
    assert_eq!(theta, tensors(&file));
    assert_eq!(averaged, tensors(&file));
    let history = fs::read_to_string(second.join("history.jsonl")).expect("a history");
    let event: Value = serde_json::from_str(history.lines().next().expect("a line")).expect("JSON");
    assert_eq!(event["weights"]["sha256"], inspected(&file, &[])["sha256"]);
    assert_eq!(event["weights"]["layout"], "unet");
    // It goes on where it was stopped, bit for bit, though the file is gone.
    sadm()
        .args(tiny(&third, 4))
        .arg("--init-from")
        .arg(&file)
        .arg("--set=checkpoint.keep=9")
        .assert()
        .success();
    let last = third.join("checkpoints/00000004");
    assert_eq!(contents(&third), contents(&second));
    fs::remove_dir_all(&last).expect("a checkpoint");
    fs::remove_file(&file).expect("a file");
    sadm()
        .args(["train", "--resume", "--threads=1", "--out"])
        .arg(&third)
        .assert()
        .success();
    assert_eq!(contents(&third), contents(&second));
}

#[test]
fn weights_that_do_not_fit_are_refused_with_what_differs() {
    let folder = Folder::new();
    let first = folder.path("first");
    train(&first, 4, &[]);
    let file = average(&first);
    let run = folder.path("run");
    let refused = |more: &[&str]| {
        let (done, said) = begun(&run, &file, more);
        assert!(!done, "{said}");
        assert!(!run.exists(), "something was written");
        said
    };
    says(
        &refused(&["--resume"]),
        &[
            "--init-from begins a new run",
            "--resume goes on with the run",
        ],
    );
    let from = format!("--from={}", first.display());
    says(
        &refused(&[&from]),
        &["--from takes denoiser, averages and encoder from a run"],
    );
    says(
        &refused(&["--set=model.unet.channels=[8,16]"]),
        &[
            "unet by its names and shapes",
            "must have shape",
            "of the network's",
        ],
    );
    says(
        &refused(&["--class-table=some"]),
        &["fresh, mean, all or the numbers"],
    );
    says(
        &refused(&["--class-table=0,1"]),
        &["must list 10 of its classes 0 to 9"],
    );
    // Twelve classes in the file, ten here.
    let others = folder.path("others.safetensors");
    let (shape, table) = tensors(&file)
        .remove("class.weight")
        .map(|(_, shape, bytes)| (shape, bytes))
        .expect("classes");
    assert_eq!(shape[0], 11);
    let width = shape[1];
    with(&file, &others, |all| {
        let (shape, values) = all.get_mut("class.weight").expect("classes");
        let mut more = vec![0.5; 2 * width];
        more.append(values);
        (shape[0], *values) = (13, more);
    });
    let (done, said) = begun(&run, &others, &[]);
    assert!(!done && !run.exists(), "{said}");
    says(
        &said,
        &["it has 12 classes and the network 10: choose --class-table fresh"],
    );
    let (done, said) = begun(&run, &others, &["--class-table=2,3,4,5,6,7,8,9,10,11"]);
    assert!(done, "{said}");
    says(
        &said,
        &[
            "12 classes in the file, 10 here, 2,3,4,5,6,7,8,9,10,11",
            "\"no class\" as in the file",
        ],
    );
    let start = tensors(&run.join("checkpoints/00000000/theta.safetensors"));
    assert_eq!(start["class.weight"].2, table);
    let history = fs::read_to_string(run.join("history.jsonl")).expect("a history");
    says(&history, &["12 classes in the file"]);
}

/// A Python with torch and safetensors: `PYTHON`, or the one on the path.
fn python_with_torch() -> Option<String> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let imports = Command::new(&python)
        .args(["-c", "import torch, safetensors.torch"])
        .output();
    imports
        .is_ok_and(|output| output.status.success())
        .then_some(python)
}

/// A stand-in of ours for the code of EDM: classes whose objects are stored with their arguments, and made again by a function of
/// `torch_utils.persistence`.
const STAND_IN: &str = r#"
import torch

CLASSES = {}

def persistent_class(cls):
    CLASSES[cls.__name__] = cls

    class Kept(cls):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self._kept = (args, kwargs)

        init_args = property(lambda self: self._kept[0])
        init_kwargs = property(lambda self: self._kept[1])

        def __reduce__(self):
            return _reconstruct_persistent_obj, ({"class_name": cls.__name__, "kept": self._kept, "state": dict(self.__dict__)},)

    Kept.__name__ = cls.__name__
    CLASSES[cls.__name__] = Kept
    return Kept

def _reconstruct_persistent_obj(meta):
    args, kwargs = meta["kept"]
    thing = CLASSES[meta["class_name"]](*args, **kwargs)
    thing.__dict__.update(meta["state"])
    return thing

@persistent_class
class Inner(torch.nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.layer = torch.nn.Linear(2, width)
        self.register_buffer("resample_filter", torch.full([1, 1, 2, 2], 0.25))

@persistent_class
class Precond(torch.nn.Module):
    def __init__(self, img_resolution):
        super().__init__()
        self.model = Inner(width=4)
"#;

#[test]
fn a_snapshot_of_edm_is_exported_where_its_program_is() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/export_edm.py");
    let Some(python) = python_with_torch() else {
        let help = Command::new("python3").arg(&script).arg("--help").output();
        match help {
            Ok(help) => says(
                &String::from_utf8_lossy(&help.stdout),
                &["export_edm.py [-h]", "--edm"],
            ),
            Err(reason) => println!("skipped: no python3 ({reason})"),
        }
        println!("skipped: PYTHON has no torch, only --help was asked for");
        return;
    };
    let folder = Folder::new();
    let package = folder.path("edm/torch_utils");
    fs::create_dir_all(&package).expect("a folder");
    fs::write(package.join("__init__.py"), "").expect("written");
    fs::write(package.join("persistence.py"), STAND_IN).expect("written");
    let make = "import pickle, sys, torch
sys.path.insert(0, 'edm')
from torch_utils.persistence import Precond
torch.manual_seed(1)
net = Precond(img_resolution=32)
pickle.dump({'ema': net, 'loss_fn': None, 'augment_pipe': None, 'dataset_kwargs': {'path': 'x.zip'}}, open('net.pkl', 'wb'))
torch.save(dict(net=net, optimizer_state={}), 'state.pt')
torch.save({k: v for k, v in net.state_dict().items()}, 'plain.pt')
";
    let run = |args: &[&str]| {
        let mut command = Command::new(&python);
        let output = command
            .args(args)
            .current_dir(folder.path(""))
            .output()
            .expect("it runs");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (made, said) = run(&["-c", make]);
    assert!(made, "{said}");
    for name in ["net.pkl", "state.pt"] {
        let refused = error_of(sadm().args(["weights", "inspect"]).arg(folder.path(name)));
        says(
            &refused,
            &[
                "snapshot of EDM",
                "scripts/export_edm.py FILE OUT.safetensors",
            ],
        );
    }
    let script = script.display().to_string();
    for (name, averaged) in [("net.pkl", true), ("state.pt", false)] {
        let out = format!("{name}.safetensors");
        let (done, said) = run(&[&script, name, &out, "--edm", "edm"]);
        assert!(done, "{said}");
        let answer = inspected(&folder.path(&out), &[]);
        assert_eq!(answer["averaged"], averaged);
        assert_eq!(answer["parameters"], 12);
        assert_eq!(answer["buffers"], 4);
        let metadata = &answer["metadata"];
        says(
            metadata["network"].as_str().expect("the class"),
            &["Precond", "\"img_resolution\": 32"],
        );
        says(
            metadata["model"].as_str().expect("the class"),
            &["Inner", "\"width\": 4"],
        );
        let plain = inspected(&folder.path("plain.pt"), &[]);
        assert_eq!(plain["fingerprint"], answer["fingerprint"]);
    }
    let (done, said) = run(&[
        &script,
        "net.pkl",
        "none.safetensors",
        "--edm",
        "edm",
        "--key",
        "D",
    ]);
    assert!(!done && !folder.path("none.safetensors").exists());
    says(&said, &["holds no network under D", "ema, loss_fn"]);
}

/// The golden files of published implementations, where they are.
#[test]
fn golden_files_are_recognised_and_go_there_and_back() {
    let Some(golden) = std::env::var_os("SADM_GOLDEN_DIR").map(PathBuf::from) else {
        println!("skipped: SADM_GOLDEN_DIR is not set");
        return;
    };
    let folder = Folder::new();
    let [there, back, own] =
        ["there", "back", "own"].map(|name| folder.path(&format!("{name}.safetensors")));
    for (file, own_layout, other, more) in [
        (
            "dit/p2-sigma.flat.pt",
            "dit",
            "dit-diffusers",
            &["--size", "8"][..],
        ),
        (
            "autoencoder/kl/diffusion_pytorch_model.safetensors",
            "vae-diffusers",
            "vae-compvis",
            &[],
        ),
        (
            "autoencoder/kl/diffusion_pytorch_model.safetensors",
            "vae-diffusers",
            "vae-diffusers-old",
            &[],
        ),
        (
            "autoencoder/kl-compvis-layout.weights.safetensors",
            "vae-compvis",
            "vae-diffusers",
            &[],
        ),
        (
            "edm/adm-attn.weights.safetensors",
            "dhariwal-unet",
            "adm",
            &["--size", "8", "--from", "adm"],
        ),
        (
            "edm/adm-attn.weights.safetensors",
            "dhariwal-unet",
            "adm-legacy",
            &["--size", "8", "--from", "adm-legacy"],
        ),
        (
            "edm/skip-skip.weights.safetensors",
            "song-unet",
            "edm-song-unet",
            &[],
        ),
        (
            "edm/ncsnpp-cond.weights.safetensors",
            "song-unet",
            "edm-song-unet",
            &[],
        ),
        (
            "edm/ddpmpp-cond-aug.weights.safetensors",
            "song-unet",
            "edm-song-unet",
            &[],
        ),
        (
            "edm/precond-edm.weights.safetensors",
            "edm-song-unet",
            "song-unet",
            &[],
        ),
    ] {
        let path = golden.join(file);
        let answer = inspected(&path, &[]);
        assert!(
            layouts_of(&answer).contains(&own_layout),
            "{file}: {answer}"
        );
        for part in ["missing", "left_over"] {
            assert_eq!(answer["layouts"][0][part], serde_json::json!([]), "{file}");
        }
        converted(&path, own_layout, &own, &[]);
        converted(&path, other, &there, &[]);
        converted(&there, own_layout, &back, more);
        let (mut own, mut back) = (tensors(&own), tensors(&back));
        // Computed, not stored there.
        own.remove("pos_embed");
        back.remove("pos_embed");
        assert_eq!(own, back, "{file} by {other}");
    }
}

#[test]
fn golden_files_hold_the_golden_tensors_by_any_names() {
    let Some(golden) = std::env::var_os("SADM_GOLDEN_DIR").map(PathBuf::from) else {
        println!("skipped: SADM_GOLDEN_DIR is not set");
        return;
    };
    let folder = Folder::new();
    let there = folder.path("there.safetensors");
    let old = golden.join("autoencoder/kl-old-keys/diffusion_pytorch_model.safetensors");
    converted(&old, "vae-diffusers", &there, &[]);
    let new = golden.join("autoencoder/kl/diffusion_pytorch_model.safetensors");
    assert_eq!(tensors(&there), tensors(&new));
    // Positions that are not the published table are read, and not thrown away.
    let p4 = golden.join("dit/p4-eps.weights.safetensors");
    converted(&p4, "dit", &there, &[]);
    assert_eq!(tensors(&there), tensors(&p4));
    let refused = error_of(&mut convert(
        &p4,
        "dit-diffusers",
        &folder.path("none.safetensors"),
        &[],
    ));
    says(&refused, &["`pos_embed` has no place in the new layout"]);
    // A checkpoint of training: the values of both dictionaries.
    let train = golden.join("dit/p2-sigma.train.pt");
    let expected = tensors(&golden.join("dit/p2-sigma.train.expected.safetensors"));
    for key in ["model", "ema"] {
        converted(&train, "dit", &there, &["--key", key]);
        let mut compared = 0;
        for (name, tensor) in tensors(&there) {
            // Of `model` only the small tensors are there.
            if let Some(want) = expected.get(&format!("{key}.{name}")) {
                assert_eq!(&tensor, want, "{key}, {name}");
                compared += 1;
            }
        }
        assert!(compared > 15, "{key}: {compared} tensors");
    }
    let narrow = golden.join("edm/adm-narrow.weights.safetensors");
    let said = converted(&narrow, "adm", &there, &[]);
    says(
        &said,
        &[
            "not taken over: 1 tensors: map_augment.weight",
            "fewer than 128 channels",
        ],
    );
}
