#!/usr/bin/env bash
# pulldown-latex renders `\operatorname*{argmin}_x f` as an operator named "*{argmin}_x f" with a, r, g, m, i, n behind it, without an error; `\operatorname{arg\,min}` shows the backslash and the comma, `\operatorname tr` is named after the whole rest of the formula.
# pulldown-latex 0.8.0, rustc 1.95 (2026-11-30).
# Whoever converts LaTeX from others to MathML with it, or checks formulas by parsing them: argmin and argmax over a set are written this way.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
pulldown-latex = "=0.8.0"
TOML
cat > "$folder/src/main.rs" <<'RUST'
use pulldown_latex::{Parser, Storage, config::RenderConfig, mathml::push_mathml};

fn main() {
    let seen = [
        (r"\operatorname{argmin}_x f", "<mi>argmin</mi>"),
        (r"\operatorname*{argmin}_x f", "<mi>*{argmin}_x f</mi>"),
        (r"\operatorname{arg\,min}_x f", r"<mi>arg\,min</mi>"),
        (r"\operatorname tr A", "<mi>tr A</mi>"),
        (r"\text*{if}", "<mtext>*{if}</mtext>"),
    ];
    let mut same = true;
    for (tex, piece) in seen {
        let storage = Storage::new();
        let mut mathml = String::new();
        let parsed: Result<Vec<_>, _> = Parser::new(tex, &storage).collect();
        match parsed {
            Ok(events) => push_mathml(&mut mathml, events.into_iter().map(Ok::<_, std::fmt::Error>), RenderConfig::default()).expect("a string"),
            Err(error) => mathml = format!("error: {error}"),
        }
        println!("{tex}\n    {mathml}");
        same &= mathml.contains(piece);
    }
    if !same {
        eprintln!("this is no longer what was found");
        std::process::exit(1);
    }
}
RUST
rustc --version
CARGO_TARGET_DIR="$folder/target" cargo run --quiet --manifest-path "$folder/Cargo.toml"
grep -A1 'name = "pulldown-latex"' "$folder/Cargo.lock"
