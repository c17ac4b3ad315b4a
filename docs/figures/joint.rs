//! Eq. 12–14 on the instance of the chapter "Joint samples", and on two atoms.

use anyhow::{Result, anyhow};
use ndarray::{Array2, array};
use sadm_reference::relation::{Relation, affinity};
use sadm_theory::laws::finite::normal_density;
use sadm_theory::laws::{FiniteLaw, Observation, PairPosterior, tight_weight};

use super::chart::{Axis, Panel, Series};
use super::svg::{Colour, Stroke};
use super::{Figure, decades, places, try_graph};

const ALPHA: f64 = 0.8;
const SIGMA: f64 = 0.6;

/// The instance: three atoms in the plane and a noised pair.
struct Instance {
    pair: PairPosterior,
    over_atoms: Array2<f64>,
    plug_in: f64,
}

/// The members of the chain of Eq. 14 at one r and γ.
struct Members {
    error2: f64,
    mean_square: f64,
    bound: f64,
}

impl Instance {
    fn new() -> Result<Self> {
        let law = three_atoms()?;
        let [yi, yj] = NOISED;
        let mut predicted = Array2::zeros((2, 2));
        for (mut row, y) in predicted.rows_mut().into_iter().zip([yi, yj]) {
            let mean = law.posterior(&y, ALPHA, SIGMA)?.mean;
            row.iter_mut().zip(mean).for_each(|(x, m)| *x = m.value);
        }
        Ok(Self {
            pair: law.pair(&yi, &yj, ALPHA, SIGMA)?,
            over_atoms: affinity(Relation::INNER_PRODUCT, law.atoms())?,
            plug_in: affinity(Relation::INNER_PRODUCT, &predicted)?[[0, 1]],
        })
    }

    fn members(&self, r: f64, gamma: f64) -> Members {
        let plug_in = normal_density(r, self.plug_in.into(), gamma);
        let g = |k: usize, l: usize| normal_density(r, self.over_atoms[[k, l]].into(), gamma);
        let q = self.pair.expectation(g);
        let relations =
            |k: usize, l: usize| (self.over_atoms[[k, l]] - self.plug_in).powi(2).into();
        Members {
            error2: (q - plug_in).square().value,
            mean_square: self
                .pair
                .expectation(|k, l| (g(k, l) - plug_in).square())
                .value,
            bound: (tight_weight(gamma) * self.pair.expectation(relations)).value,
        }
    }
}

const NOISED: [[f64; 2]; 2] = [[0.9, 0.2], [-0.3, 1.1]];

fn three_atoms() -> Result<FiniteLaw> {
    let atoms = array![[1.0, 0.0], [0.0, 2.0], [-1.0, 0.5]];
    Ok(FiniteLaw::new(atoms, vec![0.5, 0.25, 0.25])?)
}

/// Squared error, Jensen's gap and the bound over r and over γ.
pub fn chain_of_eq_14() -> Result<Figure> {
    let instance = Instance::new()?;
    let along = |places: &[f64], at: &dyn Fn(f64) -> Members| {
        let all: Vec<(f64, Members)> = places.iter().map(|&x| (x, at(x))).collect();
        let curve = |f: &dyn Fn(&Members) -> f64| all.iter().map(|(x, m)| (*x, f(m))).collect();
        vec![
            Series::new(
                "bound w(γ) E[(R − R̂)² | yₜ]",
                Colour::Orange,
                Stroke::Dashed,
                curve(&|m| m.bound),
            ),
            Series::new(
                "E[(g − ĝ)² | yₜ]",
                Colour::Blue,
                Stroke::Solid,
                curve(&|m| m.mean_square),
            ),
            Series::new(
                "of it Jensen's gap Var[g | yₜ]",
                Colour::Purple,
                Stroke::Dotted,
                curve(&|m| m.mean_square - m.error2),
            ),
            Series::new(
                "of it the squared error (q − ĝ)²",
                Colour::Green,
                Stroke::Solid,
                curve(&|m| m.error2),
            ),
        ]
    };
    let over_r = Panel {
        title: "Over the observed relation, γ = ½".to_owned(),
        x: Axis::linear("observed relation r", -3.0, 5.0),
        y: Axis::linear("squared density", 0.0, 0.5),
        series: along(&places(-3.0, 5.0, 240), &|r| instance.members(r, 0.5)),
    };
    let over_gamma = Panel {
        title: "Over its standard deviation, r = ¼".to_owned(),
        x: Axis::log("standard deviation γ of the observation", 0.1, 10.0),
        y: Axis::log("squared density", 1e-8, 1e3),
        series: along(&decades(0.1, 10.0, 160), &|gamma| {
            instance.members(0.25, gamma)
        }),
    };
    let caption = "The members of Eq. 14 on the chapter's instance with the ideal denoiser (inner product). Left: squared error and \
        Jensen's gap add up to what the bound bounds; the gap stays, whatever the denoiser. Right: the bound is far above for \
        sharp observations, comes nearest where γ has the size of the relations, and is left behind again beyond, where the \
        densities are flat and fall faster than γ⁻⁴.";
    Figure::new("jensen", caption)
        .panel(&over_r, "three bumps under a horizontal line, each the sum of a larger dotted and a smaller green part")?
        .panel(&over_gamma, "all curves fall with gamma; the bound is far above at both ends and nearest in the middle")
}

