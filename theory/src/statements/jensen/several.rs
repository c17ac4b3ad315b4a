//! The constant of Eq. 14 for a relation with K components.

use super::NEARNESS;
use crate::laws::finite::two_pi;
use crate::laws::tight_weight_of;
use crate::rounding::Rounded;
use crate::statements::{
    About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError,
};

const COMPONENTS: Parameter =
    Parameter::whole("K", "number of components of the relation", 1.0..=4.0, 3.0);
const GAMMA: Parameter = Parameter::logarithmic(
    "gamma",
    "standard deviation of each component",
    1e-3..=1e3,
    0.75,
);

/// `[thm:density-difference-k]` For a relation in R^K the tight constant is w_K(γ) = (2πγ²)^{−K} e^{−1}/γ².
///
/// # Formula `[eq:tight-weight-k]`
/// ```text
/// |φ(|u|) − φ(|v|)| ≤ e^{−1/2} ||u| − |v|| ≤ e^{−1/2} |u − v|,      u = (m₁ − r)/γ, v = (m₂ − r)/γ ∈ R^K
/// ```
/// g depends on |u| only, so the scalar bound carries over by the triangle inequality, with equality for parallel u, v:
/// along any ray the constant is approached as in [`super::DensityDifference`]. K = 1 is that statement.
///
/// # Values
/// Takes 3K values: u, v, and the direction of the ray.
pub struct VectorRelation;

/// |g(r;m₁) − g(r;m₂)|² and |m₁ − m₂|² for m = r + γu, in the scale-free variables.
fn sides(gamma: f64, u: &[f64], v: &[f64]) -> (Rounded, Rounded) {
    let gamma = Rounded::exact(gamma);
    let density = |u: &[f64]| {
        let square = Rounded::sum(u.iter().map(|&x| Rounded::exact(x).square()));
        let norm = gamma * two_pi().sqrt();
        u.iter()
            .fold((-(square * 0.5)).exp(), |density, _| density / norm)
    };
    let step = |(&a, &b): (&f64, &f64)| (gamma * (Rounded::exact(a) - Rounded::exact(b))).square();
    (
        (density(u) - density(v)).square(),
        Rounded::sum(u.iter().zip(v).map(step)),
    )
}

/// Points at 1 − k and 1 + k along a direction (the first axis for the zero direction).
fn along(direction: &[f64], k: f64) -> (Vec<f64>, Vec<f64>) {
    let norm = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
    let mut unit = vec![0.0; direction.len()];
    if norm > 1e-3 {
        unit.iter_mut()
            .zip(direction)
            .for_each(|(u, d)| *u = d / norm);
    } else {
        unit[0] = 1.0;
    }
    let at = |radius: f64| unit.iter().map(|u| u * radius).collect();
    (at(1.0 - k), at(1.0 + k))
}

/// u, v and the direction of the ray.
fn vectors(instance: &Instance) -> Result<[Vec<f64>; 3], StatementError> {
    let count = instance.size(COMPONENTS.name)?;
    let mut values = instance.values();
    Ok([
        values.take(count)?,
        values.take(count)?,
        values.take(count)?,
    ])
}

impl Statement for VectorRelation {
    fn about(&self) -> About {
        About {
            id: "eq-14b-k",
            source: "SADM (arXiv:2402.17563), Eq. 14, last step; the constant for K components is ours",
            kind: Kind::Bound,
            summary: "for a relation with K components the tight constant is (2 pi gamma^2)^-K / (e gamma^2)",
            terms: &[],
            parameters: &[COMPONENTS, GAMMA, NEARNESS],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let [u, v, direction] = vectors(instance)?;
        Ok(vec![
            Built::row("u = (m1 - r)/γ", &u),
            Built::row("v = (m2 - r)/γ", &v),
            Built::row("direction of the ray", &direction),
        ])
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (count, gamma) = (instance.size(COMPONENTS.name)?, instance.get(GAMMA.name)?);
        let k = instance.get(NEARNESS.name)?;
        let [u, v, direction] = vectors(instance)?;
        let (left, distance2) = sides(gamma, &u, &v);
        let weight = tight_weight_of(count, gamma);
        let (near, far) = along(&direction, k);
        let (slope, step2) = sides(gamma, &near, &far);
        let nearly = Rounded::exact(1.0) - Rounded::exact(k).square() * 3.0;
        Ok(vec![
            Evidence::at_most("|g1 - g2|² ≤ w_K |m1 - m2|²", left, weight * distance2),
            Evidence::at_most(
                "w_K (1 - 3k²) |m1 - m2|² ≤ |g1 - g2|² across the unit sphere",
                weight * nearly * step2,
                slope,
            ),
            Evidence::at_most(
                "|g1 - g2|² ≤ w_K |m1 - m2|² across the unit sphere",
                slope,
                weight * step2,
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (near, far) = along(&[2.0, -1.0, 2.0], 1.0 / 64.0);
        let mut claims = Vec::new();
        for gamma in [1e-3, 0.25, 1e3] {
            let (slope, step2) = sides(gamma, &near, &far);
            claims.push(Evidence::at_most(
                format!("control: 0.999 w_3 is enough, at γ = {gamma}"),
                slope,
                tight_weight_of(3, gamma) * 0.999 * step2,
            ));
        }
        let (slope, step2) = sides(0.25, &near, &far);
        claims.push(Evidence::at_most(
            "control: the scalar constant w_1 is enough for K = 3, at γ = 1/4",
            slope,
            tight_weight_of(1, 0.25) * step2,
        ));
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ray_has_the_asked_radii_in_the_asked_direction() {
        for (direction, unit) in [([3.0, 4.0], [0.6, 0.8]), ([0.0, 0.0], [1.0, 0.0])] {
            let (near, far) = along(&direction, 0.25);
            for i in 0..2 {
                assert!((near[i] - 0.75 * unit[i]).abs() < 1e-15, "{near:?}");
                assert!((far[i] - 1.25 * unit[i]).abs() < 1e-15, "{far:?}");
            }
        }
    }
}
