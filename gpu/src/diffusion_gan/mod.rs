//! Diffusion-GAN (arXiv:2206.02262) for any GAN: noise in front of its discriminator, as much as that can bear.
//!
//! [`Diffusion`] needs nothing else of this crate. In a training loop, real and generated images go through [`Diffusion::diffuse`] before the
//! discriminator sees them, the generator's gradient flows back through it, and [`Diffusion::observe`] is told the logits of real images.
//!
//! # Example
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use sadm_gpu::diffusion_gan::{Diffusion, DiffusionOptions};
//!
//! let mut diffusion = Diffusion::new(DiffusionOptions::default(), 7)?;
//! let real = Tensor::zeros((8, 3, 4, 4), DType::F32, &Device::Cpu)?;
//! let (noised, t) = diffusion.diffuse(&real)?;
//! assert_eq!((noised.dims(), t.len()), (real.dims(), 8));
//! // The discriminator's answers to `noised`.
//! let logits = Tensor::ones(8, DType::F32, &Device::Cpu)?;
//! diffusion.observe(&logits)?;
//! # Ok::<(), sadm_gpu::Error>(())
//! ```

mod betas;
mod controller;
mod game;
mod loss;
mod priority;

pub use betas::{Betas, alpha_bars};
pub use controller::{ControllerOptions, Update};
pub use game::{Game, Judgement, Penalty, Seen};
pub use loss::{Discriminator, GanLoss, r1, r1_approximate};
pub use priority::Priority;

use crate::error::{Error, Result};
use crate::forward::diffuse;
use crate::random::Streams;
use crate::run::checkpoint::write_atomically;
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a new T does to the levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chain {
    /// The schedule is made anew, from its beginning to its end in T steps: the published program's.
    Remade,
    /// The first T levels of the longest chain's schedule (InsGen's `update_beta=False`, and the paper's figures).
    Truncated,
}

/// The law of ε.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Noise {
    /// N(0, 1).
    Gauss,
    /// ±1, each with probability ½.
    Bernoulli,
}

/// What is laid before a discriminator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusionOptions {
    /// How fast the chain adds noise.
    pub betas: Betas,
    /// β at its beginning.
    pub beta_start: f64,
    /// β at its end.
    pub beta_end: f64,
    /// What a new T does to the levels.
    pub chain: Chain,
    /// The law of ε.
    pub noise: Noise,
    /// s, the noise's standard deviation.
    pub scale: f64,
    /// The law of t.
    pub law: Priority,
    /// Entries of the buffer from which each image takes its t until T is looked at again; 0 for a t of the law itself for each image, as in
    /// the paper.
    pub buffer: usize,
    /// Share of the buffer that is t = 0, in [0, 1): clean images.
    pub clean: f64,
    /// Whether each channel of an image has a t of its own, as in ProjectedGAN.
    pub per_channel: bool,
    /// Whether a generated image has the t of the real one at its place, as in the paper's Algorithm 1; the published program draws it another.
    pub shared: bool,
    /// The law of T.
    pub controller: ControllerOptions,
}

/// The published program's for StyleGAN2 on pixels in [−1, 1], with the paper's law of t.
impl Default for DiffusionOptions {
    fn default() -> Self {
        Self {
            betas: Betas::Linear,
            beta_start: 1e-4,
            beta_end: 2e-2,
            chain: Chain::Remade,
            noise: Noise::Gauss,
            scale: 0.05,
            law: Priority::Priority,
            buffer: 64,
            clean: 0.5,
            per_channel: false,
            shared: false,
            controller: ControllerOptions::default(),
        }
    }
}

/// What changes while a GAN trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Share of the range of T.
    p: f64,
    /// T.
    steps: usize,
    /// Batches noised.
    noised: u64,
    /// Updates of T.
    updates: u64,
    /// Batches of logits since the last one.
    batches: usize,
    /// Their logits' signs, and how many there are.
    signs: f64,
    logits: usize,
}

/// A file that [`Diffusion::save`] writes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    seed: u64,
    options: DiffusionOptions,
    state: State,
}

/// An update of T.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Updated {
    /// r_d: the mean sign of the logits of real images since the update before.
    pub r_d: f64,
    /// Share of the range of T.
    pub p: f64,
    /// T.
    pub steps: usize,
}

/// The noise in front of a discriminator, and how much of it.
#[derive(Debug, Clone)]
pub struct Diffusion {
    options: DiffusionOptions,
    streams: Streams,
    state: State,
    /// √ᾱ_t and s √(1 − ᾱ_t) of t = 0, …, T.
    kept: Vec<f64>,
    added: Vec<f64>,
    buffer: Vec<usize>,
}

impl Diffusion {
    /// A chain of length T_min.
    ///
    /// # Errors
    /// An option outside its range.
    pub fn new(options: DiffusionOptions, seed: u64) -> Result<Self> {
        let state = State {
            p: 0.0,
            steps: options.controller.t_min,
            noised: 0,
            updates: 0,
            batches: 0,
            signs: 0.0,
            logits: 0,
        };
        Self::with_state(options, seed, state)
    }

