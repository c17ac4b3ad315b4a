//! A law is invariant exactly if its score is equivariant.

use ndarray::Array2;

use super::group::{GROUP, Group, PixelMap};
use super::isometry::{self, Scene};
use crate::laws::FiniteLaw;
use crate::rounding::Rounded;
use crate::statements::elementary::dot;
use crate::statements::setting::{Clock, SCHEDULE, TIME};
use crate::statements::{
    About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError,
};

const SIZE: Parameter = Parameter::whole("k", "side of the image", 2.0..=3.0, 3.0);

/// `[thm:invariance-equivariance]` q_0 invariant under κ ⇔ the score of every q_t is κ-equivariant.
///
/// # Formula `[eq:equivariance-defect]`
/// ```text
/// L = log q_t:   ∇(L∘κ − L)(x) = κ⁻¹ s(κx) − s(x)          (κ orthogonal, so κᵀ = κ⁻¹)
/// ```
/// "⇒": isotropic noise commutes with κ, so q_t is invariant and the left side is 0. "⇐": a zero right side makes
/// L∘κ − L constant, and the constant is 0 because both densities integrate to one; so q_t is invariant, and q_0
/// too, since Gaussian noise is injective on laws (`[thm:e9]`, corrected). Tried on a law that is a union of orbits
/// (the score itself), and on one that is not (the gradient identity, by differences as in `[thm:tweedie]`), for pixel
/// permutations; and for products of reflections, where "⇐" is an integral of the defect (`[eq:defect-path]`).
pub struct InvarianceIsEquivariance;

/// Two images and their weights; a noised point; a direction.
struct Setting {
    elements: Vec<PixelMap>,
    images: Vec<Vec<f64>>,
    weights: Vec<f64>,
    alpha: f64,
    sigma: f64,
    point: Vec<f64>,
    direction: Vec<f64>,
    isometry: Scene,
}

impl Setting {
    fn of(instance: &Instance) -> Result<Self, StatementError> {
        let clock = Clock::of(instance)?;
        let t = clock.time(instance.get(TIME.name)?);
        let (alpha, sigma) = (clock.schedule().alpha(t), clock.schedule().sigma(t));
        let size = instance.size(SIZE.name)?;
        let mut values = instance.values();
        let images = vec![values.take(size * size)?, values.take(size * size)?];
        let noise = values.take(size * size)?;
        let direction = values.take(size * size)?;
        let weights = values.take(2)?.iter().map(|v| v.abs() + 0.25).collect();
        let point = images[0]
            .iter()
            .zip(&noise)
            .map(|(a, e)| alpha * a + sigma * e)
            .collect();
        Ok(Self {
            elements: Group::of(instance)?.elements(size),
            images,
            weights,
            alpha,
            sigma,
            point,
            direction,
            isometry: Scene::of(&mut values, alpha, sigma)?,
        })
    }

    /// The law of the images moved by these maps, all with the images' weights.
    fn law(&self, maps: &[PixelMap]) -> Result<FiniteLaw, StatementError> {
        let n = self.point.len();
        let moved: Vec<f64> = self
            .images
            .iter()
            .flat_map(|image| maps.iter().flat_map(|map| map.apply(image)))
            .collect();
        let count = moved.len() / n;
        let atoms = Array2::from_shape_fn((count, n), |(i, j)| moved[i * n + j]);
        let prior = (0..count).map(|i| self.weights[i / maps.len()]).collect();
        Ok(FiniteLaw::new(atoms, prior)?)
    }

    /// ⟨w, s(κx)⟩ and ⟨κ⁻¹w, s(x)⟩.
    fn scores(
        &self,
        law: &FiniteLaw,
        map: &PixelMap,
    ) -> Result<(Rounded, Rounded), StatementError> {
        let score = |x: &[f64]| law.posterior(x, self.alpha, self.sigma);
        let moved = score(&map.apply(&self.point))?.score;
        let here = score(&self.point)?.score;
        Ok((
            dot(&self.direction, &moved),
            dot(&map.inverse().apply(&self.direction), &here),
        ))
    }

    /// The range of α a_i/σ² over the atoms.
    fn range(&self, law: &FiniteLaw, i: usize) -> f64 {
        let column = law.atoms().column(i);
        let (low, high) = column
            .iter()
            .fold((f64::MAX, f64::MIN), |(l, h), &a| (l.min(a), h.max(a)));
        1.01 * self.alpha * (high - low) / (self.sigma * self.sigma)
    }

