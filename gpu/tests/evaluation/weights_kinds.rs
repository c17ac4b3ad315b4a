//! The ways in which people's files of weights differ, against what PyTorch reads from them (`fixtures/make_weights.py`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sadm_gpu::weights::Weights;
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

fn golden() -> serde_json::Map<String, Value> {
    let text = std::fs::read_to_string(fixtures().join("weights.json")).expect("a fixture");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    golden["files"].as_object().expect("files").clone()
}

fn open(name: &str) -> Weights {
    let path = fixtures().join("weights").join(name);
    Weights::open(&path).unwrap_or_else(|reason| panic!("{reason}"))
}

fn refusal(name: &str) -> String {
    let path = fixtures().join("weights").join(name);
    Weights::open(&path)
        .expect_err("not to be read")
        .to_string()
}

fn values(weights: &Weights, name: &str) -> Vec<f64> {
    let shape = weights
        .shape(name)
        .unwrap_or_else(|| panic!("no {name}"))
        .to_vec();
    let tensor = weights
        .get(name, &shape)
        .unwrap_or_else(|reason| panic!("{reason}"));
    tensor
        .flatten_all()
        .and_then(|x| x.to_vec1())
        .expect("numbers")
}

/// Bit for bit: what is written without its sign or its last place would be another weight.
fn same(ours: &[f64], theirs: &Value) -> bool {
    let theirs: Vec<f64> = theirs
        .as_array()
        .expect("a list")
        .iter()
        .map(|x| x.as_f64().expect("a number"))
        .collect();
    ours.len() == theirs.len()
        && ours
            .iter()
            .zip(&theirs)
            .all(|(a, b)| a.to_bits() == b.to_bits())
}

#[test]
fn every_file_holds_what_pytorch_reads_from_it() {
    let mut tensors = 0;
    for (file, want) in &golden() {
        let want = want.as_object().expect("tensors");
        if want.is_empty() {
            refusal(file);
            continue;
        }
        let weights = open(file);
        for (name, tensor) in want {
            let shape: Vec<u64> = weights
                .shape(name)
                .unwrap_or_else(|| panic!("{file} has no {name}"))
                .iter()
                .map(|n| *n as u64)
                .collect();
            assert_eq!(Value::from(shape), tensor["shape"], "{file}, {name}");
            assert!(
                same(&values(&weights, name), &tensor["data"]),
                "{file}, {name}"
            );
            tensors += 1;
        }
        // The bytes of a tensor, as a conversion takes them, are the same numbers.
        let part = weights.part(None).expect("a dictionary");
        for name in part.shapes().keys().filter(|name| weights.has(name)) {
            let raw = part.raw(name).expect("a tensor").values();
            let got = values(&weights, name);
            let same = raw
                .iter()
                .zip(&got)
                .all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(raw.len() == got.len() && same, "{file}, bytes of {name}");
        }
    }
    assert!(tensors > 150, "{tensors} tensors were compared");
}

#[test]
fn a_network_is_found_under_what_training_programs_put_around_it() {
    let plain = open("protocol-5.pt");
    let names: BTreeSet<&str> = plain.names().collect();
    assert_eq!(names.len(), 8, "{names:?}");
    assert_eq!(plain.reading(), None);
    for (file, reading) in [
        (
            "published.th",
            "under `state_dict`, names without `module.`",
        ),
        (
            "published-new.th",
            "under `state_dict`, names without `module.`",
        ),
        ("shared.pt", "under `model`, names without `module.`"),
        ("shared-old.pt", "under `model`, names without `module.`"),
        ("averaged.pt", "names without `module.`"),
        ("averaged.safetensors", "names without `module.`"),
    ] {
        let weights = open(file);
        assert_eq!(weights.reading().as_deref(), Some(reading), "{file}");
        for &name in &names {
            assert_eq!(
                values(&weights, name),
                values(&plain, name),
                "{file}, {name}"
            );
        }
    }
    // One dictionary under two names is whole under both.
    for file in ["shared.pt", "shared-old.pt"] {
        let weights = open(file);
        for &name in &names {
            let whole = format!("ema.module.{name}");
            assert_eq!(
                values(&weights, &whole),
                values(&plain, name),
                "{file}, {whole}"
            );
        }
    }
}

