//! The structural loss of inner products with its gradient, from two matrix products.

use std::sync::Mutex;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::buffer::{by_dtype, load, tensor, with};
use super::real::{Real, sum_wide, sum2_wide, vectorised};

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
/// P and S are formed in f64 and rounded once, as are norms; sums over E, A, C, X are in f64.
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
        gradients: Mutex::default(),
    };
    real.apply_op2(generated, op)
}

/// The gradients come with the value: what they need is at hand then.
struct PolarisedLoss {
    eta: Vec<f64>,
    cosine: bool,
    /// Whether a sample is not compared with itself.
    without_diagonal: bool,
    /// Whether the gradients in the real and in the generated features are needed.
    wants: [bool; 2],
    gradients: Mutex<[Option<Tensor>; 2]>,
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
        let value = by_dtype!(real.dtype(), "structural_loss", loss(self, inputs))?;
        Ok((value, Shape::from(())))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [real, generated] = {
            let gradients = self.gradients.lock();
            gradients.map_or_else(|poisoned| poisoned.into_inner().clone(), |g| g.clone())
        };
        let scaled = |g: Option<Tensor>| g.map(|g| g.broadcast_mul(grad)).transpose();
        Ok((scaled(real)?, scaled(generated)?))
    }
}

fn loss<R: Real>(op: &PolarisedLoss, inputs: [(&CpuStorage, &Layout); 2]) -> Result<CpuStorage> {
    let dtype = inputs[0].0.dtype();
    let (batch, width) = inputs[0].1.shape().dims2()?;
    let [real, generated] = inputs.map(|(storage, layout)| load::<R>(storage, layout));
    let psi = [real?, generated?];
    let rows = Rows::new([&psi[0], &psi[1]], width, op);
    let (value, scaled) = if width < batch {
        feature_form::<R>(&rows, op)?
    } else {
        batch_form::<R>(&rows, op)?
    };
    let mut gradients = [None, None];
    for (side, scaled) in scaled.iter().enumerate() {
        if let Some(scaled) = scaled {
            let values = with(scaled, |scaled| {
                Ok(rows.back(&psi[side], scaled, side, op.cosine))
            })?;
            gradients[side] = Some(tensor(values, (batch, width), dtype));
        }
    }
    match op.gradients.lock() {
        Ok(mut slot) => *slot = gradients,
        Err(poisoned) => *poisoned.into_inner() = gradients,
    }
    let value = match op.eta.as_slice() {
        [eta] => value * eta,
        _ => value,
    };
    Ok(R::store(vec![R::of(value)], dtype))
}

/// P, S and the rows qψ, qψ̂ themselves, rounded once from f64.
struct Rows<R> {
    width: usize,
    p: Tensor,
    s: Tensor,
    sides: [Vec<R>; 2],
    /// Norms of the features, 1 unless the relation is cosine.
    norms: [Vec<f64>; 2],
    /// q_i, or 1 where one η is common to all and taken out.
    roots: Vec<f64>,
    /// η where it is common to all.
    common: f64,
}

