//! Runs that begin with the weights of published networks, by published names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use crate::runs::train;
use crate::support::{Folder, says};
use crate::weights::{average, begun, converted, tensors};

/// Numbers with their shapes by names.
type Numbers = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A small network of one kind.
struct Case {
    kind: &'static str,
    layout: &'static str,
    /// What its published files write before each name.
    prefix: &'static str,
    settings: &'static [&'static str],
    /// The table of classes, the side along which they lie, whether "no class" is the last, and whether the network multiplies by their number's root.
    table: (&'static str, usize, bool, bool),
}

const ROWS: (&str, usize, bool, bool) = ("y_embedder.embedding_table.weight", 0, true, false);

const CASES: [Case; 5] = [
    Case {
        kind: "dit",
        layout: "dit",
        prefix: "",
        settings: &[
            "model.dit.patch_size=4",
            "model.dit.hidden_size=16",
            "model.dit.depth=2",
            "model.dit.num_heads=2",
            "model.dit.learn_sigma=false",
        ],
        table: ROWS,
    },
    Case {
        kind: "sit",
        layout: "dit",
        prefix: "",
        settings: &[
            "model.sit.patch_size=4",
            "model.sit.hidden_size=8",
            "model.sit.depth=1",
            "model.sit.num_heads=2",
            "model.sit.learn_sigma=false",
        ],
        table: ROWS,
    },
    Case {
        kind: "adm",
        layout: "adm",
        prefix: "",
        settings: &[
            "model.adm.model_channels=32",
            "model.adm.channel_mult=[1.0]",
            "model.adm.num_res_blocks=1",
            "model.adm.attention_resolutions=[8]",
            "model.adm.num_head_channels=32",
            "model.adm.dropout=0.0",
        ],
        table: ("label_emb.weight", 0, false, false),
    },
    Case {
        kind: "song-unet",
        layout: "edm-song-unet",
        prefix: "model.",
        settings: &[
            "model.song-unet.model_channels=8",
            "model.song-unet.channel_mult=[1,2]",
            "model.song-unet.channel_mult_emb=1",
            "model.song-unet.num_blocks=1",
            "model.song-unet.attn_resolutions=[]",
            "model.song-unet.dropout=0.0",
        ],
        table: ("map_label.weight", 1, false, true),
    },
    Case {
        kind: "dhariwal-unet",
        layout: "edm-dhariwal-unet",
        prefix: "model.",
        settings: &[
            "model.dhariwal-unet.model_channels=16",
            "model.dhariwal-unet.channel_mult=[1,2]",
            "model.dhariwal-unet.channel_mult_emb=1",
            "model.dhariwal-unet.num_blocks=1",
            "model.dhariwal-unet.attn_resolutions=[]",
            "model.dhariwal-unet.dropout=0.0",
        ],
        table: ("map_label.weight", 1, false, false),
    },
];

impl Case {
    fn settings(&self) -> Vec<String> {
        let kind = format!("--set=model.kind={}", self.kind);
        let more = self.settings.iter().map(|text| format!("--set={text}"));
        [kind].into_iter().chain(more).collect()
    }

    fn with<'a>(settings: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
        settings
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect()
    }
}

/// A number of its own for each element.
fn number(seed: usize, at: usize) -> f32 {
    let mixed = (seed * 7919 + at * 104_729 + 17) % 10_007;
    let small = u16::try_from(mixed).expect("small");
    (f32::from(small) / 10_007.0 - 0.5) / 4.0
}

/// The numbers of a file.
fn read(path: &Path) -> Numbers {
    let numbers = |(name, (dtype, shape, bytes)): (String, (String, Vec<usize>, Vec<u8>))| {
        assert_eq!(dtype, "F32", "{name}");
        let values = bytes.as_chunks::<4>().0.iter();
        let values = values.map(|x| f32::from_le_bytes(*x)).collect();
        (name, (shape, values))
    };
    tensors(path).into_iter().map(numbers).collect()
}

