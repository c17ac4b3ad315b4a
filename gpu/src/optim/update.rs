//! Updates of variables in place: steps towards another tensor, AdamW's descent, and all of a parameter's at once.

use super::Moments;
use super::lerp::{Lerp, has_fused_pass, same_shape};
use crate::error::Result;
#[cfg(feature = "cuda")]
use crate::nn::cuda;
use crate::nn::{CHUNK, Real, are_apart, vectorised, with, with_variables};
#[cfg(feature = "cuda")]
use candle_core::Device;
use candle_core::{DType, Tensor, Var};
use rayon::prelude::*;

/// Elements of each slice that stay in the cache from the first of a parameter's updates to the last.
const BLOCK: usize = 1 << 11;

/// Update of one parameter in a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Update {
    /// The first moment's step.
    pub(super) first: Lerp,
    /// The second moment's.
    pub(super) second: Lerp,
    /// The parameter's own.
    pub(super) descent: Descent,
}

impl Update {
    /// Moments, then the parameter, then the average that follows it if there is one: on the CPU in one pass.
    pub(super) fn apply(
        &self,
        theta: &Var,
        grad: &Tensor,
        moments: &Moments,
        average: Option<(&Var, Lerp)>,
    ) -> Result<()> {
        let Moments { m, v } = moments;
        let mut all = vec![theta, m, v];
        all.extend(average.map(|(var, _)| var));
        for var in &all {
            same_shape(var, grad)?;
        }
        let lerp = average.map(|(_, lerp)| lerp);
        #[cfg(feature = "cuda")]
        if self.by_kernel(&all, grad, lerp)? {
            return Ok(());
        }
        let alike = |var: &&Var| has_fused_pass(var) && var.dtype() == theta.dtype();
        let fused = all.iter().all(alike) && are_apart(tensors(&all).chain([grad]));
        match theta.dtype() {
            DType::F32 if fused => self.fused::<f32>(&all, grad, lerp),
            DType::F64 if fused => self.fused::<f64>(&all, grad, lerp),
            _ => self.composed(theta, grad, moments, average),
        }
    }

    /// In one pass on a GPU whose kernels are right; says whether.
    #[cfg(feature = "cuda")]
    fn by_kernel(&self, all: &[&Var], grad: &Tensor, average: Option<Lerp>) -> Result<bool> {
        let dtype = all[0].dtype();
        let known = matches!(dtype, DType::F32 | DType::F64);
        if !known || !cuda::serve(tensors(all)) || !all.iter().all(|var| var.is_contiguous()) {
            return Ok(false);
        }
        let grad = grad.to_dtype(dtype)?;
        if !are_apart(tensors(all).chain([&grad])) {
            return Ok(false);
        }
        let both = |lerp: Lerp| [lerp.step, 1.0 - lerp.step];
        let Descent {
            keep,
            rate,
            root,
            eps,
        } = self.descent;
        let scalars = cuda::Scalars {
            first: both(self.first),
            second: both(self.second),
            keep,
            rate,
            root,
            eps,
            average: average.map_or([0.0; 2], both),
        };
        cuda::adamw(all, &grad, &scalars)?;
        Ok(true)
    }

    fn composed(
        &self,
        theta: &Var,
        grad: &Tensor,
        Moments { m, v }: &Moments,
        average: Option<(&Var, Lerp)>,
    ) -> Result<()> {
        self.first.composed(m, grad)?;
        self.second.composed(v, grad)?;
        self.descent.composed(theta, m, v)?;
        match average {
            Some((average, lerp)) => lerp.composed(average, theta),
            None => Ok(()),
        }
    }

    /// `all` are θ, m, v and perhaps θ̄.
    fn fused<R: Real>(&self, all: &[&Var], grad: &Tensor, average: Option<Lerp>) -> Result<()> {
        let grad = grad.to_dtype(R::DTYPE)?;
        let pass = |grad: &[R]| {
            with_variables(all, &|slices: Vec<&mut [R]>| {
                let mut slices: Vec<_> = slices.into_iter().map(|x| x.chunks_mut(CHUNK)).collect();
                let tasks = grad.chunks(CHUNK).map(|grad| {
                    let chunks = slices.iter_mut().filter_map(Iterator::next);
                    (grad, chunks.collect::<Vec<_>>())
                });
                let tasks: Vec<_> = tasks.collect();
                tasks
                    .into_par_iter()
                    .for_each(|(grad, mut chunks)| self.pass(grad, &mut chunks, average));
            })
        };
        Ok(with::<R, _>(&grad, pass)?)
    }