impl<R: Real> Rows<R> {
    fn new(psi: [&[R]; 2], width: usize, op: &PolarisedLoss) -> Self {
        let batch = psi[0].len() / width.max(1);
        let roots: Vec<f64> = match op.eta.as_slice() {
            [_] => vec![1.0; batch],
            eta => eta.iter().map(|eta| eta.sqrt().sqrt()).collect(),
        };
        let norms = psi.map(|psi| {
            let rows = psi.par_chunks(width);
            rows.map(|row| if op.cosine { norm(row) } else { 1.0 })
                .collect::<Vec<f64>>()
        });
        let empty = |wanted: bool| vec![R::default(); if wanted { batch * width } else { 0 }];
        let [mut p, mut s] = [(); 2].map(|()| empty(true));
        (p.par_chunks_mut(width), s.par_chunks_mut(width))
            .into_par_iter()
            .zip((psi[0].par_chunks(width), psi[1].par_chunks(width)).into_par_iter())
            .enumerate()
            .for_each(|(i, ((p, s), (x, y)))| {
                let scales = [0, 1].map(|side: usize| roots[i] / norms[side][i]);
                vectorised(
                    #[inline(always)]
                    || difference_and_sum(p, s, x, y, scales),
                );
            });
        // The rows themselves multiply only E, which the form of features does without.
        let mut sides = [0, 1].map(|side: usize| empty(op.wants[side] && batch <= width));
        for (side, rows) in sides.iter_mut().enumerate() {
            rows.par_chunks_mut(width)
                .zip(psi[side].par_chunks(width))
                .enumerate()
                .for_each(|(i, (to, from))| {
                    let scale = roots[i] / norms[side][i];
                    vectorised(
                        #[inline(always)]
                        || {
                            for (to, x) in to.iter_mut().zip(from) {
                                *to = R::of(x.wide() * scale);
                            }
                        },
                    );
                });
        }
        let matrix = |values: Vec<R>| tensor(values, (batch, width), R::DTYPE);
        Self {
            width,
            p: matrix(p),
            s: matrix(s),
            sides,
            norms,
            roots,
            common: if let [eta] = op.eta.as_slice() {
                *eta
            } else {
                1.0
            },
        }
    }

    fn batch(&self) -> usize {
        self.roots.len()
    }

    /// From a gradient in q ψ/‖ψ‖ to one in ψ: g' = q η g, then (g' − u ⟨u, g'⟩)/‖ψ‖ with u = ψ/‖ψ‖.
    fn back(&self, psi: &[R], scaled: &[R], side: usize, cosine: bool) -> Vec<R> {
        let width = self.width;
        let mut gradient = vec![R::default(); psi.len()];
        gradient
            .par_chunks_mut(width)
            .zip(psi.par_chunks(width).zip(scaled.par_chunks(width)))
            .enumerate()
            .for_each(|(i, (to, (psi, g)))| {
                let norm = self.norms[side][i];
                let factor = self.common * self.roots[i] / norm;
                vectorised(
                    #[inline(always)]
                    || {
                        let along = if cosine {
                            sum2_wide(psi, g, |x, g| x * g) / (norm * norm)
                        } else {
                            0.0
                        };
                        for (to, (x, g)) in to.iter_mut().zip(psi.iter().zip(g)) {
                            *to = R::of(factor * (g.wide() - x.wide() * along));
                        }
                    },
                );
            });
        gradient
    }
}

fn norm<R: Real>(row: &[R]) -> f64 {
    vectorised(
        #[inline(always)]
        || sum_wide(row, |x| x * x).sqrt(),
    )
}

/// p = x a − y b and s = x a + y b.
#[inline(always)]
fn difference_and_sum<R: Real>(p: &mut [R], s: &mut [R], x: &[R], y: &[R], [a, b]: [f64; 2]) {
    for ((p, s), (x, y)) in p.iter_mut().zip(s).zip(x.iter().zip(y)) {
        let (x, y) = (x.wide() * a, y.wide() * b);
        (*p, *s) = (R::of(x - y), R::of(x + y));
    }
}

/// The value (without a common η) and the gradients in qψ and qψ̂ where they are wanted.
type Outcome = Result<(f64, [Option<Tensor>; 2])>;

/// B ≤ d: through E.
fn batch_form<R: Real>(rows: &Rows<R>, op: &PolarisedLoss) -> Outcome {
    let (batch, width, wants) = (rows.batch(), rows.width, op.wants);
    let pairs = op.pairs(batch);
    let half = rows.p.matmul(&rows.s.t()?)?;
    let (e, squares) = with::<R, _>(&half, |half| {
        Ok(symmetric_part(half, batch, op.without_diagonal))
    })?;
    let e = tensor(e, (batch, batch), R::DTYPE);
    let gradient = |side: usize, factor: f64| {
        let right = tensor(rows.sides[side].clone(), (batch, width), R::DTYPE);
        e.matmul(&right)? * (factor / pairs)
    };
    let real = wants[0].then(|| gradient(0, 4.0)).transpose()?;
    let generated = wants[1].then(|| gradient(1, -4.0)).transpose()?;
    Ok((squares / pairs, [real, generated]))
}

