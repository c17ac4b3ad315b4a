//! From noise to images with the reference's steps and networks, and how far rounding in f32 may lead away from there.

use ndarray::{ArrayD, Axis, IxDyn};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sadm_reference::sampler::{
    Churn, Family, Previous, churn_step, ddim_step, ddpm_step, dpmpp_2m_step, edm_sigmas,
    euler_step, guide, heun_step,
};
use std::cell::{Cell, RefCell};

use crate::draws::{normal, seed_of};
use crate::written::{Rounding, Written};

/// Images that are drawn together.
const BATCH: usize = 128;
/// The ledger's factor on the spread of a network's answers under random rounding.
pub const FACTOR: f64 = 16.0;
/// Half the distance of 1 to the next number of f32.
pub const SINGLE: f64 = 1.0 / (1 << 24) as f64;

/// What is asked of a sampler.
#[derive(Debug, Clone)]
pub struct Asked {
    pub sampler: &'static str,
    pub steps: usize,
    /// Class of each image, or none.
    pub labels: Vec<Option<u32>>,
    pub guidance: f64,
    pub seed: u64,
    pub churn: Churn,
    /// Of EDM's family, where another than plain `heun` and `euler` is asked for: its grid, its levels' ends, its path.
    pub family: Option<Family>,
}

impl Asked {
    /// The sampler that the run's configuration names, without guidance.
    pub fn of(run: &Written, labels: Vec<Option<u32>>, seed: u64) -> Self {
        Self {
            sampler: "heun",
            steps: run.count("sample", "steps"),
            labels,
            guidance: 1.0,
            seed,
            churn: Churn::default(),
            family: None,
        }
    }
}

/// A walk.
pub struct Walk {
    /// The images, in batches one after the other.
    pub images: ArrayD<f64>,
    /// Evaluations of the denoiser for an image, classes and "no class" counted once.
    pub evaluations: usize,
    /// Of each batch the levels and the points z.
    pub paths: Vec<Vec<(f64, ArrayD<f64>)>>,
}

/// No rounding.
pub fn exactly(x: f64) -> f64 {
    x
}

