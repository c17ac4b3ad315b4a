//! Every command that the book and the README show is run as it is typed.
//!
//! Blocks of `sh` and first cells of tables are run line by line, in a folder of their own for each page, in which the files lie that the page speaks of: a
//! run, pictures, features. What trains or measures for minutes is run at a small size: [`SMALLER`] and [`MORE`] are all
//! that is changed. Commands in the text, such as `sadm theory check tweedie`, are run too where they are whole; of what is
//! only mentioned the options must exist.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ndarray::Array4;

use crate::hashed;
use crate::own_images::pictures;
use crate::runs::{TINY, train};
use crate::support::{Folder, sadm, write_f64};

/// What is run smaller than it is shown.
const SMALLER: [(&str, &str); 14] = [
    ("checkpoints/00000900", "checkpoints/00000012"),
    ("train.steps=60", "train.steps=8"),
    ("train.steps=2000", "train.steps=12"),
    ("--count 1797", "--count 40"),
    ("--count 256", "--count 8"),
    ("--fine 64", "--fine 32"),
    (
        "--steps 64,128,256 --fine 4096",
        "--steps 8,16,32 --fine 128",
    ),
    ("--nll-samples 256", "--nll-samples 4"),
    ("--nll-steps 32", "--nll-steps 4"),
    ("--seeds 5", "--seeds 2"),
    ("--nfe 5,9,18,35", "--nfe 5,9"),
    ("verify --cases 1000", "verify --cases 2"),
    // The pictures that are drawn for the test have other names.
    ("--class square", "--class left"),
    // The published weights cannot be shipped: a file of the same layout with numbers from a hash takes their place.
    (
        "pt_inception-2015-12-05-6726825d.pth",
        "weights.safetensors",
    ),
];

/// What is added to a command of this beginning, for speed alone.
fn more(command: &[String]) -> Vec<String> {
    let tiny = || TINY.iter().map(|setting| format!("--set={setting}"));
    let fixed = |args: &[&str]| args.iter().map(|&a| a.to_owned()).collect::<Vec<_>>();
    let has = |word: &str| command.iter().any(|a| a == word);
    match command[0].as_str() {
        "train" => {
            let mut args = fixed(&["--threads=1"]);
            if !command.iter().any(|a| a.contains("train.steps")) {
                args.push("--set=train.steps=8".to_owned());
            }
            args.extend(tiny());
            args
        }
        "ablate" => {
            let mut args = fixed(&[
                "--threads=1",
                "--samples=8",
                "--reference-count=24",
                "--evaluator-steps=2",
                "--set=train.steps=8",
            ]);
            if has("--sweep") {
                args.push("--sweep-seeds=1".to_owned());
            }
            if !has("--seeds") {
                args.push("--seeds=1".to_owned());
            }
            args.extend(tiny());
            args
        }
        "evaluate" if command.iter().any(|a| a == "inception") => {
            fixed(&["--threads=1", "--resamples=0", "--splits=1"])
        }
        "evaluate" => fixed(&["--threads=1", "--resamples=2"]),
        "sweep" if has("sampler") && !has("--count") => fixed(&["--count=8", "--fine=16"]),
        "verify" if !has("--cases") && !has("--runs") => fixed(&["--cases=2"]),
        _ => Vec::new(),
    }
}

/// The commands of a page that begin with `sadm`, in their order.
fn commands(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (k, piece) in page.split("```").enumerate() {
        if k % 2 == 0 {
            let rows = piece.lines().filter_map(|l| l.strip_prefix("| `sadm "));
            let cells = rows.filter_map(|row| row.split('`').next());
            found.extend(cells.map(|cell| format!("sadm {cell}")));
            let prose = piece.replace('\n', " ");
            let code = prose.split('`').skip(1).step_by(2);
            let whole = |c: &&str| {
                let theory = c.starts_with("sadm theory ") || c.starts_with("sadm verify --only ");
                theory && c.split(' ').count() > 3
            };
            found.extend(code.filter(whole).map(str::to_owned));
        } else if let Some(block) = piece.strip_prefix("sh\n") {
            let joined = block.replace("\\\n", " ");
            let lines = joined
                .lines()
                .map(|l| l.split(" # ").next().unwrap_or(l).trim());
            found.extend(lines.filter(|l| l.starts_with("sadm ")).map(str::to_owned));
        }
    }
    found
}

/// The words of a command, as the shell parts them.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut current, mut quoted) = (Vec::new(), String::new(), false);
    for c in command.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => {
                if !current.is_empty() {
                    words.push(std::mem::take(&mut current));
                }
            }
            c => current.push(c),
        }
    }
    assert!(!quoted, "an open quote in {command}");
    words.extend((!current.is_empty()).then_some(current));
    words
}

/// The files that pages speak of.
struct Files(Folder);

impl Files {
    fn new() -> Self {
        let folder = Folder::new();
        let run = folder.path("runs/digits");
        fs::create_dir_all(folder.path("runs")).expect("a folder");
        train(&run, 12, &[]);
        for copy in [
            "runs/base",
            "runs/guided",
            "runs/sadm",
            "ablation/evaluator-300",
        ] {
            copied(&run, &folder.path(copy));
        }
        pictures(&folder.path("pictures"));
        for name in ["samples", "real"] {
            copied(&folder.path("pictures/above"), &folder.path(name));
            for extra in fs::read_dir(folder.path(name)).expect("a folder").skip(5) {
                fs::remove_file(extra.expect("an entry").path()).expect("a file");
            }
        }
        let values = hashed::uniform("features", 2 * 6 * 4).collect();
        let features = Array4::from_shape_vec((2, 6, 4, 1), values).expect("as many as asked for");
        let part = |k: usize| {
            let one = features.index_axis(ndarray::Axis(0), k).to_owned();
            one.into_shape_with_order((6, 4))
                .expect("the same size")
                .into_dyn()
        };
        write_f64(
            &folder.path("features.safetensors"),
            &[("real", part(0)), ("generated", part(1))],
        );
        Self(folder)
    }

