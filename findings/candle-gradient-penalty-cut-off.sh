#!/usr/bin/env bash
# candle: a loss made of a gradient (a gradient penalty, R1) gets a wrong gradient in the weights, without an error: what flowed through the upstream gradient is cut off, what was multiplied last is not. Here it is half of the right one.
# candle-core and candle-nn 0.11.1 (the newest), CPU. The graph is kept only where the environment variable CANDLE_GRAD_DO_NOT_DETACH is set before the thread's first backward; then the gradient is right.
# Whoever ports WGAN-GP, StyleGAN's R1 or any second derivative from PyTorch's create_graph=True: the penalty is logged with its right value, and trains something else.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "penalty"
version = "0.0.0"
edition = "2021"

[dependencies]
candle-core = "=0.11.1"
candle-nn = "=0.11.1"
TOML
cat >"$folder/src/main.rs" <<'RUST'
use candle_core::{Device, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer};

/// l = (w x)², so that ∂l/∂x = 2 w² x, and the penalty (∂l/∂x)² = 4 w⁴ x² has the slope 16 w³ x² in w.
fn main() -> Result<()> {
    let w = Var::new(3.0f64, &Device::Cpu)?;
    let x = Var::new(0.5f64, &Device::Cpu)?;
    let l = (w.as_tensor() * x.as_tensor())?.sqr()?;
    let slope: Tensor = l.backward()?.get(&x).expect("a gradient in x").clone();
    let penalty = slope.sqr()?;
    let value = penalty.to_scalar::<f64>()?;
    let gradient = match penalty.backward()?.get(&w) {
        Some(gradient) => Some(gradient.to_scalar::<f64>()?),
        None => None,
    };
    let mut adam = AdamW::new_lr(vec![w.clone()], 0.1)?;
    adam.backward_step(&penalty)?;
    let moved = w.to_scalar::<f64>()?;
    println!("penalty {value} (81), its gradient in w {gradient:?} (108), w after a step of AdamW {moved}");
    let kept = std::env::var("CANDLE_GRAD_DO_NOT_DETACH").is_ok();
    let as_found = match gradient {
        None => false,
        Some(gradient) => moved < 3.0 && (gradient - if kept { 108.0 } else { 54.0 }).abs() < 1e-9,
    };
    if !as_found || value != 81.0 {
        eprintln!("candle treats gradients of gradients otherwise now");
        std::process::exit(1);
    }
    Ok(())
}
RUST
echo "candle-core 0.11.1, candle-nn 0.11.1"
cargo build --quiet --manifest-path "$folder/Cargo.toml"
echo "by default:"
env -u CANDLE_GRAD_DO_NOT_DETACH "$folder/target/debug/penalty"
echo "with CANDLE_GRAD_DO_NOT_DETACH=1:"
CANDLE_GRAD_DO_NOT_DETACH=1 "$folder/target/debug/penalty"