/// Multiplies by 1 + uξ with ξ uniform on [−1, 1).
fn perturbed(seed: u64, unit: f64) -> impl Fn(f64) -> f64 {
    let bits = RefCell::new(ChaCha8Rng::seed_from_u64(seed));
    move |x| {
        let xi = (bits.borrow_mut().next_u64() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
        x * (1.0 + unit * xi)
    }
}

/// What depends on rounding: exactly, and how far f32 may lead away, over all elements.
pub fn spread(of: impl Fn(Rounding<'_>) -> Vec<f64>) -> (Vec<f64>, f64) {
    let exact = of(&exactly);
    let farthest = |seed| {
        let moved = of(&perturbed(seed, SINGLE));
        let apart = exact.iter().zip(moved).map(|(a, b)| (a - b).abs());
        apart.fold(0.0, f64::max)
    };
    let farthest = (1..=3).map(farthest).fold(0.0, f64::max);
    assert!(farthest.is_finite(), "a walk to nowhere");
    (exact, FACTOR * farthest)
}

/// The walk of what is asked.
pub fn walk(run: &Written, asked: &Asked, round: Rounding<'_>) -> Walk {
    let mut images = Vec::new();
    let mut paths = Vec::new();
    let mut evaluations = 0;
    for (number, labels) in asked.labels.chunks(BATCH).enumerate() {
        let batch = Batch::of(run, asked, number, labels, round);
        let path = batch.walk();
        images.push(path[path.len() - 1].1.clone());
        evaluations = batch.evaluations.get();
        paths.push(path);
    }
    let views: Vec<_> = images.iter().map(|x| x.view()).collect();
    Walk {
        images: ndarray::concatenate(Axis(0), &views).expect("one shape"),
        evaluations,
        paths,
    }
}

struct Batch<'a> {
    run: &'a Written,
    asked: &'a Asked,
    labels: Vec<u32>,
    start: ArrayD<f64>,
    /// Seed of the noise that is drawn on the way.
    fresh: u64,
    round: Rounding<'a>,
    evaluations: Cell<usize>,
}

impl<'a> Batch<'a> {
    fn of(
        run: &'a Written,
        asked: &'a Asked,
        number: usize,
        labels: &[Option<u32>],
        round: Rounding<'a>,
    ) -> Self {
        let [c, h, w] = run.shape();
        // Image k of all has noise of its own.
        let first = number * BATCH;
        let noise = (first..first + labels.len())
            .flat_map(|k| normal(asked.seed, "sample", k as u64, c * h * w));
        let shape = IxDyn(&[labels.len(), c, h, w]);
        Self {
            run,
            asked,
            labels: (labels.iter())
                .map(|label| label.unwrap_or(run.no_class()))
                .collect(),
            start: ArrayD::from_shape_vec(shape, noise.collect()).expect("whole images"),
            fresh: seed_of(asked.seed, "sampler", number as u64),
            round,
            evaluations: Cell::new(0),
        }
    }

    /// The nearest level that the schedule has.
    fn attained(&self, ratio: f64) -> f64 {
        let schedule = &self.run.schedule;
        let t = self.run.time(ratio);
        let near = schedule.sigma(t) / schedule.alpha(t);
        // Levels without gaps are themselves.
        if (near / ratio - 1.0).abs() < 1e-9 {
            ratio
        } else {
            near
        }
    }

    fn levels(&self) -> Vec<f64> {
        let of = |key| self.run.number("sample", key);
        let [lowest, highest] = self.known();
        let (lowest, highest) = (lowest.max(of("sigma_min")), highest.min(of("sigma_max")));
        let mut levels = edm_sigmas(self.asked.steps, of("rho"), lowest, highest).expect("levels");
        for level in &mut levels {
            if *level > 0.0 {
                *level = self.attained(*level);
            }
        }
        levels.dedup();
        levels
    }

    fn denoised(&self, z: &ArrayD<f64>, ratio: f64) -> ArrayD<f64> {
        self.evaluations.set(self.evaluations.get() + 1);
        let g = self.asked.guidance;
        let none = vec![self.run.no_class(); self.labels.len()];
        let with = |labels: &[u32]| self.run.denoised(z, ratio, labels, self.round);
        if g.to_bits() == 1_f64.to_bits() {
            return with(&self.labels);
        }
        let guided = guide(&with(&none), &with(&self.labels), g).expect("one shape");
        guided.mapv(self.round)
    }

    fn noise(&self, purpose: &str, index: usize) -> ArrayD<f64> {
        let values = normal(self.fresh, purpose, index as u64, self.start.len());
        ArrayD::from_shape_vec(self.start.raw_dim(), values).expect("as many")
    }

    fn churned(&self, z: &ArrayD<f64>, index: usize, sigma: f64) -> (ArrayD<f64>, f64) {
        let gamma = self.asked.churn.gamma(sigma, self.asked.steps);
        if gamma <= 0.0 {
            return (z.clone(), sigma);
        }
        let noise = self.noise("sampler-churn", index);
        churn_step(z, &noise, sigma, gamma, self.asked.churn.s_noise).expect("a step")
    }

    /// Lowest and highest level of the schedule.
    fn known(&self) -> [f64; 2] {
        let schedule = &self.run.schedule;
        let (first, last) = schedule.domain();
        let ratio = |t: f64| schedule.sigma(t) / schedule.alpha(t);
        [
            ratio(first),
            if last.is_finite() { ratio(last) } else { last },
        ]
    }

    fn in_family(&self, family: Family) -> ArrayD<f64> {
        let family = Family {
            second_order: self.asked.sampler == "heun",
            steps: self.asked.steps,
            rho: self.run.number("sample", "rho"),
            churn: self.asked.churn,
            ..family
        };
        let walked = family.sample(
            &self.start.mapv(self.round),
            (self.known(), &|level| self.attained(level)),
            &mut |index| self.noise("sampler-churn", index),
            &mut |z, level| self.denoised(z, level),
        );
        walked.expect("a walk")
    }

    fn walk(&self) -> Vec<(f64, ArrayD<f64>)> {
        if let Some(family) = self.asked.family {
            return vec![(0.0, self.in_family(family))];
        }
        let levels = self.levels();
        let mut path = vec![(levels[0], (&self.start * levels[0]).mapv(self.round))];
        let mut before: Option<(ArrayD<f64>, f64)> = None;
        for (index, pair) in levels.windows(2).enumerate() {
            let z = path[path.len() - 1].1.clone();
            let next = self.step(&z, index, [pair[0], pair[1]], &mut before);
            // A step is formed as a sum, whose parts may be larger than what is left of them, and whose factors are rounded once for
            // all elements.
            let factor = (self.round)(1.0);
            let step = (&next - &z).mapv(|x| (self.round)(factor * x));
            path.push((pair[1], (z + step).mapv(self.round)));
        }
        path
    }

    fn step(
        &self,
        z: &ArrayD<f64>,
        index: usize,
        [from, to]: [f64; 2],
        before: &mut Option<(ArrayD<f64>, f64)>,
    ) -> ArrayD<f64> {
        let next = match self.asked.sampler {
            "euler" => {
                let (z, from) = self.churned(z, index, from);
                euler_step(&z, &self.denoised(&z, from), from, to)
            }
            "heun" => {
                let (z, from) = self.churned(z, index, from);
                heun_step(&z, from, to, |z, level| self.denoised(z, level))
            }
            "dpmpp-2m" => {
                let denoised = self.denoised(z, from);
                let previous = before.as_ref().map(|(denoised, sigma)| Previous {
                    denoised,
                    sigma: *sigma,
                });
                let next = dpmpp_2m_step(z, &denoised, previous, from, to);
                *before = Some((denoised, from));
                next
            }
            sampler => return self.in_x(sampler, z, index, [from, to]),
        };
        next.expect("a step")
    }

    /// The samplers that are written for x_t itself; the step to no noise at all ends at x̂.
    fn in_x(
        &self,
        sampler: &str,
        z: &ArrayD<f64>,
        index: usize,
        [from, to]: [f64; 2],
    ) -> ArrayD<f64> {
        let x_hat = self.denoised(z, from);
        if to == 0.0 {
            return x_hat;
        }
        let schedule = self.run.schedule.as_ref();
        let [t, s] = [from, to].map(|level| self.run.time(level));
        let x_t = z * schedule.alpha(t);
        let x_s = if sampler == "ddim" {
            ddim_step(&x_t, &x_hat, schedule, s, t)
        } else {
            let noise = self.noise("sampler-noise", index);
            ddpm_step(&x_t, &x_hat, &noise, schedule, s, t)
        };
        x_s.expect("a step") / schedule.alpha(s)
    }
}
