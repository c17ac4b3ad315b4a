//! The relations of `sadm_reference::relation` and their gradients on numbers that carry their rounding bound.

use ndarray::{Array2, array};
use sadm_reference::bound::{Precision, Tracked};
use sadm_reference::relation::Relation;

use crate::rounding::Rounded;

/// R(a, b) for one pair of vectors. Written apart from the reference, whose values it must enclose; a relation that has no
/// formula here has the reference's value and running bound.
///
/// # Shapes
/// a, b `[n]`.
///
/// # Limits
/// Error ∞ under cosine if a vector cannot be told from 0.
pub fn relation(kind: Relation, a: &[Rounded], b: &[Rounded]) -> Rounded {
    match kind.name() {
        "inner-product" => dot(a, b),
        "cosine" => dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt()),
        "squared-euclidean" => squared_distance(a, b),
        "euclidean" => root(squared_distance(a, b)),
        "rbf" => gaussian(squared_distance(a, b), kind.number()),
        _ => {
            let m = kind.affinity_bound(&pair(a, b), kind.number(), Precision::F64);
            Rounded::within(m.value[[0, 1]], m.error[[0, 1]])
        }
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
    match kind.name() {
        "inner-product" => b.to_vec(),
        "cosine" => {
            let (length_a, length_b) = (dot(a, a).sqrt(), dot(b, b).sqrt());
            let component =
                |(&x, &y): (&Rounded, &Rounded)| (y / length_b - value * (x / length_a)) / length_a;
            a.iter().zip(b).map(component).collect()
        }
        "squared-euclidean" => along(2.0.into()),
        "euclidean" if value.value == 0.0 => {
            let unknown = if value.error == 0.0 { 0.0 } else { 1.0 };
            vec![Rounded::within(0.0, unknown); a.len()]
        }
        "euclidean" => along(Rounded::exact(1.0) / value),
        "rbf" => along(-(value / Rounded::exact(kind.number()).square())),
        _ => {
            let (psi, number, p) = (pair(a, b), kind.number(), Precision::F64);
            let g = Tracked::exact(array![[0.0, 1.0], [0.0, 0.0]].into_dyn());
            let grad = kind.vjp_bound(&psi, &kind.affinity_bound(&psi, number, p), &g, number, p);
            let first = |i| Rounded::within(grad.value[[0, i]], grad.error[[0, i]]);
            (0..a.len()).map(first).collect()
        }
    }
}

/// R(a + μ, b + ν) − R(a, b) for small μ, ν, whose digits it keeps.
///
/// # Formula `[eq:relation-step]`
/// ```text
/// inner product a·ν + μ·b + μ·ν              squared Euclidean 2(a − b)·(μ − ν) + ‖μ − ν‖²
/// Euclidean (that)/(R' + R)                  rbf R (exp(−(that)/2 bandwidth²) − 1)
/// cosine (inner step − R step of ‖a‖‖b‖)/(‖a'‖‖b'‖),   step of ‖a‖ = (2a·μ + ‖μ‖²)/(‖a'‖ + ‖a‖)
/// ```
/// # Limits
/// As [`relation`]; for Euclidean points that coincide, and for a relation without a formula here, the difference of the two
/// values.
pub(crate) fn relation_step(
    kind: Relation,
    [a, b]: [&[Rounded]; 2],
    [mu, nu]: [&[Rounded]; 2],
) -> Rounded {
    let plus = |x: &[Rounded], step: &[Rounded]| -> Vec<Rounded> {
        x.iter().zip(step).map(|(&x, &s)| x + s).collect()
    };
    let (a_new, b_new) = (plus(a, mu), plus(b, nu));
    let inner = dot(a, nu) + dot(mu, b) + dot(mu, nu);
    let minus = |x: &[Rounded], y: &[Rounded]| -> Vec<Rounded> {
        x.iter().zip(y).map(|(&x, &y)| x - y).collect()
    };
    let (gap, step) = (minus(a, b), minus(mu, nu));
    let squared = dot(&gap, &step) * 2.0 + dot(&step, &step);
    let length = |x: &[Rounded]| dot(x, x).sqrt();
    let longer = |x: &[Rounded], s: &[Rounded], new: &[Rounded]| {
        (dot(x, s) * 2.0 + dot(s, s)) / (length(new) + length(x))
    };
    match kind.name() {
        "inner-product" => inner,
        "squared-euclidean" => squared,
        "euclidean" => {
            let (old, new) = (relation(kind, a, b), relation(kind, &a_new, &b_new));
            let quotient = squared / (old + new);
            if quotient.error.is_finite() {
                quotient
            } else {
                new - old
            }
        }
        "rbf" => {
            let exponent = -(squared / (Rounded::exact(kind.number()).square() * 2.0));
            relation(kind, a, b) * exponent.exp_m1()
        }
        "cosine" => {
            let product =
                longer(a, mu, &a_new) * length(&b_new) + length(a) * longer(b, nu, &b_new);
            (inner - relation(kind, a, b) * product) / (length(&a_new) * length(&b_new))
        }
        _ => relation(kind, &a_new, &b_new) - relation(kind, a, b),
    }
}

