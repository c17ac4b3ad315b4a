//! Noise that moves with the image, through a canonical representative of the orbit.

use super::group::{GROUP, Group, PixelMap};
use crate::rounding::Rounded;
use crate::statements::elementary::dot;
use crate::statements::{
    About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError,
};

const SIZE: Parameter = Parameter::whole("k", "side of the image", 2.0..=4.0, 3.0);

/// `[thm:equivariant-noise]` ε(κx) = κ ε(x) through the smallest image of the orbit, and its limit.
///
/// # Formula `[eq:equivariant-noise]`
/// ```text
/// c(x) = min_κ κx (lexicographic),   K(x) = {κ: κx = c(x)},   ε(x) = 1/|K| Σ_{κ ∈ K} κ⁻¹ η(c(x))
/// ε(κx) = κ ε(x) for every x;   |ε(x)| = |η| if no κ ≠ 1 fixes x;   |ε(x)| ≤ |η| always
/// ```
/// for K(κx) = K(x)κ⁻¹ and c(κx) = c(x). If no element but the identity fixes x, ε(x) = κ⁻¹η is standard normal with
/// η. If some κ does, ε(x) = κ ε(x) is forced: no equivariant noise at a symmetric image is standard normal.
pub struct EquivariantNoise;

/// ε(x) with η(c) = base + c, a map of the canonical image alone.
fn noise(elements: &[PixelMap], base: &[f64], x: &[f64]) -> (Vec<Rounded>, Vec<f64>) {
    let less = |a: &Vec<f64>, b: &Vec<f64>| {
        a.iter()
            .zip(b)
            .map(|(x, y)| x.total_cmp(y))
            .find(|o| o.is_ne())
            .is_some_and(std::cmp::Ordering::is_lt)
    };
    let orbit: Vec<Vec<f64>> = elements.iter().map(|e| e.apply(x)).collect();
    let least = orbit
        .iter()
        .fold(&orbit[0], |m, y| if less(y, m) { y } else { m });
    let eta: Vec<f64> = base.iter().zip(least).map(|(b, c)| b + c).collect();
    let carriers: Vec<&PixelMap> = elements
        .iter()
        .zip(&orbit)
        .filter(|(_, y)| *y == least)
        .map(|(e, _)| e)
        .collect();
    let count = carriers.len() as f64;
    let mean = (0..x.len())
        .map(|i| {
            let carried = carriers
                .iter()
                .map(|e| Rounded::exact(eta[e.inverse().source(i)]));
            Rounded::sum(carried) / count
        })
        .collect();
    (mean, eta)
}

/// |ε|².
fn energy(noise: &[Rounded]) -> Rounded {
    Rounded::sum(noise.iter().map(|e| e.square()))
}

fn plain(eta: &[f64]) -> Vec<Rounded> {
    eta.iter().map(|&e| Rounded::exact(e)).collect()
}

/// x, the part of η that is the same for every image, and a direction w.
fn images(instance: &Instance, pixels: usize) -> Result<[Vec<f64>; 3], StatementError> {
    let mut values = instance.values();
    Ok([
        values.take(pixels)?,
        values.take(pixels)?,
        values.take(pixels)?,
    ])
}

impl Statement for EquivariantNoise {
    fn about(&self) -> About {
        About {
            id: "equivariant-noise",
            source: "Structure preserving diffusion models (arXiv:2402.19369), equivariant trajectories; the limit is ours",
            kind: Kind::Identity,
            summary: "noise drawn at a canonical image is equivariant, and normal away from symmetric images",
            terms: &[],
            parameters: &[SIZE, GROUP],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let size = instance.size(SIZE.name)?;
        let [x, base, direction] = images(instance, size * size)?;
        Ok(vec![
            Built::square("image x", &x, size),
            Built::square("eta at 0", &base, size),
            Built::square("direction w", &direction, size),
        ])
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let size = instance.size(SIZE.name)?;
        let pixels = size * size;
        let elements = Group::of(instance)?.elements(size);
        let [x, base, direction] = images(instance, pixels)?;
        let (here, eta) = noise(&elements, &base, &x);
        // Steps of 8 between pixels whose values lie in [−2, 2]: no two are equal, so nothing but 1 fixes the image.
        let rough: Vec<f64> = x
            .iter()
            .enumerate()
            .map(|(i, v)| v + 8.0 * i as f64)
            .collect();
        let (free, free_eta) = noise(&elements, &base, &rough);
        let mut claims = vec![
            Evidence::equal(
                "an image with no symmetry: |ε(x)|² = |η|²",
                energy(&free),
                energy(&plain(&free_eta)),
            ),
            Evidence::at_most(
                "any image: |ε(x)|² ≤ |η|²",
                energy(&here),
                energy(&plain(&eta)),
            ),
        ];
        for (k, map) in elements.iter().enumerate().skip(1) {
            let moved = noise(&elements, &base, &map.apply(&x)).0;
            claims.push(Evidence::equal(
                format!("⟨w, ε(κ_{k} x)⟩ = ⟨w, κ_{k} ε(x)⟩"),
                dot(&direction, &moved),
                dot(&direction, &map.apply(&here)),
            ));
        }
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let elements = Group::HorizontalFlip.elements(2);
        let base = [0.5, -1.0, 2.0, 0.25];
        let direction = [1.0, 2.0, -0.5, 0.75];
        let (symmetric, rough) = ([1.0, 1.0, 3.0, 3.0], [1.0, 2.0, 3.0, 5.0]);
        let (mean, eta) = noise(&elements, &base, &symmetric);
        let still = dot(&direction, &plain(&base));
        Ok(vec![
            Evidence::equal(
                "control: at a symmetric image ε keeps the whole energy of η",
                energy(&mean),
                energy(&plain(&eta)),
            ),
            Evidence::equal(
                "control: noise that ignores the image is equivariant",
                still,
                dot(&elements[1].apply(&direction), &plain(&base)),
            ),
            Evidence::equal(
                "control: ε(κx) = ε(x)",
                dot(
                    &direction,
                    &noise(&elements, &base, &elements[1].apply(&rough)).0,
                ),
                dot(&direction, &noise(&elements, &base, &rough).0),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x = (2, 1 / 0, 3) under the flip: c = (1, 2 / 3, 0), η = base + c, and ε is η flipped back.
    #[test]
    fn noise_is_carried_back_from_the_least_image() {
        let elements = Group::HorizontalFlip.elements(2);
        let (got, eta) = noise(&elements, &[0.5, 0.0, -1.0, 4.0], &[2.0, 1.0, 0.0, 3.0]);
        assert_eq!(eta, [1.5, 2.0, 2.0, 4.0]);
        let got: Vec<f64> = got.iter().map(|e| e.value).collect();
        assert_eq!(got, [2.0, 1.5, 4.0, 2.0]);
    }
}
