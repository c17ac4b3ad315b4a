//! Laws and their scores under arbitrary linear isometries: products of reflections.

use crate::laws::finite::softmax;
use crate::laws::relation::{dot, exact};
use crate::rounding::Rounded;
use crate::statements::{Built, Evidence, StatementError, Values};

/// Dimension of the space.
const N: usize = 3;
/// Atoms of the law.
const ATOMS: usize = 3;
/// Panels of the path integral.
const PANELS: u32 = 64;

/// A product of reflections x − 2v⟨v, x⟩/‖v‖²: every linear isometry of Rⁿ is one of at most n.
pub struct Isometry {
    mirrors: Vec<Vec<Rounded>>,
}

impl Isometry {
    /// κx: the last mirror first.
    fn apply(&self, x: &[Rounded]) -> Vec<Rounded> {
        self.mirrors.iter().rev().fold(x.to_vec(), |x, v| {
            let factor = dot(v, &x) * 2.0 / dot(v, v);
            x.iter().zip(v).map(|(&x, &v)| x - v * factor).collect()
        })
    }

    /// κ⁻¹ = κᵀ: the mirrors in the other order.
    fn inverse(&self) -> Self {
        Self {
            mirrors: self.mirrors.iter().rev().cloned().collect(),
        }
    }
}

/// A finite law with atoms known to within bounds, at one noise level.
pub struct NoisedAtoms {
    atoms: Vec<Vec<Rounded>>,
    weights: Vec<f64>,
    alpha: f64,
    sigma: f64,
}

impl NoisedAtoms {
    /// ln w_k − ‖x − αa_k‖²/2σ².
    fn terms(&self, x: &[Rounded]) -> Vec<Rounded> {
        let twice = Rounded::exact(self.sigma).square() * 2.0;
        let term = |(atom, &w): (&Vec<Rounded>, &f64)| {
            let off: Vec<Rounded> = x
                .iter()
                .zip(atom)
                .map(|(&x, &a)| x - a * self.alpha)
                .collect();
            Rounded::exact(w).ln() - dot(&off, &off) / twice
        };
        self.atoms.iter().zip(&self.weights).map(term).collect()
    }

    /// log q_t up to a constant.
    fn log_density(&self, x: &[Rounded]) -> Rounded {
        softmax(&self.terms(x)).1
    }

    /// s = ∇ log q_t.
    fn score(&self, x: &[Rounded]) -> Vec<Rounded> {
        let weights = softmax(&self.terms(x)).0;
        let variance = Rounded::exact(self.sigma).square();
        let mean = |i: usize| Rounded::sum(self.atoms.iter().zip(&weights).map(|(a, &w)| w * a[i]));
        x.iter()
            .enumerate()
            .map(|(i, &x)| (mean(i) * self.alpha - x) / variance)
            .collect()
    }

    /// The law of κ x_0.
    fn moved(&self, map: &Isometry) -> Self {
        Self {
            atoms: self.atoms.iter().map(|a| map.apply(a)).collect(),
            weights: self.weights.clone(),
            ..*self
        }
    }

    /// Half of this law and half of its image.
    fn joined(&self, map: &Isometry) -> Self {
        let image = self.moved(map);
        Self {
            atoms: self.atoms.iter().chain(&image.atoms).cloned().collect(),
            weights: self.weights.repeat(2),
            ..*self
        }
    }

    /// The range of ⟨x, αa_k⟩/σ² over the atoms, rounded upwards.
    fn range(&self, x: &[Rounded]) -> f64 {
        let reach = |a: &Vec<Rounded>| dot(x, a).value * self.alpha / (self.sigma * self.sigma);
        let ends = |(l, h): (f64, f64), v: f64| (l.min(v), h.max(v));
        let (low, high) = self
            .atoms
            .iter()
            .map(reach)
            .fold((f64::MAX, f64::MIN), ends);
        1.01 * (high - low)
    }
}

/// A law without symmetry, a reflection and a rotation, a noised point and a direction.
pub struct Scene {
    law: NoisedAtoms,
    reflection: Isometry,
    rotation: Isometry,
    point: Vec<Rounded>,
    direction: Vec<Rounded>,
}