    /// The same files again, for a page, with the weights that it may need.
    fn for_page(&self, page: &str) -> Folder {
        let folder = Folder::new();
        copied(&self.0.path(""), &folder.path(""));
        if page.contains("p2-sigma") {
            let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden/dit");
            copied(&golden, &folder.path(""));
            let listed = fs::read_to_string(golden.join("networks.json")).expect("a file");
            let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
            let config = listed[0]["config"].to_string();
            fs::write(folder.path("config.json"), config).expect("a file");
        }
        if page.contains("pt_inception") {
            let tensors = hashed::inception().into_iter().collect();
            let path = folder.path("weights.safetensors");
            candle_core::safetensors::save(&tensors, &path).expect("a file");
        }
        for (shown, small) in [
            ("DiT-XL-2-256x256.pt", "dit.pt"),
            ("vae-ft-mse-840000-ema-pruned.ckpt", "stable-diffusion.ckpt"),
        ] {
            if page.contains(shown) {
                let layouts = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/layouts");
                fs::copy(layouts.join(small), folder.path(shown)).expect("a copy");
            }
        }
        folder
    }
}

/// Copies a folder with all that is in it.
pub fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copied(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Runs one command of a page in its folder.
fn run(command: &str, folder: &Folder) -> Output {
    let mut typed = command.to_owned();
    for (shown, smaller) in SMALLER {
        typed = typed.replace(shown, smaller);
    }
    let mut args = words(&typed);
    args.remove(0);
    // What a page makes anew may lie there already, made for the pages that speak of it; what it only continues stays.
    let continues = args.iter().any(|a| a == "--resume") && !args.iter().any(|a| a == "--preset");
    let out = args
        .iter()
        .position(|a| a == "--out")
        .map(|k| args[k + 1].clone());
    if let (Some(out), true) = (out, matches!(args[0].as_str(), "train" | "ablate")) {
        let path = folder.path(&out);
        if path.exists() && !continues {
            fs::remove_dir_all(path).expect("a folder");
        }
    }
    args.extend(more(&args));
    let program = assert_cmd::cargo::cargo_bin!("sadm");
    let mut command = Command::new(program);
    command.args(&args).current_dir(folder.path(""));
    command.output().expect("the program starts")
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let book = fs::read_dir(root.join("docs/src")).expect("the book");
    let mut pages: Vec<PathBuf> = book.map(|e| e.expect("an entry").path()).collect();
    pages.retain(|p| p.extension().is_some_and(|e| e == "md"));
    pages.sort();
    pages.push(root.join("README.md"));
    pages
}

#[test]
fn every_command_that_is_shown_runs() {
    let files = Files::new();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for path in pages() {
        let page = fs::read_to_string(&path).expect("UTF-8");
        let shown = commands(&page);
        if shown.is_empty() {
            continue;
        }
        let folder = files.for_page(&page);
        for command in shown {
            let begun = std::time::Instant::now();
            let output = run(&command, &folder);
            count += 1;
            println!("{:.1} s: {command}", begun.elapsed().as_secs_f64());
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                let last = said.lines().last().unwrap_or_default();
                wrong.push(format!("{}: {command}\n    {last}", path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count} fail:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(count > 40, "the book shows commands, found {count}");
}

#[test]
fn what_is_only_mentioned_exists() {
    let mut wrong = Vec::new();
    for path in pages() {
        let page = fs::read_to_string(&path).expect("UTF-8");
        let prose: String = page.split("```").step_by(2).collect();
        let prose = prose.split_whitespace().collect::<Vec<_>>().join(" ");
        for code in prose
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|c| c.starts_with("sadm "))
        {
            let mut words = words(code);
            words.remove(0);
            let options: Vec<&String> = words.iter().filter(|w| w.starts_with("--")).collect();
            let command: Vec<&String> = words.iter().take(1).filter(|w| *w != "…").collect();
            let nested = words
                .first()
                .is_some_and(|w| ["theory", "sweep", "network"].contains(&w.as_str()));
            let help = sadm()
                .args(command)
                .args(words.get(1).filter(|_| nested))
                .arg("--help")
                .output()
                .expect("the program starts");
            let text = String::from_utf8_lossy(&help.stdout).into_owned();
            let known = |o: &&&String| !code.contains('…') && !text.contains(o.as_str());
            if !help.status.success() || options.iter().any(|o| known(&o)) {
                wrong.push(format!("{}: {code}", path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "no such command or option:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn commands_are_found_and_parted() {
    let page = "a `sadm theory check e1` b `sadm train` c\n\n| `sadm f --g` | `sadm h` |\n\n```sh\nmake x\nsadm a --b \\\n    'c d=[1, 2]'   # e\n```\n\n```text\nsadm no\n```\n";
    assert_eq!(
        commands(page),
        [
            "sadm f --g",
            "sadm theory check e1",
            "sadm a --b      'c d=[1, 2]'"
        ]
    );
    assert_eq!(
        words("sadm a --b 'c d=[1, 2]'"),
        ["sadm", "a", "--b", "c d=[1, 2]"]
    );
}
