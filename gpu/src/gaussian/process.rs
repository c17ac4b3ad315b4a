//! The discrete process and its tables.

use candle_core::Tensor;

use crate::nn::from_f64;
use crate::{Error, Result};

/// β_t by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Betas {
    /// From 0.1/T to 20/T in equal steps.
    Linear,
    /// 1 − f((t+1)/T)/f(t/T) with f(s) = cos²(π/2 (s + 0.008)/1.008), at most 0.999.
    Cosine,
}

impl Betas {
    /// β_t of `count` steps.
    ///
    /// # Source
    /// Ho et al. 2020 (arXiv:2006.11239); Nichol and Dhariwal 2021 (arXiv:2102.09672), Eq. 17.
    pub fn of(self, count: usize) -> Vec<f64> {
        let all = count as f64;
        match self {
            Self::Linear => {
                let (low, high) = (0.1 / all, 20.0 / all);
                let part = |t: usize| t as f64 / (all - 1.0).max(1.0);
                (0..count).map(|t| low + (high - low) * part(t)).collect()
            }
            Self::Cosine => {
                let angle =
                    |t: usize| (t as f64 / all + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2;
                let left = |t: usize| angle(t).cos().powi(2);
                (0..count)
                    .map(|t| f64::min(1.0 - left(t + 1) / left(t), 0.999))
                    .collect()
            }
        }
    }
}

/// Variance of a step backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variance {
    /// β_t; of the first step the posterior's of the second.
    FixedLarge,
    /// ln σ² between that of the posterior and ln β_t, where the second half of the channels says.
    LearnedRange,
}

/// The steps that a text keeps of `count`: all of an empty one; `ddimN`, every k-th so that N are left; `a,b,…`, so many of each of equal parts,
/// evenly and rounded half to even.
///
/// # Errors
/// Another text, a number of steps that no stride leaves or that a part does not have.
pub fn respaced_steps(count: usize, text: &str) -> Result<Vec<usize>> {
    let wrong = |must: String| Error::invalid("respacing of steps", must, format!("`{text}`"));
    let whole = |text: &str| {
        let number = text.trim().parse::<usize>();
        number
            .map_err(|_| wrong("be empty, ddimN, or whole numbers with commas between".to_owned()))
    };
    if text.is_empty() {
        return Ok((0..count).collect());
    }
    if let Some(rest) = text.strip_prefix("ddim") {
        let wanted = whole(rest)?;
        for stride in 1..count {
            let steps: Vec<usize> = (0..count).step_by(stride).collect();
            if steps.len() == wanted {
                return Ok(steps);
            }
        }
        return Err(wrong(format!(
            "name a number of steps that a stride leaves of {count}"
        )));
    }
    let wanted = text.split(',').map(whole).collect::<Result<Vec<usize>>>()?;
    let mut steps = Vec::new();
    let mut first = 0;
    for (i, &of_part) in wanted.iter().enumerate() {
        let length = count / wanted.len() + usize::from(i < count % wanted.len());
        if of_part > length {
            return Err(wrong(format!(
                "ask for at most {length} of the {length} steps of part {i}"
            )));
        }
        let apart = if of_part > 1 {
            (length as f64 - 1.0) / (of_part as f64 - 1.0)
        } else {
            1.0
        };
        let mut place = 0.0_f64;
        for _ in 0..of_part {
            steps.push(first + rounded(place));
            place += apart;
        }
        first += length;
    }
    Ok(steps)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of a step, at least 0"
)]
fn rounded(place: f64) -> usize {
    place.round_ties_even() as usize
}

/// A discrete process with learned or fixed variances; some of its steps may be left out.
#[derive(Debug, Clone, PartialEq)]
pub struct GaussianDiffusion {
    pub(super) variance: Variance,
    /// What the network is told at each step: its number in the whole process.
    numbers: Vec<usize>,
    pub(super) betas: Vec<f64>,
    /// ᾱ of each step.
    pub(super) bars: Vec<f64>,
}

impl GaussianDiffusion {
    /// The process of `count` steps of which those that `respacing` keeps are made; see [`respaced_steps`].
    ///
    /// # Errors
    /// A respacing that does not fit; fewer than two steps.
    pub fn new(betas: Betas, count: usize, respacing: &str, variance: Variance) -> Result<Self> {
        Self::of(betas, count, respaced_steps(count, respacing)?, variance)
    }

    /// All 1000 steps of DDPM, with learnt variances.
    pub(crate) fn ddpm() -> Self {
        let numbers: Vec<usize> = (0..1000).collect();
        Self::made(
            &Betas::Linear.of(numbers.len()),
            numbers,
            Variance::LearnedRange,
        )
    }

    fn of(betas: Betas, count: usize, numbers: Vec<usize>, variance: Variance) -> Result<Self> {
        if numbers.len() < 2 {
            let must = "leave at least two steps, for the first has the variance of the second";
            return Err(Error::invalid("respacing of steps", must, numbers.len()));
        }
        Ok(Self::made(&betas.of(count), numbers, variance))
    }

