//! The relations of `sadm_reference::relation` and their gradients on numbers that carry their rounding bound.

use sadm_reference::relation::Relation;

use crate::rounding::Rounded;

/// R(a, b) for one pair of vectors. Written apart from the reference, whose values it must enclose.
///
/// # Shapes
/// a, b `[n]`.
///
/// # Limits
/// Error ∞ under cosine if a vector cannot be told from 0.
pub fn relation(kind: Relation, a: &[Rounded], b: &[Rounded]) -> Rounded {
    match kind {
        Relation::InnerProduct => dot(a, b),
        Relation::Cosine => dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt()),
        Relation::SquaredEuclidean => squared_distance(a, b),
        Relation::Euclidean => root(squared_distance(a, b)),
        Relation::Rbf { bandwidth } => gaussian(squared_distance(a, b), bandwidth),
    }
}

/// ∂R(a, b)/∂a; every relation is symmetric, so ∂R(a, b)/∂b is `relation_grad(kind, b, a)`.
///
/// # Formula `[eq:relation-grad]`
/// ```text
/// inner product b      cosine (b/‖b‖ − R a/‖a‖)/‖a‖      squared Euclidean 2(a − b)
/// Euclidean (a − b)/R, and 0 where a = b                 rbf −R (a − b)/bandwidth²
/// ```
/// # Limits
/// Where Euclidean points cannot be told apart, each component is only known to lie in [−1, 1].
pub fn relation_grad(kind: Relation, a: &[Rounded], b: &[Rounded]) -> Vec<Rounded> {
    let value = relation(kind, a, b);
    let along = |factor: Rounded| -> Vec<Rounded> {
        a.iter().zip(b).map(|(&x, &y)| factor * (x - y)).collect()
    };
    match kind {
        Relation::InnerProduct => b.to_vec(),
        Relation::Cosine => {
            let (length_a, length_b) = (dot(a, a).sqrt(), dot(b, b).sqrt());
            let component =
                |(&x, &y): (&Rounded, &Rounded)| (y / length_b - value * (x / length_a)) / length_a;
            a.iter().zip(b).map(component).collect()
        }
        Relation::SquaredEuclidean => along(2.0.into()),
        Relation::Euclidean if value.value == 0.0 => {
            let unknown = if value.error == 0.0 { 0.0 } else { 1.0 };
            vec![Rounded::within(0.0, unknown); a.len()]
        }
        Relation::Euclidean => along(Rounded::exact(1.0) / value),
        Relation::Rbf { bandwidth } => along(-(value / Rounded::exact(bandwidth).square())),
    }
}

/// Exact numbers as tracked ones.
pub(crate) fn exact(a: impl IntoIterator<Item = f64>) -> Vec<Rounded> {
    a.into_iter().map(Rounded::exact).collect()
}

/// a·b.
pub(crate) fn dot(a: &[Rounded], b: &[Rounded]) -> Rounded {
    Rounded::sum(a.iter().zip(b).map(|(&x, &y)| x * y))
}

/// ‖a − b‖²; exactly 0 where two exact points coincide.
fn squared_distance(a: &[Rounded], b: &[Rounded]) -> Rounded {
    if a == b && a.iter().all(|x| x.error == 0.0) {
        return Rounded::exact(0.0);
    }
    Rounded::sum(a.iter().zip(b).map(|(&x, &y)| (x - y).square()))
}

/// √s; where s ≥ 0 cannot be told from 0, the root lies in [0, √(s + error)].
fn root(s: Rounded) -> Rounded {
    if s.value > s.error || s.error == 0.0 {
        s.sqrt()
    } else {
        let most = (s.value.max(0.0) + s.error).sqrt() * (1.0 + f64::EPSILON);
        Rounded::within(s.value.max(0.0).sqrt(), most)
    }
}

fn gaussian(squared_distance: Rounded, bandwidth: f64) -> Rounded {
    (-(squared_distance / (Rounded::exact(bandwidth).square() * 2.0))).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use sadm_reference::relation::{affinity, affinity_vjp};

    const KINDS: [Relation; 5] = [
        Relation::Cosine,
        Relation::InnerProduct,
        Relation::SquaredEuclidean,
        Relation::Euclidean,
        Relation::Rbf { bandwidth: 1.25 },
    ];

    /// Values and gradients agree with the reference within their bound and the reference's own roundings
    /// (a dozen operations on numbers below 8).
    #[test]
    fn the_reference_agrees() -> Result<(), Box<dyn std::error::Error>> {
        let psi = array![[0.75, -1.25, 0.5], [1.5, 0.25, -0.75]];
        let (a, b) = (
            exact(psi.row(0).iter().copied()),
            exact(psi.row(1).iter().copied()),
        );
        let slack = 12.0 * 8.0 * f64::EPSILON;
        for kind in KINDS {
            let r = relation(kind, &a, &b);
            let want = affinity(kind, &psi)?[[0, 1]];
            assert!((r.value - want).abs() <= r.error + slack, "{kind}");
            assert!(r.error < 1e-13, "{kind}");
            let vjp = affinity_vjp(kind, &psi, &array![[0.0, 1.0], [0.0, 0.0]])?;
            for (row, grad) in [relation_grad(kind, &a, &b), relation_grad(kind, &b, &a)]
                .into_iter()
                .enumerate()
            {
                for (i, g) in grad.into_iter().enumerate() {
                    assert!((g.value - vjp[[row, i]]).abs() <= g.error + slack, "{kind}");
                    assert!(g.error < 1e-13, "{kind}");
                }
            }
        }
        Ok(())
    }

    /// [0, 2] at the edge, and [−½, 3/2], whose root lies in [0, √(3/2)].
    #[test]
    fn a_square_that_may_be_zero_has_a_root_with_a_bound() {
        let edge = root(Rounded::within(1.0, 1.0));
        assert!(
            edge.error >= 2.0_f64.sqrt() && edge.error < 1.415,
            "{edge:?}"
        );
        let across = root(Rounded::within(0.5, 1.0));
        assert!(
            across.error >= 1.5_f64.sqrt() && across.error < 1.225,
            "{across:?}"
        );
        assert!((root(Rounded::within(4.0, 0.5)).error - 0.129).abs() < 1e-3);
    }

    #[test]
    fn coincident_points_have_the_zero_subgradient() {
        let a = exact([0.3, 1.0]);
        let euclidean = Relation::Euclidean;
        assert_eq!(relation(euclidean, &a, &a), Rounded::exact(0.0));
        assert_eq!(
            relation_grad(euclidean, &a, &a),
            vec![Rounded::exact(0.0); 2]
        );
        let near = vec![Rounded::within(0.3, 1e-9), Rounded::exact(1.0)];
        let r = relation(euclidean, &near, &near);
        assert!(r.error >= 2e-9 && r.error < 4e-9, "{r:?}");
        let grad = relation_grad(euclidean, &near, &near);
        assert!(grad.iter().all(|g| g.error >= 1.0 && g.value == 0.0));
    }
}
