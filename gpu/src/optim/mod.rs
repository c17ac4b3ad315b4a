//! AdamW, clipping by the global gradient norm, and the learning rate's warm-up.
//!
//! Parameters are visited in the order of their names, so a step is deterministic. Of f32 and f64 parameters on the CPU,
//! and on GPUs whose kernels are right, the moments, the parameter and its moving average are updated in one pass, in place; otherwise each
//! update is composed of tensor operations. Both evaluate the same formula in the same order.

pub(crate) mod lerp;
mod rate;
mod update;

use crate::device::transfer::Later;
use crate::ema::Ema;
use crate::error::{Error, Result};
use crate::forward::{loss_dtype, widest};
#[cfg(feature = "cuda")]
use crate::nn::cuda;
use crate::nn::{Path, scaled, sum_of_squares};
use crate::params::Params;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use lerp::Lerp;
pub use rate::{rate, warm_up};
use std::collections::BTreeMap;
#[cfg(feature = "cuda")]
pub(crate) use update::one_step;
use update::{Descent, Update};

/// AdamW with its moments keyed by parameter name.
///
/// # Formula
/// At step k = 1, 2, … with learning rate η = learning_rate · lr_scale and gradient g:
/// ```text
/// m ← m + (1 − β₁)(g − m)              v ← v + (1 − β₂)(g² − v)
/// θ ← (1 − η·weight_decay) θ − η/(1 − β₁ᵏ) · m / (√v/√(1 − β₂ᵏ) + eps)
/// ```
/// All scalars are formed in f64 and rounded once. Moments are f32 (f64 for f64 parameters).
/// # Source
/// Loshchilov and Hutter (arXiv:1711.05101).
#[derive(Debug)]
pub struct AdamW {
    /// Learning rate ≥ 0.
    pub learning_rate: f64,
    /// Decay β₁ of the first moment, in [0, 1).
    pub beta1: f64,
    /// Decay β₂ of the second moment, in [0, 1).
    pub beta2: f64,
    /// Added to √v̂, outside the root.
    pub eps: f64,
    /// Decoupled weight decay ≥ 0.
    pub weight_decay: f64,
    /// Steps taken.
    pub steps: usize,
    /// Moments of the parameters that were ever stepped.
    pub moments: BTreeMap<String, Moments>,
}

/// The moving averages of one parameter's gradient.
#[derive(Debug)]
pub struct Moments {
    /// Of the gradient.
    m: Var,
    /// Of its square.
    v: Var,
}

impl Default for AdamW {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            steps: 0,
            moments: BTreeMap::new(),
        }
    }
}

impl AdamW {
    /// Steps taken.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// One step on every parameter that has a gradient, with learning rate
    /// `learning_rate · lr_scale`.
    ///
    /// A parameter without a gradient is left alone: whether it should have one is the business of
    /// the audit at the start of a phase.
    /// # Errors
    /// A β outside [0, 1), a learning rate, eps or weight decay that is negative or not finite, a
    /// parameter whose shape is not that of its moments.
    pub fn step(&mut self, params: &Params, grads: &GradStore, lr_scale: f64) -> Result<()> {
        self.step_each(params, grads, lr_scale, None)
    }

    /// [`step`](Self::step), then [`Ema::update`] after a step on `batch` images, `images_seen` earlier ones before it;
    /// of f32 and f64 parameters both in one pass, on the CPU and by a kernel.
    ///
    /// # Errors
    /// Those of the two. Parameters other than those the average was made from are found before anything moves.
    pub fn step_and_average(
        &mut self,
        params: &Params,
        grads: &GradStore,
        lr_scale: f64,
        ema: &mut Ema,
        [images_seen, batch]: [f64; 2],
    ) -> Result<()> {
        let averages = ema.averages_of(params)?;
        let lerp = ema.lerp(images_seen, batch);
        self.step_each(params, grads, lr_scale, Some((&averages, lerp)))
    }

