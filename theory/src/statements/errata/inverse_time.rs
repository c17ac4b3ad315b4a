//! E3: the weight η_t = 1/t has no mean under t ~ U[0, 1], which matters where S_t does not vanish: for x_0-prediction.

use ndarray::Array2;
use sadm_reference::relation::Relation;
use sadm_reference::schedule::{RectifiedFlow, Schedule};
use sadm_reference::structure::{Eta, eta};

use crate::laws::FiniteLaw;
use crate::rounding::Rounded;
use crate::statements::setting::{known, loss_of_rounded, squared, structural_loss};
use crate::statements::{
    About, Built, Evidence, Finding, Instance, Kind, Parameter, Statement, StatementError,
};

const ATOMS: Parameter =
    Parameter::whole("atoms", "number of atoms, each noised once", 2.0..=4.0, 3.0);
const DIMENSION: Parameter = Parameter::whole("n", "dimension of x_0", 2.0..=3.0, 2.0);
const RELATION: Parameter =
    Parameter::whole("relation", "0 cosine, 1 inner product", 0.0..=1.0, 0.0);
const GRID: Parameter = Parameter::whole(
    "N",
    "number of times k/N, k = 1..N, over which the loss is averaged",
    8.0..=64.0,
    32.0,
);
const SHRINK: Parameter = Parameter::linear(
    "c",
    "factor on the ideal denoiser's output (invisible to the cosine)",
    0.5..=1.5,
    1.25,
);
const BIAS: Parameter = Parameter::linear(
    "b",
    "what the network adds to the second coordinate",
    0.25..=1.5,
    1.0,
);
const EARLIER: Parameter = Parameter::linear(
    "tau",
    "times up to tau enter the lower bound",
    0.25..=1.0,
    0.5,
);
const FIRST_TIME: Parameter = Parameter::logarithmic(
    "t_min",
    "time below which the weight is held constant",
    0.005..=0.5,
    0.05,
);

/// `[thm:e3]` E[S_t/t] = ∞ for t ~ U[0, 1] and a network that predicts x_0 and errs by what does not vanish as t → 0.
///
/// # Formula `[eq:eta-mean]`
/// ```text
/// S_t ≥ s for t ≤ τ:   ∫_{t_min}^τ S_t/t dt ≥ s ln(τ/t_min) → ∞
/// ∫_0^1 S_t / max(t, t_min) dt ≤ (max S)(1 + ln(1/t_min))
/// ```
/// Both are stated for the mean over the grid k/N, where they hold without a quadrature error: the harmonic
/// number H_m ≥ ln(m + 1) with m = ⌊τN⌋ below, and above because 1/max(t, t_min) decreases, so that its right Riemann sum is at most
/// its integral.
///
/// The network's answer is x̂ = c E[x_0|x_t] + b e_2 on a finite law under rectified flow. As t → 0 the posterior concentrates on the
/// right atom and S_t tends to the loss between the atoms a and c a + b e_2: a bias suffices under the cosine, for which a factor
/// is invisible, and a factor under the inner product. A network that predicts ε, v or EDM's target cannot err so: there x̂ − x_0 = O(σ_t)
/// whatever it answers, and the mean is finite (`[thm:targets-near-zero]`).
pub struct InverseTimeWeight;

/// S at each time of the grid, without η.
struct Curve {
    losses: Vec<Rounded>,
}

/// A time at which the posterior of atoms that differ has concentrated: σ_t = t.
const EARLY: f64 = 1e-6;

/// How a network errs: by a factor and by a bias.
#[derive(Clone, Copy)]
struct Error {
    factor: f64,
    bias: f64,
}

impl Error {
    /// c x + b e_2, row by row.
    fn of(self, x: &Array2<Rounded>) -> Array2<Rounded> {
        let mut answer = x.mapv(|v| v * self.factor);
        let add = |v: Rounded| v + Rounded::exact(self.bias);
        answer.column_mut(1).mapv_inplace(add);
        answer
    }
}

