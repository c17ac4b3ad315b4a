//! What Gaussian noise leaves visible of a finite law: its characteristic function can be read off again.

use crate::laws::finite::normal_density;
use crate::rounding::Rounded;
use crate::statements::elementary::{cosine, pi, sine};
use crate::statements::{Built, Evidence, StatementError, Values};

/// Atoms of each law.
const ATOMS: usize = 3;
/// Nodes per standard deviation of the noise.
const NODES: i32 = 4;
/// Standard deviations beyond all atoms where the sum ends.
const REACH: i32 = 12;
/// All atoms lie in [−EXTENT, EXTENT].
const EXTENT: f64 = 2.0;

/// Points with weights that add up to one.
pub struct PointLaw {
    atoms: Vec<f64>,
    weights: Vec<Rounded>,
}

impl PointLaw {
    /// Takes 2·ATOMS values.
    pub fn of(values: &mut Values<'_>) -> Result<Self, StatementError> {
        let atoms = values.take(ATOMS)?;
        let masses: Vec<f64> = values.take(ATOMS)?.iter().map(|v| v.abs() + 0.25).collect();
        Ok(Self::new(atoms, &masses))
    }

    /// From atoms and masses in any proportion.
    pub fn new(atoms: Vec<f64>, masses: &[f64]) -> Self {
        let total = Rounded::sum(masses.iter().map(|&m| m.into()));
        let weights = masses.iter().map(|&m| Rounded::exact(m) / total).collect();
        Self { atoms, weights }
    }

    /// Its numbers, to be shown.
    pub fn built(&self, name: &str) -> Vec<Built> {
        let weights: Vec<f64> = self.weights.iter().map(|w| w.value).collect();
        vec![
            Built::row(format!("atoms of {name}"), &self.atoms),
            Built::row(format!("weights of {name}"), &weights),
        ]
    }

    /// E f(X).
    pub fn mean(&self, f: impl Fn(f64) -> Rounded) -> Rounded {
        Rounded::sum(
            self.atoms
                .iter()
                .zip(&self.weights)
                .map(|(&a, &w)| w * f(a)),
        )
    }

    /// E cos tX and E sin tX.
    pub fn transform(&self, t: f64) -> [Rounded; 2] {
        [cosine, sine].map(|f| self.mean(|a| f(Rounded::exact(t) * a)))
    }

    /// e^{s²t²/2} ∫ cos(tx) p(x) dx and the same with sin, p the density of X + sG: the noise divided out.
    ///
    /// A trapezoidal sum of step h = s/4 over [−2 − 12s, 2 + 12s]. By Poisson's summation formula it errs by at most
    /// Σ_{m≠0} e^{−s²(2πm/h + t)²/2} ≤ 4 e^{−(8π − s|t|)²/2} for s|t| ≤ 8, and the terms left out add up to at most 2 e^{−72}.
    fn recovered(&self, s: f64, t: f64) -> [Rounded; 2] {
        let step = s / f64::from(NODES);
        let grown = (Rounded::exact(s) * t).square() * 0.5;
        let gap = pi() * (2.0 * f64::from(NODES)) - Rounded::exact((s * t).abs());
        let omitted = (-(gap.square() * 0.5)).exp() * 4.0 + Rounded::exact(-72.0).exp() * 2.0;
        let mut last = REACH * NODES;
        while f64::from(last) * step < EXTENT + f64::from(REACH) * s {
            last += 1;
        }
        let node = |j: i32| Rounded::exact(step) * f64::from(j);
        let density = |x: Rounded| self.mean(|a| normal_density(0.0, x - Rounded::exact(a), s));
        [cosine, sine].map(|f| {
            let sum = Rounded::sum((-last..=last).map(|j| f(node(j) * t) * density(node(j))));
            let integral = sum * step + Rounded::within(0.0, omitted.value + omitted.error);
            integral * grown.exp()
        })
    }
}

/// Σ_ij c_i c_j f(a_i − a_j) over the atoms of P − Q.
fn quadratic(laws: [&PointLaw; 2], f: impl Fn(Rounded) -> Rounded) -> Rounded {
    let signed = laws.into_iter().zip([1.0, -1.0]).flat_map(|(law, sign)| {
        law.atoms
            .iter()
            .zip(&law.weights)
            .map(move |(&a, &w)| (a, w * sign))
    });
    let points: Vec<(f64, Rounded)> = signed.collect();
    let term = |&(a, v): &(f64, Rounded), &(b, w): &(f64, Rounded)| {
        v * w * f(Rounded::exact(a) - Rounded::exact(b))
    };
    Rounded::sum(
        points
            .iter()
            .flat_map(|p| points.iter().map(move |q| (p, q)))
            .map(|(p, q)| term(p, q)),
    )
}

