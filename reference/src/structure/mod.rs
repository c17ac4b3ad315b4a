//! The structural loss: how far the affinities of the generated batch are from those of the real one.

pub mod distance;
pub mod eta;
pub mod polarised;
pub mod relation;

use std::fmt;
use std::str::FromStr;

use ndarray::{Array2, ArrayRef2, Zip};

use crate::check::first_non_finite;
use crate::choice::{UnknownName, parse};
use crate::schedule::ScheduleError;
use distance::Distance;
use relation::{Relation, RelationError, affinity, affinity_vjp};

pub use eta::{Eta, eta};

/// Why a structural loss was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StructureError {
    /// One of the two feature matrices was refused.
    #[error("{matrix} {source}")]
    Features {
        /// Which matrix: `real` or `generated`.
        matrix: &'static str,
        /// Why.
        source: RelationError,
    },
    /// The relation itself was refused.
    #[error(transparent)]
    Relation(RelationError),
    /// The two batches are not paired sample by sample.
    #[error("generated features must have one row per real one, {real}, got {generated}")]
    Batch {
        /// Rows of the real features.
        real: usize,
        /// Rows of the generated ones.
        generated: usize,
    },
    /// Neither one weight nor one per sample.
    #[error("eta must hold one value or one per sample, {samples}, got {got}")]
    EtaLength {
        /// Number of samples.
        samples: usize,
        /// The refused number.
        got: usize,
    },
    /// A weight that is negative, infinite or NaN.
    #[error("eta must be finite and >= 0, got {got:?} for sample {sample}")]
    Eta {
        /// Which sample.
        sample: usize,
        /// The refused value.
        got: f64,
    },
    /// Without the diagonal, a single sample leaves nothing.
    #[error("a batch must hold at least 2 samples when the diagonal is excluded, got {got}")]
    NoPairs {
        /// The refused number.
        got: usize,
    },
    /// A parameter of the distance outside its range.
    #[error("{name} of the {distance} distance must {must}, got {got:?}")]
    Parameter {
        /// What it is called.
        name: &'static str,
        /// Its range.
        must: &'static str,
        /// The distance's name.
        distance: &'static str,
        /// The refused value.
        got: f64,
    },
    /// A clamp for 1/t that is not positive.
    #[error("t_min must be finite and > 0, got {got:?}")]
    TMin {
        /// The refused value.
        got: f64,
    },
    /// The loss is too large for `f64`.
    #[error("the structural loss and its gradients must be finite, but overflow")]
    Overflow,
    /// The polarised form exists for the squared distance of inner products only.
    #[error(
        "the polarised form needs relation cosine or inner-product and distance squared, got {relation} and {distance}"
    )]
    NotPolarised {
        /// The refused relation.
        relation: Relation,
        /// The refused distance.
        distance: Distance,
    },
    /// The polarised form subtracts the two feature matrices.
    #[error(
        "the polarised form needs as many generated features as real ones, {real}, got {generated}"
    )]
    Dimension {
        /// Columns of the real features.
        real: usize,
        /// Columns of the generated ones.
        generated: usize,
    },
    /// A time was refused.
    #[error(transparent)]
    Time(#[from] ScheduleError),
}

/// Whether a sample is compared with itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Diagonal {
    /// `include`: 1/B² Σ_ij, as printed.
    Include,
    /// `exclude`: 1/(B(B−1)) Σ_{i≠j}.
    Exclude,
}

impl Diagonal {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Include, Self::Exclude];
}

impl fmt::Display for Diagonal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Include => "include",
            Self::Exclude => "exclude",
        })
    }
}

impl FromStr for Diagonal {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        parse("diagonal", &Self::ALL, name)
    }
}

/// The choices that define a structural loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StructureOptions {
    /// Relation between two samples.
    pub relation: Relation,
    /// Distance between two affinities.
    pub distance: Distance,
    /// Whether a sample is compared with itself.
    pub diagonal: Diagonal,
}

impl Default for StructureOptions {
    /// Cosine, squared, diagonal included.
    fn default() -> Self {
        Self {
            relation: Relation::COSINE,
            distance: Distance::SQUARED,
            diagonal: Diagonal::Include,
        }
    }
}

/// A structural loss, its gradients, and the affinities it compares.
#[derive(Debug, Clone, PartialEq)]
pub struct StructuralLoss {
    /// S ≥ 0.
    pub loss: f64,
    /// ∂S/∂Ψ, shape `[B, d]`.
    pub grad_real: Array2<f64>,
    /// ∂S/∂Ψ̂, shape `[B, d̂]`.
    pub grad_generated: Array2<f64>,
    /// M, shape `[B, B]`.
    pub affinity_real: Array2<f64>,
    /// M̂, shape `[B, B]`.
    pub affinity_generated: Array2<f64>,
}

