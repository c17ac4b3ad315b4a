//! All relations of a small batch at once: the K-dimensional R of SADM, summed over every assignment of atoms.

use ndarray::Array2;
use sadm_reference::relation::Relation;

use super::{FiniteLaw, LawError, check_gamma, log_normal_density, softmax};
use crate::rounding::Rounded;

/// Most product atoms N^B that a batch is summed over.
pub const MOST_PRODUCTS: usize = 1 << 16;

/// The posterior of a batch of independent samples that share t, before its relations are known.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchPosterior {
    /// Log weights of each sample's atoms `[B][N]`.
    logs: Vec<Vec<Rounded>>,
}

/// The posterior of a batch once its relations are known.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchTilted {
    /// q(x^b = a_k | y_1..y_B, R) `[B, N]`.
    pub weights: Array2<Rounded>,
    /// ln q_t(R | y_1..y_B).
    pub log_density: Rounded,
}

impl FiniteLaw {
    /// Posterior of a batch of noised points.
    ///
    /// # Shapes
    /// points `[B, n]`, B ≥ 2.
    ///
    /// # Errors
    /// As [`FiniteLaw::posterior`]; [`LawError::TooManyProducts`] beyond [`MOST_PRODUCTS`] assignments.
    pub fn batch(
        &self,
        points: &Array2<f64>,
        alpha: f64,
        sigma: f64,
    ) -> Result<BatchPosterior, LawError> {
        let (atoms, size) = (self.prior.len(), points.nrows());
        let products = u32::try_from(size).ok().and_then(|b| atoms.checked_pow(b));
        if products.is_none_or(|p| p > MOST_PRODUCTS) {
            return Err(LawError::TooManyProducts {
                atoms,
                points: size,
                most: MOST_PRODUCTS,
            });
        }
        let logs = points
            .rows()
            .into_iter()
            .map(|y| Ok(self.log_weights(&y.to_vec(), alpha, sigma)?.1))
            .collect::<Result<_, LawError>>()?;
        Ok(BatchPosterior { logs })
    }

    /// [`BatchPosterior::given`] for a relation between the atoms.
    ///
    /// # Errors
    /// [`LawError::Relation`], and as [`BatchPosterior::given`].
    pub fn batch_relation(
        &self,
        batch: &BatchPosterior,
        relation: Relation,
        r: &[f64],
        gamma: f64,
    ) -> Result<BatchTilted, LawError> {
        batch.given(r, &self.relation_over_atoms(relation)?, gamma)
    }
}

impl BatchPosterior {
    /// Density of all relations of the batch, each observed with its own noise, and the posterior given them.
    ///
    /// # Formula `[eq:batch-relation]`
    /// ```text
    /// q_t(R | y_1..y_B) = Σ_{k_1..k_B} Π_b w^b_{k_b} Π_{i<j} N(r_ij; R(a_{k_i}, a_{k_j}), γ²)
    /// ```
    /// # Shapes
    /// r `[B(B−1)/2]` in the order (0,1), (0,2), …, (1,2), …; relation `[N, N]` → weights `[B, N]`.
    ///
    /// # Errors
    /// [`LawError::Batch`] if r has another length or B < 2, [`LawError::Observed`] if an r is not finite,
    /// [`LawError::Gamma`], [`LawError::RelationShape`].
    pub fn given(
        &self,
        r: &[f64],
        relation: &Array2<Rounded>,
        gamma: f64,
    ) -> Result<BatchTilted, LawError> {
        let size = self.logs.len();
        let pairs: Vec<(usize, usize)> = (0..size)
            .flat_map(|i| (i + 1..size).map(move |j| (i, j)))
            .collect();
        if size < 2 || r.len() != pairs.len() {
            return Err(LawError::Batch {
                points: size,
                pairs: pairs.len(),
                got: r.len(),
            });
        }
        let atoms = self.logs[0].len();
        let (rows, columns) = relation.dim();
        if (rows, columns) != (atoms, atoms) {
            return Err(LawError::RelationShape {
                atoms,
                rows,
                columns,
            });
        }
        check_gamma(gamma)?;
        if let Some((index, &got)) = r.iter().enumerate().find(|(_, v)| !v.is_finite()) {
            return Err(LawError::Observed { index, got });
        }
        let log_g: Vec<Array2<Rounded>> = r
            .iter()
            .map(|&r| relation.mapv(|m| log_normal_density(r, m, gamma)))
            .collect();
        let assignments: Vec<Vec<usize>> = (0..atoms.pow(u32::try_from(size).unwrap_or(u32::MAX)))
            .map(|code| digits(code, atoms, size))
            .collect();
        let term = |at: &Vec<usize>| {
            let own = Rounded::sum(at.iter().zip(&self.logs).map(|(&k, w)| w[k]));
            own + Rounded::sum(
                pairs
                    .iter()
                    .zip(&log_g)
                    .map(|(&(i, j), g)| g[[at[i], at[j]]]),
            )
        };
        let terms: Vec<Rounded> = assignments.iter().map(term).collect();
        let (products, log_density) = softmax(&terms);
        let mut weights = Array2::from_elem((size, atoms), Rounded::exact(0.0));
        for (at, w) in assignments.iter().zip(products) {
            for (b, &k) in at.iter().enumerate() {
                weights[[b, k]] = weights[[b, k]] + w;
            }
        }
        Ok(BatchTilted {
            weights,
            log_density,
        })
    }
}

/// The last `count` digits of `code` in this base, lowest first.
fn digits(mut code: usize, base: usize, count: usize) -> Vec<usize> {
    (0..count)
        .map(|_| {
            let digit = code % base;
            code /= base;
            digit
        })
        .collect()
}