fn written(path: &Path, numbers: &Numbers) {
    let tensor = |(name, (shape, values)): (&String, &(Vec<usize>, Vec<f32>))| {
        let tensor = Tensor::from_vec(values.clone(), shape.clone(), &Device::Cpu);
        (name.clone(), tensor.expect("as many as the shape"))
    };
    let all = numbers.iter().map(tensor).collect();
    candle_core::safetensors::save(&all, path).expect("a file");
}

/// Numbers of our own for every parameter of the network, by its published names.
fn published(case: &Case, shapes: &Numbers) -> Numbers {
    let own = |(i, (name, (shape, values))): (usize, (&String, &(Vec<usize>, Vec<f32>)))| {
        // Filters and frequencies are what they are.
        let fixed = name.ends_with("resample_filter") || name.ends_with("freqs");
        let drawn = (0..values.len()).map(|at| number(i, at)).collect();
        let values = if fixed { values.clone() } else { drawn };
        (format!("{}{name}", case.prefix), (shape.clone(), values))
    };
    shapes.iter().enumerate().map(own).collect()
}

/// The entries of a table that lie at these places of a side, in this order.
fn picked(
    (shape, values): &(Vec<usize>, Vec<f32>),
    side: usize,
    places: &[usize],
    scale: f64,
) -> (Vec<usize>, Vec<f32>) {
    let mut picked = shape.clone();
    picked[side] = places.len();
    let [rows, columns] = [picked[0], picked[1]];
    let of = |row: usize, column: usize| {
        let (row, column) = if side == 0 {
            (places[row], column)
        } else {
            (row, places[column])
        };
        #[expect(clippy::cast_possible_truncation, reason = "rounded once to f32")]
        let value = (f64::from(values[row * shape[1] + column]) * scale) as f32;
        value
    };
    let values = (0..rows * columns).map(|i| of(i / columns, i % columns));
    (picked, values.collect())
}

/// Each network begins with exactly the numbers of a file by published names; what else the file holds is printed; with other classes as the policy
/// says; and with no file of another network.
#[test]
fn published_networks_begin_with_published_files() {
    let folder = Folder::new();
    let mut files: Vec<(PathBuf, &str)> = Vec::new();
    for case in &CASES {
        let kind = case.kind;
        let at = |name: &str| folder.path(&format!("{kind}-{name}"));
        let settings = case.settings();
        train(&at("first"), 2, &Case::with(&settings, &[]));
        let shapes = read(&average(&at("first")));
        let theirs = published(case, &shapes);
        let mut more = theirs.clone();
        more.insert("projectors.0.weight".to_owned(), (vec![2], vec![0.5, 1.5]));
        let file = at("theirs.safetensors");
        written(&file, &more);
        let (done, said) = begun(&at("second"), &file, &Case::with(&settings, &[]));
        assert!(done, "{kind}: {said}");
        let layout = format!("layout {}", case.layout);
        says(
            &said,
            &[
                "weights from",
                &layout,
                "not taken over: projectors.0.weight",
            ],
        );
        let start = |run: &str, of: &str| {
            read(&at(run).join(format!("checkpoints/00000000/{of}.safetensors")))
        };
        let bare = |numbers: &Numbers| -> Numbers {
            let own = |(name, x): (&String, &(Vec<usize>, Vec<f32>))| {
                Some((name.strip_prefix(case.prefix)?.to_owned(), x.clone()))
            };
            numbers.iter().filter_map(own).collect()
        };
        let want = bare(&theirs);
        assert_eq!(
            want.keys().collect::<Vec<_>>(),
            shapes.keys().collect::<Vec<_>>()
        );
        assert!(want.len() > 20, "{kind}: {}", want.len());
        for of in ["theta", "theta.average"] {
            let got = start("second", of);
            assert!(got == want, "{kind}: another {of} than in the file");
        }
        other_classes(&folder, case, &theirs, want);
        files.push((file, kind));
    }
    for (case, (file, of)) in CASES.iter().zip(files.iter().cycle().skip(2)) {
        let settings = case.settings();
        let run = folder.path("wrong");
        let (done, said) = begun(&run, file, &Case::with(&settings, &[]));
        assert!(!done && !run.exists(), "{of} in {}: {said}", case.kind);
        says(&said, &["are not those of this network"]);
    }
}