    /// ∂_i (L∘κ − L) by a central difference, and (κ⁻¹s(κx) − s(x))_i. Truncation and the rounding of x_i ± h are
    /// bounded as in `[thm:tweedie]`, once for L and once for L∘κ, which moves along the image of e_i.
    fn defect(
        &self,
        law: &FiniteLaw,
        map: &PixelMap,
        i: usize,
    ) -> Result<(Rounded, Rounded), StatementError> {
        let (alpha, sigma) = (self.alpha, self.sigma);
        let target = map.inverse().source(i);
        let ranges = [self.range(law, i), self.range(law, target)];
        let step = sigma / 4096.0 / (1.0 + (ranges[0] + ranges[1]) * sigma);
        let x_i = self.point[i];
        let (up, down) = (x_i + step, x_i - step);
        let difference = |value: f64| -> Result<Rounded, StatementError> {
            let mut point = self.point.clone();
            point[i] = value;
            let here = law.posterior(&point, alpha, sigma)?.log_density;
            Ok(law.posterior(&map.apply(&point), alpha, sigma)?.log_density - here)
        };
        let width = Rounded::exact(up) - Rounded::exact(down);
        let quotient = (difference(up)? - difference(down)?) / width;
        let bound = |range: f64| {
            (0.51 * (up - down)).powi(2) / 6.0 * range.powi(3) / 4.0
                + f64::EPSILON * (x_i.abs() + step) * (1.0 / (sigma * sigma) + range * range / 4.0)
        };
        let left = quotient + Rounded::within(0.0, bound(ranges[0]) + bound(ranges[1]));
        let moved = law.posterior(&map.apply(&self.point), alpha, sigma)?.score;
        let here = law.posterior(&self.point, alpha, sigma)?.score;
        Ok((left, map.inverse().apply(&moved)[i] - here[i]))
    }
}

impl Statement for InvarianceIsEquivariance {
    fn about(&self) -> About {
        About {
            id: "invariance-equivariance",
            source: "Structure preserving diffusion models (arXiv:2402.19369), Sec. 3",
            kind: Kind::Identity,
            summary: "a law is invariant under a group exactly if its noised score is equivariant",
            terms: &[],
            parameters: &[SCHEDULE, TIME, SIZE, GROUP],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let setting = Setting::of(instance)?;
        let mut built = vec![
            Built::list("images", &setting.images),
            Built::row("weights", &setting.weights),
            Built::row("alpha, sigma", &[setting.alpha, setting.sigma]),
            Built::row("noised point", &setting.point),
            Built::row("direction", &setting.direction),
        ];
        built.extend(setting.isometry.built());
        Ok(built)
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let setting = Setting::of(instance)?;
        let invariant = setting.law(&setting.elements)?;
        let lopsided = setting.law(&setting.elements[..1])?;
        let density = |x: &[f64]| invariant.posterior(x, setting.alpha, setting.sigma);
        let here = density(&setting.point)?.log_density;
        let mut claims = Vec::new();
        for (k, map) in setting.elements.iter().enumerate().skip(1) {
            let (moved, still) = setting.scores(&invariant, map)?;
            claims.push(Evidence::equal(
                format!("invariant law: ⟨w, s(κ_{k} x)⟩ = ⟨κ_{k}⁻¹w, s(x)⟩"),
                moved,
                still,
            ));
            claims.push(Evidence::equal(
                format!("invariant law: log q_t(κ_{k} x) = log q_t(x)"),
                density(&map.apply(&setting.point))?.log_density,
                here,
            ));
        }
        for i in 0..2 {
            let (by_difference, by_score) = setting.defect(&lopsided, &setting.elements[1], i)?;
            claims.push(Evidence::equal(
                format!("any law: ∂_{i}(log q_t∘κ - log q_t) = (κ⁻¹s(κx) - s(x))_{i}"),
                by_difference,
                by_score,
            ));
        }
        claims.extend(isometry::evidence(&setting.isometry));
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let setting = Setting::of(&self.default_instance())?;
        let lopsided = setting.law(&setting.elements[..1])?;
        let rotations = setting.law(&setting.elements[..4])?;
        let claim = |text: &str, law: &FiniteLaw, map: &PixelMap| {
            let (moved, still) = setting.scores(law, map)?;
            Ok::<_, StatementError>(Evidence::equal(text, moved, still))
        };
        let (by_difference, by_score) = setting.defect(&lopsided, &setting.elements[1], 0)?;
        let mut claims = vec![
            claim(
                "control: the score of a law without symmetry turns with the image",
                &lopsided,
                &setting.elements[1],
            )?,
            claim(
                "control: a law invariant under turns has a score that flips with the image",
                &rotations,
                &setting.elements[5],
            )?,
            Evidence::equal(
                "control: the defect has the other sign",
                by_difference,
                -by_score,
            ),
        ];
        claims.extend(isometry::controls(&setting.isometry));
        Ok(claims)
    }
}
