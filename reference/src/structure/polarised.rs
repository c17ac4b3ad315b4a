//! The squared structural loss of inner products, rewritten so that it does not cancel and need not form B×B matrices.
//!
//! With P = Ψ − Ψ̂ and S = Ψ + Ψ̂ (unit rows under cosine) `[eq:polarisation]`
//! ```text
//! E = Ψ Ψᵀ − Ψ̂ Ψ̂ᵀ = ½ (P Sᵀ + S Pᵀ)
//! Σ_ij a_i a_j E_ij² = ½ [⟨PᵀAP, SᵀAS⟩ + tr((PᵀAS)²)],    A = diag(a)
//! ```
//! Leaving out the diagonal subtracts its terms, E_ii = ⟨p_i, s_i⟩ `[eq:polarised-diagonal]`:
//! ```text
//! Σ_i≠j a_i a_j E_ij² = Σ_ij a_i a_j E_ij² − Σ_i a_i² ⟨p_i, s_i⟩²
//! ```
//! Every product on the right has a factor P: the result is as accurate, relatively, as P is, also where the naive
//! difference of Gram matrices has lost all digits, namely at Ψ̂ ≈ Ψ. The d×d form costs O(B d²), not O(B² d).
//! Multiplying ‖E‖² out instead costs as little and loses twice the digits that the naive difference loses `[eq:gram-form]`:
//! it is not used.
//! Under cosine P is not the difference of the rounded unit rows either, but formed from that of the features:
//! ```text
//! u − û = p/‖ψ‖ − û ⟨p/‖ψ‖, s/(‖ψ‖ + ‖ψ̂‖)⟩,    p = ψ − ψ̂,  s = ψ + ψ̂,  where ‖ψ‖ ≥ ‖ψ̂‖
//! ```
//! and with u in the place of û and ‖ψ̂‖ in that of ‖ψ‖ where ψ̂ is the longer, since ⟨p, s⟩ = ‖ψ‖² − ‖ψ̂‖².

use ndarray::{Array1, Array2, ArrayRef2, Axis, Zip};

use super::distance::Distance;
use super::relation::{Rows, through_normalisation, unit_rows};
use super::{Diagonal, StructureError, StructureOptions, affinities, check_finite, weights};

/// Which of the two matrix sizes carries the computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// B×B, sample by sample.
    Batch,
    /// d×d, feature by feature.
    Feature,
}

impl Form {
    /// The smaller matrix: [`Form::Feature`] if d < B.
    pub fn choose(batch: usize, features: usize) -> Self {
        if features < batch {
            Self::Feature
        } else {
            Self::Batch
        }
    }
}

/// A structural loss in polarised form, and its gradients.
#[derive(Debug, Clone, PartialEq)]
pub struct PolarisedLoss {
    /// S ≥ 0, equal to [`structural_loss`](crate::structure::structural_loss)'s.
    pub loss: f64,
    /// ∂S/∂Ψ, shape `[B, d]`.
    pub grad_real: Array2<f64>,
    /// ∂S/∂Ψ̂, shape `[B, d]`.
    pub grad_generated: Array2<f64>,
}

/// The structural loss for relation cosine or inner product and distance squared.
///
/// # Formula `[eq:polarised-loss]`
/// With pair weights w_ij (= a_i a_j, 0 on an excluded diagonal) and E as above, `S = Σ_ij w_ij E_ij²`;
/// ```text
/// ∂S/∂Ψ = 4 (w∘E) Ψ = 2 A [P (SᵀAΨ) + S (PᵀAΨ)]      ∂S/∂Ψ̂ = −4 (w∘E) Ψ̂
/// ```
/// the last form of it less `4 a_i² E_ii ψ_i` where the diagonal is excluded,
/// followed by the chain through the normalisation under cosine.
///
/// # Shapes
/// `real`, `generated: [B, d]` with the same d; `eta: [B]` or `[1]`.
///
/// # Errors
/// [`StructureError`]: as the structural loss, and for options without polarised form.
///
/// # Source
/// Ours.
pub fn polarised_loss(
    real: &ArrayRef2<f64>,
    generated: &ArrayRef2<f64>,
    eta: &[f64],
    opts: &StructureOptions,
    form: Form,
) -> Result<PolarisedLoss, StructureError> {
    check(real, generated, opts)?;
    let w = weights(real.nrows(), eta, opts.diagonal)?;
    let pair = match opts.relation.rows() {
        Some(Rows::Unit) => Pair::unit(real, generated),
        _ => Pair::plain(real, generated),
    };
    let (loss, [grad_real, grad_generated]) = match form {
        Form::Batch => batch_form(&pair, &w),
        Form::Feature => {
            let own = weights(real.nrows(), eta, Diagonal::Include)?;
            let b = real.nrows() as f64;
            let (rest, excluded) = match opts.diagonal {
                Diagonal::Include => (1.0, false),
                Diagonal::Exclude => (b / (b - 1.0), true),
            };
            let a = own.diag().mapv(|w| (w * rest).sqrt());
            feature_form(&pair, &a, excluded)
        }
    };
    let [norms_real, norms_generated] = &pair.norms;
    let grad_real = chain(&pair.real, norms_real.as_ref(), grad_real);
    let grad_generated = chain(&pair.generated, norms_generated.as_ref(), grad_generated);
    check_finite(loss, &grad_real, &grad_generated)?;
    Ok(PolarisedLoss {
        loss,
        grad_real,
        grad_generated,
    })
}