/// What a network begins with where the file has two classes more, or no row for "no class".
fn other_classes(folder: &Folder, case: &Case, theirs: &Numbers, mut want: Numbers) {
    let kind = case.kind;
    let at = |name: &str| folder.path(&format!("{kind}-{name}"));
    let settings = case.settings();
    let start = |run: &str| read(&at(run).join("checkpoints/00000000/theta.safetensors"));
    let (name, side, no_class, per_root) = case.table;
    let key = format!("{}{name}", case.prefix);
    let table = &theirs[&key];
    let count = table.0[side];
    let wider: Vec<usize> = [0, 1].into_iter().chain(0..count).collect();
    let others = at("others.safetensors");
    let wide = picked(table, side, &wider, 1.0);
    let mut changed = theirs.clone();
    changed.insert(key.clone(), wide.clone());
    written(&others, &changed);
    let (done, said) = begun(&at("third"), &others, &Case::with(&settings, &[]));
    assert!(!done && !at("third").exists(), "{kind}: {said}");
    says(
        &said,
        &[
            "it has 12 classes and the network 10",
            "--class-table fresh",
        ],
    );
    let list = "--class-table=9,3,4,5,6,7,8,2,10,11";
    let (done, said) = begun(&at("third"), &others, &Case::with(&settings, &[list]));
    assert!(done, "{kind}: {said}");
    says(&said, &["12 classes in the file, 10 here"]);
    let mut places = vec![9, 3, 4, 5, 6, 7, 8, 2, 10, 11];
    places.extend(no_class.then_some(12));
    let scale = if per_root { 1.2_f64.sqrt() } else { 1.0 };
    want.insert(name.to_owned(), picked(&wide, side, &places, scale));
    assert!(start("third") == want, "{kind}: another table");
    // A file without "no class", whose last row is a class.
    if no_class {
        let classes: Vec<usize> = (0..count - 1).collect();
        changed.insert(key, picked(table, side, &classes, 1.0));
        written(&others, &changed);
        let (done, said) = begun(&at("fourth"), &others, &Case::with(&settings, &[]));
        assert!(!done, "{kind}: {said}");
        says(
            &said,
            &[
                "it has 9 classes and the network 10",
                "or all, if its last row",
            ],
        );
        let all = Case::with(&settings, &["--class-table=all"]);
        let (done, said) = begun(&at("fourth"), &others, &all);
        assert!(done, "{kind}: {said}");
        says(
            &said,
            &["10 rows in the file, each a class; \"no class\" fresh"],
        );
        let got = start("fourth").remove(name).expect("a table");
        assert_eq!(
            picked(&got, side, &classes, 1.0),
            picked(table, side, &classes, 1.0)
        );
        assert_eq!(got.0[side], count);
        let last = picked(&got, side, &[count - 1], 1.0);
        assert!(last != picked(table, side, &[count - 1], 1.0) && last.1.iter().any(|x| *x != 0.0));
    }
}

/// The names of diffusers are converted on the way.
#[test]
fn a_published_network_begins_with_weights_by_other_names() {
    let case = &CASES[0];
    let folder = Folder::new();
    let [first, second] = ["first", "second"].map(|name| folder.path(name));
    let settings = case.settings();
    let settings = Case::with(&settings, &[]);
    train(&first, 4, &settings);
    let file = average(&first);
    let theirs = folder.path("diffusers.safetensors");
    converted(&file, "dit-diffusers", &theirs, &[]);
    let (done, said) = begun(&second, &theirs, &settings);
    assert!(done, "{said}");
    says(&said, &["layout dit-diffusers"]);
    let start = second.join("checkpoints/00000000/theta.safetensors");
    let [mut before, mut after] = [file, start].map(|path| tensors(&path));
    // Positions are computed, not stored there.
    for all in [&mut before, &mut after] {
        all.remove("pos_embed");
    }
    assert!(before.len() > 25, "{}", before.len());
    assert_eq!(before, after);
}
