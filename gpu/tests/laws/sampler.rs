//! What samplers draw: the starting noise, and the fresh noise of each step.
//!
//! A run that has done no step has a network that answers 0, so that x̂ = c_skip z and every step is z' = g z + h ε with known
//! g and h: the noise is read off the trajectory.

use crate::chance::Chance;
use crate::support::{CPU, all_differ, apart, bits, config, rows, together};
use candle_core::DType;
use sadm_gpu::run::{Run, SampleRequest};
use sadm_gpu::sampler::{Churn, SamplerKind, SamplerOptions};
use sadm_gpu::train::{Silent, Trainer};
use std::sync::atomic::AtomicBool;

/// Images of a request: two full batches of the network and a part of one.
const IMAGES: usize = 300;
const STEPS: usize = 5;

struct Untrained {
    run: Run,
    folder: tempfile::TempDir,
}

impl Untrained {
    fn new() -> Self {
        let small = [
            "model.unet.channels=[8]",
            "model.unet.attention=[]",
            "model.unet.groups=4",
            "model.unet.emb_dim=16",
            "model.unet.time_dim=8",
            "encoder.widths=[8]",
            "encoder.groups=4",
            "encoder.dim=4",
            "data.limit=40",
        ];
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut trainer =
            Trainer::new(config(1, &small), folder.path(), &CPU, None, true).expect("a run");
        let outcome = trainer
            .run(&mut Silent, &AtomicBool::new(true))
            .expect("no step");
        assert_eq!(outcome.step, 0);
        let run = Run::open_as(folder.path(), &CPU, DType::F64).expect("its checkpoint");
        Self { run, folder }
    }

    /// The levels of a trajectory, with z of every image at each.
    fn trajectory(
        &self,
        options: SamplerOptions,
        images: usize,
        seed: u64,
    ) -> Vec<(f64, Vec<Vec<f64>>)> {
        let request = SampleRequest {
            labels: (0..10).cycle().map(Some).take(images).collect(),
            guidance: 1.0,
            options,
            seed,
            ..SampleRequest::from_config(self.run.config())
        };
        let mut levels: Vec<(f64, Vec<Vec<f64>>)> = Vec::new();
        let mut place = 0;
        let drawn = self.run.sample_along(&request, &mut |along| {
            if along.z.dim(0)? > 0 && (place == 0 || along.level > levels[place - 1].0) {
                place = 0;
            }
            if place == levels.len() {
                levels.push((along.level, Vec::new()));
            }
            assert_eq!(along.level.to_bits(), levels[place].0.to_bits());
            assert_eq!(along.first, levels[place].1.len());
            levels[place].1.extend(rows(along.z));
            place = if along.level > 0.0 { place + 1 } else { 0 };
            Ok(())
        });
        assert_eq!(drawn.expect("images").dims()[0], images);
        assert!(self.folder.path().exists());
        levels
    }

    /// x̂/z at a level.
    fn skip(&self, sigma: f64) -> f64 {
        let data = self.run.config().objective.sigma_data;
        data * data / (sigma * sigma + data * data)
    }

    /// Factor of z in a deterministic step.
    fn factor(&self, kind: SamplerKind, from: f64, to: f64) -> f64 {
        let slope = |level: f64| (1.0 - self.skip(level)) / level;
        let euler = 1.0 + (to - from) * slope(from);
        if kind == SamplerKind::HEUN && to > 0.0 {
            1.0 + (to - from) * 0.5 * (slope(from) + slope(to) * euler)
        } else {
            euler
        }
    }

    /// The noise that a step has added, by image and pixel.
    fn added(
        &self,
        options: &SamplerOptions,
        [before, after]: [&(f64, Vec<Vec<f64>>); 2],
    ) -> Vec<Vec<f64>> {
        let (from, to) = (before.0, after.0);
        let (g, h) = if options.kind == SamplerKind::DDPM || options.kind == SamplerKind::DDIM {
            // z' = x̂ + √(σ'² − v) (z − x̂)/σ + √v ε with v = η² σ'² (1 − σ'²/σ²), η = 1 of DDPM.
            let eta = if options.kind == SamplerKind::DDPM {
                1.0
            } else {
                options.ddim_eta
            };
            let v = (eta * to).powi(2) * (1.0 - (to / from).powi(2));
            let skip = self.skip(from);
            (skip + (to * to - v).sqrt() * (1.0 - skip) / from, v.sqrt())
        } else {
            let raised = from * (1.0 + options.churn.amount / options.steps as f64);
            let g = self.factor(options.kind, raised, to);
            (
                g,
                g * options.churn.noise * (raised * raised - from * from).sqrt(),
            )
        };
        let images = before.1.iter().zip(&after.1);
        images
            .map(|(z, next)| {
                z.iter()
                    .zip(next)
                    .map(|(z, next)| (next - g * z) / h)
                    .collect()
            })
            .collect()
    }
}