impl Scene {
    /// Takes 24 values: two mirrors, atoms, weights, noise, and a direction.
    pub fn of(values: &mut Values<'_>, alpha: f64, sigma: f64) -> Result<Self, StatementError> {
        let mut mirror = || -> Result<Vec<Rounded>, StatementError> {
            let mut v = values.take(N)?;
            v[0] += 3.0; // away from zero
            Ok(exact(v))
        };
        let (first, second) = (mirror()?, mirror()?);
        let atoms = (0..ATOMS)
            .map(|_| values.take(N).map(exact))
            .collect::<Result<Vec<_>, _>>()?;
        let weights = values.take(ATOMS)?.iter().map(|v| v.abs() + 0.25).collect();
        let noise = values.take(N)?;
        let point = atoms[0]
            .iter()
            .zip(noise)
            .map(|(a, e)| Rounded::exact(alpha * a.value + sigma * e))
            .collect();
        Ok(Self {
            law: NoisedAtoms {
                atoms,
                weights,
                alpha,
                sigma,
            },
            reflection: Isometry {
                mirrors: vec![first.clone()],
            },
            rotation: Isometry {
                mirrors: vec![first, second],
            },
            point,
            direction: exact(values.take(N)?),
        })
    }

    /// Its numbers, to be shown.
    pub fn built(&self) -> Vec<Built> {
        let values = |x: &[Rounded]| x.iter().map(|x| x.value).collect::<Vec<_>>();
        let list = |rows: &[Vec<Rounded>]| rows.iter().map(|r| values(r)).collect::<Vec<_>>();
        vec![
            Built::list("mirrors of the isometry", &list(&self.rotation.mirrors)),
            Built::list("atoms under it", &list(&self.law.atoms)),
            Built::row("weights under it", &self.law.weights),
            Built::row("noised point under it", &values(&self.point)),
            Built::row("direction under it", &values(&self.direction)),
        ]
    }

    /// ⟨w, s(κx)⟩ of one law and ⟨κ⁻¹w, s(x)⟩ of another.
    fn scores(&self, there: &NoisedAtoms, here: &NoisedAtoms, map: &Isometry) -> [Rounded; 2] {
        let moved = there.score(&map.apply(&self.point));
        let back = map.inverse().apply(&self.direction);
        [
            dot(&self.direction, &moved),
            dot(&back, &here.score(&self.point)),
        ]
    }

    /// λx with λ ≤ 1 such that the exponents of both laws change by at most 1 relative to each other along the way to 0.
    fn near(&self) -> Vec<Rounded> {
        let widest = self.widest(&self.point);
        let scale = 1.0 / widest.max(1.0);
        self.point.iter().map(|&x| x * scale).collect()
    }

    fn widest(&self, x: &[Rounded]) -> f64 {
        self.law
            .range(x)
            .max(self.law.range(&self.rotation.apply(x)))
    }

    /// log q(κx) − log q(x), and ∫_0^1 ⟨x, κ⁻¹s(κτx) − s(τx)⟩ dτ.
    fn path(&self) -> [Rounded; 2] {
        let (x, map) = (self.near(), &self.rotation);
        let ends = self.law.log_density(&map.apply(&x)) - self.law.log_density(&x);
        let back = map.inverse();
        let slope = |part: Rounded| {
            let at: Vec<Rounded> = x.iter().map(|&x| x * part).collect();
            let moved = back.apply(&self.law.score(&map.apply(&at)));
            dot(&x, &moved) - dot(&x, &self.law.score(&at))
        };
        let node = Rounded::exact(0.5) / Rounded::exact(3.0).sqrt();
        let count = f64::from(PANELS);
        let sum = Rounded::sum((0..PANELS).map(|k| {
            let middle = Rounded::exact(f64::from(k) + 0.5);
            slope((middle - node) / count) + slope((middle + node) / count)
        }));
        let remainder = 2.0 * 238.0 * self.widest(&x).powi(5) / (4320.0 * count.powi(4));
        [
            ends,
            sum * 0.5 / count + Rounded::within(0.0, 1.01 * remainder),
        ]
    }
}

