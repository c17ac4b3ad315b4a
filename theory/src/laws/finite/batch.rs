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

    /// Score of all relations of a noised batch, with respect to every point.
    ///
    /// # Formula `[eq:batch-relation-score]`
    /// ```text
    /// ∇_{y_b} ln q_t(R | y_1..y_B) = (α/σ²) (E[x^b | y_1..y_B, R] − E[x^b | y_b])
    /// ```
    /// as y_b enters `[eq:batch-relation]` through w^b only; evaluated about the heaviest atom as
    /// [`FiniteLaw::relation_score`], which it is for B = 2.
    ///
    /// # Shapes
    /// points `[B, n]`, r `[B(B−1)/2]` in the order of [`BatchPosterior::given`] → `[B, n]`.
    ///
    /// # Errors
    /// As [`FiniteLaw::batch`] and [`FiniteLaw::batch_relation`].
    ///
    /// # Source
    /// ours, for SADM (arXiv:2402.17563), Eq. 12–13 with K relations; derivation in the book.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), sadm_theory::laws::LawError> {
    /// use ndarray::array;
    /// use sadm_reference::relation::Relation;
    /// use sadm_theory::laws::FiniteLaw;
    /// // Two points halfway between ±1 whose product is known to be near 1: neither sign is preferred, so no force.
    /// let law = FiniteLaw::uniform(array![[-1.0], [1.0]])?;
    /// let points = array![[0.0], [0.0]];
    /// let score = law.batch_score(&points, 0.8, 0.6, Relation::INNER_PRODUCT, &[1.0], 0.5)?;
    /// assert!(score[[0, 0]].value.abs() <= score[[0, 0]].error && score[[0, 0]].error < 1e-13);
    /// # Ok(()) }
    /// ```
    pub fn batch_score(
        &self,
        points: &Array2<f64>,
        alpha: f64,
        sigma: f64,
        relation: Relation,
        r: &[f64],
        gamma: f64,
    ) -> Result<Array2<Rounded>, LawError> {
        let batch = self.batch(points, alpha, sigma)?;
        let tilted = self.batch_relation(&batch, relation, r, gamma)?.weights;
        let scale = Rounded::exact(alpha) / Rounded::exact(sigma).square();
        let mut score = Array2::from_elem(points.dim(), Rounded::exact(0.0));
        for ((own, after), mut row) in batch.logs.iter().zip(tilted.rows()).zip(score.rows_mut()) {
            let own: Vec<Rounded> = own.iter().map(|w| w.exp()).collect();
            let change: Vec<Rounded> = after.iter().zip(&own).map(|(&p, &w)| p - w).collect();
            row.iter_mut()
                .zip(self.displacement(&own, &change))
                .for_each(|(s, m)| *s = scale * m);
        }
        Ok(score)
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