    fn pass<R: Real>(&self, grad: &[R], slices: &mut [&mut [R]], average: Option<Lerp>) {
        let [theta, m, v, averages @ ..] = slices else {
            unreachable!("an update has a parameter and two moments");
        };
        for (i, grad) in grad.chunks(BLOCK).enumerate() {
            let block = i * BLOCK..i * BLOCK + grad.len();
            let (theta, m, v) = (
                &mut theta[block.clone()],
                &mut m[block.clone()],
                &mut v[block.clone()],
            );
            self.first.pass(m, grad);
            self.second.pass(v, grad);
            self.descent.pass(theta, m, v);
            if let (Some(lerp), [average, ..]) = (average, &mut *averages) {
                lerp.pass(&mut average[block], theta);
            }
        }
    }
}

/// θ, m, v and θ̄ after a step of fixed numbers on a device.
#[cfg(feature = "cuda")]
pub(crate) fn one_step(count: usize, dtype: DType, device: &Device) -> Result<Vec<Tensor>> {
    let waves = |factor: f64| {
        let values = (0..count).map(|i| (factor * i as f64 + 0.3).sin());
        let values = Tensor::from_vec(values.collect::<Vec<_>>(), count, &Device::Cpu)?;
        values.to_dtype(dtype)?.to_device(device)
    };
    let [theta, m, average] = [2.0, 3.0, 5.0].map(|factor| Var::from_tensor(&waves(factor)?));
    let (theta, average) = (theta?, average?);
    let moments = Moments {
        m: m?,
        v: Var::from_tensor(&waves(4.0)?.sqr()?)?,
    };
    let lerp = |step, square| Lerp { step, square };
    let update = Update {
        first: lerp(0.1, false),
        second: lerp(0.25, true),
        descent: Descent {
            keep: 0.9,
            rate: 0.3,
            root: 2.0,
            eps: 0.1,
        },
    };
    update.apply(
        &theta,
        &waves(6.0)?,
        &moments,
        Some((&average, lerp(0.7, false))),
    )?;
    let after = [theta, moments.m, moments.v, average];
    Ok(after.iter().map(Var::as_detached_tensor).collect())
}

/// AdamW's update of θ: `keep·θ − rate·m / (root·√v + eps)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Descent {
    pub(super) keep: f64,
    pub(super) rate: f64,
    pub(super) root: f64,
    pub(super) eps: f64,
}

impl Descent {
    fn composed(&self, theta: &Var, m: &Var, v: &Var) -> Result<()> {
        let (m, v) = (m.as_detached_tensor(), v.as_detached_tensor());
        let way = ((m * self.rate)? / v.sqrt()?.affine(self.root, self.eps)?)?;
        let kept = (theta.to_dtype(way.dtype())?.detach() * self.keep)?;
        Ok(theta.set(&(kept - way)?.to_dtype(theta.dtype())?)?)
    }

    fn pass<R: Real>(&self, theta: &mut [R], m: &[R], v: &[R]) {
        let (keep, rate) = (R::of(self.keep), R::of(self.rate));
        let (root, eps) = (R::of(self.root), R::of(self.eps));
        vectorised(
            #[inline(always)]
            || {
                for ((theta, &m), &v) in theta.iter_mut().zip(m).zip(v) {
                    *theta = keep * *theta - rate * m / (v.sqrt() * root + eps);
                }
            },
        );
    }
}

