//! The structural loss of inner products with its gradient, from two matrix products.

use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, DType, InplaceOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::buffer::{by_dtype, load, tensor, with};
use super::matrix::{columns_times, rows_times};
use super::panels::{Panels, pack, pack_columns, pack_rows, turn};
use super::real::{Real, sum_wide, sum2_wide, vectorised};
use super::scratch::Scratch;

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
/// P and S are formed in f64 and rounded once, as are norms; sums over E, A, C, X are in f64. Where a gradient is `E (qψ̂)`, q
/// and the norm are columns of E scaled in f64 and rounded once, so that ψ̂ itself is what is multiplied.
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

/// What the backward pass needs besides the features.
struct Saved {
    /// Gradients in qψ and qψ̂ of unit rows, in the precision of the arithmetic.
    products: [Option<Tensor>; 2],
    /// Norms of the features, 1 unless the relation is cosine.
    norms: [Vec<f64>; 2],
    /// q_i, or 1 where one η is common to all and taken out.
    roots: Vec<f64>,
    /// η where it is common to all.
    common: f64,
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
            .for_each(|(i, (g, psi))| {
                let norm = saved.norms[side][i];
                let factor = op.factor * saved.common * saved.roots[i] / norm;
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
    let rows = Rows::new(psi, width, op);
    let (value, products) = if width < rows.batch() {
        feature_form(&rows, op)
    } else {
        batch_form(&rows, psi, op)
    };
    let shape = (rows.batch(), width);
    let saved = Saved {
        products: products.map(|g| g.map(|g| tensor(g, shape, R::DTYPE))),
        norms: rows.norms,
        roots: rows.roots,
        common: rows.common,
    };
    let common = if let [eta] = op.eta[..] { eta } else { 1.0 };
    (value * common, saved)
}

/// Elements between the rows of `[P S]` beyond their own: rows that begin a multiple of 4 KiB apart would all fall into the same
/// sets of the first-level cache.
const APART: usize = 32;

/// The rows p_i and s_i, rounded once from f64.
struct Rows<R: Real> {
    width: usize,
    /// Elements from one row to the next.
    pitch: usize,
    /// p_i, s_i and [`APART`] more, for each i.
    both: Scratch<R>,
    /// Norms of the features, 1 unless the relation is cosine.
    norms: [Vec<f64>; 2],
    /// q_i, or 1 where one η is common to all and taken out.
    roots: Vec<f64>,
    /// η where it is common to all.
    common: f64,
}

impl<R: Real> Rows<R> {
    fn new(psi: [&[R]; 2], width: usize, op: &PolarisedLoss) -> Self {
        let batch = psi[0].len() / width;
        let (roots, common) = match op.eta.as_slice() {
            [eta] => (vec![1.0; batch], *eta),
            eta => (eta.iter().map(|eta| eta.sqrt().sqrt()).collect(), 1.0),
        };
        let mut norms = [vec![1.0; batch], vec![1.0; batch]];
        let [own, other] = &mut norms;
        let pitch = 2 * width + APART;
        let mut both = Scratch::new(batch * pitch);
        both.par_chunks_mut(pitch)
            .zip((own.par_iter_mut(), other.par_iter_mut()))
            .enumerate()
            .for_each(|(i, (both, (own, other)))| {
                let [x, y] = psi.map(|psi| &psi[i * width..][..width]);
                let (p, s) = both[..2 * width].split_at_mut(width);
                vectorised(
                    #[inline(always)]
                    || {
                        if op.cosine {
                            (*own, *other) = (norm(x), norm(y));
                        }
                        let scales = [roots[i] / *own, roots[i] / *other];
                        difference_and_sum(p, s, x, y, scales);
                    },
                );
            });
        Self {
            width,
            pitch,
            both,
            norms,
            roots,
            common,
        }
    }

    fn batch(&self) -> usize {
        self.roots.len()
    }

    /// p_i and s_i.
    fn row(&self, i: usize) -> (&[R], &[R]) {
        self.both[i * self.pitch..][..2 * self.width].split_at(self.width)
    }

    /// The rows s_i, and what follows each: to be read with the same pitch.
    fn sums(&self) -> &[R] {
        &self.both[self.width..]
    }
}

#[inline(always)]
fn norm<R: Real>(row: &[R]) -> f64 {
    sum_wide(row, |x| x * x).sqrt()
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
type Outcome<R> = (f64, [Option<Vec<R>>; 2]);

/// B ≤ d: through E.
fn batch_form<R: Real>(rows: &Rows<R>, psi: [&[R]; 2], op: &PolarisedLoss) -> Outcome<R> {
    let (batch, width) = (rows.batch(), rows.width);
    let pairs = op.pairs(batch);
    let panels = pack_columns(rows.sums(), rows.pitch, width, batch);
    let right = Panels::new(&panels, width, batch);
    let half = rows_times(&rows.both, rows.pitch, right, batch, None);
    let (e, squares) = symmetric_part(&half, batch, op.without_diagonal);
    let gradient = |side: usize| {
        let factor = if side == 0 { 4.0 } else { -4.0 } / pairs;
        let scales = rows.roots.iter().zip(&rows.norms[side]);
        let scales: Vec<f64> = scales.map(|(root, norm)| factor * root / norm).collect();
        let scaled = columns_scaled(&e, &scales);
        let panels = pack_rows(psi[side], width, batch, width);
        let right = Panels::new(&panels, batch, width);
        rows_times(&scaled, batch, right, batch, None)
    };
    let gradients = [0, 1].map(|side: usize| op.wants[side].then(|| gradient(side)));
    (squares / pairs, gradients)
}

/// Column j times its scale.
fn columns_scaled<R: Real>(e: &[R], scales: &[f64]) -> Scratch<R> {
    let mut scaled = Scratch::new(e.len());
    scaled
        .par_chunks_mut(BLOCK * scales.len())
        .zip(e.par_chunks(BLOCK * scales.len()))
        .for_each(|(to, from)| {
            vectorised(
                #[inline(always)]
                || {
                    let rows = to.chunks_exact_mut(scales.len());
                    for (to, from) in rows.zip(from.chunks_exact(scales.len())) {
                        for (to, (e, scale)) in to.iter_mut().zip(from.iter().zip(scales)) {
                            *to = R::of(e.wide() * scale);
                        }
                    }
                },
            );
        });
    scaled
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
                    let mut turned = [R::default(); BLOCK * BLOCK];
                    for start in (0..side).step_by(BLOCK) {
                        let columns = start..(start + BLOCK).min(side);
                        let from = &h[start * side + first..];
                        let count = rows.len() / side;
                        turn(from, side, count, columns.len(), &mut turned, BLOCK, |i| i);
                        for (i, row) in rows.chunks_exact_mut(side).enumerate() {
                            let from = &h[(first + i) * side..][columns.clone()];
                            let terms = from.iter().zip(&turned[i * BLOCK..]);
                            let part = &mut row[columns.clone()];
                            for (e, (&h, &turned)) in part.iter_mut().zip(terms) {
                                *e = R::of(0.5) * (h + turned);
                            }
                            if without_diagonal && columns.contains(&(first + i)) {
                                part[first + i - start] = R::default();
                            }
                        }
                    }
                    sum_wide(rows, |e| e * e)
                },
            )
        })
        .collect();
    (e, squares.into_iter().sum())
}

