//! The structural loss: how far the pairwise relations inside the generated batch are from those
//! inside the real one.  [SADM Eq. 5–8]
//!
//! Everything is composed of candle operations whose gradients are right (three traps are stepped
//! around: `sqrt` at 0 has an infinite gradient, `abs` at 0 has gradient +1, and a difference of
//! two affinity matrices cancels), so the loss can be differentiated with respect to both batches.
//! The usual choice (an inner product and the squared distance) is one operation of its own on the CPU, from two matrix
//! products.

use crate::error::{Error, Result};
use crate::forward::{loss_dtype, upload, widest};
use crate::nn::{Path, note};
use candle_core::Tensor;
use fused::polarised_squared_loss;

pub mod distance;
pub mod eta;
pub(crate) mod fused;
mod options;
pub mod relation;

pub use distance::{Distance, distance};
pub use eta::Eta;
pub use options::{Diagonal, StructureOptions};
pub use relation::{Relation, Rows};

/// The affinity matrix M_ij = R(ψ_i, ψ_j).
///
/// # Shapes
/// `psi: [B, d]` → `[B, B]`, in f32 (f64 if `psi` is f64). The Euclidean relations form the
/// differences `[B, B, d]` directly: no cancellation of large norms.
/// # Limits
/// A zero row under `cosine` gives NaN, which no later step hides.
pub fn affinity(psi: &Tensor, relation: Relation) -> Result<Tensor> {
    psi.dims2()?;
    let psi = psi.to_dtype(loss_dtype(psi.dtype()))?;
    relation.affinity(&psi, relation.number())
}

/// The structural loss, a scalar tensor that candle differentiates with respect to both batches.
///
/// # Formula
/// ```text
/// S = 1/B²       Σ_ij  η_ij D(M_ij − M̂_ij)        diagonal included      [SADM Eq. 7]
/// S = 1/(B(B−1)) Σ_i≠j η_ij D(M_ij − M̂_ij)        diagonal excluded
/// η_ij = √(η_i η_j)
/// ```
/// Cosine and inner product are polarised: with P = Ψ − Ψ̂ and S = Ψ + Ψ̂ (unit rows for cosine)
/// ```text
/// M − M̂ = ½(P Sᵀ + S Pᵀ),   ‖M − M̂‖_F² = ½[⟨PᵀP, SᵀS⟩ + tr((PᵀS)²)]
/// ```
/// and the second form, which needs only d×d matrices, is taken for the squared distance when
/// d < B; an excluded diagonal is then subtracted, `Σ_i η_i ⟨p_i, s_i⟩²`.
/// # Shapes
/// `real`, `generated`: `[B, d]`, equal; `eta`: B numbers, or one for the whole batch → `[]`, in
/// f32 (f64 if `real` is f64).
/// # Error
/// The polarised forms keep their relative accuracy when Ψ̂ ≈ Ψ: P is exact there (Sterbenz), and
/// under `cosine` the rows are normalised in f64 first (which for features in f64 leaves about `u/‖P‖`). An excluded diagonal under `inner-product`
/// with d < B costs what its terms have more than the others: the error is relative to the sum with
/// them. The Euclidean family is not polarised: its relative error is about u/‖P‖.
/// # Errors
/// Shapes other than above, η negative or not finite, B = 1 with the diagonal excluded. A zero row
/// under `cosine` gives NaN rather than an error, since looking for it would wait for the device.
pub fn structural_loss(
    real: &Tensor,
    generated: &Tensor,
    eta: &[f64],
    options: &StructureOptions,
) -> Result<Tensor> {
    let (_, width) = checked(real, generated, eta, options)?;
    if Path::of(real) == Path::Fused
        && let Some(rows) = options.relation.rows()
        && options.distance == Distance::SQUARED
        && width > 0
    {
        let own = |psi: &Tensor| psi.to_dtype(loss_dtype(real.dtype()))?.contiguous();
        let cosine = rows == Rows::Unit;
        return Ok(polarised_squared_loss(
            &own(real)?,
            &own(generated)?,
            eta,
            cosine,
            options.diagonal == Diagonal::Exclude,
        )?);
    }
    structural_loss_composed(real, generated, eta, options)
}

/// B and d of the features of a batch, which fit each other and the options.
fn checked(
    real: &Tensor,
    generated: &Tensor,
    eta: &[f64],
    options: &StructureOptions,
) -> Result<(usize, usize)> {
    let (batch, width) = real.dims2()?;
    if generated.dims() != real.dims() {
        let must = format!("{:?} as the real features have", real.dims());
        return Err(Error::shape("generated features", must, generated.dims()));
    }
    check_eta(eta, batch)?;
    check_pairs(batch, options.diagonal)?;
    Ok((batch, width))
}

