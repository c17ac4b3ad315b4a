//! The structural loss of inner products with its gradient, from two matrix products.

#![expect(
    clippy::inline_always,
    reason = "kernels must be inlined into `real::vectorised` to be compiled for AVX2"
)]

mod batch_form;
mod feature_form;
mod rows;

use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, DType, InplaceOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::nn::cpu::buffer::{CHUNK, by_dtype, load, tensor, with};
use crate::nn::cpu::real::{Real, vectorised};
use crate::nn::cpu::sums::sum2_wide;
use batch_form::batch_form;
use feature_form::feature_form;
use rows::{Rows, Scales};

/// The squared structural loss of inner products on the CPU.
///
/// # Formula
/// With q_i = η_i^¼, rows p_i = q_i (ψ_i − ψ̂_i), s_i = q_i (ψ_i + ψ̂_i) (of unit rows for cosine) and N = B²,
/// or B(B−1) without the diagonal:
/// ```text
/// B ≤ d:  E = ½(P Sᵀ + S Pᵀ)                    S = ‖E‖²/N,   ∂S/∂(qψ̂) = −4/N E (qψ̂),   ∂S/∂(qψ) = 4/N E (qψ)
/// d < B:  A = PᵀP, C = SᵀS, X = PᵀS             S = ½(⟨A, C⟩ + tr X²)/N
///         ∂S/∂(qψ̂) = −[P (C − Xᵀ) + S (X − A)]/N,   ∂S/∂(qψ) = [P (C + Xᵀ) + S (X + A)]/N
/// ```
/// so that the larger of |B|×|B| and d×d is never formed. Without the diagonal E_ii = 0 in the first form; the second
/// loses `Σ_i E_ii²/N` with E_ii = ⟨p_i, s_i⟩, and `4/N E_ii` times the row from each gradient. Under cosine E_ii is 0
/// but for rounding, and the second form is left as it is.
///
/// # Shapes
/// `real`, `generated`: `[B, d]`, f32 or f64, contiguous; `eta`: B numbers or one → `[]`.
///
/// # Error
/// P and S are formed in f64 and rounded once, as are norms; sums over E, A, C, X are in f64. Of features that are f64 themselves
/// P is exact but for its factor q where they are near; under cosine, of two rows each rounded, its error is about `u/‖P‖`. Where a
/// gradient is `E (qψ̂)`, q and the norm are columns of E scaled in f64 and rounded once, so that ψ̂ itself is what is multiplied: in
/// f32 a norm below 1e-35 or above 1e35 can overflow or lose digits there.
pub(crate) fn polarised_squared_loss(
    real: &Tensor,
    generated: &Tensor,
    eta: &[f64],
    cosine: bool,
    without_diagonal: bool,
) -> Result<Tensor> {
    let op = PolarisedLoss {
        eta: eta.to_vec(),
        cosine,
        without_diagonal,
        wants: [real.track_op(), generated.track_op()],
        saved: Mutex::default(),
    };
    real.apply_op2(generated, op)
}

/// The products for the gradients come with the value: what they need is at hand then.
struct PolarisedLoss {
    eta: Vec<f64>,
    cosine: bool,
    /// Whether a sample is not compared with itself.
    without_diagonal: bool,
    /// Whether the gradients in the real and in the generated features are needed.
    wants: [bool; 2],
    saved: Mutex<Option<Saved>>,
}

/// Tensors kept for the backward pass besides the features.
struct Saved {
    /// Gradients in qψ and qψ̂ of unit rows, in the precision of the arithmetic.
    products: [Option<Tensor>; 2],
    scales: Scales,
}

impl PolarisedLoss {
    /// Number of pairs that are compared.
    fn pairs(&self, batch: usize) -> f64 {
        let others = if self.without_diagonal {
            batch - 1
        } else {
            batch
        };
        (batch * others) as f64
    }
}