fn check(
    real: &ArrayRef2<f64>,
    generated: &ArrayRef2<f64>,
    opts: &StructureOptions,
) -> Result<(), StructureError> {
    if opts.relation.rows().is_none() || opts.distance != Distance::SQUARED {
        return Err(StructureError::NotPolarised {
            relation: opts.relation,
            distance: opts.distance,
        });
    }
    affinities(opts.relation, real, generated)?;
    if real.ncols() == generated.ncols() {
        Ok(())
    } else {
        Err(StructureError::Dimension {
            real: real.ncols(),
            generated: generated.ncols(),
        })
    }
}

/// The two batches (unit rows under cosine), their difference and their sum.
struct Pair {
    real: Array2<f64>,
    generated: Array2<f64>,
    difference: Array2<f64>,
    sum: Array2<f64>,
    /// Lengths of the rows before normalisation, if there was one.
    norms: [Option<Array1<f64>>; 2],
}

impl Pair {
    fn plain(real: &ArrayRef2<f64>, generated: &ArrayRef2<f64>) -> Self {
        Self {
            difference: real - generated,
            sum: real + generated,
            real: real.to_owned(),
            generated: generated.to_owned(),
            norms: [None, None],
        }
    }

    fn unit(real: &ArrayRef2<f64>, generated: &ArrayRef2<f64>) -> Self {
        let (u, norms) = unit_rows(real);
        let (u_hat, norms_hat) = unit_rows(generated);
        let mut difference = real - generated;
        for (row, mut p) in difference.rows_mut().into_iter().enumerate() {
            let (n, n_hat) = (norms[row], norms_hat[row]);
            let shorter = if n >= n_hat { &u_hat } else { &u }.row(row);
            if p.iter().any(|x| x.is_infinite()) {
                // Rows that point apart and are too long to be subtracted: nothing cancels.
                p.assign(&(&u.row(row) - &u_hat.row(row)));
                continue;
            }
            p /= n.max(n_hat);
            let along = Zip::from(&p)
                .and(real.row(row))
                .and(generated.row(row))
                .fold(0.0, |sum, &p, &a, &b| sum + p * half_sum(a, b, n, n_hat));
            p.scaled_add(-along, &shorter);
        }
        Self {
            difference,
            norms: [Some(norms), Some(norms_hat)],
            ..Self::plain(&u, &u_hat)
        }
    }
}

/// (a + b)/(n + m) for |a| ≤ n, |b| ≤ m, without overflow.
fn half_sum(a: f64, b: f64, n: f64, m: f64) -> f64 {
    let most = n.max(m);
    (a / most + b / most) / (n / most + m / most)
}

/// Value, and gradients with respect to the two (normalised) batches.
type ValueAndGrads = (f64, [Array2<f64>; 2]);

fn batch_form(pair: &Pair, w: &Array2<f64>) -> ValueAndGrads {
    let product = pair.difference.dot(&pair.sum.t());
    let e = (&product + &product.t()) * 0.5;
    let loss = Zip::from(w)
        .and(&e)
        .fold(0.0, |sum, &w, &e| sum + w * e * e);
    let g = w * &e * 4.0;
    (loss, [g.dot(&pair.real), -g.dot(&pair.generated)])
}

/// `a`: weights of the samples, `w_ij = a_i a_j`, for i ≠ j only if the diagonal is `excluded`.
fn feature_form(pair: &Pair, a: &Array1<f64>, excluded: bool) -> ValueAndGrads {
    let a = &a.view().insert_axis(Axis(1));
    let (p, s) = (&pair.difference, &pair.sum);
    let (weighted_p, weighted_s) = (p * a, s * a);
    let pp = p.t().dot(&weighted_p);
    let ss = s.t().dot(&weighted_s);
    let ps = p.t().dot(&weighted_s);
    let loss = 0.5 * ((pp * ss).sum() + (&ps * &ps.t()).sum());
    let grad = |psi: &ArrayRef2<f64>| {
        weighted_p.dot(&weighted_s.t().dot(psi)) + weighted_s.dot(&weighted_p.t().dot(psi))
    };
    let (mut loss, mut grads) = (loss, [grad(&pair.real) * 2.0, grad(&pair.generated) * -2.0]);
    if excluded {
        // a_i E_ii, as a column.
        let own = (p * s).sum_axis(Axis(1)).insert_axis(Axis(1)) * a;
        loss -= own.mapv(|e| e * e).sum();
        let factor = own * a * 4.0;
        grads[0] -= &(&pair.real * &factor);
        grads[1] += &(&pair.generated * &factor);
    }
    (loss, grads)
}

fn chain(u: &Array2<f64>, norms: Option<&Array1<f64>>, grad: Array2<f64>) -> Array2<f64> {
    match norms {
        Some(norms) => through_normalisation(u, norms, grad),
        None => grad,
    }
}
