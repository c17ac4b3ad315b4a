//! E9: for data without bound known noise does not suffice for Theorem 2; zeros without interior in its characteristic function do.

use super::visible::{PointLaw, controls, corrected};
use crate::laws::finite::normal_density;
use crate::rounding::Rounded;
use crate::statements::elementary::{cosine, magnitude, pi, sine};
use crate::statements::{
    About, Built, Evidence, Finding, Instance, Kind, Parameter, Statement, StatementError,
};

const FREQUENCY: Parameter = Parameter::linear(
    "t",
    "frequency at which the characteristic functions are compared",
    0.0..=1.0,
    0.37,
);
const POINT: Parameter = Parameter::linear(
    "x",
    "point at which the noised densities are compared",
    0.5..=6.0,
    2.1,
);
const WIDTH: Parameter = Parameter::logarithmic(
    "s",
    "standard deviation of the Gaussian noise",
    0.25..=2.0,
    0.75,
);

/// Odd multiples kπ with k < 2·TERMS enter the sums.
const TERMS: u32 = 2000;

/// `[thm:e9]` Two laws that differ can agree after adding the same known noise.
///
/// # Formula `[eq:polya-noise]`
/// ```text
/// noise:  density (1 − cos x)/(πx²),  characteristic function (1 − |t|)₊, zero beyond |t| = 1
/// X:      P(0) = 1/2,  P(kπ) = 2/(π²k²) for odd k;   E e^{itX} = 1/2 + (4/π²) Σ_{k odd > 0} cos(kπt)/k²
///         = 1 − |t| on [−1, 1], continued with period 2
/// X_g:    the noise's own law
/// X + ε and X_g + ε:  characteristic function (1 − |t|)₊², density 2(x − sin x)/(πx³)
/// ```
/// On |t| ≤ 1 the two characteristic functions agree; beyond, the noise's is zero and hides the difference, 1/2
/// against 0 at t = 3/2. In the printed y = f(x) + h(ε) both maps are the identity here, which is one-to-one as asked.
///
/// Scope: this noise hides laws with heavy tails only. For bounded data, and any whose exponential moments exist, Theorem 2 is true for every
/// independent noise (`[thm:bounded-data]`). Corrected for all laws: if the zeros of the noise's characteristic function have no
/// interior it can be divided out and continued, and equal noised laws have equal laws of f(x), so of x, f being one-to-one. No zero at
/// all, as for Gaussian noise, is more than is needed; with it the densities at 0 differ by
/// ```text
/// p_{X+sG}(0) − p_{X_g+sG}(0) = (1/π) ∫_1^∞ φ_X(t) e^{−s²t²/2} dt ≥ e^{−9s²/2}/π
/// ```
/// as φ_X ≥ 0 everywhere and its triangle over [1, 3] has area 1. The corrected statement itself is tried on finite laws drawn with
/// the instance, where the noise is divided out at three frequencies (`[eq:noise-divided-out]`).
///
/// # Values
/// Takes 12 values: the atoms and weights of two laws with three atoms each.
pub struct KnownNoise;

/// P(kπ) for odd k.
fn mass(k: f64) -> Rounded {
    Rounded::exact(2.0) / (pi() * k).square()
}

/// E e^{itX} on the lattice of the given spacing over π.
///
/// The tail Σ_{k ≥ K} cos((2k + 1)πt)/(2k + 1)² is at most 1/(4K) (the midpoint rule underestimates the integral
/// of a convex function) and, by Abel's summation, at most 1/((2K + 1)² |sin πt|).
fn lattice_transform(t: f64, spacing: f64) -> Rounded {
    let angle = pi() * t * spacing;
    let odd = (0..TERMS).map(|k| f64::from(2 * k + 1));
    let sum = Rounded::sum(odd.map(|k| cosine(angle * k) * mass(k))) * 2.0;
    let count = Rounded::exact(f64::from(TERMS));
    let plain = Rounded::exact(0.25) / count;
    let last = (count * 2.0 + Rounded::exact(1.0)).square();
    let sine = sine(angle);
    let abel = Rounded::exact(1.0) / (last * Rounded::within(sine.value.abs(), sine.error));
    let tail = if abel.error.is_finite() {
        magnitude(abel).min(magnitude(plain))
    } else {
        magnitude(plain)
    };
    let scale = magnitude(Rounded::exact(4.0) / pi().square());
    Rounded::exact(0.5) + sum + Rounded::within(0.0, 1.01 * scale * tail)
}