impl CustomOp2 for PolarisedLoss {
    fn name(&self) -> &'static str {
        "structural_loss"
    }

    fn cpu_fwd(
        &self,
        real: &CpuStorage,
        real_layout: &Layout,
        generated: &CpuStorage,
        generated_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let inputs = [(real, real_layout), (generated, generated_layout)];
        let value = by_dtype!(real.dtype(), "structural_loss", forward(self, inputs))?;
        Ok((value, Shape::from(())))
    }

    fn bwd(
        &self,
        real: &Tensor,
        generated: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        // This is the CPU: reading a number from it waits for nothing.
        let factor = grad.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let saved = self.saved.lock();
        let saved = saved.unwrap_or_else(PoisonError::into_inner).take();
        let saved = match saved {
            Some(saved) => saved,
            // The graph is walked once more: the products of the first time have become its gradients.
            None => by_dtype!(
                real.dtype(),
                "structural_loss",
                again(self, [real, generated])
            )?,
        };
        let back = |side: usize, psi: &Tensor| match &saved.products[side] {
            Some(product) => {
                let back = Back {
                    saved: &saved,
                    side,
                    psi,
                    cosine: self.cosine,
                    factor,
                };
                product.inplace_op1(&back)?;
                product.to_dtype(psi.dtype()).map(Some)
            }
            None => Ok(None),
        };
        Ok((back(0, real)?, back(1, generated)?))
    }
}

/// [`loss`] of tensors.
fn again<R: Real>(op: &PolarisedLoss, [real, generated]: [&Tensor; 2]) -> Result<Saved> {
    let (_, width) = real.dims2()?;
    with::<R, _>(real, |real| {
        with::<R, _>(generated, |generated| {
            Ok(loss(op, [real, generated], width).1)
        })
    })
}

/// From a gradient in q ψ/‖ψ‖ to one in ψ, in place: g' = factor q η g, then (g' − u ⟨u, g'⟩)/‖ψ‖ with u = ψ/‖ψ‖.
struct Back<'a> {
    saved: &'a Saved,
    side: usize,
    psi: &'a Tensor,
    cosine: bool,
    factor: f64,
}

impl InplaceOp1 for Back<'_> {
    fn name(&self) -> &'static str {
        "structural_loss's gradient"
    }

    fn cpu_fwd(&self, product: &mut CpuStorage, _: &Layout) -> Result<()> {
        by_dtype!(product.dtype(), "structural_loss", back(self, product))
    }
}

fn back<R: Real>(op: &Back<'_>, product: &mut CpuStorage) -> Result<()> {
    let Back {
        saved, side, psi, ..
    } = *op;
    let width = psi.dim(1)?;
    with::<R, _>(psi, |psi| {
        let rows = R::slice_mut(product)
            .unwrap_or_default()
            .par_chunks_mut(width);
        rows.zip(psi.par_chunks(width))
            .enumerate()
            .with_min_len(CHUNK.div_ceil(width))
            .for_each(|(i, (g, psi))| {
                let Scales {
                    norms,
                    roots,
                    common,
                } = &saved.scales;
                let norm = norms[side][i];
                let factor = op.factor * common * roots[i] / norm;
                vectorised(
                    #[inline(always)]
                    || {
                        let along = if op.cosine {
                            sum2_wide(psi, g, |x, g| x * g) / (norm * norm)
                        } else {
                            0.0
                        };
                        for (g, x) in g.iter_mut().zip(psi) {
                            *g = R::of(factor * (g.wide() - x.wide() * along));
                        }
                    },
                );
            });
        Ok(())
    })
}

/// What [`PolarisedLoss::cpu_fwd`] does, in the arithmetic of R.
fn forward<R: Real>(op: &PolarisedLoss, inputs: [(&CpuStorage, &Layout); 2]) -> Result<CpuStorage> {
    let dtype = inputs[0].0.dtype();
    let (_, width) = inputs[0].1.shape().dims2()?;
    let [real, generated] = inputs.map(|(storage, layout)| load::<R>(storage, layout));
    let (value, saved) = loss(op, [&*real?, &*generated?], width);
    *op.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
    Ok(R::store(vec![R::of(value)], dtype))
}

/// The value, and what the backward pass needs.
fn loss<R: Real>(op: &PolarisedLoss, psi: [&[R]; 2], width: usize) -> (f64, Saved) {
    let shape = (psi[0].len() / width, width);
    let (scales, (value, products)) = if width < shape.0 {
        let rows = Rows::new(psi, width, op);
        let outcome = feature_form(&rows, op);
        (rows.scales, outcome)
    } else {
        let scales = Scales::new(psi, width, op);
        let outcome = batch_form(&scales, psi, width, op);
        (scales, outcome)
    };
    let saved = Saved {
        products: products.map(|g| g.map(|g| tensor(g, shape, R::DTYPE))),
        scales,
    };
    let common = if let [eta] = op.eta[..] { eta } else { 1.0 };
    (value * common, saved)
}

/// The value (without a common η) and the gradients in qψ and qψ̂ where they are wanted.
type Outcome<R> = (f64, [Option<Vec<R>>; 2]);

/// Side of the blocks in which a matrix and its transpose are read together.
const BLOCK: usize = 64;
