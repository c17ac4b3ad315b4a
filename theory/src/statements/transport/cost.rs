//! E13: three costs under one name.

use ndarray::Array2;

use super::certificate::{SIZE, best, built_points, points, squared_costs};
use crate::rounding::Rounded;
use crate::statements::{
    About, Built, Evidence, Finding, Instance, Kind, Parameter, Statement, StatementError,
};
use crate::transport::{dual_bound, total};

const LEVEL: Parameter = Parameter::logarithmic(
    "sigma",
    "noise level at which the cost is taken",
    0.125..=8.0,
    0.25,
);

/// `[thm:e13]` Distance and squared distance choose different permutations, and distance at different noise levels
/// too; squared distance does not.
///
/// # Formula `[eq:transport-costs]`
/// ```text
/// ‖x_i − n_j‖ (the code),   ‖x_i − σn_j‖,   ‖x_i − n_j‖²
/// Σ_i ‖x_i − σ n_π(i)‖² = Σ‖x_i‖² + σ²Σ‖n_j‖² − 2σ Σ_i ⟨x_i, n_π(i)⟩
/// ```
/// so under the square every σ > 0 has the same best permutation, the one that maximises Σ⟨x_i, n_π(i)⟩: it is the
/// transport plan of the squared Wasserstein distance. Witness: x = (0, 0), (1, ¼), n = (1, ¼), (2, 0). Straight on:
/// 2·√(17/16) = 2.06 and, squared, 2.125; crossed: 2 + 0 = 2 and, squared, 4.
pub struct CostsDiffer;

/// ‖x_i − σ n_j‖. Where the square is not clearly positive, √ is bounded by its ends.
fn distances(x: &[[f64; 2]], n: &[[f64; 2]], sigma: f64) -> Array2<Rounded> {
    squared_costs(x, n, sigma).mapv(|square| {
        if square.value > square.error {
            square.sqrt()
        } else {
            let end = (square.value.max(0.0) + square.error).sqrt() * (1.0 + f64::EPSILON);
            Rounded::within(end / 2.0, end / 2.0)
        }
    })
}

/// Cost of its best permutation, the dual bound, and the permutation.
fn solved(cost: &Array2<Rounded>) -> Result<(Rounded, Rounded, Vec<usize>), StatementError> {
    let found = best(cost)?;
    Ok((
        total(cost, &found.permutation),
        dual_bound(cost, &found, |_, _| true),
        found.permutation,
    ))
}

impl Statement for CostsDiffer {
    fn about(&self) -> About {
        About {
            id: "e13",
            source: "Approximated optimal transport (arXiv:2403.05069), 'L2 distance' against the published code",
            kind: Kind::Erratum(Finding::Reading),
            summary: "distance, scaled distance and squared distance assign noise differently; only the square ignores sigma",
            terms: &[],
            parameters: &[SIZE, LEVEL],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        built_points(instance)
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (x, n) = points(instance)?;
        let sigma = instance.get(LEVEL.name)?;
        let mut claims = Vec::new();
        let costs = [
            ("‖x - n‖", distances(&x, &n, 1.0)),
            ("‖x - σn‖", distances(&x, &n, sigma)),
            ("‖x - n‖²", squared_costs(&x, &n, 1.0)),
        ];
        for (name, cost) in &costs {
            let (primal, dual, _) = solved(cost)?;
            claims.push(Evidence::at_most(
                format!("{name}: certified for its own cost"),
                primal,
                dual,
            ));
        }
        let scaled = squared_costs(&x, &n, sigma);
        let unit = solved(&costs[2].1)?.2;
        claims.push(Evidence::at_most(
            "‖x - σn‖²: the permutation found at σ = 1 is certified at σ",
            total(&scaled, &unit),
            solved(&scaled)?.1,
        ));
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (x, n) = ([[0.0, 0.0], [1.0, 0.25]], [[1.0, 0.25], [2.0, 0.0]]);
        let (plain, square) = (distances(&x, &n, 1.0), squared_costs(&x, &n, 1.0));
        let near = distances(&x, &n, 0.25);
        let (by_plain, by_square) = (solved(&plain)?, solved(&square)?);
        let by_near = solved(&near)?;
        Ok(vec![
            Evidence::at_most(
                "as read: one cost; the permutation of ‖x - n‖ is best for ‖x - n‖²",
                total(&square, &by_plain.2),
                by_square.1,
            ),
            Evidence::at_most(
                "as read: one cost; the permutation of ‖x - n‖² is best for ‖x - n‖",
                total(&plain, &by_square.2),
                by_plain.1,
            ),
            Evidence::at_most(
                "as read: one cost; the permutation of ‖x - n‖ is best for ‖x - n/4‖",
                total(&near, &by_plain.2),
                by_near.1,
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_witness_is_as_by_hand() -> Result<(), StatementError> {
        let (x, n) = ([[0.0, 0.0], [1.0, 0.25]], [[1.0, 0.25], [2.0, 0.0]]);
        let plain = solved(&distances(&x, &n, 1.0))?;
        let square = solved(&squared_costs(&x, &n, 1.0))?;
        assert_eq!((plain.2, square.2), (vec![1, 0], vec![0, 1]));
        assert!((plain.0.value - 2.0).abs() <= plain.0.error);
        assert!((square.0.value - 2.125).abs() <= square.0.error);
        assert_eq!(solved(&distances(&x, &n, 0.25))?.2, vec![0, 1]);
        Ok(())
    }
}