/// E e^{itX_g} = (1 − |t|)₊.
fn triangle(t: f64) -> Rounded {
    let left = Rounded::exact(1.0) - Rounded::exact(t.abs());
    if left.value > 0.0 {
        left
    } else {
        Rounded::exact(0.0)
    }
}

/// (1 − cos d)/(πd²) = (sin(d/2)/(d/2))²/2π; near 0 from 1 − h²/6 ≤ sin(h)/h ≤ 1.
fn noise_density(d: Rounded) -> Rounded {
    let half = d * 0.5;
    let ratio = if half.value.abs() > 1e-4 {
        sine(half) / half
    } else {
        let gap = magnitude(half).powi(2) / 12.0;
        Rounded::within(1.0 - gap, gap + f64::EPSILON)
    };
    ratio.square() / (pi() * 2.0)
}

/// Density of X + ε at x: the noise's density about every point of the lattice.
///
/// For |x| ≤ 2π the points beyond K = 2·TERMS add at most
/// Σ_{|k| > K, odd} (2/π²k²)(2/π³(|k| − 2)²) ≤ (8/π⁵) · (1/2) ∫_{K−1}^∞ dk/(k − 2)⁴ = (4/3π⁵)/(K − 3)³.
fn noised_lattice_density(x: f64) -> Rounded {
    let x = Rounded::exact(x);
    let pair = |k: f64| {
        let place = pi() * k;
        (noise_density(x - place) + noise_density(x + place)) * mass(k)
    };
    let odd = (0..TERMS).map(|k| f64::from(2 * k + 1));
    let tail = 4.0 / (3.0 * 306.0) / (2.0 * f64::from(TERMS) - 3.0).powi(3);
    noise_density(x) * 0.5 + Rounded::sum(odd.map(pair)) + Rounded::within(0.0, 1.01 * tail)
}

/// Density of X_g + ε: 2(x − sin x)/(πx³), the inverse transform of (1 − |t|)₊².
fn noised_triangle_density(x: f64) -> Rounded {
    let x = Rounded::exact(x);
    (x - sine(x)) * 2.0 / (pi() * x.square() * x)
}

/// Density at 0 of X + sG. Beyond k = 39 a term is below e^{−(41π/2)²/2} for s ≤ 2: less than the smallest number.
fn gaussian_lattice_density(s: f64) -> Rounded {
    let at = |k: f64| normal_density(0.0, pi() * k, s);
    let odd = (0..20_u32).map(|k| f64::from(2 * k + 1));
    at(0.0) * 0.5
        + Rounded::sum(odd.map(|k| mass(k) * at(k))) * 2.0
        + Rounded::within(0.0, f64::MIN_POSITIVE)
}

/// Density at 0 of X_g + sG: (1/π) ∫_0^1 (1 − t) e^{−s²t²/2} dt = (1/π) Σ_n (−s²/2)ⁿ/(n! (2n + 1)(2n + 2)).
///
/// For s ≤ 2 the terms fall from n = 2 on and alternate, so the remainder is below the first term left out.
fn gaussian_triangle_density(s: f64) -> Rounded {
    let x = -(Rounded::exact(s).square() * 0.5);
    let (mut power, mut sum) = (Rounded::exact(1.0), Rounded::exact(0.0));
    for n in 0..40_u32 {
        let n = f64::from(n);
        sum = sum + power / ((2.0 * n + 1.0) * (2.0 * n + 2.0));
        power = power * x / (n + 1.0);
    }
    (sum + Rounded::within(0.0, magnitude(power))) / pi()
}

/// e^{−9s²/2}/π.
fn gaussian_gap(s: f64) -> Rounded {
    (-(Rounded::exact(s).square() * 4.5)).exp() / pi()
}

/// Two laws, for the corrected statement.
fn laws(instance: &Instance) -> Result<[PointLaw; 2], StatementError> {
    let mut values = instance.values();
    Ok([PointLaw::of(&mut values)?, PointLaw::of(&mut values)?])
}