/// Two vectors as the reference's bounds take them, `[2, n]`.
fn pair(a: &[Rounded], b: &[Rounded]) -> Tracked {
    let rows = |part: fn(&Rounded) -> f64| {
        Array2::from_shape_fn((2, a.len()), |(row, i)| part(&[a, b][row][i])).into_dyn()
    };
    Tracked {
        value: rows(|x| x.value),
        error: rows(|x| x.error),
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

    /// Relations with formulas of their own here, whose steps are no subtractions.
    const OWN: [&str; 5] = [
        "cosine",
        "inner-product",
        "squared-euclidean",
        "euclidean",
        "rbf",
    ];

    fn kinds() -> impl Iterator<Item = Relation> {
        Relation::all().map(|kind| kind.with(1.25))
    }

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
        for kind in kinds() {
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

    /// A large step is the difference of the two values; a tiny one, along (μ, ν), the slope.
    #[test]
    fn steps_are_differences_and_keep_digits() {
        let (a, b) = (exact([0.75, -1.25, 0.5]), exact([1.5, 0.25, -0.75]));
        let (mu, nu) = (exact([0.5, 0.25, -1.0]), exact([-0.25, 1.5, 0.125]));
        let moved = |x: &[Rounded], s: &[Rounded]| -> Vec<Rounded> {
            x.iter().zip(s).map(|(&x, &s)| x + s).collect()
        };
        let tiny =
            |s: &[Rounded]| -> Vec<Rounded> { s.iter().map(|&s| s * 2.0_f64.powi(-90)).collect() };
        for kind in kinds() {
            let got = relation_step(kind, [&a, &b], [&mu, &nu]);
            let want = relation(kind, &moved(&a, &mu), &moved(&b, &nu)) - relation(kind, &a, &b);
            assert!(
                (got.value - want.value).abs() <= got.error + want.error,
                "{kind}"
            );
            assert!(got.error < 1e-13, "{kind}");
            if !OWN.contains(&kind.name()) {
                continue;
            }
            let got = relation_step(kind, [&a, &b], [&tiny(&mu), &tiny(&nu)]) * 2.0_f64.powi(90);
            let slope =
                dot(&relation_grad(kind, &a, &b), &mu) + dot(&relation_grad(kind, &b, &a), &nu);
            assert!(
                (got.value - slope.value).abs() < 1e-13,
                "{kind}: {got:?} {slope:?}"
            );
        }
        let same = relation_step(Relation::EUCLIDEAN, [&a, &a], [&mu, &mu]);
        assert!(same.value.abs() <= same.error && same.error < 1e-14);
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
        let euclidean = Relation::EUCLIDEAN;
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