/// c E[x_0|x_t] + b e_2 for each atom's noised point.
fn denoised(
    law: &FiniteLaw,
    noise: &Array2<f64>,
    error: Error,
    t: f64,
) -> Result<Array2<Rounded>, StatementError> {
    let mut generated = Array2::from_elem(law.atoms().raw_dim(), Rounded::exact(0.0));
    for (i, mut row) in generated.rows_mut().into_iter().enumerate() {
        let atom = law.atoms().row(i);
        let (alpha, sigma) = (RectifiedFlow.alpha(t), RectifiedFlow.sigma(t));
        let noised: Vec<f64> = atom
            .iter()
            .zip(noise.row(i))
            .map(|(a, e)| alpha * a + sigma * e)
            .collect();
        let posterior = law.posterior(&noised, alpha, sigma)?;
        row.iter_mut().zip(posterior.mean).for_each(|(x, m)| *x = m);
    }
    Ok(error.of(&generated))
}

/// The limit of S_t: the loss between the atoms and what the network makes of them.
fn limit(law: &FiniteLaw, error: Error, relation: Relation) -> Result<Rounded, StatementError> {
    let atoms = law.atoms().mapv(Rounded::exact);
    loss_of_rounded(&atoms, &error.of(&atoms), 1.0, relation)
}

impl Curve {
    fn new(
        law: &FiniteLaw,
        noise: &Array2<f64>,
        error: Error,
        relation: Relation,
        times: usize,
    ) -> Result<Self, StatementError> {
        let losses = (1..=times).map(|k| {
            let t = k as f64 / times as f64;
            let generated = denoised(law, noise, error, t)?.mapv(|x| x.value);
            structural_loss(law.atoms(), &generated, 1.0, &squared(relation))
        });
        Ok(Self {
            losses: losses.collect::<Result<_, _>>()?,
        })
    }

    /// (1/N) Σ_k η(k/N) S_{k/N}.
    fn mean(&self, t_min: f64) -> Result<Rounded, StatementError> {
        let n = self.losses.len() as f64;
        let mut total = Rounded::exact(0.0);
        for (k, &s) in self.losses.iter().enumerate() {
            let t = (k + 1) as f64 / n;
            let value = eta(Eta::INVERSE_TIME, t, t_min, &RectifiedFlow)?;
            total = total + s * known_weight(value, (k + 1) as f64, n, t_min);
        }
        Ok(total / n)
    }

    /// The largest S.
    fn largest(&self) -> Rounded {
        let pick = |a: Rounded, b: &Rounded| if b.value > a.value { *b } else { a };
        self.losses.iter().fold(self.losses[0], pick)
    }

    /// The smallest of the first `count`.
    fn smallest_of(&self, count: usize) -> Rounded {
        let pick = |a: Rounded, b: &Rounded| if b.value < a.value { *b } else { a };
        self.losses.iter().take(count).fold(self.losses[0], pick)
    }
}

/// The reference's η at t = k/N as an approximation of 1/max(k/N, t_min).
fn known_weight(value: f64, k: f64, n: f64, t_min: f64) -> Rounded {
    let time = Rounded::exact(k) / n;
    let later = if time.value > t_min {
        time
    } else {
        Rounded::within(t_min, time.error)
    };
    known(value, Rounded::exact(1.0) / later)
}

/// The law, with its atoms moved away from zero, and the noise of one point per atom.
fn setting(instance: &Instance) -> Result<(FiniteLaw, Array2<f64>), StatementError> {
    let (k, n) = (instance.size(ATOMS.name)?, instance.size(DIMENSION.name)?);
    let mut values = instance.values();
    let (mut atoms, noise) = (values.matrix(k, n)?, values.matrix(k, n)?);
    atoms.column_mut(0).mapv_inplace(|v| v + 3.0);
    Ok((FiniteLaw::uniform(atoms)?, noise))
}

