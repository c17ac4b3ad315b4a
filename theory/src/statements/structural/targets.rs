//! Why E3 does not touch the targets that are trained: with ε, v or EDM's target x̂ − x_0 = O(σ_t) for every bounded network.

use ndarray::Array2;
use sadm_reference::parametrisation::{Parametrisation, coefficients};
use sadm_reference::relation::Relation;
use sadm_reference::schedule::ScheduleKind;

use crate::rounding::Rounded;
use crate::statements::elementary::sine;
use crate::statements::setting::{BATCH, Clock, known, loss_of_rounded};
use crate::statements::{
    About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError, Values,
};

const TARGET: Parameter = Parameter::whole("target", "0 eps, 1 v, 2 edm", 0.0..=2.0, 2.0);
const SCHEDULE: Parameter = Parameter::whole(
    "schedule",
    "0 vp-linear, 1 cosine, 2 edm, 3 rectified-flow",
    0.0..=3.0,
    0.0,
);
const TIME: Parameter = Parameter::logarithmic(
    "t",
    "time; the noise level itself under edm",
    1e-6..=0.5,
    0.01,
);
const SPREAD: Parameter = Parameter::logarithmic("sigma_d", "EDM's σ_d", 0.25..=2.0, 0.75);
const TARGETS: [Parametrisation; 3] = [
    Parametrisation::Eps,
    Parametrisation::V,
    Parametrisation::Edm,
];
const KINDS: [ScheduleKind; 4] = [
    ScheduleKind::VP_LINEAR,
    ScheduleKind::COSINE,
    ScheduleKind::EDM,
    ScheduleKind::RECTIFIED_FLOW,
];
/// Numbers in one sample, and features of one.
const N: usize = 2;
const FEATURES: usize = 3;

/// `[thm:targets-near-zero]` S_t = O(σ_t²/α_t²) for ε, v and EDM targets, any bounded network and any Lipschitz encoder.
///
/// # Formula `[eq:error-near-zero]`
/// ```text
/// x̂ = c_skip x_t + c_out F,  |F| ≤ F_max,  σ' = σ/α:
/// ε      x̂ − x_0 = σ' (ε − F)
/// v      x̂ − x_0 = σ' (α²ε − αF − ασ x_0)/(α² + σ²)
/// edm    x̂ − x_0 = σ' (c_skip ε + (c_out/σ') F − σ' x_0/(σ'² + σ_d²)),   c_skip = σ_d²/(σ'² + σ_d²), c_out/σ' = σ_d/√(σ'² + σ_d²)
/// hence  ‖x̂ − x_0‖ ≤ K σ',   K = ‖ε‖ + F_max  |  ‖x_0‖/2 + ‖ε‖ + 5F_max/4  |  ‖x_0‖/(2σ_d) + ‖ε‖ + F_max
/// cosine, Ψ with Lipschitz constant Λ and ‖Ψ(x_0)‖ ≥ r:   S_t ≤ 16 η (1 − 1/B)(ΛK/r)² σ'²
/// ```
/// The last by ‖a/‖a‖ − b/‖b‖‖ ≤ 2‖a − b‖/‖a‖ for each unit row, so that an affinity moves by at most 4ΛKσ'/r. (For v: α² + σ² = 1, or α
/// = 1, or α + σ = 1; then α ≤ 5(α² + σ²)/4.) On a linear VP schedule σ'² = e^{0.1t + 9.95t²} − 1, on EDM's σ'² = t²: S_t/t is bounded, and
/// E[S_t/t] finite without a clamp. x_0-prediction has c_out = 1, and nothing of this (`[thm:e3]`).
///
/// Tried with F_k = sin(v_k·x_t + c_k), hence F_max = √n, and Ψ_k = max(0, w_k·x) + ½, hence Λ = ‖W‖ and r ≥ ½√d.
///
/// # Values
/// 2nB for x_0 and ε, n(n + 1) for the network, nd for the encoder.
pub struct TargetsNearZero;

/// A batch, a network and an encoder.
struct Setting {
    clean: Array2<f64>,
    noise: Array2<f64>,
    weights: Array2<f64>,
    shifts: Vec<f64>,
    encoder: Array2<f64>,
}

