//! Theorem 2 for bounded data: true for any independent noise, and for zeros without interior.

use super::visible::PointLaw;
use crate::rounding::Rounded;
use crate::statements::elementary::{cosine, pi, sine};
use crate::statements::{
    About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError,
};

const FREQUENCY: Parameter = Parameter::linear(
    "t",
    "frequency, beyond all that the noise leaves, at which the clean law is read off",
    1.0..=1.25,
    1.125,
);
const APART: Parameter = Parameter::logarithmic(
    "h",
    "distance from an isolated zero at which the noise is divided out",
    1e-4..=0.25,
    0.01,
);

/// Nodes of the continuation, and the band they lie in: |t| ≤ BAND < 1, where the noise's transform is at least ¼.
const NODES: u32 = 15;
const BAND: f64 = 0.75;
/// All atoms lie in [−EXTENT, EXTENT].
const EXTENT: f64 = 1.0;

/// `[thm:bounded-data]` For bounded data equal noised laws have equal clean laws, whatever the independent noise.
///
/// # Formula `[eq:bounded-data]`
/// ```text
/// |X| ≤ A:   φ_X(t) = E e^{itX} is entire, |φ_X^{(N)}| ≤ A^N;   φ_noise(0) = 1, so φ_noise ≠ 0 near 0, and there φ_X = φ_{X+ε}/φ_noise
/// polynomial through N nodes t_j of that interval:   |φ_X(t) − Σ_j φ_X(t_j) ℓ_j(t)| ≤ A^N/N! Π_j |t − t_j|    for every real t
/// ```
/// Two bounded laws whose noised laws agree have one φ near 0, hence one everywhere. Exponential moments E e^{c|X|} < ∞ are enough:
/// then φ is analytic in a strip. Tried with E9's noise, whose transform (1 − |t|)₊ hides everything beyond 1: the clean law of three atoms in [−1, 1] is
/// read off at t ≥ 1 from the noised law at |t| ≤ ¾ alone, at 15 Chebyshev nodes.
///
/// # Formula `[eq:isolated-zero]`
/// ```text
/// any law, noise uniform on [−½, ½], transform sin(t/2)/(t/2), 0 at t = 2π:   |φ_X(2π) − ½(φ_X(2π − h) + φ_X(2π + h))| ≤ ½h² E X²
/// ```
/// A transform whose zeros have no interior determines φ_X by continuity. It need not be free of zeros.
///
/// # Values
/// 6: atoms, of which half is taken, and weights.
pub struct BoundedData;

fn law(instance: &Instance) -> Result<PointLaw, StatementError> {
    let mut values = instance.values();
    let atoms: Vec<f64> = values.take(3)?.iter().map(|a| a / 2.0).collect();
    let masses: Vec<f64> = values.take(3)?.iter().map(|v| v.abs() + 0.25).collect();
    Ok(PointLaw::new(atoms, &masses))
}

/// (1 − |t|)₊ of a number in the band.
fn polya(t: Rounded) -> Rounded {
    Rounded::exact(1.0) - Rounded::within(t.value.abs(), t.error)
}

/// Chebyshev nodes of [−BAND, BAND], taken as they are stored.
fn nodes() -> Vec<f64> {
    let count = f64::from(NODES);
    let angle = |j: u32| std::f64::consts::PI * (f64::from(j) + 0.5) / count;
    (0..NODES).map(|j| BAND * angle(j).cos()).collect()
}

/// ℓ_j(t) of every node.
fn lagrange(nodes: &[f64], t: f64) -> Vec<Rounded> {
    let t = Rounded::exact(t);
    let basis = |j: usize| {
        let others = nodes.iter().enumerate().filter(|(k, _)| *k != j);
        others.fold(Rounded::exact(1.0), |product, (_, &node)| {
            let gap = Rounded::exact(nodes[j]) - Rounded::exact(node);
            product * (t - Rounded::exact(node)) / gap
        })
    };
    (0..nodes.len()).map(basis).collect()
}

/// A^N/N! Π|t − t_j|.
fn remainder(nodes: &[f64], t: f64) -> f64 {
    let parts = (1..=NODES).zip(nodes);
    1.01 * parts.fold(1.0, |all, (n, node)| {
        all * EXTENT * (t - node).abs() / f64::from(n)
    })
}

/// E cos tX and E sin tX from what the noised law shows in the band: noised transform over the noise's, continued.
fn continued(noised: impl Fn(f64) -> [Rounded; 2], t: f64) -> [Rounded; 2] {
    let nodes = nodes();
    let weights = lagrange(&nodes, t);
    let missing = Rounded::within(0.0, remainder(&nodes, t));
    let shown: Vec<[Rounded; 2]> = nodes
        .iter()
        .map(|&node| noised(node).map(|part| part / polya(node.into())))
        .collect();
    [0, 1].map(|part| {
        let terms = weights.iter().zip(&shown);
        Rounded::sum(terms.map(|(&w, s)| w * s[part])) + missing
    })
}