/// How the instance's network errs, and the relation in which it is seen.
fn answer(instance: &Instance) -> Result<(Error, Relation), StatementError> {
    let error = Error {
        factor: instance.get(SHRINK.name)?,
        bias: instance.get(BIAS.name)?,
    };
    let relation = match instance.size(RELATION.name)? {
        0 => Relation::COSINE,
        _ => Relation::INNER_PRODUCT,
    };
    Ok((error, relation))
}

/// ⌊τN⌋ as a count of times of the grid.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "τN lies between 2 and 64"
)]
fn early(instance: &Instance) -> Result<usize, StatementError> {
    Ok((instance.get(EARLIER.name)? * instance.get(GRID.name)?).floor() as usize)
}

impl Statement for InverseTimeWeight {
    fn about(&self) -> About {
        About {
            id: "e3",
            source: "SADM (arXiv:2402.17563), Sec. 4.1-4.2: eta_t = 1/t, t ~ U[0, 1], no condition on what is predicted",
            kind: Kind::Erratum(Finding::MissingCondition),
            summary: "for x_0-prediction and uniform t the mean of S_t/t diverges like ln(1/t_min); a clamp, or another target, makes it finite",
            terms: &[],
            parameters: &[
                ATOMS, DIMENSION, RELATION, GRID, SHRINK, BIAS, EARLIER, FIRST_TIME,
            ],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let (law, noise) = setting(instance)?;
        Ok(vec![
            Built::rows("atoms", law.atoms().clone()),
            Built::rows("noise", noise),
        ])
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (law, noise) = setting(instance)?;
        let (error, relation) = answer(instance)?;
        let curve = Curve::new(&law, &noise, error, relation, instance.size(GRID.name)?)?;
        let at_once = loss_of_rounded(
            &law.atoms().mapv(Rounded::exact),
            &denoised(&law, &noise, error, EARLY)?,
            1.0,
            relation,
        )?;
        let count = early(instance)?;
        let t_min = instance.get(FIRST_TIME.name)?;
        let log_range = -Rounded::exact(t_min).ln();
        Ok(vec![
            Evidence::equal(
                "S at t = 1e-6 is its limit, the loss between a and c a + b e_2",
                at_once,
                limit(&law, error, relation)?,
            ),
            Evidence::at_most(
                "(min of S up to τ) ln(⌊τN⌋ + 1) ≤ mean of S/t",
                curve.smallest_of(count) * Rounded::exact(count as f64 + 1.0).ln(),
                curve.mean(f64::MIN_POSITIVE)?,
            ),
            Evidence::at_most(
                "mean of S/max(t, t_min) ≤ (max S)(1 + ln(1/t_min))",
                curve.mean(t_min)?,
                curve.largest() * (log_range + Rounded::exact(1.0)),
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let instance = self.default_instance();
        let (law, noise) = setting(&instance)?;
        let (error, relation) = answer(&instance)?;
        let over = |times| Curve::new(&law, &noise, error, relation, times);
        let (coarse, middle) = (
            over(16)?.mean(f64::MIN_POSITIVE)?,
            over(256)?.mean(f64::MIN_POSITIVE)?,
        );
        let fine = over(4096)?;
        let factor = Error { bias: 0.0, ..error };
        Ok(vec![
            Evidence::at_most(
                "as printed, for x_0-prediction too: the mean of S/t has a limit; from 256 to 4096 times it rises by at most half of its rise from 16 to 256",
                fine.mean(f64::MIN_POSITIVE)? - middle,
                (middle - coarse) * 0.5,
            ),
            Evidence::at_most(
                "control: without the clamp the corrected bound holds too, with t_min = 1",
                fine.mean(f64::MIN_POSITIVE)?,
                fine.largest(),
            ),
            Evidence::equal(
                "control: S vanishes as t → 0 whatever the bias of the network",
                limit(&law, error, relation)?,
                Rounded::exact(0.0),
            ),
            Evidence::at_most(
                "control: the cosine sees a factor, too: S at t → 0 is at least 1e-6 for b = 0",
                Rounded::exact(1e-6),
                limit(&law, factor, relation)?,
            ),
        ])
    }
}