impl Setting {
    fn of(values: &mut Values<'_>, batch: usize) -> Result<Self, StatementError> {
        Ok(Self {
            clean: values.matrix(batch, N)?,
            noise: values.matrix(batch, N)?,
            weights: values.matrix(N, N)?,
            shifts: values.take(N)?,
            encoder: values.matrix(FEATURES, N)?,
        })
    }

    /// F of a noised sample.
    fn network(&self, x_t: &[Rounded]) -> Vec<Rounded> {
        let row = |k: usize| {
            let along = (0..N).map(|i| x_t[i] * self.weights[[k, i]]);
            sine(Rounded::sum(along) + Rounded::exact(self.shifts[k]))
        };
        (0..N).map(row).collect()
    }

    /// Ψ of every row.
    fn features(&self, x: &Array2<Rounded>) -> Array2<Rounded> {
        Array2::from_shape_fn((x.nrows(), FEATURES), |(i, k)| {
            let along = Rounded::sum((0..N).map(|j| x[[i, j]] * self.encoder[[k, j]]));
            let positive = Rounded::within(along.value.max(0.0), along.error);
            positive + Rounded::exact(0.5)
        })
    }
}

/// σ' = σ/α and the coefficients, known as well as their formulas.
struct Coefficients {
    alpha: Rounded,
    sigma: Rounded,
    ratio: Rounded,
    skip: Rounded,
    out: Rounded,
}

impl Coefficients {
    fn new(
        target: Parametrisation,
        kind: ScheduleKind,
        t: f64,
        spread: f64,
    ) -> Result<Self, StatementError> {
        let (alpha, sigma) = Clock::new(kind).levels(t)?;
        let ratio = sigma / alpha;
        let total = alpha.square() + sigma.square();
        let variance = Rounded::exact(spread).square();
        let (skip, out) = match target {
            Parametrisation::X0 => (0.0.into(), 1.0.into()),
            Parametrisation::Eps => (Rounded::exact(1.0) / alpha, -ratio),
            Parametrisation::Ve => (Rounded::exact(1.0) / alpha, ratio),
            Parametrisation::V => (alpha / total, -(sigma / total)),
            Parametrisation::Edm => (
                variance / (ratio.square() + variance) / alpha,
                ratio * spread / (ratio.square() + variance).sqrt(),
            ),
        };
        let reference = coefficients(target, alpha.value, sigma.value, spread)?;
        // The reference's numbers, for α and σ as stored, and so the formulas' within both bounds.
        let near = |value: f64, by: Rounded| {
            known(
                value,
                Rounded::within(by.value, 4.0 * by.error + f64::EPSILON * by.value.abs()),
            )
        };
        Ok(Self {
            alpha,
            sigma,
            ratio,
            skip: near(reference.skip, skip),
            out: near(reference.out, out),
        })
    }
}

/// x̂ row by row, and (x̂ − x_0)/σ' by the formula of the target (0 for x_0-prediction, which has none).
fn predicted(
    setting: &Setting,
    target: Parametrisation,
    level: &Coefficients,
    spread: f64,
) -> [Array2<Rounded>; 2] {
    let shape = setting.clean.raw_dim();
    let (mut answer, mut scaled) = (
        Array2::from_elem(shape, Rounded::exact(0.0)),
        Array2::from_elem(shape, Rounded::exact(0.0)),
    );
    let Coefficients {
        alpha,
        sigma,
        ratio,
        skip,
        out,
    } = *level;
    let (total, variance) = (
        alpha.square() + sigma.square(),
        Rounded::exact(spread).square() + ratio.square(),
    );
    for i in 0..setting.clean.nrows() {
        let noised: Vec<Rounded> = (0..N)
            .map(|j| alpha * setting.clean[[i, j]] + sigma * setting.noise[[i, j]])
            .collect();
        let network = setting.network(&noised);
        for j in 0..N {
            let (x, e, f) = (
                Rounded::exact(setting.clean[[i, j]]),
                Rounded::exact(setting.noise[[i, j]]),
                network[j],
            );
            answer[[i, j]] = skip * noised[j] + out * f;
            scaled[[i, j]] = match target {
                Parametrisation::X0 => Rounded::exact(0.0),
                Parametrisation::Eps => e - f,
                Parametrisation::Ve => e + f,
                Parametrisation::V => alpha * (alpha * e - f - sigma * x) / total,
                Parametrisation::Edm => {
                    let kept = e * spread * spread / variance - ratio * x / variance;
                    kept + f * spread / variance.sqrt()
                }
            };
        }
    }
    [answer, scaled]
}