    /// Of these steps, of which there are at least two, of a process with these β.
    fn made(betas: &[f64], numbers: Vec<usize>, variance: Variance) -> Self {
        let mut bar = 1.0;
        let whole: Vec<f64> = (betas.iter())
            .map(|beta| {
                bar *= 1.0 - beta;
                bar
            })
            .collect();
        let mut last = 1.0;
        let betas: Vec<f64> = (numbers.iter())
            .map(|&number| 1.0 - whole[number] / std::mem::replace(&mut last, whole[number]))
            .collect();
        let mut bar = 1.0;
        let bars = (betas.iter())
            .map(|beta| {
                bar *= 1.0 - beta;
                bar
            })
            .collect();
        Self {
            variance,
            numbers,
            betas,
            bars,
        }
    }

    /// What a step's variance is.
    pub fn variance(&self) -> Variance {
        self.variance
    }

    /// Number of steps.
    pub fn count(&self) -> usize {
        self.betas.len()
    }

    /// What a network is told at these steps; NaN of one that does not exist.
    pub fn told(&self, t: &[usize]) -> Vec<f64> {
        let number = |&t: &usize| {
            self.numbers
                .get(t)
                .map_or(f64::NAN, |&number| number as f64)
        };
        t.iter().map(number).collect()
    }

    /// The number of each step in the whole process.
    pub fn numbers(&self) -> &[usize] {
        &self.numbers
    }

    /// β of each step.
    pub fn betas(&self) -> &[f64] {
        &self.betas
    }

    /// ᾱ of each step.
    pub fn alphas_bar(&self) -> &[f64] {
        &self.bars
    }

    /// ᾱ before a step.
    pub(super) fn bar_before(&self, t: usize) -> f64 {
        t.checked_sub(1).map_or(1.0, |t| self.bars[t])
    }

    /// Variance of q(x_{t−1} | x_t, x_0).
    ///
    /// # Panics
    /// For a step that does not exist.
    pub fn posterior_variance(&self, t: usize) -> f64 {
        self.betas[t] * (1.0 - self.bar_before(t)) / (1.0 - self.bars[t])
    }

    /// Its logarithm; of the first step that of the second.
    ///
    /// # Panics
    /// For a step that does not exist.
    pub fn posterior_log_variance(&self, t: usize) -> f64 {
        self.posterior_variance(t.max(1)).ln()
    }

    /// Factors of x_0 and x_t in the mean of q(x_{t−1} | x_t, x_0).
    ///
    /// # Panics
    /// For a step that does not exist.
    pub fn posterior_factors(&self, t: usize) -> [f64; 2] {
        let (before, rest) = (self.bar_before(t), 1.0 - self.bars[t]);
        let alpha = 1.0 - self.betas[t];
        [
            before.sqrt() * self.betas[t] / rest,
            alpha.sqrt() * (1.0 - before) / rest,
        ]
    }

    /// Factors of x_t and of the noise in x̂_0.
    pub(super) fn clean_factors(&self, t: usize) -> [f64; 2] {
        let over = self.bars[t].recip();
        [over.sqrt(), (over - 1.0).sqrt()]
    }

    /// x_t of clean images, noise and one step for each.
    ///
    /// # Errors
    /// Steps that are not one for each image, or do not exist; candle's.
    pub fn noised(&self, x0: &Tensor, t: &[usize], noise: &Tensor) -> Result<Tensor> {
        self.check(t, x0)?;
        let clean = x0.broadcast_mul(&of_steps(t, x0, |t| self.bars[t].sqrt())?)?;
        let noise = noise.broadcast_mul(&of_steps(t, x0, |t| (1.0 - self.bars[t]).sqrt())?)?;
        Ok((clean + noise)?)
    }

    pub(super) fn check(&self, t: &[usize], x: &Tensor) -> Result<()> {
        let batch = x.dim(0)?;
        if t.len() != batch {
            let must = format!("be {batch}, one for each image");
            return Err(Error::invalid("number of steps t", must, t.len()));
        }
        match t.iter().find(|&&t| t >= self.count()) {
            None => Ok(()),
            Some(t) => Err(Error::invalid(
                "step t",
                format!("be below {}", self.count()),
                t,
            )),
        }
    }
}

/// A number of each step, `[B, 1, …]` as `like` has sides.
pub(super) fn of_steps(
    t: &[usize],
    like: &Tensor,
    number: impl Fn(usize) -> f64,
) -> Result<Tensor> {
    let mut shape = vec![1; like.rank()];
    shape[0] = t.len();
    let numbers = t.iter().map(|&t| number(t)).collect();
    Ok(from_f64(numbers, shape, like.device(), like.dtype())?)
}