impl Statement for KnownNoise {
    fn about(&self) -> About {
        About {
            id: "e9",
            source: "Diffusion-GAN (arXiv:2206.02262), Theorem 2",
            kind: Kind::Erratum(Finding::MissingCondition),
            summary: "for data with heavy tails known noise can hide a difference of laws; noise whose transform is 0 on no interval cannot",
            terms: &[],
            parameters: &[FREQUENCY, POINT, WIDTH],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let [first, second] = laws(instance)?;
        Ok([first.built("P"), second.built("Q")].concat())
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let t = instance.get(FREQUENCY.name)?;
        let x = instance.get(POINT.name)?;
        let s = instance.get(WIDTH.name)?;
        let laws = laws(instance)?;
        let mut claims = vec![
            Evidence::equal(
                "E e^{itX} = E e^{itX_g} where the noise does not vanish",
                lattice_transform(t, 1.0),
                triangle(t),
            ),
            Evidence::equal(
                "E e^{i(t+2)X} = E e^{itX}: the hidden part is a copy",
                lattice_transform(t + 2.0, 1.0),
                triangle(t),
            ),
            Evidence::equal(
                "X + ε and X_g + ε have one density",
                noised_lattice_density(x),
                noised_triangle_density(x),
            ),
            Evidence::at_most(
                "corrected: with Gaussian noise the densities at 0 differ by e^{-9s²/2}/π",
                gaussian_triangle_density(s) + gaussian_gap(s),
                gaussian_lattice_density(s),
            ),
        ];
        claims.extend(corrected([&laws[0], &laws[1]], s, t));
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let mut claims = vec![
            Evidence::equal(
                "as printed: equal noised laws have equal clean laws; E e^{itX} at t = 3/2",
                lattice_transform(1.5, 1.0),
                triangle(1.5),
            ),
            Evidence::equal(
                "control: a lattice of spacing 2π",
                lattice_transform(0.37, 2.0),
                triangle(0.37),
            ),
            Evidence::equal(
                "control: Gaussian noise of width 1 hides the difference too",
                gaussian_lattice_density(1.0),
                gaussian_triangle_density(1.0),
            ),
            Evidence::at_most(
                "control: the difference is 5 times the bound",
                gaussian_triangle_density(0.75) + gaussian_gap(0.75) * 5.0,
                gaussian_lattice_density(0.75),
            ),
        ];
        claims.extend(controls());
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: Rounded, want: f64, at_most: f64) {
        assert!(
            (got.value - want).abs() <= got.error + 1e-15 && got.error <= at_most,
            "{got:?}, want {want}"
        );
    }

    #[test]
    fn the_lattice_law_has_mass_one_and_its_transform_is_a_wave_of_period_two() {
        close(lattice_transform(0.0, 1.0), 1.0, 1e-4);
        close(lattice_transform(0.25, 1.0), 0.75, 1e-7);
        close(lattice_transform(0.125, 2.0), 0.75, 1e-7);
        close(lattice_transform(1.5, 1.0), 0.5, 1e-7);
        close(lattice_transform(2.75, 1.0), 0.25, 1e-7);
    }

    #[test]
    fn transforms_beyond_one_vanish() {
        close(triangle(-0.25), 0.75, 1e-15);
        close(triangle(1.0), 0.0, 0.0);
        close(triangle(3.0), 0.0, 0.0);
    }

    /// (1 − cos 2)/(4π), at 0 the limit 1/2π, and near it from both sides of the switch.
    #[test]
    fn the_noise_density_is_as_by_hand() {
        close(
            noise_density(Rounded::exact(2.0)),
            (1.0 - 2.0_f64.cos()) / (4.0 * std::f64::consts::PI),
            1e-15,
        );
        close(
            noise_density(Rounded::exact(0.0)),
            0.5 / std::f64::consts::PI,
            1e-15,
        );
        let (inside, outside) = (
            noise_density(Rounded::exact(1.99e-4)),
            noise_density(Rounded::exact(2.01e-4)),
        );
        assert!((inside.value - outside.value).abs() < 1e-9);
        assert!(inside.error < 1e-8 && outside.error < 1e-14);
    }

    /// ∫_0^1 (1 − t) e^{−t²/2} dt = √(π/2) erf(1/√2) − (1 − e^{−1/2}) at s = 1, with erf(1/√2) = 0.682689492137.
    #[test]
    fn the_series_is_the_closed_form() {
        let want = ((std::f64::consts::PI / 2.0).sqrt() * 0.682_689_492_137_085_9
            - (1.0 - (-0.5_f64).exp()))
            / std::f64::consts::PI;
        close(gaussian_triangle_density(1.0), want, 1e-14);
    }
}