/// ∫ (p − q)² dx of the noised densities, Σ c_i c_j N(a_i − a_j; 0, 2s²).
fn noised_distance(laws: [&PointLaw; 2], s: f64) -> Rounded {
    let variance = Rounded::exact(s).square() * 2.0;
    let norm = (pi() * 2.0 * variance).sqrt();
    quadratic(laws, |d| (-(d.square() / (variance * 2.0))).exp() / norm)
}

/// (1/2π) ∫_{−T}^{T} |φ_P − φ_Q|² dt, Σ c_i c_j sin(T d)/(πd) with d = a_i − a_j.
fn clean_distance(laws: [&PointLaw; 2], band: f64) -> Rounded {
    quadratic(laws, |d| {
        if d.value == 0.0 {
            Rounded::exact(band) / pi()
        } else {
            sine(d * band) / (pi() * d)
        }
    })
}

/// Both parts of the corrected statement on finite laws P, Q, at three frequencies and three bands.
///
/// # Formula `[eq:noise-divided-out]`
/// ```text
/// E e^{itX} = e^{s²t²/2} ∫ e^{itx} p(x) dx                                 at every t: the clean law is determined by the noised one
/// e^{−s²T²} (1/2π) ∫_{−T}^{T} |φ_P − φ_Q|² dt ≤ ∫ (p − q)² dx              Parseval: what differed still differs
/// ```
pub fn corrected(laws: [&PointLaw; 2], s: f64, frequency: f64) -> Vec<Evidence> {
    let mut claims = Vec::new();
    for t in [frequency, frequency + 1.0, frequency + 2.0] {
        let (clean, read) = (laws[0].transform(t), laws[0].recovered(s, t));
        for (part, name) in ["cos", "sin"].into_iter().enumerate() {
            claims.push(Evidence::equal(
                format!("corrected: E {name}({t}X) = e^{{s²t²/2}} E {name}(t(X + sG))"),
                clean[part],
                read[part],
            ));
        }
    }
    for band in [1.0, 2.0, 4.0] {
        let kept = (-((Rounded::exact(s) * band).square())).exp();
        claims.push(Evidence::at_most(
            format!("corrected: e^{{-s²T²}} ∫_-T^T |φ_P - φ_Q|² dt/2π ≤ ∫ (p - q)² dx, T = {band}"),
            kept * clean_distance(laws, band),
            noised_distance(laws, s),
        ));
    }
    claims
}

/// Controls on fixed laws: noise left in, and a distance that noise would not shrink.
pub fn controls() -> Vec<Evidence> {
    let first = PointLaw::new(vec![-1.0, 0.25, 1.5], &[1.0, 2.0, 1.0]);
    let second = PointLaw::new(vec![-0.75, 0.5, 1.25], &[1.0, 1.0, 2.0]);
    let (s, t) = (0.75, 1.25);
    let shrunk = (-((Rounded::exact(s) * t).square() * 0.5)).exp();
    vec![
        Evidence::equal(
            "control: noise leaves the characteristic function as it is",
            first.transform(t)[0],
            first.recovered(s, t)[0] * shrunk,
        ),
        Evidence::at_most(
            "control: noise leaves the whole distance",
            clean_distance([&first, &second], 4.0),
            noised_distance([&first, &second], s),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P = δ_1, Q = δ_{−1}: ∫(p − q)² = (1 − e^{−1/s²})/(s√π), and (1/2π)∫|2i sin t|² = (2/π)(T/2 − sin 2T/4)·2 over [−T, T].
    #[test]
    fn distances_are_as_by_hand() {
        let (one, other) = (
            PointLaw::new(vec![1.0], &[3.0]),
            PointLaw::new(vec![-1.0], &[1.0]),
        );
        let (s, band) = (0.75_f64, 1.25_f64);
        let got = noised_distance([&one, &other], s);
        let want = (1.0 - (-1.0 / (s * s)).exp()) / (s * std::f64::consts::PI.sqrt());
        assert!(
            (got.value - want).abs() <= got.error + 1e-15,
            "{got:?} {want}"
        );
        let got = clean_distance([&one, &other], band);
        let want = 2.0 / std::f64::consts::PI * (band - (2.0 * band).sin() / 2.0);
        assert!(
            (got.value - want).abs() <= got.error + 1e-15,
            "{got:?} {want}"
        );
    }

    #[test]
    fn what_is_recovered_is_the_clean_law() {
        let law = PointLaw::new(vec![-2.0, 0.5], &[1.0, 3.0]);
        for (s, t) in [(0.25, 0.0), (0.75, 1.5), (2.0, 3.0)] {
            let (clean, got) = (law.transform(t), law.recovered(s, t));
            for part in 0..2 {
                assert!(
                    (got[part].value - clean[part].value).abs()
                        <= got[part].error + clean[part].error
                );
                assert!(got[part].error < 1e-6, "{got:?}");
            }
        }
        assert!(
            (law.transform(1.5)[0].value - (0.25 * 3.0_f64.cos() + 0.75 * 0.75_f64.cos())).abs()
                < 1e-15
        );
    }
}