fn with(kind: SamplerKind) -> SamplerOptions {
    SamplerOptions {
        kind,
        steps: STEPS,
        sigma_min: 0.05,
        sigma_max: 20.0,
        ..SamplerOptions::default()
    }
}

/// Image k with image k + 128, which another call of the network draws.
fn over_batches(images: &[Vec<f64>]) -> impl Iterator<Item = (&Vec<f64>, &Vec<f64>)> {
    images[..128].iter().zip(&images[128..256])
}

#[test]
fn starting_noise() {
    let mut chance = Chance::of("starting noise");
    let run = Untrained::new();
    let start = |images, seed| -> Vec<Vec<f64>> {
        let (level, z) = run
            .trajectory(with(SamplerKind::EULER), images, seed)
            .swap_remove(0);
        z.into_iter()
            .map(|z| z.into_iter().map(|z| z / level).collect())
            .collect()
    };
    let noise = start(1200, chance.seed());
    all_differ("starting noise", &noise);
    chance.normal("the law", noise.iter().flatten().copied());
    chance.unrelated("pixels", noise.iter().flat_map(|image| apart(image)));
    let images: Vec<&Vec<f64>> = noise.iter().collect();
    chance.unrelated("images", together(apart(&images)));
    chance.unrelated("images of two batches", together(over_batches(&noise)));
    chance.unrelated(
        "seeds",
        together(images.into_iter().zip(&start(1200, chance.seed() + 1))),
    );
    let few = start(130, chance.seed());
    assert_eq!(
        few,
        noise[..130],
        "noise depends on how many images are drawn"
    );
}

#[test]
fn fresh_noise() {
    let mut chance = Chance::of("fresh noise");
    let run = Untrained::new();
    let churn = Churn {
        amount: 1.0,
        noise: 1.25,
        ..Churn::default()
    };
    let churned = |kind| SamplerOptions {
        churn,
        ..with(kind)
    };
    for options in [
        with(SamplerKind::DDPM),
        SamplerOptions {
            ddim_eta: 0.5,
            ..with(SamplerKind::DDIM)
        },
        churned(SamplerKind::EULER),
        churned(SamplerKind::HEUN),
    ] {
        let name = options.kind;
        // The last step of an ancestral sampler, to level 0, adds nothing.
        let read = |seed| -> [Vec<Vec<Vec<f64>>>; 2] {
            let levels = run.trajectory(options, IMAGES, seed);
            let steps = levels
                .windows(2)
                .take(STEPS - 1)
                .map(|pair| run.added(&options, [&pair[0], &pair[1]]));
            let start = levels[0]
                .1
                .iter()
                .map(|z| z.iter().map(|z| z / levels[0].0).collect())
                .collect();
            [steps.collect(), vec![start]]
        };
        let [steps, start] = read(chance.seed());
        all_differ(
            &format!("noise of {name}"),
            start.iter().chain(&steps).flatten(),
        );
        chance.normal(
            &format!("{name}: the law"),
            steps.iter().flatten().flatten().copied(),
        );
        chance.unrelated(
            &format!("{name}: pixels"),
            steps.iter().flatten().flat_map(|image| apart(image)),
        );
        let images: Vec<&Vec<f64>> = steps.iter().flatten().collect();
        chance.unrelated(&format!("{name}: images"), together(apart(&images)));
        chance.unrelated(
            &format!("{name}: images of two batches"),
            together(steps.iter().flat_map(|step| over_batches(step))),
        );
        chance.unrelated(
            &format!("{name}: steps"),
            together(
                steps
                    .chunks_exact(2)
                    .flat_map(|pair| pair[0].iter().zip(&pair[1])),
            ),
        );
        chance.unrelated(
            &format!("{name}: a step and the start"),
            together(steps[0].iter().zip(&start[0])),
        );
        let [next, _] = read(chance.seed() + 1);
        chance.unrelated(
            &format!("{name}: seeds"),
            together(images.into_iter().zip(next.iter().flatten())),
        );

        // Image by image the same, however many are drawn with it.
        let last = |images| {
            run.trajectory(options, images, chance.seed())
                .swap_remove(STEPS)
                .1
        };
        let (many, few) = (last(IMAGES), last(131));
        for (number, (one, other)) in many.iter().zip(&few).enumerate() {
            assert_eq!(bits(one), bits(other), "{name}: image {number}");
        }
    }
}