    /// One step, with the averages of the parameters in the order of their names if they are to follow.
    fn step_each(
        &mut self,
        params: &Params,
        grads: &GradStore,
        lr_scale: f64,
        following: Option<(&[Var], Lerp)>,
    ) -> Result<()> {
        self.check()?;
        self.steps += 1;
        let update = Update {
            first: Lerp {
                step: 1.0 - self.beta1,
                square: false,
            },
            second: Lerp {
                step: 1.0 - self.beta2,
                square: true,
            },
            descent: self.descent(self.learning_rate * lr_scale),
        };
        for (i, (name, var)) in params.vars().into_iter().enumerate() {
            let average = following.map(|(averages, lerp)| (&averages[i], lerp));
            match (grads.get(&var), average) {
                (Some(grad), average) => {
                    update.apply(&var, grad, self.moments_of(&name, &var)?, average)?;
                }
                (None, Some((average, lerp))) => lerp.apply(average, &var)?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// The scalars of θ's update at step `self.steps` with learning rate `rate`.
    fn descent(&self, rate: f64) -> Descent {
        let steps = self.steps as f64;
        Descent {
            keep: 1.0 - rate * self.weight_decay,
            rate: rate / (1.0 - self.beta1.powf(steps)),
            root: 1.0 / (1.0 - self.beta2.powf(steps)).sqrt(),
            eps: self.eps,
        }
    }

    fn check(&self) -> Result<()> {
        for (what, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return Err(Error::invalid(what, "be in [0, 1)", beta));
            }
        }
        for (what, value) in [
            ("learning rate", self.learning_rate),
            ("eps", self.eps),
            ("weight decay", self.weight_decay),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::invalid(what, "be finite and ≥ 0", value));
            }
        }
        Ok(())
    }

    fn moments_of(&mut self, name: &str, var: &Var) -> Result<&Moments> {
        if !self.moments.contains_key(name) {
            let zeros = || Var::zeros(var.shape(), loss_dtype(var.dtype()), var.device());
            let moments = Moments {
                m: zeros()?,
                v: zeros()?,
            };
            self.moments.insert(name.to_owned(), moments);
        }
        let moments = &self.moments[name];
        if moments.m.dims() != var.dims() {
            let must = format!("{:?} as the parameter has", var.dims());
            return Err(Error::shape(
                format!("moment `m.{name}`"),
                must,
                moments.m.dims(),
            ));
        }
        Ok(moments)
    }

    /// The moments of a parameter, if it was ever stepped; they share storage with the optimiser.
    pub(crate) fn moments_now(&self, name: &str) -> Option<(Tensor, Tensor)> {
        let Moments { m, v } = self.moments.get(name)?;
        Some((m.as_detached_tensor(), v.as_detached_tensor()))
    }

    /// The moments for a checkpoint: `m.NAME` and `v.NAME` of every parameter stepped.
    ///
    /// They share storage with the optimiser: the next step changes them.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        self.moments
            .iter()
            .flat_map(|(name, Moments { m, v })| {
                [
                    (format!("m.{name}"), m.as_detached_tensor()),
                    (format!("v.{name}"), v.as_detached_tensor()),
                ]
            })
            .collect()
    }

    /// Takes up the moments of [`AdamW::state`] as they were after `steps` steps.
    ///
    /// # Errors
    /// A name that begins neither with `m.` nor with `v.`, or a moment without its partner of the
    /// same shape.
    pub fn load_state(&mut self, steps: usize, state: BTreeMap<String, Tensor>) -> Result<()> {
        let own = |t: &Tensor| Var::from_tensor(&t.copy()?);
        let mut moments = BTreeMap::new();
        for (key, tensor) in &state {
            let (partner, name) = match (key.strip_prefix("m."), key.strip_prefix("v.")) {
                (Some(name), _) => (format!("v.{name}"), Some(name)),
                (_, Some(name)) => (format!("m.{name}"), None),
                _ => {
                    let must = "be called `m.NAME` or `v.NAME`";
                    return Err(Error::invalid("optimiser moment", must, format!("`{key}`")));
                }
            };
            let pair = state.get(&partner).filter(|p| p.dims() == tensor.dims());
            let Some(v) = pair else {
                let must = format!("have a partner `{partner}` of shape {:?}", tensor.dims());
                return Err(Error::invalid(
                    format!("optimiser moment `{key}`"),
                    must,
                    "none",
                ));
            };
            if let Some(name) = name {
                let pair = Moments {
                    m: own(tensor)?,
                    v: own(v)?,
                };
                moments.insert(name.to_owned(), pair);
            }
        }
        self.moments = moments;
        self.steps = steps;
        Ok(())
    }
}