/// Weighted mean distance between the affinities of a real and of a generated batch.
///
/// # Formula `[eq:structural-loss]`
/// ```text
/// S = 1/B² Σ_ij η_ij D(M_ij − M̂_ij)    or, without the diagonal,  1/(B(B−1)) Σ_{i≠j}
/// η_ij = √(η_i η_j);   ∂S/∂M = w D'(M − M̂) = −∂S/∂M̂
/// ```
/// with w_ij the factor of D, and from there by [`affinity_vjp`]. For inner product and squared distance, with one η
/// and the diagonal `[eq:structural-grad]`
/// ```text
/// ∂S/∂Ψ = 4η/B² (M − M̂) Ψ,   ∂S/∂Ψ̂ = 4η/B² (M̂ − M) Ψ̂
/// ```
///
/// # Shapes
/// `real: [B, d]`, `generated: [B, d̂]` (d and d̂ may differ), `eta: [B]`, or `[1]` shared by the batch.
///
/// # Errors
/// [`StructureError`]: what is wrong with which matrix and where; never a NaN.
///
/// # Source
/// SADM (arXiv:2402.17563), Eq. 6-8; gradients by hand.
pub fn structural_loss(
    real: &ArrayRef2<f64>,
    generated: &ArrayRef2<f64>,
    eta: &[f64],
    opts: &StructureOptions,
) -> Result<StructuralLoss, StructureError> {
    if let Some((name, must, got)) = opts.distance.refused() {
        let distance = opts.distance.name();
        return Err(StructureError::Parameter {
            name,
            must,
            distance,
            got,
        });
    }
    let (affinity_real, affinity_generated) = affinities(opts.relation, real, generated)?;
    let w = weights(real.nrows(), eta, opts.diagonal)?;

    let e = &affinity_real - &affinity_generated;
    let loss = Zip::from(&w)
        .and(&e)
        .fold(0.0, |sum, &w, &e| sum + w * opts.distance.value(e));
    let grad_affinity = Zip::from(&w)
        .and(&e)
        .map_collect(|&w, &e| w * opts.distance.grad(e));
    let vjp = |matrix, psi, g| {
        affinity_vjp(opts.relation, psi, g).map_err(|source| named(matrix, source))
    };
    let grad_real = vjp("real", real, &grad_affinity)?;
    let grad_generated = vjp("generated", generated, &-&grad_affinity)?;
    check_finite(loss, &grad_real, &grad_generated)?;
    Ok(StructuralLoss {
        loss,
        grad_real,
        grad_generated,
        affinity_real,
        affinity_generated,
    })
}

/// Refuses a result that overflowed.
pub(crate) fn check_finite(
    loss: f64,
    grad_real: &Array2<f64>,
    grad_generated: &Array2<f64>,
) -> Result<(), StructureError> {
    let finite = loss.is_finite()
        && [grad_real, grad_generated]
            .iter()
            .all(|g| first_non_finite(g).is_none());
    if finite {
        Ok(())
    } else {
        Err(StructureError::Overflow)
    }
}

/// The structural error for a refusal by the relation: of one matrix, or of the relation itself.
fn named(matrix: &'static str, source: RelationError) -> StructureError {
    match source {
        RelationError::Parameter { .. } => StructureError::Relation(source),
        _ => StructureError::Features { matrix, source },
    }
}

/// M and M̂, of the same size; an error names the matrix.
pub(crate) fn affinities(
    relation: Relation,
    real: &ArrayRef2<f64>,
    generated: &ArrayRef2<f64>,
) -> Result<(Array2<f64>, Array2<f64>), StructureError> {
    let of = |matrix, psi| affinity(relation, psi).map_err(|source| named(matrix, source));
    let (m_real, m_generated) = (of("real", real)?, of("generated", generated)?);
    if real.nrows() == generated.nrows() {
        Ok((m_real, m_generated))
    } else {
        Err(StructureError::Batch {
            real: real.nrows(),
            generated: generated.nrows(),
        })
    }
}

/// Factor `w_ij = η_ij/B²` of each pair, or `η_ij/(B(B−1))` with zero diagonal. `[eq:pair-weights]`
pub(crate) fn weights(
    samples: usize,
    eta: &[f64],
    diagonal: Diagonal,
) -> Result<Array2<f64>, StructureError> {
    check_eta(samples, eta)?;
    let b = samples as f64;
    let pairs = match diagonal {
        Diagonal::Include => b * b,
        Diagonal::Exclude if samples < 2 => return Err(StructureError::NoPairs { got: samples }),
        Diagonal::Exclude => b * (b - 1.0),
    };
    Ok(Array2::from_shape_fn((samples, samples), |(i, j)| {
        if i == j && diagonal == Diagonal::Exclude {
            0.0
        } else {
            pair_eta(eta, i, j) / pairs
        }
    }))
}

/// `η_ij = √(η_i η_j)`, and η itself where it is shared. `[eq:eta-pair]`
fn pair_eta(eta: &[f64], i: usize, j: usize) -> f64 {
    match eta {
        [shared] => *shared,
        _ if i == j => eta[i],
        _ => eta[i].sqrt() * eta[j].sqrt(),
    }
}

pub(crate) fn check_eta(samples: usize, eta: &[f64]) -> Result<(), StructureError> {
    if eta.len() != 1 && eta.len() != samples {
        return Err(StructureError::EtaLength {
            samples,
            got: eta.len(),
        });
    }
    match eta.iter().position(|v| !(v.is_finite() && *v >= 0.0)) {
        None => Ok(()),
        Some(sample) => Err(StructureError::Eta {
            sample,
            got: eta[sample],
        }),
    }
}
