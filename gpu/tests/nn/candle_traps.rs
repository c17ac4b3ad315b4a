//! Candle operations without a right gradient stay out of the training code.

use std::path::{Path, PathBuf};

/// Each fails in the way that the book's chapter on candle describes.
const TRAPS: [&str; 24] = [
    "softmax_last_dim",
    "candle_nn::LayerNorm",
    "candle_nn::layer_norm",
    "candle_nn::RmsNorm",
    "rms_norm",
    "rope",
    "sdpa",
    ".upsample_nearest1d",
    ".upsample_nearest2d",
    ".interpolate",
    ".conv1d",
    ".avg_pool2d",
    ".max_pool2d",
    ".scatter",
    ".conv_transpose",
    "bilinear",
    "binary_cross_entropy_with_logit",
    ".gelu()",
    ".gelu_erf()",
    "Tensor::gelu",
    ".unfold(",
    ".set_seed(",
    "VarMap",
    "candle_nn::ops",
];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("a folder entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The lines of code that use a trap, comments left out.
fn trapped(source: &str) -> Vec<&str> {
    source
        .lines()
        .map(|line| line.split("//").next().unwrap_or(line))
        .filter(|code| TRAPS.iter().any(|trap| uses(code, trap)))
        .collect()
}

/// Whether `trap` occurs as a word of its own: `europe` does not use `rope`.
fn uses(code: &str, trap: &str) -> bool {
    code.match_indices(trap).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        trap.starts_with('.') || !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn no_source_file_uses_a_trapped_operation() {
    let mut files = Vec::new();
    rust_files(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut files,
    );
    assert!(files.len() > 10, "the sources have moved: {files:?}");
    for file in files {
        let name = file.to_string_lossy().replace('\\', "/");
        if name.contains("src/nn/composed") {
            continue;
        }
        let source = std::fs::read_to_string(&file).expect("a readable source file");
        assert_eq!(trapped(&source), Vec::<&str>::new(), "in {name}");
    }
}

#[test]
fn the_search_finds_what_it_looks_for() {
    for trap in TRAPS {
        assert_eq!(
            trapped(&format!("let y = x{trap}")).len(),
            usize::from(trap.starts_with('.')),
            "{trap}"
        );
        assert_eq!(trapped(&format!("let y = {trap}(x)")).len(), 1, "{trap}");
        assert!(trapped(&format!("// {trap}")).is_empty(), "{trap}");
    }
}