/// Scales the gradients of `params` so that their global norm is at most `max`, and returns the norm
/// they had.
///
/// # Formula
/// ```text
/// n = √(Σ_p ‖g_p‖²),   g_p ← g_p · min(1, max/n)
/// ```
/// `max = 0` means no clipping. Squares are summed in f64 where the device has it. Waits for the
/// device once.
/// # Errors
/// `max` negative or NaN, or a norm that is not finite: the gradients are then left as they are.
pub fn clip_grad_norm(params: &Params, grads: &mut GradStore, max: f64) -> Result<f64> {
    if max.is_nan() || max < 0.0 {
        return Err(Error::invalid("largest gradient norm", "be ≥ 0", max));
    }
    let vars = params.vars();
    let norm = grad_norm(vars.iter().map(|(_, var)| var), grads)?;
    if !norm.is_finite() {
        return Err(Error::invalid("gradient norm", "be finite", norm));
    }
    if max > 0.0 && norm > max {
        for (_, var) in &vars {
            if let Some(grad) = grads.remove(var) {
                let scaled = match Path::of(&grad) {
                    Path::Fused => scaled(&grad, max / norm),
                    Path::Composed => grad * (max / norm),
                };
                grads.insert(var, scaled?);
            }
        }
    }
    Ok(norm)
}

/// As [`clip_grad_norm`], but the norm is read later: on a GPU nothing waits for it.
///
/// # Errors
/// As [`clip_grad_norm`], except that on a GPU a norm that is not finite is for its reader to refuse, after whom
/// nothing made from these gradients is to be used.
pub fn clip_grad_norm_later(params: &Params, grads: &mut GradStore, max: f64) -> Result<Later> {
    let vars = params.vars();
    let all_fused = vars.iter().filter_map(|(_, var)| grads.get(var));
    if all_fused
        .into_iter()
        .all(|grad| Path::of(grad) == Path::Fused)
    {
        return clip_grad_norm(params, grads, max).map(Later::known);
    }
    if max.is_nan() || max < 0.0 {
        return Err(Error::invalid("largest gradient norm", "be ≥ 0", max));
    }
    let norm = clip_on_device(vars.iter().map(|(_, var)| var), grads, max)?;
    Later::of(&[&norm])
}

/// The norm as a scalar on the device, by which the gradients were scaled there.
pub(crate) fn clip_on_device<'a>(
    vars: impl Iterator<Item = &'a Var> + Clone,
    grads: &mut GradStore,
    max: f64,
) -> Result<Tensor> {
    let all: Vec<_> = vars.clone().filter_map(|var| grads.get(var)).collect();
    if all.is_empty() {
        return Ok(Tensor::new(0.0, &Device::Cpu)?);
    }
    let [norm, factor] = norm_and_factor(&all, max)?;
    if max > 0.0 && max.is_finite() {
        for var in vars {
            if let Some(grad) = grads.remove(var) {
                grads.insert(var, scaled_by(&grad, &factor)?);
            }
        }
    }
    Ok(norm)
}