/// Side of the blocks in which a matrix and its transpose are read together.
const BLOCK: usize = 64;

/// ½(H + Hᵀ), with or without its diagonal, and the sum of its squares.
fn symmetric_part<R: Real>(h: &[R], side: usize, without_diagonal: bool) -> (Vec<R>, f64) {
    let mut e = vec![R::default(); h.len()];
    let squares: Vec<f64> = e
        .par_chunks_mut(BLOCK * side)
        .enumerate()
        .map(|(block, rows)| {
            vectorised(
                #[inline(always)]
                || {
                    let first = block * BLOCK;
                    let mut squares = 0.0;
                    for start in (0..side).step_by(BLOCK) {
                        let columns = start..(start + BLOCK).min(side);
                        for (i, row) in rows.chunks_exact_mut(side).enumerate() {
                            let i = first + i;
                            for j in columns.clone() {
                                row[j] = R::of(0.5) * (h[i * side + j] + h[j * side + i]);
                            }
                            if without_diagonal && columns.contains(&i) {
                                row[i] = R::default();
                            }
                            squares += sum_wide(&row[columns.clone()], |e| e * e);
                        }
                    }
                    squares
                },
            )
        })
        .collect();
    (e, squares.into_iter().sum())
}

/// d < B: through PᵀP, SᵀS and PᵀS.
fn feature_form<R: Real>(rows: &Rows<R>, op: &PolarisedLoss) -> Outcome {
    let (p, s, wants) = (&rows.p, &rows.s, op.wants);
    let pairs = op.pairs(rows.batch());
    let (p_t, s_t) = (p.t()?, s.t()?);
    let (a, c, x) = (p_t.matmul(p)?, s_t.matmul(s)?, p_t.matmul(s)?);
    let inner = |u: &Tensor, v: &Tensor| {
        with::<R, _>(u, |u| {
            with::<R, _>(v, |v| {
                Ok(vectorised(
                    #[inline(always)]
                    || sum2_wide(u, v, |u, v| u * v),
                ))
            })
        })
    };
    let x_t = x.t()?.contiguous()?;
    let own = (op.without_diagonal && !op.cosine).then(|| diagonal::<R>(p, s));
    let own = own.transpose()?;
    let squares = 0.5 * (inner(&a, &c)? + inner(&x, &x_t)?);
    let value = match &own {
        None => squares,
        Some(own) => squares - inner(own, own)?,
    } / pairs;
    let gradient = |sign: f64| {
        // sign (C + sign Xᵀ) above sign (X + sign A), for [P S] times both.
        let upper = ((&c * sign)? + &x_t)?;
        let lower = ((&x * sign)? + &a)?;
        let mut gradient = (p.matmul(&upper)? + s.matmul(&lower)?)?;
        if let Some(own) = &own {
            // Twice a row ψ or ψ̂ is s ± p.
            let twice = (s + (p * sign)?)?;
            gradient = (gradient - twice.broadcast_mul(&(own * (2.0 * sign))?)?)?;
        }
        gradient * (1.0 / pairs)
    };
    let real = wants[0].then(|| gradient(1.0)).transpose()?;
    let generated = wants[1].then(|| gradient(-1.0)).transpose()?;
    Ok((value, [real, generated]))
}

/// E_ii = ⟨p_i, s_i⟩, `[B, 1]`, summed in f64.
fn diagonal<R: Real>(p: &Tensor, s: &Tensor) -> Result<Tensor> {
    let (batch, width) = p.dims2()?;
    let values = with::<R, _>(p, |p| {
        with::<R, _>(s, |s| {
            let rows = p.par_chunks(width).zip(s.par_chunks(width));
            Ok(rows
                .map(|(p, s)| {
                    vectorised(
                        #[inline(always)]
                        || R::of(sum2_wide(p, s, |p, s| p * s)),
                    )
                })
                .collect::<Vec<R>>())
        })
    })?;
    Ok(tensor(values, (batch, 1), R::DTYPE))
}