fn norm(row: impl Iterator<Item = Rounded>) -> Rounded {
    Rounded::sum(row.map(Rounded::square)).sqrt()
}

/// K of one sample.
fn constant(setting: &Setting, target: Parametrisation, spread: f64, i: usize) -> Rounded {
    let length = |of: &Array2<f64>| norm(of.row(i).iter().map(|&v| Rounded::exact(v)));
    let (clean, noise) = (length(&setting.clean), length(&setting.noise));
    let most = Rounded::exact(N as f64).sqrt();
    match target {
        Parametrisation::X0 | Parametrisation::Eps | Parametrisation::Ve => noise + most,
        Parametrisation::V => clean * 0.5 + noise + most * 1.25,
        Parametrisation::Edm => clean / (2.0 * spread) + noise + most,
    }
}

fn larger(a: Rounded, b: Rounded) -> Rounded {
    if b.value > a.value { b } else { a }
}

/// S_t (η = 1, cosine) and 16(1 − 1/B)(ΛK/r)² σ'².
fn sides(
    setting: &Setting,
    target: Parametrisation,
    kind: ScheduleKind,
    t: f64,
    spread: f64,
) -> Result<[Rounded; 2], StatementError> {
    let level = Coefficients::new(target, kind, t, spread)?;
    let [answer, _] = predicted(setting, target, &level, spread);
    let real = setting.features(&setting.clean.mapv(Rounded::exact));
    let loss = loss_of_rounded(&real, &setting.features(&answer), 1.0, Relation::COSINE)?;
    let batch = setting.clean.nrows();
    let reach = (0..batch)
        .map(|i| constant(setting, target, spread, i))
        .fold(Rounded::exact(0.0), larger);
    let shortest = (0..batch)
        .map(|i| norm(real.row(i).iter().copied()))
        .reduce(|a, b| if b.value < a.value { b } else { a })
        .unwrap_or(Rounded::exact(0.5));
    let slope = norm(setting.encoder.iter().map(|&w| Rounded::exact(w)));
    let off = slope * reach / shortest * level.ratio;
    let pairs = Rounded::exact(1.0) - Rounded::exact(1.0) / batch as f64;
    Ok([loss, off.square() * pairs * 16.0])
}

/// S_t with η = 1 under the cosine for one target: a batch of four, a network and an encoder, the statement's default instance with
/// that batch. What a figure of S_t and S_t/t draws.
///
/// # Errors
/// [`StatementError`] where the schedule refuses the time, or its levels have no σ > 0.
pub fn structure_near_zero(
    target: Parametrisation,
    kind: ScheduleKind,
    t: f64,
) -> Result<Rounded, StatementError> {
    let instance = TargetsNearZero.default_instance();
    let setting = Setting::of(&mut instance.values(), 4)?;
    Ok(sides(&setting, target, kind, t, SPREAD.default)?[0])
}

