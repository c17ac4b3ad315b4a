//! AdamW, clipping by the global gradient norm, and the learning rate's warm-up.
//!
//! Parameters are visited in the order of their names, so a step is deterministic. On the CPU each
//! update is one pass over the slices in place; elsewhere it is composed of tensor operations. Both
//! evaluate the same formula in the same order.

use crate::error::{Error, Result};
use crate::forward::loss_dtype;
use crate::nn::{CHUNK, Path, Real, scaled, sum_of_squares, vectorised};
use crate::params::Params;
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, InplaceOp2, InplaceOp3, Layout, Tensor, Var};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;

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
        self.check()?;
        self.steps += 1;
        let first = Lerp {
            step: 1.0 - self.beta1,
            square: false,
        };
        let second = Lerp {
            step: 1.0 - self.beta2,
            square: true,
        };
        let descent = self.descent(self.learning_rate * lr_scale);
        for (name, var) in params.vars() {
            let Some(grad) = grads.get(&var) else {
                continue;
            };
            let Moments { m, v } = self.moments_of(&name, &var)?;
            first.apply(m, grad)?;
            second.apply(v, grad)?;
            descent.apply(&var, m, v)?;
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

/// √(Σ_p ‖g_p‖²) over the parameters that have a gradient; 0 if none has.
fn grad_norm<'a>(vars: impl Iterator<Item = &'a Var>, grads: &GradStore) -> Result<f64> {
    let (mut sum, mut waiting) = (0.0, Vec::new());
    for grad in vars.filter_map(|var| grads.get(var)) {
        match Path::of(grad) {
            Path::Fused => sum += sum_of_squares(grad)?,
            Path::Composed => {
                let dtype = if grad.device().is_metal() {
                    DType::F32
                } else {
                    DType::F64
                };
                waiting.push(grad.to_dtype(dtype)?.sqr()?.sum_all()?);
            }
        }
    }
    if !waiting.is_empty() {
        let squares = Tensor::stack(&waiting, 0)?.to_dtype(DType::F64)?;
        sum += squares.to_vec1::<f64>()?.iter().sum::<f64>();
    }
    Ok(sum.sqrt())
}

/// Factor of the learning rate during a linear warm-up: (step + 1)/warm_up, at most 1.
///
/// `step` counts from 0; `warm_up = 0` means none. The first step already moves.
pub fn warm_up(step: usize, warm_up: usize) -> f64 {
    if step >= warm_up {
        1.0
    } else {
        (step + 1) as f64 / warm_up as f64
    }
}

/// A step from x towards y: `x + step·(y − x)`, or `y − (1 − step)·(y − x)` beyond the middle, so
/// that both ends are exact.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lerp {
    /// 1 − β, in [0, 1].
    pub(crate) step: f64,
    /// Whether y is the square of the source.
    pub(crate) square: bool,
}

impl Lerp {
    /// `var ← lerp(var, source)`, element by element.
    pub(crate) fn apply(&self, var: &Var, source: &Tensor) -> Result<()> {
        same_shape(var, source)?;
        let source = source.to_dtype(loss_dtype(var.dtype()))?.contiguous()?;
        if has_fused_pass(var) {
            Ok(var.inplace_op2(&source, self)?)
        } else {
            self.composed(var, source)
        }
    }

    fn composed(&self, var: &Var, source: Tensor) -> Result<()> {
        let x = var.to_dtype(source.dtype())?.detach();
        let y = if self.square { source.sqr()? } else { source };
        let way = (&y - &x)?;
        let new = if self.step < 0.5 {
            (x + (way * self.step)?)?
        } else {
            (y - (way * (1.0 - self.step))?)?
        };
        Ok(var.set(&new.to_dtype(var.dtype())?)?)
    }

    fn pass<R: Real>(&self, x: &mut [R], source: &[R]) {
        let (step, rest) = (R::of(self.step), R::of(1.0 - self.step));
        let (near, square) = (self.step < 0.5, self.square);
        let chunks = x.par_chunks_mut(CHUNK).zip(source.par_chunks(CHUNK));
        chunks.for_each(|(x, source)| {
            vectorised(
                #[inline(always)]
                || {
                    for (x, &source) in x.iter_mut().zip(source) {
                        let y = if square { source * source } else { source };
                        let way = y - *x;
                        *x = if near {
                            *x + way * step
                        } else {
                            y - way * rest
                        };
                    }
                },
            );
        });
    }
}

impl InplaceOp2 for Lerp {
    fn name(&self) -> &'static str {
        "lerp"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        x_layout: &Layout,
        source: &CpuStorage,
        source_layout: &Layout,
    ) -> candle_core::Result<()> {
        match x {
            CpuStorage::F32(x) => {
                self.pass(
                    &mut x[range(x_layout)?],
                    &source.as_slice()?[range(source_layout)?],
                );
            }
            CpuStorage::F64(x) => {
                self.pass(
                    &mut x[range(x_layout)?],
                    &source.as_slice()?[range(source_layout)?],
                );
            }
            _ => candle_core::bail!("lerp in place is for f32 and f64"),
        }
        Ok(())
    }
}

/// AdamW's update of θ: `keep·θ − rate·m / (root·√v + eps)`.
#[derive(Debug, Clone, Copy)]
struct Descent {
    keep: f64,
    rate: f64,
    root: f64,
    eps: f64,
}