/// The norm and min(1, max/norm).
fn norm_and_factor(grads: &[&Tensor], max: f64) -> Result<[Tensor; 2]> {
    #[cfg(feature = "cuda")]
    if cuda::serve(grads.iter().copied()) {
        return Ok(cuda::norm_and_factor(grads, max)?);
    }
    let squares = grads.iter().map(|grad| squares_on_device(grad));
    let squares = squares.collect::<Result<Vec<_>>>()?;
    let norm = Tensor::stack(&squares, 0)?.sum_all()?.sqrt()?;
    let factor = (norm.recip()? * max)?.minimum(1.0)?;
    Ok([norm, factor])
}

/// A gradient times a scalar on its device.
fn scaled_by(grad: &Tensor, factor: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::serve([grad]) {
        return Ok(cuda::scaled(grad, factor)?);
    }
    Ok(grad.broadcast_mul(&factor.to_dtype(grad.dtype())?)?)
}

/// ‖g‖², in f64 where the device has it.
fn squares_on_device(grad: &Tensor) -> Result<Tensor> {
    Ok(grad.to_dtype(widest(grad.device()))?.sqr()?.sum_all()?)
}

/// √(Σ_p ‖g_p‖²) over the parameters that have a gradient; 0 if none has.
fn grad_norm<'a>(vars: impl Iterator<Item = &'a Var>, grads: &GradStore) -> Result<f64> {
    let (mut sum, mut waiting) = (0.0, Vec::new());
    for grad in vars.filter_map(|var| grads.get(var)) {
        match Path::of(grad) {
            Path::Fused => sum += sum_of_squares(grad)?,
            Path::Composed => waiting.push(squares_on_device(grad)?),
        }
    }
    if !waiting.is_empty() {
        let squares = Tensor::stack(&waiting, 0)?.to_dtype(DType::F64)?;
        sum += squares.to_vec1::<f64>()?.iter().sum::<f64>();
    }
    Ok(sum.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Init;

    /// What a GPU does, done on the CPU: the same norm, the same gradients.
    #[test]
    fn clipping_on_the_device_is_clipping() {
        let params = Params::new(&Device::Cpu, DType::F32, 3);
        let mut sum = Tensor::new(0f32, &Device::Cpu).expect("a scalar");
        for (i, size) in [3, 50, 700].into_iter().enumerate() {
            let p = params
                .builder()
                .get(size, &format!("p{i}"), Init::Normal { std: 1.0 });
            sum = p
                .and_then(|p| Ok((&sum + p.sqr()?.sum_all()?)?))
                .expect("a sum");
        }
        let unused = params
            .builder()
            .get(4, "unused", Init::Zeros)
            .expect("a parameter");
        let vars = params.vars();
        for max in [0.0, 1.0, 30.0, 1e6, f64::INFINITY] {
            let [mut a, mut b] = [(); 2].map(|()| sum.backward().expect("differentiable"));
            let want = clip_grad_norm(&params, &mut a, max).expect("a norm");
            let norm = clip_on_device(vars.iter().map(|(_, var)| var), &mut b, max);
            let norm = norm
                .and_then(|n| Ok(n.to_scalar::<f64>()?))
                .expect("a norm");
            assert!((norm / want - 1.0).abs() < 1e-14, "{norm}, not {want}");
            for (name, var) in &vars {
                let numbers = |grads: &GradStore| {
                    grads.get(var).map(|g| g.to_vec1::<f32>().expect("numbers"))
                };
                let (want, got) = (numbers(&a), numbers(&b));
                assert_eq!(want.is_some(), got.is_some(), "{name}");
                for (want, got) in want.iter().flatten().zip(got.iter().flatten()) {
                    assert!(
                        (got - want).abs() <= 2.0 * f32::EPSILON * want.abs(),
                        "{name} at most {max}: {got}, not {want}"
                    );
                }
            }
        }
        drop(unused);
        let mut spoilt = (sum * f64::NAN)
            .and_then(|s| s.backward())
            .expect("differentiable");
        let norm =
            clip_on_device(vars.iter().map(|(_, var)| var), &mut spoilt, 1.0).expect("a tensor");
        assert!(norm.to_scalar::<f64>().expect("a norm").is_nan());
    }
}