fn tensors<'a>(vars: &[&'a Var]) -> impl Iterator<Item = &'a Tensor> {
    vars.iter().map(|var| var.as_tensor())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Streams;
    use candle_core::Device;

    fn draw(index: u64, count: usize, dtype: DType) -> Tensor {
        Streams::new(1)
            .normal_tensor("optim", index, count, &Device::Cpu, dtype)
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
        let apart = (a.as_tensor() - b.as_tensor()).and_then(|d| {
            d.abs()?
                .to_dtype(DType::F64)?
                .flatten_all()?
                .to_vec1::<f64>()
        });
        // NaN stays, over which candle's maximum passes.
        let widest = |m: f64, d: f64| if d > m || d.is_nan() { d } else { m };
        apart.expect("numbers").into_iter().fold(0.0, widest) / (u * scale)
    }

    /// What runs on other devices is what runs in place on the CPU, up to contracted roundings.
    #[test]
    fn a_fused_and_a_composed_step_towards_a_tensor_agree() {
        for dtype in [DType::F32, DType::F64] {
            let draw = |index| draw(index, 100, dtype);
            for (step, square) in [(0.1, false), (0.001, true), (0.75, true), (1.0, false)] {
                let lerp = Lerp { step, square };
                let (fused, composed) = (var(&draw(0)), var(&draw(0)));
                assert!(has_fused_pass(&fused));
                lerp.apply(&fused, &draw(1)).expect("an update");
                lerp.composed(&composed, &draw(1)).expect("an update");
                assert!(
                    difference(&fused, &var(&draw(0)), 1.0) > 1e3,
                    "nothing moved"
                );
                // |x|, |y| < 20 after squaring; at most four roundings on each side.
                let apart = difference(&fused, &composed, 20.0);
                assert!(apart <= 8.0, "{lerp:?} {dtype:?}");
            }
        }
    }

    /// θ, m, v and θ̄ of one pass are those of one update after the other, for slices of one chunk and of several.
    #[test]
    fn one_pass_and_four_composed_updates_agree() {
        let update = Update {
            first: Lerp {
                step: 0.1,
                square: false,
            },
            second: Lerp {
                step: 0.25,
                square: true,
            },
            descent: Descent {
                keep: 0.9,
                rate: 0.3,
                root: 2.0,
                eps: 0.1,
            },
        };
        let lerp = Lerp {
            step: 0.3,
            square: false,
        };
        for dtype in [DType::F32, DType::F64] {
            for count in [1, BLOCK + 3, 2 * CHUNK + 5] {
                let draw = |index| draw(index, count, dtype);
                let start = || {
                    let moments = Moments {
                        m: var(&draw(1)),
                        v: var(&draw(2).sqr().expect("squares")),
                    };
                    (var(&draw(0)), moments, var(&draw(3)))
                };
                let (grad, fused, composed, before) = (draw(4), start(), start(), start());
                let (theta, moments, average) = &fused;
                let step = update.apply(theta, &grad, moments, Some((average, lerp)));
                step.expect("a step");
                let (theta, moments, average) = &composed;
                let step = update.composed(theta, &grad, moments, Some((average, lerp)));
                step.expect("a step");
                let pairs = |a: &(Var, Moments, Var), b: &(Var, Moments, Var)| {
                    let of = |x: &(Var, Moments, Var)| [&x.0, &x.1.m, &x.1.v, &x.2].map(Var::clone);
                    of(a).into_iter().zip(of(b)).collect::<Vec<_>>()
                };
                for (fused, before) in pairs(&fused, &before) {
                    assert!(difference(&fused, &before, 1.0) > 1e3, "nothing moved");
                }
                // |m|, |v|, g² < 36: four roundings on each side. √v has half of v's relative error and two roundings of its
                // own, the denominator is at least eps: the quotient, < 0.3 · 6 / 0.1, has at most eleven; θ̄ moves with θ.
                let sizes = [(18.0 + 6.0, 22.0), (6.0, 8.0), (36.0, 8.0), (24.0, 30.0)];
                let sized = pairs(&fused, &composed).into_iter().zip(sizes);
                for (i, ((fused, composed), (scale, roundings))) in sized.enumerate() {
                    let apart = difference(&fused, &composed, scale);
                    assert!(apart <= roundings, "{i} of {count}, {dtype:?}: {apart}");
                }
                let alone = start();
                let step = update.apply(&alone.0, &grad, &alone.1, None);
                step.expect("a step");
                let lone = lerp.apply(&alone.2, &alone.0);
                lone.expect("an update");
                for (i, (fused, alone)) in pairs(&fused, &alone).into_iter().enumerate() {
                    assert!(difference(&fused, &alone, 1.0) == 0.0, "{i} of {count}");
                }
            }
        }
    }
}