impl Descent {
    fn apply(&self, theta: &Var, m: &Var, v: &Var) -> Result<()> {
        if has_fused_pass(theta) {
            Ok(theta.inplace_op3(m.as_tensor(), v.as_tensor(), self)?)
        } else {
            self.composed(theta, m, v)
        }
    }

    fn composed(&self, theta: &Var, m: &Var, v: &Var) -> Result<()> {
        let (m, v) = (m.as_detached_tensor(), v.as_detached_tensor());
        let way = ((m * self.rate)? / v.sqrt()?.affine(self.root, self.eps)?)?;
        let kept = (theta.to_dtype(way.dtype())?.detach() * self.keep)?;
        Ok(theta.set(&(kept - way)?.to_dtype(theta.dtype())?)?)
    }

    fn pass<R: Real>(&self, theta: &mut [R], m: &[R], v: &[R]) {
        let (keep, rate) = (R::of(self.keep), R::of(self.rate));
        let (root, eps) = (R::of(self.root), R::of(self.eps));
        let moments = m.par_chunks(CHUNK).zip(v.par_chunks(CHUNK));
        let chunks = theta.par_chunks_mut(CHUNK).zip(moments);
        chunks.for_each(|(theta, (m, v))| {
            vectorised(
                #[inline(always)]
                || {
                    for ((theta, &m), &v) in theta.iter_mut().zip(m).zip(v) {
                        *theta = keep * *theta - rate * m / (v.sqrt() * root + eps);
                    }
                },
            );
        });
    }
}

impl InplaceOp3 for Descent {
    fn name(&self) -> &'static str {
        "adamw-descent"
    }

    fn cpu_fwd(
        &self,
        theta: &mut CpuStorage,
        theta_layout: &Layout,
        m: &CpuStorage,
        m_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (m_range, v_range) = (range(m_layout)?, range(v_layout)?);
        match theta {
            CpuStorage::F32(theta) => self.pass(
                &mut theta[range(theta_layout)?],
                &m.as_slice()?[m_range],
                &v.as_slice()?[v_range],
            ),
            CpuStorage::F64(theta) => self.pass(
                &mut theta[range(theta_layout)?],
                &m.as_slice()?[m_range],
                &v.as_slice()?[v_range],
            ),
            _ => candle_core::bail!("AdamW in place is for f32 and f64"),
        }
        Ok(())
    }
}

/// Whether an update of `var` may be one pass over its CPU slice.
fn has_fused_pass(var: &Var) -> bool {
    var.device().is_cpu() && loss_dtype(var.dtype()) == var.dtype() && var.is_contiguous()
}

fn same_shape(var: &Var, source: &Tensor) -> Result<()> {
    if source.dims() == var.dims() {
        return Ok(());
    }
    let must = format!("{:?} as the updated tensor has", var.dims());
    Err(Error::shape("source of an update", must, source.dims()))
}

/// The elements of a contiguous layout in its storage.
fn range(layout: &Layout) -> candle_core::Result<Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => candle_core::bail!("an update in place needs contiguous tensors"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Streams;
    use candle_core::Device;

    const N: usize = 100;

    fn draw(index: u64, dtype: DType) -> Tensor {
        Streams::new(1)
            .normal_tensor("optim", index, N, &Device::Cpu, dtype)
            .expect("a CPU tensor")
    }

    fn var(tensor: &Tensor) -> Var {
        Var::from_tensor(&tensor.copy().expect("a copy")).expect("a variable")
    }

    /// Largest |a − b| in units u·scale.
    fn difference(a: &Var, b: &Var, scale: f64) -> f64 {
        let u = match a.dtype() {
            DType::F64 => f64::EPSILON / 2.0,
            _ => f64::from(f32::EPSILON) / 2.0,
        };
        let widest = (a.as_tensor() - b.as_tensor())
            .and_then(|d| d.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>());
        widest.expect("a number") / (u * scale)
    }

    /// What runs on other devices is what runs in place on the CPU, up to contracted roundings.
    #[test]
    fn the_fused_and_the_composed_updates_agree() {
        for dtype in [DType::F32, DType::F64] {
            assert!(has_fused_pass(&var(&draw(0, dtype))));
            for (step, square) in [(0.1, false), (0.001, true), (0.75, true), (1.0, false)] {
                let lerp = Lerp { step, square };
                let (fused, composed) = (var(&draw(0, dtype)), var(&draw(0, dtype)));
                lerp.apply(&fused, &draw(1, dtype)).expect("an update");
                lerp.composed(&composed, draw(1, dtype)).expect("an update");
                let start = var(&draw(0, dtype));
                assert!(difference(&fused, &start, 1.0) > 1e3, "nothing moved");
                // |x|, |y| < 20 after squaring; at most four roundings on each side.
                assert!(
                    difference(&fused, &composed, 20.0) <= 8.0,
                    "{lerp:?} {dtype:?}"
                );
            }
            let descent = Descent {
                keep: 0.9,
                rate: 0.3,
                root: 2.0,
                eps: 0.1,
            };
            let (m, v) = (var(&draw(1, dtype)), draw(2, dtype).sqr().expect("squares"));
            let (fused, composed) = (var(&draw(0, dtype)), var(&draw(0, dtype)));
            descent.apply(&fused, &m, &var(&v)).expect("an update");
            descent
                .composed(&composed, &m, &var(&v))
                .expect("an update");
            // |θ| < 4, |m|/eps < 40; at most seven roundings on each side.
            assert!(difference(&fused, &composed, 20.0) <= 14.0, "{dtype:?}");
        }
    }
}
