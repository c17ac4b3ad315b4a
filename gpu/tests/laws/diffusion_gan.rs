//! Levels and noise in front of a GAN's discriminator.

use crate::chance::Chance;
use crate::support::{CPU, apart, rows};
use candle_core::{DType, Tensor};
use sadm_gpu::diffusion_gan::{ControllerOptions, Diffusion, DiffusionOptions, Priority};

/// Half of the images are clean and the others have p(t) ∝ t, over buffers that are drawn anew; pairs of batches share nothing but their buffer.
#[test]
fn levels_and_noise_have_their_laws() {
    let mut chance = Chance::of("noise before a discriminator");
    let controller = ControllerOptions {
        t_min: 4,
        t_max: 4,
        interval: 1,
        ..ControllerOptions::default()
    };
    let options = |buffer| DiffusionOptions {
        law: Priority::Priority,
        scale: 1.0,
        buffer,
        controller,
        ..DiffusionOptions::default()
    };
    let image = Tensor::zeros((1, 4), DType::F64, &CPU).expect("a tensor");
    let logits = Tensor::ones(1, DType::F64, &CPU).expect("a tensor");
    for buffer in [64, 0] {
        let mut diffusion = Diffusion::new(options(buffer), chance.seed()).expect("options");
        let (mut counts, mut noise, mut late) = ([0_usize; 5], Vec::new(), Vec::new());
        for _ in 0..20_000 {
            let (y, t) = diffusion.diffuse(&image).expect("an image");
            counts[t[0]] += 1;
            late.push(t[0] >= if buffer > 0 { 1 } else { 4 });
            if t[0] > 0 {
                let left = diffusion.alpha_bar(t[0]).expect("a level");
                let row: Vec<f64> = rows(&y).concat();
                noise.push(
                    row.into_iter()
                        .map(|y| y / (1.0 - left).sqrt())
                        .collect::<Vec<_>>(),
                );
            }
            diffusion.observe(&logits).expect("a logit");
        }
        if buffer > 0 {
            chance.counts("t of a buffer", &counts, &[0.5, 0.05, 0.1, 0.15, 0.2]);
        } else {
            assert_eq!(counts[0], 0, "no clean image without a buffer");
            chance.counts("t", &counts[1..], &[0.1, 0.2, 0.3, 0.4]);
        }
        let rate = if buffer > 0 { 0.5 } else { 0.4 };
        let pairs = late.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        chance.unrelated_events("levels", pairs, rate);
        chance.normal("noise", noise.iter().flatten().copied());
        chance.unrelated("noise of a batch", noise.iter().flat_map(|row| apart(row)));
        let of_two = noise.chunks_exact(2).map(|both| (both[0][0], both[1][0]));
        chance.unrelated("noise of two batches", of_two);
    }
}
