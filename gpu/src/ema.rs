//! Exponential moving average of parameters.

use crate::error::{Error, Result};
use crate::optim::lerp::Lerp;
use crate::params::Params;
use candle_core::Var;

/// Moving average of a [`Params`], with EDM's ramp-up.
///
/// # Formula
/// ```text
/// h = min(half_life, ramp · images_seen)
/// β = 2^(−batch/h)                    (β = 0 at h = 0: the average starts at the parameters)
/// θ̄ ← θ̄ + (1 − β)(θ − θ̄),            1 − β = −expm1(−ln 2 · batch/h), formed in f64
/// ```
/// # Source
/// Karras et al. (arXiv:2206.00364), their `ema_rampup_ratio`.
#[derive(Debug)]
pub struct Ema {
    params: Params,
    half_life: f64,
    ramp: f64,
}

impl Ema {
    /// An average that starts as a deep copy of `params`.
    ///
    /// `half_life` is in images; `ramp` is the fraction of the images seen that the half-life never
    /// exceeds (`f64::INFINITY`: no ramp-up).
    /// # Errors
    /// A half-life or ramp that is not > 0.
    pub fn new(params: &Params, half_life: f64, ramp: f64) -> Result<Self> {
        for (what, value) in [("EMA half-life", half_life), ("EMA ramp", ramp)] {
            if value.is_nan() || value <= 0.0 {
                return Err(Error::invalid(what, "be > 0", value));
            }
        }
        Ok(Self {
            params: params.fork()?,
            half_life,
            ramp,
        })
    }

    /// The averaged parameters θ̄.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// 1 − β for a batch of `batch` images after `images_seen` earlier ones.
    pub fn step_size(&self, images_seen: f64, batch: f64) -> f64 {
        // 0 · ∞: no image seen and no ramp-up.
        let ramped = if self.ramp.is_infinite() {
            self.half_life
        } else {
            self.half_life.min(self.ramp * images_seen)
        };
        -(-std::f64::consts::LN_2 * batch / ramped).exp_m1()
    }

    /// Moves the average towards `params` after a step on `batch` images, `images_seen` earlier ones before it.
    ///
    /// # Errors
    /// Other parameters than those the average was made from.
    pub fn update(&mut self, params: &Params, images_seen: f64, batch: f64) -> Result<()> {
        let lerp = self.lerp(images_seen, batch);
        for (average, (_, source)) in self.averages_of(params)?.iter().zip(params.vars()) {
            lerp.apply(average, source.as_tensor())?;
        }
        Ok(())
    }

    /// The step of [`update`](Self::update).
    pub(crate) fn lerp(&self, images_seen: f64, batch: f64) -> Lerp {
        Lerp {
            step: self.step_size(images_seen, batch),
            square: false,
        }
    }

    /// The averages of `params`, in the order of their names.
    ///
    /// # Errors
    /// Other parameters than those the average was made from.
    pub(crate) fn averages_of(&self, params: &Params) -> Result<Vec<Var>> {
        let (averages, sources) = (self.params.vars(), params.vars());
        let alike =
            |(a, b): (&(String, Var), &(String, Var))| a.0 == b.0 && a.1.dims() == b.1.dims();
        let common = averages
            .iter()
            .zip(&sources)
            .take_while(|pair| alike(*pair))
            .count();
        if common < averages.len().max(sources.len()) {
            let (what, must) = (
                "parameters given to the EMA",
                "have the names and shapes of the averaged ones",
            );
            let first = |vars: &[(String, Var)]| match vars.get(common) {
                Some((name, var)) => format!("`{name}` {:?}", var.dims()),
                None => "no more".to_owned(),
            };
            let got = format!("{} where {} is averaged", first(&sources), first(&averages));
            return Err(Error::invalid(what, must, got));
        }
        Ok(averages.into_iter().map(|(_, average)| average).collect())
    }
}
