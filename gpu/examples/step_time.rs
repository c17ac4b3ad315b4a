//! Time of one forward and backward pass of a U-Net, as a training step has it.
//!
//! ```text
//! cargo run --example step_time -p sadm-gpu -- [SIDE] [BATCH] [STEPS]
//! ```
//! Prints the median over the steps (default 8×8 images, batch 64, 20 steps) of a network with
//! channels 32 and 64, one block per level and attention at the lower resolution.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use sadm_gpu::Result;
use sadm_gpu::network::{Condition, Mode, Network, UNet, UNetConfig};
use sadm_gpu::params::Params;

fn main() -> Result<()> {
    let mut arguments = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok());
    let mut next = |default: usize| arguments.next().unwrap_or(default);
    let (side, batch, steps) = (next(8), next(64), next(20).max(1));
    let config = UNetConfig {
        in_channels: 1,
        channels: vec![32, 64],
        blocks: 1,
        attention: vec![1],
        heads: 4,
        groups: 8,
        emb_dim: 128,
        time_dim: 64,
        classes: Some(10),
    };
    let params = Params::new(&Device::Cpu, DType::F32, 0);
    let network = UNet::new(&config, params.builder())?;
    let x = Tensor::rand(-1f32, 1f32, (batch, 1, side, side), &Device::Cpu)?;
    let noise = vec![0.3; batch];
    let labels = vec![3; batch];
    let condition = Condition::new(&noise, Some(&labels));
    let mut times = Vec::with_capacity(steps);
    for _ in 0..steps {
        let start = Instant::now();
        let y = network.forward(&x, &condition, Mode::Evaluate)?;
        let forward = start.elapsed();
        (y - &x)?.sqr()?.sum_all()?.backward()?;
        times.push((start.elapsed(), forward));
    }
    times.sort();
    let (total, forward) = times[steps / 2];
    println!(
        "{} parameters, {batch} images {side}×{side}: {:.1} ms (forward {:.1}), {:.0} images/s",
        params.len_elements(),
        1e3 * total.as_secs_f64(),
        1e3 * forward.as_secs_f64(),
        batch as f64 / total.as_secs_f64()
    );
    Ok(())
}
