//! Optimality of an assignment, certified by potentials at every size.

use ndarray::{Array2, array};

use crate::rounding::Rounded;
use crate::statements::{
    About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError,
};
use crate::transport::{Assignment, assign, assign_within, by_brute_force, dual_bound, total};

pub(super) const SIZE: Parameter = Parameter::whole("B", "batch size", 1.0..=16.0, 5.0);
const CLASSES: Parameter = Parameter::whole(
    "classes",
    "number of classes, dealt in turn",
    1.0..=4.0,
    2.0,
);
/// Up to here every permutation is tried.
const BRUTE: usize = 7;

/// `[thm:transport-certificate]` The assignment is optimal: its cost meets the dual bound of its potentials.
///
/// # Formula `[eq:transport-certificate]`
/// ```text
/// Σ_i c(i, π(i)) ≤ Σ_i u_i + Σ_j v_j + Σ_i min_j (c(i, j) − u_i − v_j) ≤ Σ_i c(i, π'(i)) for every π'
/// ```
/// The second inequality is true of any numbers u, v; the first is what is tried, at every size, for all pairs and
/// within classes. Up to B = 7 the minimum is also found by trying all permutations. As π is a permutation, the
/// assigned noise is the drawn noise in another order: its empirical law is untouched, and each n_π(i) has the law of
/// a draw taken at random from the batch, N(0, I). (It is no longer independent of x_i; that is the purpose.)
pub struct TransportCertificate;

/// Samples and noise in the plane.
pub(super) fn points(
    instance: &Instance,
) -> Result<(Vec<[f64; 2]>, Vec<[f64; 2]>), StatementError> {
    let count = instance.size(SIZE.name)?;
    let mut values = instance.values();
    let mut plane = || -> Result<Vec<[f64; 2]>, StatementError> {
        let taken = values.take(2 * count)?;
        Ok(taken.chunks(2).map(|p| [p[0], p[1]]).collect())
    };
    Ok((plane()?, plane()?))
}

/// The points, to be shown.
pub(super) fn built_points(instance: &Instance) -> Result<Vec<Built>, StatementError> {
    let (x, n) = points(instance)?;
    Ok(vec![Built::list("samples", &x), Built::list("noise", &n)])
}

/// ‖x_i − σ n_j‖² with its bound.
pub(super) fn squared_costs(x: &[[f64; 2]], n: &[[f64; 2]], sigma: f64) -> Array2<Rounded> {
    Array2::from_shape_fn((x.len(), n.len()), |(i, j)| {
        let along = |k: usize| Rounded::exact(x[i][k]) - Rounded::exact(sigma) * n[j][k];
        along(0).square() + along(1).square()
    })
}

/// The best assignment under the costs' values.
pub(super) fn best(cost: &Array2<Rounded>) -> Result<Assignment, StatementError> {
    Ok(assign(&cost.mapv(|c| c.value))?)
}

fn certified(
    name: &str,
    cost: &Array2<Rounded>,
    found: &Assignment,
    allowed: impl Fn(usize, usize) -> bool,
) -> Evidence {
    Evidence::at_most(
        format!("{name}: cost of π ≤ dual bound"),
        total(cost, &found.permutation),
        dual_bound(cost, found, allowed),
    )
}

impl Statement for TransportCertificate {
    fn about(&self) -> About {
        About {
            id: "transport-certificate",
            source: "Approximated optimal transport (arXiv:2403.05069), assignment of noise; the certificate is ours",
            kind: Kind::Bound,
            summary: "the assignment of noise to data is optimal, proved by dual potentials",
            terms: &[],
            parameters: &[SIZE, CLASSES],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        built_points(instance)
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (x, n) = points(instance)?;
        let count = x.len();
        let cost = squared_costs(&x, &n, 1.0);
        let classes: Vec<usize> = (0..count)
            .map(|i| i % instance.size(CLASSES.name).unwrap_or(1))
            .collect();
        let same = |i: usize, j: usize| classes[i] == classes[j];
        let whole = best(&cost)?;
        let within = assign_within(&cost.mapv(|c| c.value), &classes)?;
        let kept = within
            .permutation
            .iter()
            .enumerate()
            .filter(|&(i, &j)| same(i, j))
            .count();
        let distinct = |a: &Assignment| {
            let mut seen = a.permutation.clone();
            seen.sort_unstable();
            seen.dedup();
            Rounded::exact(seen.len() as f64)
        };
        let all = Rounded::exact(count as f64);
        let mut claims = vec![
            certified("all pairs", &cost, &whole, |_, _| true),
            certified("within classes", &cost, &within, same),
            Evidence::at_most(
                "classes only restrict",
                total(&cost, &whole.permutation),
                total(&cost, &within.permutation),
            ),
            Evidence::equal("every noise is assigned once", distinct(&whole), all),
            Evidence::equal(
                "every noise is assigned once, within classes",
                distinct(&within),
                all,
            ),
            Evidence::equal(
                "no noise leaves its class",
                Rounded::exact(kept as f64),
                all,
            ),
        ];
        if count <= BRUTE {
            claims.push(Evidence::equal(
                "all permutations tried: the least cost is π's",
                total(&cost, &whole.permutation),
                by_brute_force(&cost, |_, _| true),
            ));
            claims.push(Evidence::equal(
                "all permutations within classes tried",
                total(&cost, &within.permutation),
                by_brute_force(&cost, same),
            ));
        }
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let instance = self.default_instance();
        let (x, n) = points(&instance)?;
        let cost = squared_costs(&x, &n, 1.0);
        let found = best(&cost)?;
        let mut swapped = found.clone();
        swapped.permutation.swap(0, 1);
        let table = array![[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]].mapv(Rounded::exact);
        let mut idle = best(&table)?;
        idle.columns.fill(0.0);
        let drawn = Assignment {
            permutation: (0..x.len()).collect(),
            ..found.clone()
        };
        Ok(vec![
            certified("control, two noises exchanged", &cost, &swapped, |_, _| {
                true
            }),
            certified(
                "control, no potentials on the noise",
                &table,
                &idle,
                |_, _| true,
            ),
            certified("control, noise as drawn", &cost, &drawn, |_, _| true),
        ])
    }
}