impl Statement for TargetsNearZero {
    fn about(&self) -> About {
        About {
            id: "targets-near-zero",
            source: "Ours; targets of Salimans & Ho (arXiv:2202.00512) and EDM (arXiv:2206.00364)",
            kind: Kind::Bound,
            summary: "with eps, v or EDM targets S_t = O(sigma_t^2) whatever a bounded network answers, so E[S_t/t] is finite",
            terms: &[
                ("σ' = σ/α", "the noise level of x_t/α"),
                (
                    "K",
                    "bound on ‖x̂ - x_0‖/σ', from ‖x_0‖, ‖ε‖ and the largest answer of the network",
                ),
                (
                    "Λ, r",
                    "Lipschitz constant of the encoder, and the shortest feature of a clean sample",
                ),
            ],
            parameters: &[TARGET, SCHEDULE, TIME, SPREAD, BATCH],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let setting = Setting::of(&mut instance.values(), instance.size(BATCH.name)?)?;
        Ok(vec![
            Built::rows("x_0", setting.clean),
            Built::rows("noise", setting.noise),
            Built::rows("v, the network's weights", setting.weights),
            Built::row("c, the network's shifts", &setting.shifts),
            Built::rows("w, the encoder's weights", setting.encoder),
        ])
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let setting = Setting::of(&mut instance.values(), instance.size(BATCH.name)?)?;
        let target = TARGETS[instance.size(TARGET.name)?];
        let kind = KINDS[instance.size(SCHEDULE.name)?];
        let (t, spread) = (instance.get(TIME.name)?, instance.get(SPREAD.name)?);
        let level = Coefficients::new(target, kind, t, spread)?;
        let [answer, scaled] = predicted(&setting, target, &level, spread);
        let mut claims: Vec<Evidence> = (0..N)
            .map(|j| {
                Evidence::equal(
                    format!("sample 0, coordinate {j}: x̂ - x_0 = σ' times the target's error"),
                    answer[[0, j]] - Rounded::exact(setting.clean[[0, j]]),
                    scaled[[0, j]] * level.ratio,
                )
            })
            .collect();
        claims.push(Evidence::at_most(
            "‖x̂ - x_0‖ ≤ K σ', sample 0",
            norm((0..N).map(|j| answer[[0, j]] - Rounded::exact(setting.clean[[0, j]]))),
            constant(&setting, target, spread, 0) * level.ratio,
        ));
        let [loss, bound] = sides(&setting, target, kind, t, spread)?;
        claims.push(Evidence::at_most(
            "S_t ≤ 16 (1 - 1/B) (ΛK/r)² σ'², cosine, η = 1",
            loss,
            bound,
        ));
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let instance = self.default_instance();
        let setting = Setting::of(&mut instance.values(), 3)?;
        let at = |target, t: f64| sides(&setting, target, ScheduleKind::VP_LINEAR, t, 0.75);
        let [loss, bound] = at(Parametrisation::X0, 1e-4)?;
        let [v_loss, _] = at(Parametrisation::V, 1e-4)?;
        let ratio =
            Coefficients::new(Parametrisation::V, ScheduleKind::VP_LINEAR, 1e-4, 0.75)?.ratio;
        let [early, _] = at(Parametrisation::X0, 1e-6)?;
        Ok(vec![
            Evidence::at_most(
                "control: x_0-prediction has the bound of ε-prediction, at t = 1e-4",
                loss,
                bound,
            ),
            Evidence::at_most(
                "control: S_t = O(σ⁴) for v, below σ'⁴ at t = 1e-4",
                v_loss,
                ratio.square().square(),
            ),
            Evidence::at_most(
                "control: x_0-prediction's S_t vanishes, below 1e-3 at t = 1e-6",
                early,
                Rounded::exact(1e-3),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four targets over three decades of t: only x_0-prediction's S_t stays.
    #[test]
    fn losses_fall_with_t_for_all_targets_but_one() -> Result<(), StatementError> {
        let at = |target, kind, t| structure_near_zero(target, kind, t).map(|s| s.value);
        let (vp, edm) = (ScheduleKind::VP_LINEAR, ScheduleKind::EDM);
        for target in [Parametrisation::Eps, Parametrisation::V] {
            let fall = at(target, vp, 1e-3)? / at(target, vp, 1e-6)?;
            assert!((300.0..3000.0).contains(&fall), "{target}: {fall}");
        }
        for t in [1e-1, 1e-2, 1e-3, 1e-4] {
            let over = |target, kind| at(target, kind, t).map(|s| s / t);
            println!(
                "S/t at {t:e}: {:.6e} {:.6e} {:.6e} {:.6e}",
                over(Parametrisation::X0, vp)?,
                over(Parametrisation::Eps, vp)?,
                over(Parametrisation::V, vp)?,
                over(Parametrisation::Edm, edm)?
            );
        }
        let fall = at(Parametrisation::Edm, edm, 1e-3)? / at(Parametrisation::Edm, edm, 1e-5)?;
        assert!((3e3..3e4).contains(&fall), "{fall}");
        let stays = at(Parametrisation::X0, vp, 1e-3)? / at(Parametrisation::X0, vp, 1e-6)?;
        assert!((0.5..2.0).contains(&stays), "{stays}");
        Ok(())
    }
}