/// The noised law's transform at a node of the band: the clean one times the noise's.
fn noised(law: &PointLaw, t: f64) -> [Rounded; 2] {
    law.transform(t).map(|part| part * polya(t.into()))
}

/// sin(t/2)/(t/2), the transform of noise uniform on [−½, ½].
fn uniform(t: Rounded) -> Rounded {
    let half = t * 0.5;
    sine(half) / half
}

/// Re and Im of φ_X at 2π + offset, noised by the uniform law and divided out again.
fn beside_the_zero(law: &PointLaw, offset: f64) -> [Rounded; 2] {
    let t = pi() * 2.0 + Rounded::exact(offset);
    let own = |f: fn(Rounded) -> Rounded| law.mean(|a| f(t * a));
    [cosine, sine].map(|f| own(f) * uniform(t) / uniform(t))
}

impl Statement for BoundedData {
    fn about(&self) -> About {
        About {
            id: "dg-theorem-2-bounded",
            source: "Diffusion-GAN (arXiv:2206.02262), Theorem 2: where it holds as printed",
            kind: Kind::Bound,
            summary: "for bounded data, images for one, Theorem 2 is true for any independent noise; and zeros without interior hide nothing of any law",
            terms: &[],
            parameters: &[FREQUENCY, APART],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        Ok(law(instance)?.built("X"))
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let law = law(instance)?;
        let (t, h) = (instance.get(FREQUENCY.name)?, instance.get(APART.name)?);
        let (clean, read) = (law.transform(t), continued(|node| noised(&law, node), t));
        let mut claims: Vec<Evidence> = ["cos", "sin"]
            .into_iter()
            .enumerate()
            .map(|(part, name)| {
                // 1 is added on both sides: a part that is 0 is then said to its bound.
                let one = Rounded::exact(1.0);
                Evidence::equal(
                    format!("1 + E {name}(tX), where the noise leaves nothing, from the noised law at |t| ≤ 3/4"),
                    one + clean[part],
                    one + read[part],
                )
            })
            .collect();
        let second = law.mean(|a| Rounded::exact(a).square());
        let (at, before, after) = (
            [cosine, sine].map(|f| law.mean(|a| f(pi() * 2.0 * a))),
            beside_the_zero(&law, -h),
            beside_the_zero(&law, h),
        );
        for (part, name) in ["Re", "Im"].into_iter().enumerate() {
            let gap = at[part] - (before[part] + after[part]) * 0.5;
            claims.push(Evidence::at_most(
                format!(
                    "across an isolated zero: |{name} φ_X(2π) - mean of its neighbours'| ≤ ½h² E X²"
                ),
                Rounded::within(gap.value.abs(), gap.error),
                second * h * h * 0.5,
            ));
        }
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        // E9's lattice law has the transform 1 − |t| on the band and the wave of period two beyond: |t − 2| − ... at 5/4 it is ¼.
        let lattice = |t: f64| {
            let inside = polya(t.into());
            [inside * inside, Rounded::exact(0.0)]
        };
        let law = law(&self.default_instance())?;
        let [real, _] = continued(|node| noised(&law, node), 1.25);
        Ok(vec![
            Evidence::equal(
                "control: E9's lattice law, whose tails are heavy, is read off in the same way; E cos(5X/4) = 1/4",
                continued(lattice, 1.25)[0],
                Rounded::exact(0.25),
            ),
            Evidence::equal(
                "control: what the noise hides is 0, at t = 5/4",
                real,
                Rounded::exact(0.0),
            ),
            Evidence::equal(
                "control: without dividing the noise out",
                continued(
                    |node| noised(&law, node).map(|part| part * polya(node.into())),
                    1.25,
                )[0],
                law.transform(1.25)[0],
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The basis sums to one and reproduces a polynomial of degree 2 far outside its nodes.
    #[test]
    fn the_continuation_reproduces_polynomials() {
        let nodes = nodes();
        let weights = lagrange(&nodes, 1.25);
        let of = |f: fn(f64) -> f64| -> Rounded {
            Rounded::sum(nodes.iter().zip(&weights).map(|(&t, &w)| w * f(t)))
        };
        for (got, want) in [(of(|_| 1.0), 1.0), (of(|t| t * t - t), 0.3125)] {
            assert!(
                (got.value - want).abs() <= got.error && got.error < 1e-6,
                "{got:?}"
            );
        }
        assert!(remainder(&nodes, 1.25) < 1e-9);
    }
}
