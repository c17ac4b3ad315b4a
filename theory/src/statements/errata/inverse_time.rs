//! E3: the weight η_t = 1/t has no mean under t ~ U[0, 1].

use ndarray::Array2;
use sadm_reference::relation::Relation;
use sadm_reference::schedule::{RectifiedFlow, Schedule};
use sadm_reference::structure::{EtaKind, eta};

use crate::laws::FiniteLaw;
use crate::laws::relation::{dot, exact};
use crate::rounding::Rounded;
use crate::statements::setting::{
    ATOMS, DIMENSION, known, loss_of_rounded, squared, structural_loss,
};
use crate::statements::{
    Built, Evidence, Instance, Kind, Parameter, Scale, Statement, StatementError,
};

const GRID: Parameter = Parameter {
    name: "N",
    meaning: "number of times k/N, k = 1..N, over which the loss is averaged",
    low: 8.0,
    high: 64.0,
    default: 32.0,
    scale: Scale::Integer,
};
const SHRINK: Parameter = Parameter {
    name: "c",
    meaning: "factor on the ideal denoiser's output",
    low: 0.5,
    high: 1.5,
    default: 1.25,
    scale: Scale::Linear,
};
const FIRST_TIME: Parameter = Parameter {
    name: "t_min",
    meaning: "time below which the weight is held constant",
    low: 0.005,
    high: 0.5,
    default: 0.05,
    scale: Scale::Log,
};

/// `[thm:e3]` E[η_t S_t] = ∞ for η_t = 1/t and any denoiser whose structure error does not vanish as t → 0.
///
/// # Formula `[eq:eta-mean]`
/// ```text
/// ∫_{t_min}^1 S_t/t dt ≥ (min S) ln(1/t_min) → ∞
/// ∫_0^1 S_t / max(t, t_min) dt ≤ (max S)(1 + ln(1/t_min))
/// ```
/// Both are stated for the mean over the grid k/N, where they hold without a quadrature error: the harmonic
/// number H_N ≥ ln N below, and above because 1/max(t, t_min) decreases, so that its right Riemann sum is at most
/// its integral.
///
/// The denoiser is c·E[x_0|x_t] on a finite law under rectified flow. As t → 0 the posterior concentrates on the
/// right atom and S_t → (1 − c²)² ΣM²/B²: a scale error of the network suffices. At c = 1 S vanishes and the mean stays finite: the
/// lower bound is then 0.
pub struct InverseTimeWeight;

/// S at each time of the grid, without η.
struct Curve {
    losses: Vec<Rounded>,
}

/// A time at which the posterior of atoms that differ has concentrated: σ_t = t.
const EARLY: f64 = 1e-6;

/// c E[x_0|x_t] of each atom's noised point.
fn denoised(
    law: &FiniteLaw,
    noise: &Array2<f64>,
    shrink: f64,
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
        row.iter_mut()
            .zip(posterior.mean)
            .for_each(|(x, m)| *x = m * shrink);
    }
    Ok(generated)
}

/// (1 − c²)² ΣM²/B², the limit of S_t, on the inner products of the atoms.
fn limit(law: &FiniteLaw, shrink: f64) -> Rounded {
    let rows = law.atoms().rows().into_iter();
    let rows: Vec<Vec<Rounded>> = rows.map(|row| exact(row.iter().copied())).collect();
    let squares = rows
        .iter()
        .flat_map(|a| rows.iter().map(|b| dot(a, b).square()));
    let c2 = Rounded::exact(shrink).square();
    let count = rows.len() as f64;
    (Rounded::exact(1.0) - c2).square() * Rounded::sum(squares) / (count * count)
}

impl Curve {
    fn new(
        law: &FiniteLaw,
        noise: &Array2<f64>,
        shrink: f64,
        times: usize,
    ) -> Result<Self, StatementError> {
        let losses = (1..=times).map(|k| {
            let t = k as f64 / times as f64;
            let generated = denoised(law, noise, shrink, t)?.mapv(|x| x.value);
            structural_loss(
                law.atoms(),
                &generated,
                1.0,
                &squared(Relation::InnerProduct),
            )
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
            let value = eta(EtaKind::InverseTime, t, t_min, &RectifiedFlow)?;
            total = total + s * known_weight(value, (k + 1) as f64, n, t_min);
        }
        Ok(total / n)
    }

    fn extreme(&self, larger: bool) -> Rounded {
        let pick = |a: Rounded, b: &Rounded| if (b.value > a.value) == larger { *b } else { a };
        self.losses.iter().fold(self.losses[0], pick)
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

impl Statement for InverseTimeWeight {
    fn id(&self) -> &'static str {
        "e3"
    }
    fn source(&self) -> &'static str {
        "SADM (arXiv:2402.17563), Sec. 4.1-4.2: eta_t = 1/t, t ~ U[0, 1]"
    }
    fn kind(&self) -> Kind {
        Kind::Erratum
    }
    fn summary(&self) -> &'static str {
        "unless S vanishes as t -> 0, the mean of S_t/t diverges like ln(1/t_min); clamping t makes it finite"
    }
    fn parameters(&self) -> &'static [Parameter] {
        &[ATOMS, DIMENSION, GRID, SHRINK, FIRST_TIME]
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
        let shrink = instance.get(SHRINK.name)?;
        let curve = Curve::new(&law, &noise, shrink, instance.size(GRID.name)?)?;
        let early = loss_of_rounded(
            &law.atoms().mapv(Rounded::exact),
            &denoised(&law, &noise, shrink, EARLY)?,
            1.0,
            Relation::InnerProduct,
        )?;
        let count = Rounded::exact(instance.get(GRID.name)?);
        let t_min = instance.get(FIRST_TIME.name)?;
        let log_range = -Rounded::exact(t_min).ln();
        Ok(vec![
            Evidence::equal(
                "S at t = 1e-6 is its limit (1 - c²)² ΣM²/B²",
                early,
                limit(&law, shrink),
            ),
            Evidence::at_most(
                "(min S) ln N ≤ mean of S/t",
                curve.extreme(false) * count.ln(),
                curve.mean(f64::MIN_POSITIVE)?,
            ),
            Evidence::at_most(
                "mean of S/max(t, t_min) ≤ (max S)(1 + ln(1/t_min))",
                curve.mean(t_min)?,
                curve.extreme(true) * (log_range + Rounded::exact(1.0)),
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let (law, noise) = setting(&self.default_instance())?;
        let coarse = Curve::new(&law, &noise, SHRINK.default, 16)?.mean(f64::MIN_POSITIVE)?;
        let fine = Curve::new(&law, &noise, SHRINK.default, 4096)?;
        Ok(vec![
            Evidence::at_most(
                "as printed: the mean of S/t is finite; 4096 times give at most twice the mean of 16",
                fine.mean(f64::MIN_POSITIVE)?,
                coarse * 2.0,
            ),
            Evidence::at_most(
                "control: without the clamp the corrected bound holds too",
                fine.mean(f64::MIN_POSITIVE)?,
                fine.extreme(true) * (-Rounded::exact(0.5).ln() + Rounded::exact(1.0)),
            ),
            Evidence::equal(
                "control: S vanishes as t → 0 whatever the scale of the denoiser",
                limit(&law, SHRINK.default),
                Rounded::exact(0.0),
            ),
        ])
    }
}