/// [`structural_loss`] as a chain of candle operations: what devices without an own operation run.
///
/// # Errors
/// As [`structural_loss`].
pub fn structural_loss_composed(
    real: &Tensor,
    generated: &Tensor,
    eta: &[f64],
    options: &StructureOptions,
) -> Result<Tensor> {
    note(Path::Composed);
    let (batch, width) = checked(real, generated, eta, options)?;
    if let Some((p, s)) = polarised(real, generated, options.relation)? {
        if options.distance == Distance::SQUARED && width < batch {
            return feature_form(&p, &s, eta, options.diagonal);
        }
        let half = (p.matmul(&s.t()?)? * 0.5)?;
        return weighted_sum(&(&half + half.t()?)?, eta, options);
    }
    let real = affinity(real, options.relation)?;
    let generated = affinity(generated, options.relation)?;
    weighted_sum(&(real - generated)?, eta, options)
}

/// P = Ψ − Ψ̂ and S = Ψ + Ψ̂ for the relations that are inner products, of unit rows for cosine.
///
/// Both are formed in f64 where the device has it (it is B·d work) and then rounded once: otherwise
/// the rounding of the unit rows would be all that is left of a small P.
pub fn polarised(
    real: &Tensor,
    generated: &Tensor,
    relation: Relation,
) -> Result<Option<(Tensor, Tensor)>> {
    let dtype = loss_dtype(real.dtype());
    let fine = widest(real.device());
    let Some(rows) = relation.rows() else {
        return Ok(None);
    };
    let rows = |psi: &Tensor| rows.of(&psi.to_dtype(fine)?);
    let (real, generated) = (rows(real)?, rows(generated)?);
    let p = (&real - &generated)?.to_dtype(dtype)?;
    let s = (real + generated)?.to_dtype(dtype)?;
    Ok(Some((p, s)))
}

/// ½ [⟨PᵀP, SᵀS⟩ + tr((PᵀS)²)], less Σ_i ⟨p_i, s_i⟩² where the diagonal is excluded, over the number of pairs; row i
/// of P and S scaled by η_i^¼.
fn feature_form(p: &Tensor, s: &Tensor, eta: &[f64], diagonal: Diagonal) -> Result<Tensor> {
    let (common, p, s) = if let [eta] = eta {
        (*eta, p.clone(), s.clone())
    } else {
        let roots: Vec<f64> = eta.iter().map(|eta| eta.sqrt().sqrt()).collect();
        let column = upload(&roots, &[roots.len(), 1], p.dtype(), p.device())?;
        (1.0, p.broadcast_mul(&column)?, s.broadcast_mul(&column)?)
    };
    let (p_t, s_t) = (p.t()?, s.t()?);
    let squares = (p_t.matmul(&p)? * s_t.matmul(&s)?)?.sum_all()?;
    let cross = p_t.matmul(&s)?;
    let traces = (&cross * cross.t()?)?.sum_all()?;
    let mut sum = ((squares + traces)? * 0.5)?;
    if diagonal == Diagonal::Exclude {
        sum = (sum - (&p * &s)?.sum(1)?.sqr()?.sum_all()?)?;
    }
    Ok((sum * (common / pairs(p.dim(0)?, diagonal)))?)
}

/// Number of pairs that are compared.
fn pairs(batch: usize, diagonal: Diagonal) -> f64 {
    match diagonal {
        Diagonal::Include => (batch * batch) as f64,
        Diagonal::Exclude => (batch * (batch - 1)) as f64,
    }
}

/// Σ_ij W_ij D(E_ij) with the weights of [`pair_weights`].
fn weighted_sum(e: &Tensor, eta: &[f64], options: &StructureOptions) -> Result<Tensor> {
    let batch = e.dim(0)?;
    let weights = pair_weights(eta, batch, options.diagonal);
    let weights = upload(&weights, &[batch, batch], e.dtype(), e.device())?;
    Ok((distance(e, options.distance)? * weights)?.sum_all()?)
}

/// √(η_i η_j) divided by the number of pairs; 0 on an excluded diagonal.
fn pair_weights(eta: &[f64], batch: usize, diagonal: Diagonal) -> Vec<f64> {
    let pairs = pairs(batch, diagonal);
    let eta = |i: usize| eta[i % eta.len()];
    let weight = |k: usize| {
        let (i, j) = (k / batch, k % batch);
        if i == j && diagonal == Diagonal::Exclude {
            0.0
        } else if i == j {
            eta(i) / pairs
        } else {
            (eta(i) * eta(j)).sqrt() / pairs
        }
    };
    (0..batch * batch).map(weight).collect()
}

fn check_eta(eta: &[f64], batch: usize) -> Result<()> {
    if eta.len() != batch && eta.len() != 1 {
        let must = format!("be the batch size {batch} or 1");
        return Err(Error::invalid("number of weights eta", must, eta.len()));
    }
    match eta.iter().find(|eta| !(eta.is_finite() && **eta >= 0.0)) {
        Some(eta) => Err(Error::invalid("weight eta", "be finite and ≥ 0", eta)),
        None => Ok(()),
    }
}

fn check_pairs(batch: usize, diagonal: Diagonal) -> Result<()> {
    let least = match diagonal {
        Diagonal::Include => 1,
        Diagonal::Exclude => 2,
    };
    if batch < least {
        let what = format!("batch size with diagonal `{}`", diagonal.name());
        return Err(Error::invalid(what, format!("be ≥ {least}"), batch));
    }
    Ok(())
}