    fn with_state(options: DiffusionOptions, seed: u64, state: State) -> Result<Self> {
        options.check()?;
        let mut made = Self {
            options,
            streams: Streams::new(seed),
            state,
            kept: Vec::new(),
            added: Vec::new(),
            buffer: Vec::new(),
        };
        made.lay()?;
        Ok(made)
    }

    /// What it was made of.
    pub fn options(&self) -> &DiffusionOptions {
        &self.options
    }

    /// T.
    pub fn steps(&self) -> usize {
        self.state.steps
    }

    /// The share of its range that T has gone.
    pub fn p(&self) -> f64 {
        self.state.p
    }

    /// ᾱ_t, the share of an image's variance that is left at t.
    pub fn alpha_bar(&self, t: usize) -> Option<f64> {
        self.kept.get(t).map(|kept| kept * kept)
    }

    /// Images noised to levels drawn for them, and the levels.
    ///
    /// # Shapes
    /// `x`: `[B, …]` → `[B, …]` and B numbers from 0 to T; `[B, C, …]` and B·C of them, row by row, with `per_channel`.
    /// # Errors
    /// A tensor without rows, or without channels where each has a level of its own.
    pub fn diffuse(&mut self, x: &Tensor) -> Result<(Tensor, Vec<usize>)> {
        let rows = self.rows(x)?;
        let t = self.times(rows)?;
        let y = self.diffuse_at(x, &t)?;
        Ok((y, t))
    }

    /// Images noised to given levels, such as those of the real images beside them.
    ///
    /// # Shapes
    /// As [`Diffusion::diffuse`].
    /// # Errors
    /// Likewise; another number of levels, a level above T.
    pub fn diffuse_at(&mut self, x: &Tensor, t: &[usize]) -> Result<Tensor> {
        let rows = self.rows(x)?;
        if t.len() != rows {
            let must = format!("be {rows}, as many as are noised");
            return Err(Error::invalid("number of levels t", must, t.len()));
        }
        let of = |factors: &[f64]| {
            let at = |&t: &usize| factors.get(t).copied().ok_or_else(|| self.beyond(t));
            t.iter().map(at).collect::<Result<Vec<_>>>()
        };
        let (kept, added) = (of(&self.kept)?, of(&self.added)?);
        let eps = self.noise(x)?;
        self.state.noised += 1;
        let by_row = |x: &Tensor| x.reshape((rows, x.elem_count() / rows));
        let y = diffuse(&by_row(x)?, &by_row(&eps)?, &kept, &added)?;
        Ok(y.reshape(x.shape())?)
    }

    /// Real and generated images, each as the discriminator sees them.
    ///
    /// # Shapes
    /// As [`Diffusion::diffuse`]; equal with `shared`.
    /// # Errors
    /// Likewise.
    pub fn diffuse_both(
        &mut self,
        real: &Tensor,
        fake: &Tensor,
    ) -> Result<[(Tensor, Vec<usize>); 2]> {
        let (y, t) = self.diffuse(real)?;
        let of_fake = if self.options.shared {
            (self.diffuse_at(fake, &t)?, t.clone())
        } else {
            self.diffuse(fake)?
        };
        Ok([(y, t), of_fake])
    }

    /// Looks at the discriminator's logits of noised real images, above 0 for what it takes to be real; every so many batches T is updated.
    ///
    /// # Errors
    /// No logit, or one that is not a number: the discriminator has diverged.
    pub fn observe(&mut self, logits: &Tensor) -> Result<Option<Updated>> {
        let logits = logits
            .to_dtype(DType::F64)?
            .flatten_all()?
            .to_vec1::<f64>()?;
        if logits.is_empty() {
            return Err(Error::invalid("number of logits", "be at least 1", 0));
        }
        if let Some(bad) = logits.iter().find(|logit| logit.is_nan()) {
            let must = "be numbers; has the discriminator diverged?";
            return Err(Error::invalid("logits of real images", must, bad));
        }
        let above = logits.iter().filter(|logit| **logit > 0.0).count();
        let below = logits.iter().filter(|logit| **logit < 0.0).count();
        let state = &mut self.state;
        state.signs += above as f64 - below as f64;
        state.logits += logits.len();
        state.batches += 1;
        if state.batches < self.options.controller.interval {
            return Ok(None);
        }
        let r_d = state.signs / state.logits as f64;
        let now = (state.p, state.steps);
        (state.p, state.steps) = self.options.controller.next(now, r_d, state.logits);
        (state.batches, state.signs, state.logits) = (0, 0.0, 0);
        state.updates += 1;
        let updated = Updated {
            r_d,
            p: state.p,
            steps: state.steps,
        };
        self.lay()?;
        Ok(Some(updated))
    }

