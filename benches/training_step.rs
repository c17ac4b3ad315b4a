//! One guided update of θ of the digits preset: losses, backward pass, clipping, AdamW, EMA.

use candle_core::{DType, Device};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sadm::gpu::config::Config;
use sadm::gpu::data::Dataset;
use sadm::gpu::ema::Ema;
use sadm::gpu::optim::{AdamW, clip_grad_norm};
use sadm::gpu::random::Streams;
use sadm::gpu::train::draw_times;
use sadm::gpu::train::players::{ImageKind, Players};
use sadm::gpu::train::step::{Batch, Objective, StructureTerm, theta_losses};

/// A player pair, an optimiser and one batch that is used again and again.
struct Setting {
    config: Config,
    players: Players,
    optimizer: AdamW,
    ema: Ema,
    batch: Batch,
}

impl Setting {
    fn new(preset: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let config = Config::preset(preset)?;
        let data = Dataset::digits()?;
        let players = Players::new(&config, ImageKind::of(&data)?, &Device::Cpu)?;
        let indices: Vec<usize> = (0..config.train.batch).collect();
        let (x0, labels) = data.batch(&indices, &Device::Cpu, DType::F32)?;
        let streams = Streams::new(config.seed);
        let eps = streams.normal_tensor("bench", 0, x0.dims(), &Device::Cpu, DType::F32)?;
        let t = draw_times(&config, streams, "bench", 0, indices.len());
        Ok(Self {
            optimizer: AdamW::default(),
            ema: Ema::new(
                &players.theta,
                config.train.ema_half_life,
                config.train.ema_ramp,
            )?,
            batch: Batch {
                x0,
                eps,
                t,
                labels: Some(labels),
            },
            players,
            config,
        })
    }

    fn update(&mut self) -> sadm::gpu::Result<()> {
        let losses = theta_losses(
            self.players.denoiser.as_ref(),
            Some(&self.players.encoder_frozen),
            &Objective::of(&self.config),
            &StructureTerm::of(&self.config),
            &self.batch,
            None,
        )?;
        let mut grads = losses.total.backward()?;
        clip_grad_norm(&self.players.theta, &mut grads, self.config.train.clip_norm)?;
        self.optimizer.step(&self.players.theta, &grads, 1.0)?;
        let images = self.config.train.batch as f64;
        self.ema.update(&self.players.theta, images, images)?;
        Ok(())
    }
}

fn training_step(c: &mut Criterion) {
    let mut group = c.benchmark_group("training_step");
    group.sample_size(20);
    for preset in ["digits", "digits-dit"] {
        let mut setting = Setting::new(preset).expect("the preset and its data are embedded");
        group.throughput(Throughput::Elements(setting.config.train.batch as u64));
        group.bench_function(preset, |b| {
            b.iter(|| setting.update().expect("a generic batch can be stepped on"));
        });
    }
}

criterion_group!(benches, training_step);
criterion_main!(benches);