/// ∇ ln q_t(r|y_t) against the plug-in's, for two atoms and for three.
pub fn relation_score() -> Result<Figure> {
    let atoms = FiniteLaw::uniform(array![[-1.0], [1.0]])?;
    let places = places(-2.5, 2.5, 200);
    let at = |gamma| Observation {
        relation: Relation::INNER_PRODUCT,
        r: 1.0,
        gamma,
    };
    let exact = |gamma: f64| {
        try_graph(&places, |y| {
            let score = atoms.relation_score(&[y], &[0.7], ALPHA, SIGMA, &at(gamma))?;
            first(&score.first)
        })
    };
    let plug_in = |gamma: f64| {
        try_graph(&places, |y| {
            let score = atoms.plug_in_score(&[y], &[0.7], ALPHA, SIGMA, &at(gamma))?;
            first(&score.first)
        })
    };
    let two = Panel {
        title: "Two atoms ±1, r = 1, partner at 0.7".to_owned(),
        x: Axis::linear("noised value of the first sample", -2.5, 2.5),
        y: Axis::linear("relation's score", 0.0, 3.5),
        series: vec![
            Series::new("exact, γ = 1", Colour::Blue, Stroke::Solid, exact(1.0)?),
            Series::new(
                "plug-in, γ = 1",
                Colour::Orange,
                Stroke::Dashed,
                plug_in(1.0)?,
            ),
            Series::new("exact, γ = 2", Colour::Green, Stroke::Solid, exact(2.0)?),
            Series::new(
                "plug-in, γ = 2",
                Colour::Purple,
                Stroke::Dashed,
                plug_in(2.0)?,
            ),
        ],
    };
    let law = three_atoms()?;
    let relative = |relation: Relation| {
        try_graph(&decades(0.1, 1e4, 100), |gamma| {
            let observation = Observation {
                relation,
                r: 0.25,
                gamma,
            };
            let [yi, yj] = NOISED;
            let exact = law
                .relation_score(&yi, &yj, ALPHA, SIGMA, &observation)?
                .first;
            let guess = law
                .plug_in_score(&yi, &yj, ALPHA, SIGMA, &observation)?
                .first;
            let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
            let exact: Vec<f64> = exact.iter().map(|e| e.value).collect();
            let error: Vec<f64> = exact.iter().zip(&guess).map(|(e, g)| g.value - e).collect();
            Ok(norm(&error) / norm(&exact))
        })
    };
    let three = Panel {
        title: "Three atoms, r = ¼".to_owned(),
        x: Axis::log("standard deviation γ of the observation", 0.1, 1e4),
        y: Axis::log("error of the plug-in score, relative", 0.1, 1e2),
        series: vec![
            Series::new(
                "squared Euclidean",
                Colour::Orange,
                Stroke::Solid,
                relative(Relation::SQUARED_EUCLIDEAN)?,
            ),
            Series::new(
                "inner product",
                Colour::Blue,
                Stroke::Dashed,
                relative(Relation::INNER_PRODUCT)?,
            ),
        ],
    };
    let caption = "What a relation adds to the score of one sample, exactly and with the denoiser's output plugged in (α = 0.8, \
        σ = 0.6). Left: one number. Right: the relative error on the three atoms of the chapter on joint samples does not vanish as γ \
        grows: it levels off above one.";
    Figure::new("relation-score", caption)
        .panel(
            &two,
            "exact and plug-in scores are bumps of different height and place",
        )?
        .panel(&three, "both relative errors level off at large gamma")
}

fn first(score: &[sadm_theory::rounding::Rounded]) -> Result<f64> {
    let first = score
        .first()
        .ok_or_else(|| anyhow!("a score without components"))?;
    Ok(first.value)
}