/// d < B: through `Pᵀ[P S]` = [A X] and SᵀS = C.
fn feature_form<R: Real>(rows: &Rows<R>, op: &PolarisedLoss) -> Outcome<R> {
    let (batch, width) = (rows.batch(), rows.width);
    let pairs = op.pairs(batch);
    let (ax, c) = {
        let panels = pack_rows(&rows.both, rows.pitch, batch, 2 * width);
        let both = Panels::new(&panels, batch, 2 * width);
        let ax = columns_times(&rows.both, rows.pitch, 0..width, both);
        let own: Scratch<R>;
        let sums = if let Some(sums) = both.after(width) {
            sums
        } else {
            own = pack_rows(rows.sums(), rows.pitch, batch, width);
            Panels::new(&own, batch, width)
        };
        let chosen = width..2 * width;
        (ax, columns_times(&rows.both, rows.pitch, chosen, sums))
    };
    let own: Option<Vec<f64>> = (op.without_diagonal && !op.cosine).then(|| diagonal(rows));
    let excluded: f64 = own.iter().flatten().map(|e| e * e).sum();
    let value = (0.5 * traces(&ax, &c, width) - excluded) / pairs;
    let gradient = |sign: f64| {
        let panels = gradient_factor(&ax, &c, width, [sign, 1.0 / pairs]);
        let right = Panels::new(&panels, 2 * width, width);
        let mut gradient = rows_times(&rows.both, rows.pitch, right, batch, None);
        if let Some(own) = &own {
            without_own(rows, own, &mut gradient, [sign, 2.0 / pairs]);
        }
        gradient
    };
    let [real, generated] = op.wants;
    (
        value,
        [
            real.then(|| gradient(1.0)),
            generated.then(|| gradient(-1.0)),
        ],
    )
}