#[test]
fn what_is_not_read_is_named_when_it_is_asked_for() {
    for file in ["unread.pt", "unread-old.pt"] {
        let weights = open(file);
        assert_eq!(
            values(&weights, "first"),
            [0.0, 0.125, 0.25, 0.375],
            "{file}"
        );
        assert_eq!(values(&weights, "last"), [0.625, 0.75, 0.875], "{file}");
        for (name, reason) in [
            ("complex", "elements of torch.ComplexFloatStorage"),
            ("sparse", "torch._utils._rebuild_sparse_tensor"),
            ("quantised", "torch._utils._rebuild_qtensor"),
            ("args", "argparse.Namespace"),
            ("negated", "sign is yet to be turned"),
        ] {
            assert!(!weights.has(name), "{file}, {name}");
            let refused = weights.get(name, &[2]).expect_err("not read").to_string();
            assert!(
                refused.contains(&format!("`{name}` is not read")) && refused.contains(reason),
                "{refused}"
            );
        }
    }
    let complex = open("types.safetensors")
        .get("complex", &[1])
        .expect_err("not read")
        .to_string();
    assert!(complex.contains("type C64"), "{complex}");
    let model = refusal("whole-model.pt");
    assert!(
        model.contains("`torch.nn.modules.linear.Linear`") && model.contains("state_dict()"),
        "{model}"
    );
    let inside = refusal("model-object.pt");
    assert!(
        inside.contains("of `model`: it is an object of `torch.nn.modules.linear.Linear`"),
        "{inside}"
    );
    let python = refusal("python.pkl");
    assert!(
        python.contains("Python pickle (protocol 4) of a dictionary"),
        "{python}"
    );
}

#[test]
fn what_is_often_taken_for_weights_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n";
    let mut gzip = b"\x1F\x8B\x08".to_vec();
    gzip.resize(40, 0);
    let mut tar = vec![b'a'; 300];
    tar[257..262].copy_from_slice(b"ustar");
    for (name, bytes, what) in [
        (
            "a.pth",
            &pointer[..],
            "Git LFS pointer and not the file of 12345 bytes",
        ),
        ("a.safetensors", &pointer[..], "git lfs pull"),
        (
            "b.pth",
            b"\n<!DOCTYPE html>\n<html><head>",
            "a web page and not the file",
        ),
        (
            "c.safetensors",
            b"<html lang=en>",
            "a web page and not the file",
        ),
        ("d.pt", b"{\"error\": \"not found\"}", "JSON text"),
        ("e.pt", &gzip, "gunzip"),
        ("f.tar", &tar, "a tar archive"),
        ("g.h5", b"\x89HDF\r\n\x1A\n....", "HDF5"),
        ("h.pth", b"\x80\x01}.", "begins as neither does"),
        ("i.xyz", b"?", "(.safetensors, .pth, .pt, .th, .bin)"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        let message = Weights::open(&path).expect_err("no weights").to_string();
        assert!(message.contains(what), "{message}");
        assert!(
            message.starts_with(&path.display().to_string()),
            "{message}"
        );
    }
}

#[test]
fn a_changed_byte_of_an_archive_is_seen_where_it_is_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bytes = std::fs::read(fixtures().join("weights/protocol-5.pt")).expect("a fixture");
    let first: Vec<u8> = values(&open("protocol-5.pt"), "conv1.weight")
        .iter()
        .flat_map(|x| {
            #[expect(clippy::cast_possible_truncation, reason = "they are eighths")]
            let x = *x as f32;
            x.to_le_bytes()
        })
        .collect();
    let at = bytes
        .windows(first.len())
        .position(|window| window == first)
        .expect("its elements");
    bytes[at] ^= 1;
    let path = folder.path().join("changed.pt");
    std::fs::write(&path, &bytes).expect("written");
    let weights = Weights::open(&path).expect("the other tensors are whole");
    let refused = weights
        .get("conv1.weight", &[3, 2, 3, 3])
        .expect_err("another byte")
        .to_string();
    assert!(refused.contains("CRC-32"), "{refused}");
    weights.get("linear.bias", &[2]).expect("a whole one");
}

/// A file of `SADM_GOLDEN_DIR`, or the word that the test is skipped.
fn golden_folder(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("SADM_GOLDEN_DIR").map(|folder| PathBuf::from(folder).join(name));
    let found = folder.filter(|folder| folder.exists());
    if found.is_none() {
        println!("skipped: SADM_GOLDEN_DIR has no {name}");
    }
    found
}

/// The files of `torch.save` that belong to the golden numbers of published implementations, which are not in this repository.
#[test]
fn awkward_tensors_of_the_golden_files_are_read() {
    let Some(folder) = golden_folder("pt") else {
        return;
    };
    let expected = std::fs::read(folder.join("expected.safetensors")).expect("the numbers");
    let expected = safetensors::SafeTensors::deserialize(&expected).expect("the numbers");
    let whole = Weights::open(&folder.join("expected.safetensors")).expect("the numbers");
    let mut compared = 0;
    for (key, want) in expected.tensors() {
        let (file, name) = key.split_once('/').expect("FILE/KEY");
        let weights = Weights::open(&folder.join(format!("{file}.pt")))
            .unwrap_or_else(|reason| panic!("{reason}"));
        assert_eq!(weights.shape(name), Some(want.shape()), "{key}");
        assert_eq!(values(&weights, name), values(&whole, &key), "{key}");
        compared += 1;
    }
    assert!(compared > 40, "{compared} tensors");
}