/// The statement under isometries.
///
/// # Formula `[eq:defect-path]`
/// ```text
/// law of κx_0:   q^κ_t(κx) = q_t(x),  s^κ(κx) = κ s(x)
/// any law:       log q_t(κx) − log q_t(x) = ∫_0^1 ⟨x, κ⁻¹s(κτx) − s(τx)⟩ dτ        since κ0 = 0
/// ```
/// so a score without defect makes the law invariant, with no constant left to settle: this is "⇐". The integral is taken by
/// Gauss's rule with two points on N = 64 panels, whose remainder is sup|f⁗|/4320N⁴; f⁗ is a difference of two fifth cumulants of
/// exponents with range R ≤ 1, each at most 5! ln 2 (R/2 ln 1.5)⁵ ≤ 238 R⁵ by Cauchy's estimate: with r = 2 ln 1.5/R,
/// |E e^{zX} − 1| ≤ e^{rR/2} − 1 = ½ for |z| ≤ r and X centred in its range, hence |log E e^{zX}| ≤ ln 2 there.
pub fn evidence(scene: &Scene) -> Vec<Evidence> {
    let (law, map) = (&scene.law, &scene.rotation);
    let image = law.moved(map);
    let [moved, still] = scene.scores(&image, law, map);
    let point = map.apply(&scene.point);
    let joined = law.joined(&scene.reflection);
    let mirrored = scene.reflection.apply(&scene.point);
    let [turned, fixed] = scene.scores(&joined, &joined, &scene.reflection);
    let [ends, path] = scene.path();
    vec![
        Evidence::equal("rotated law: ⟨w, s^κ(κx)⟩ = ⟨κ⁻¹w, s(x)⟩", moved, still),
        Evidence::equal(
            "rotated law: log q^κ_t(κx) = log q_t(x)",
            image.log_density(&point),
            law.log_density(&scene.point),
        ),
        Evidence::equal(
            "law and its mirror image: ⟨w, s(κx)⟩ = ⟨κ⁻¹w, s(x)⟩",
            turned,
            fixed,
        ),
        Evidence::equal(
            "law and its mirror image: log q_t(κx) = log q_t(x)",
            joined.log_density(&mirrored),
            joined.log_density(&scene.point),
        ),
        Evidence::equal(
            "any law: log q_t(κx) - log q_t(x) = ∫ ⟨x, defect(τx)⟩ dτ",
            ends,
            path,
        ),
    ]
}

/// What fails: symmetry of a law without any, and a mirror for a rotation.
pub fn controls(scene: &Scene) -> Vec<Evidence> {
    let (law, map) = (&scene.law, &scene.rotation);
    let joined = law.joined(&scene.reflection);
    let [moved, still] = scene.scores(law, law, map);
    let [turned, fixed] = scene.scores(&joined, &joined, map);
    let [ends, path] = scene.path();
    vec![
        Evidence::equal(
            "control: a law without symmetry has a score that rotates",
            moved,
            still,
        ),
        Evidence::equal(
            "control: a mirrored law has a score that rotates",
            turned,
            fixed,
        ),
        Evidence::equal(
            "control: a law without symmetry has an invariant density",
            ends,
            0.0.into(),
        ),
        Evidence::equal("control: the path integral has the other sign", ends, -path),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statements::{InvarianceIsEquivariance, Statement};

    /// The mirror (1, 1, 0) exchanges −x and −y; with (1, 0, 0) after it, (x, y) ↦ (y, −x); lengths stay.
    #[test]
    fn reflections_are_as_by_hand() {
        let (first, second) = (exact([1.0, 0.0, 0.0]), exact([1.0, 1.0, 0.0]));
        let turn = Isometry {
            mirrors: vec![first, second],
        };
        let x = exact([2.0, 3.0, 5.0]);
        let got = turn.apply(&x);
        for (g, w) in got.iter().zip([3.0, -2.0, 5.0]) {
            assert!((g.value - w).abs() <= g.error && g.error < 1e-13, "{got:?}");
        }
        let back = turn.inverse().apply(&got);
        for (g, w) in back.iter().zip(&x) {
            assert!((g.value - w.value).abs() <= g.error && g.error < 1e-12);
        }
        assert!((dot(&got, &got).value - 38.0).abs() < 1e-12);
    }

    /// The score is the gradient of the log density: central differences, to a truncation of order h².
    #[test]
    fn scores_are_gradients() -> Result<(), StatementError> {
        let instance = InvarianceIsEquivariance.default_instance();
        let scene = Scene::of(&mut instance.values(), 0.75, 0.5)?;
        let score = scene.law.score(&scene.point);
        let step = 1.0 / 4096.0;
        for i in 0..N {
            let at = |by: f64| {
                let mut x = scene.point.clone();
                x[i] = x[i] + Rounded::exact(by);
                scene.law.log_density(&x).value
            };
            let slope = (at(step) - at(-step)) / (2.0 * step);
            assert!(
                (score[i].value - slope).abs() < 1e-4,
                "{i}: {} {slope}",
                score[i].value
            );
        }
        Ok(())
    }
}