/// ⟨A, C⟩ + tr X², in f64; `[A X]` in rows of 2d.
fn traces<R: Real>(ax: &[R], c: &[R], width: usize) -> f64 {
    let row = |i: usize| ax[i * 2 * width..][..2 * width].split_at(width);
    let sums: Vec<f64> = c
        .par_chunks(BLOCK * width)
        .enumerate()
        .map(|(block, c)| {
            vectorised(
                #[inline(always)]
                || {
                    let (mut sum, mut turned) = (0.0, [R::default(); BLOCK * BLOCK]);
                    for start in (0..width).step_by(BLOCK) {
                        let columns = start..(start + BLOCK).min(width);
                        let from = &ax[(2 * start + 1) * width + block * BLOCK..];
                        let (pitch, count) = (2 * width, c.len() / width);
                        turn(from, pitch, count, columns.len(), &mut turned, BLOCK, |i| i);
                        for (i, c) in c.chunks_exact(width).enumerate() {
                            let (a, x) = row(block * BLOCK + i);
                            let (a, c) = (&a[columns.clone()], &c[columns.clone()]);
                            sum += sum2_wide(a, c, |a, c| a * c);
                            let turned = &turned[i * BLOCK..][..columns.len()];
                            sum += sum2_wide(&x[columns.clone()], turned, |x, y| x * y);
                        }
                    }
                    sum
                },
            )
        })
        .collect();
    sums.into_iter().sum()
}

/// What `[P S]` is multiplied with for a gradient, packed: `factor (± C + Xᵀ)` above `factor (± X + A)`.
fn gradient_factor<R: Real>(
    ax: &[R],
    c: &[R],
    width: usize,
    [sign, factor]: [f64; 2],
) -> Scratch<R> {
    pack(
        2 * width,
        width,
        #[inline(always)]
        |panel, first, count, pitch| {
            let (above, below) = panel.split_at_mut(width * pitch);
            // Xᵀ, to which ± C is added where it lies.
            let x = &ax[(2 * first + 1) * width..];
            turn(x, 2 * width, width, count, above, pitch, |p| p);
            for (p, to) in above.chunks_exact_mut(pitch).enumerate() {
                let c = &c[p * width + first..];
                for (to, c) in to[..count].iter_mut().zip(c) {
                    *to = R::of(factor * (sign * c.wide() + to.wide()));
                }
            }
            for (p, to) in below.chunks_exact_mut(pitch).enumerate() {
                let (a, x) = ax[p * 2 * width..][..2 * width].split_at(width);
                let terms = a[first..].iter().zip(&x[first..]);
                for (to, (a, x)) in to[..count].iter_mut().zip(terms) {
                    *to = R::of(factor * (sign * x.wide() + a.wide()));
                }
            }
        },
    )
}

/// E_ii = ⟨p_i, s_i⟩.
fn diagonal<R: Real>(rows: &Rows<R>) -> Vec<f64> {
    let own = |i: usize| {
        let (p, s) = rows.row(i);
        vectorised(
            #[inline(always)]
            || sum2_wide(p, s, |p, s| p * s),
        )
    };
    (0..rows.batch()).into_par_iter().map(own).collect()
}

/// Takes the share of the excluded pairs from a gradient: E_ii (± s_i + p_i) times a factor, twice ψ_i or −ψ̂_i being s_i ± p_i.
fn without_own<R: Real>(rows: &Rows<R>, own: &[f64], gradient: &mut [R], [sign, factor]: [f64; 2]) {
    gradient
        .par_chunks_mut(rows.width)
        .enumerate()
        .for_each(|(i, g)| {
            let (p, s) = rows.row(i);
            let share = factor * own[i];
            vectorised(
                #[inline(always)]
                || {
                    for (g, (p, s)) in g.iter_mut().zip(p.iter().zip(s)) {
                        *g = R::of(g.wide() - share * (sign * s.wide() + p.wide()));
                    }
                },
            );
        });
}
