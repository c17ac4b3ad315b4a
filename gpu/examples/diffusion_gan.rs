//! A GAN of one's own on candle with noise in front of its discriminator, on 25 Gaussians:
//! `cargo run -p sadm-gpu --example diffusion_gan -- 20000`.

use candle_core::{DType, Device::Cpu, Result, Tensor};
use candle_nn::{AdamW, Module, Optimizer, Sequential, VarBuilder, VarMap, linear, ops, seq};
use sadm_gpu::diffusion_gan::{Diffusion, DiffusionOptions};

fn mlp(inputs: usize, outputs: usize, vars: &VarMap) -> Result<Sequential> {
    let at = VarBuilder::from_varmap(vars, DType::F32, &Cpu);
    let hidden = |from, name| linear(from, 128, at.pp(name));
    let layers = seq().add(hidden(inputs, "0")?);
    let layers = layers.add_fn(|x| ops::leaky_relu(x, 0.2));
    let layers = layers.add(hidden(128, "1")?);
    let layers = layers.add_fn(|x| ops::leaky_relu(x, 0.2));
    Ok(layers.add(linear(128, outputs, at.pp("2"))?))
}

/// D's answers to noised points, beside which it is told t/1000.
fn logits(d: &Sequential, (y, t): &(Tensor, Vec<usize>)) -> Result<Tensor> {
    let t: Vec<f32> = t.iter().map(|t| *t as f32 / 1000.0).collect();
    d.forward(&Tensor::cat(&[y, &Tensor::new(t, &Cpu)?.unsqueeze(1)?], 1)?)
}

/// The mean of ln(1 + eˣ).
fn softplus(x: &Tensor) -> Result<Tensor> {
    (x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?)?.mean_all()
}

/// Points of a generator after so many steps; the noise has adapted to its discriminator.
pub fn train(steps: usize, noise: &mut Diffusion) -> sadm_gpu::Result<Tensor> {
    let (of_g, of_d) = (VarMap::new(), VarMap::new());
    let (g, d) = (mlp(2, 2, &of_g)?, mlp(3, 1, &of_d)?);
    let mut move_g = AdamW::new_lr(of_g.all_vars(), 1e-3)?;
    let mut move_d = AdamW::new_lr(of_d.all_vars(), 1e-3)?;
    for _ in 0..steps {
        let cells = ((Tensor::rand(0f32, 5.0, (128, 2), &Cpu)?.floor()? * 2.0)? - 4.0)?;
        let real = ((cells + Tensor::randn(0f32, 0.05, (128, 2), &Cpu)?)? / 2.828)?;
        let fake = g.forward(&Tensor::randn(0f32, 1.0, (128, 2), &Cpu)?)?;
        let of_real = logits(&d, &noise.diffuse(&real)?)?;
        let of_fake = logits(&d, &noise.diffuse(&fake.detach())?)?;
        move_d.backward_step(&(softplus(&of_real.neg()?)? + softplus(&of_fake)?)?)?;
        noise.observe(&of_real)?;
        move_g.backward_step(&softplus(&logits(&d, &noise.diffuse(&fake)?)?.neg()?)?)?;
    }
    Ok(g.forward(&Tensor::randn(0f32, 1.0, (5000, 2), &Cpu)?)?)
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let steps = std::env::args().nth(1).map_or(Ok(200), |n| n.parse())?;
    let mut noise = Diffusion::new(DiffusionOptions::default(), 0)?;
    let points = train(steps, &mut noise)?;
    println!("mean {}, T = {}", points.mean(0)?, noise.steps());
    Ok(noise.save(std::path::Path::new("noise.json"))?)
}