    /// Writes options, seed and state into a file, whole or not at all.
    ///
    /// # Errors
    /// A path that cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let saved = Saved {
            seed: self.streams.seed(),
            options: self.options.clone(),
            state: self.state.clone(),
        };
        let text = serde_json::to_vec_pretty(&saved)
            .map_err(|e| Error::invalid("state of the diffusion", "be written as JSON", e))?;
        write_atomically(path, &text)
    }

    /// Goes on where [`Diffusion::save`] stopped: what follows is what would have followed there.
    ///
    /// # Errors
    /// A file that cannot be read, or holds something else.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
        let saved: Saved = serde_json::from_slice(&text)
            .map_err(|e| Error::file(path, format!("is no saved diffusion: {e}")))?;
        let range = saved.options.controller.t_min..=saved.options.controller.t_max;
        if !range.contains(&saved.state.steps) || !(0.0..=1.0).contains(&saved.state.p) {
            let problem = format!(
                "T must be from {} to {} and p from 0 to 1, got {} and {}",
                range.start(),
                range.end(),
                saved.state.steps,
                saved.state.p
            );
            return Err(Error::file(path, problem));
        }
        Self::with_state(saved.options, saved.seed, saved.state)
    }

    /// Levels and buffer of the current T.
    fn lay(&mut self) -> Result<()> {
        let o = &self.options;
        let length = match o.chain {
            Chain::Remade => self.state.steps,
            Chain::Truncated => o.controller.t_max,
        };
        let mut bars = alpha_bars(&o.betas.betas(o.beta_start, o.beta_end, length)?);
        bars.truncate(self.state.steps + 1);
        self.kept = bars.iter().map(|left| left.sqrt()).collect();
        self.added = bars
            .iter()
            .map(|left| o.scale * (1.0 - left).sqrt())
            .collect();
        self.buffer = self.draw_buffer()?;
        Ok(())
    }

    /// As many t of the law as the buffer's part for them, then zeros.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of the buffer"
    )]
    fn draw_buffer(&self) -> Result<Vec<usize>> {
        let o = &self.options;
        let drawn = ((1.0 - o.clean) * o.buffer as f64).ceil() as usize;
        let draws = (self.streams).uniform("diffusion-buffer", self.state.updates, drawn);
        let times = draws.into_iter().map(|u| o.law.time(self.state.steps, u));
        let mut buffer = times.collect::<Result<Vec<_>>>()?;
        buffer.resize(o.buffer, 0);
        Ok(buffer)
    }

    /// Levels of `count` images.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in the buffer"
    )]
    fn times(&self, count: usize) -> Result<Vec<usize>> {
        let draws = (self.streams).uniform("diffusion-times", self.state.noised, count);
        let place = |u: f64| (u * self.buffer.len() as f64) as usize;
        let of = |u: f64| match self.buffer.get(place(u)) {
            Some(t) => Ok(*t),
            None => self.options.law.time(self.state.steps, u),
        };
        draws.into_iter().map(of).collect()
    }

    /// ε of the shape of `x`.
    fn noise(&self, x: &Tensor) -> Result<Tensor> {
        let (purpose, index) = ("diffusion-noise", self.state.noised);
        match self.options.noise {
            Noise::Gauss => {
                self.streams
                    .normal_tensor(purpose, index, x.shape(), x.device(), x.dtype())
            }
            Noise::Bernoulli => {
                let draws = self.streams.uniform(purpose, index, x.elem_count());
                let sign = |u: f64| if u < 0.5 { -1.0_f32 } else { 1.0 };
                let signs: Vec<f32> = draws.into_iter().map(sign).collect();
                Ok(Tensor::from_vec(signs, x.shape(), x.device())?.to_dtype(x.dtype())?)
            }
        }
    }

    /// How many of `x` have a level of their own.
    fn rows(&self, x: &Tensor) -> Result<usize> {
        let axes = if self.options.per_channel { 2 } else { 1 };
        let rows = x.dims().iter().take(axes).product::<usize>();
        if x.rank() < axes || x.elem_count() == 0 {
            let must = if self.options.per_channel {
                "[B, C, …], a level for each channel"
            } else {
                "[B, …]"
            };
            return Err(Error::shape("what is noised", must, x.dims()));
        }
        Ok(rows)
    }

    fn beyond(&self, t: usize) -> Error {
        let must = format!("be at most T, {}", self.state.steps);
        Error::invalid("level t", must, t)
    }
}

impl DiffusionOptions {
    /// Requires every option to be in its range.
    ///
    /// # Errors
    /// The first that is not, by its name.
    pub fn check(&self) -> Result<()> {
        self.controller.check()?;
        self.betas.betas(self.beta_start, self.beta_end, 1)?;
        if !(self.scale.is_finite() && self.scale >= 0.0) {
            return Err(Error::invalid(
                "scale",
                "be finite and at least 0",
                self.scale,
            ));
        }
        if !(0.0..1.0).contains(&self.clean) {
            return Err(Error::invalid("clean", "be in [0, 1)", self.clean));
        }
        self.law.time(self.controller.t_min, 0.0)?;
        Ok(())
    }
}
