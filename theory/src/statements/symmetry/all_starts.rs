//! For all invariant starts the drift must be equivariant: how fast three invariant laws leave invariance says what it lacks.

use crate::rounding::Rounded;
use crate::statements::{
    About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError,
};

const VARIANCE: Parameter =
    Parameter::logarithmic("v", "variance of the first law", 0.5..=4.0, 1.25);
const SHIFT: Parameter = Parameter::linear(
    "a",
    "mean of the second law along the mirror",
    0.25..=2.0,
    0.75,
);
const OTHER: Parameter = Parameter::logarithmic(
    "w",
    "third law: variance across the mirror over v",
    1.25..=4.0,
    2.0,
);

/// `[thm:drift-all-starts]` A process keeps every invariant law invariant exactly if its drift is equivariant: the printed condition, proved.
///
/// # Formula `[eq:drift-all-starts]`
/// ```text
/// h = R g∘R − g;   p invariant:   ((L_g p)∘R − L_g p)/p = −∇·(p h)/p = −(h·∇ln p + ∇·h)                       [eq:invariant-flow]
/// three invariant laws p_0, p_1, p_2 at one point:   D_k = ∇·(p_k h)/p_k,   h·∇ln(p_k/p_0) = D_k − D_0,  k = 1, 2
/// ```
/// If the process keeps all invariant laws, every D_k is 0, and so is h wherever the gradients of invariant functions span the space:
/// at every x with κx ≠ x for all κ ≠ 1, where an invariant function can have any gradient. Such points are dense, h is continuous: h =
/// 0 everywhere. That an equivariant drift keeps them is the other half, and easy. For one given start only ∇·(p_t h_κ) = 0 is needed
/// (`[thm:invariant-flow]`, `[thm:e10]`). For a drift that depends on time, start at each time.
///
/// Tried in the plane with R = diag(1, −1), N(0, vI), N((a, 0), vI), N(0, diag(v, wv)): their logarithms' differences have the gradients
/// (a/v, 0) and (0, x_2(1 − 1/w)/v), a basis off the mirror; for any quadratic drift, h is recovered from the rates alone.
///
/// # Values
/// 2 for the point, 12 for the drift.
pub struct EquivariantForAllStarts;

type Vector = [Rounded; 2];

/// A quadratic drift: six coefficients of 1, x_1, x_2, x_1², x_1x_2, x_2² for each component.
struct Drift([Vec<f64>; 2]);

impl Drift {
    fn at(&self, x: [f64; 2]) -> Vector {
        let [a, b] = x.map(Rounded::exact);
        let powers = [Rounded::exact(1.0), a, b, a.square(), a * b, b.square()];
        [0, 1].map(|i| Rounded::sum(powers.iter().zip(&self.0[i]).map(|(&p, &c)| p * c)))
    }

    fn divergence(&self, x: [f64; 2]) -> Rounded {
        let [a, b] = x.map(Rounded::exact);
        let [f, g] = &self.0;
        Rounded::exact(f[1])
            + a * (2.0 * f[3])
            + b * f[4]
            + Rounded::exact(g[2])
            + a * g[4]
            + b * (2.0 * g[5])
    }

    /// h = R g(Rx) − g(x).
    fn defect(&self, x: [f64; 2]) -> Vector {
        let (here, there) = (self.at(x), self.at(mirror(x)));
        [there[0] - here[0], -there[1] - here[1]]
    }
}

fn mirror(x: [f64; 2]) -> [f64; 2] {
    [x[0], -x[1]]
}

/// N(m, diag(v_1, v_2)) with m on the mirror.
struct Law {
    mean: f64,
    variances: [Rounded; 2],
}

impl Law {
    /// ∇ln p and Δp/p.
    fn local(&self, x: [f64; 2]) -> (Vector, Rounded) {
        let from = [
            Rounded::exact(x[0]) - Rounded::exact(self.mean),
            Rounded::exact(x[1]),
        ];
        let slope = [0, 1].map(|i| -(from[i] / self.variances[i]));
        let one = Rounded::exact(1.0);
        let curved = [0, 1].map(|i| slope[i].square() - one / self.variances[i]);
        (slope, curved[0] + curved[1])
    }

    /// (L_g p)/p.
    fn rate(&self, drift: &Drift, x: [f64; 2]) -> Rounded {
        let (slope, laplacian) = self.local(x);
        let g = drift.at(x);
        laplacian / 2.0 - drift.divergence(x) - (g[0] * slope[0] + g[1] * slope[1])
    }

    /// ((L_g p)∘R − L_g p)/p at x: how fast the law leaves invariance there, relatively.
    fn leaving(&self, drift: &Drift, x: [f64; 2]) -> Rounded {
        self.rate(drift, mirror(x)) - self.rate(drift, x)
    }
}

/// The three laws.
fn laws(instance: &Instance) -> Result<[Law; 3], StatementError> {
    let get = |p: Parameter| instance.get(p.name);
    let v = Rounded::exact(get(VARIANCE)?);
    let law = |mean, across| Law {
        mean,
        variances: [v, v * across],
    };
    Ok([law(0.0, 1.0), law(get(SHIFT)?, 1.0), law(0.0, get(OTHER)?)])
}

/// The point, off the mirror, and the drift.
fn setting(instance: &Instance) -> Result<([f64; 2], Drift), StatementError> {
    let mut values = instance.values();
    let x = values.take(2)?;
    let across = if x[1] < 0.0 { x[1] - 0.5 } else { x[1] + 0.5 };
    Ok(([x[0], across], Drift([values.take(6)?, values.take(6)?])))
}

/// h from the rates of the three laws, by the two equations of the formula.
fn recovered(laws: &[Law; 3], drift: &Drift, x: [f64; 2]) -> Vector {
    let rates = laws.each_ref().map(|law| law.leaving(drift, x));
    let slopes = laws.each_ref().map(|law| law.local(x).0);
    // leaving = −D, so D_k − D_0 = leaving_0 − leaving_k; each difference of slopes has one component.
    [0, 1].map(|i| (rates[0] - rates[i + 1]) / (slopes[i + 1][i] - slopes[0][i]))
}

impl Statement for EquivariantForAllStarts {
    fn about(&self) -> About {
        About {
            id: "drift-all-starts",
            source: "Structure preserving diffusion models (arXiv:2402.19369), summary: 'if and only if its drift is equivariant'",
            kind: Kind::Identity,
            summary: "for all invariant starts the drift must be equivariant: three invariant laws' rates determine what it lacks",
            terms: &[
                (
                    "h = R g∘R - g",
                    "what keeps the drift g from being equivariant",
                ),
                (
                    "rate of a law",
                    "how fast an invariant law leaves invariance at x, over its density",
                ),
            ],
            parameters: &[VARIANCE, SHIFT, OTHER],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let (x, drift) = setting(instance)?;
        Ok(vec![
            Built::row("point x", &x),
            Built::list(
                "coefficients of the drift: 1, x1, x2, x1^2, x1 x2, x2^2",
                &drift.0,
            ),
        ])
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let (x, drift) = setting(instance)?;
        let laws = laws(instance)?;
        let (found, h) = (recovered(&laws, &drift, x), drift.defect(x));
        let mut claims: Vec<Evidence> = [0, 1]
            .map(|i| {
                Evidence::equal(
                    format!("h_{i} from the rates at which three invariant laws leave invariance = that of the drift"),
                    // Compared with the drift's own size added, so that h = 0 is said to its rounding.
                    found[i] + drift.at(x)[i],
                    h[i] + drift.at(x)[i],
                )
            })
            .into();
        // A drift made equivariant by averaging with its mirror image keeps all three.
        let even = averaged(&drift);
        for (law, name) in laws
            .iter()
            .zip(["N(0, vI)", "N((a, 0), vI)", "N(0, diag(v, wv))"])
        {
            claims.push(Evidence::equal(
                format!("equivariant drift: (L_g p)(Rx)/p = (L_g p)(x)/p for {name}"),
                law.rate(&even, mirror(x)),
                law.rate(&even, x),
            ));
        }
        Ok(claims)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let instance = self.default_instance();
        let (x, _) = setting(&instance)?;
        let laws = laws(&instance)?;
        // ωJx, invisible to N(0, vI): E10's drift.
        let turn = Drift([
            vec![0.0, 0.0, -1.0, 0.0, 0.0, 0.0],
            vec![0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
        ]);
        let zero = Rounded::exact(0.0);
        Ok(vec![
            Evidence::equal(
                "control: the turn Jx keeps N((a, 0), vI) invariant",
                laws[1].leaving(&turn, x),
                zero,
            ),
            Evidence::equal(
                "control: the turn Jx keeps N(0, diag(v, wv)) invariant",
                laws[2].leaving(&turn, x),
                zero,
            ),
            Evidence::equal(
                "control: of a drift that keeps N(0, vI), h_1 is 0",
                recovered(&laws, &turn, x)[1],
                zero,
            ),
        ])
    }
}

/// ½(g + R g∘R): the coefficients that change sign are dropped.
fn averaged(drift: &Drift) -> Drift {
    let keep = |coefficients: &[f64], even: bool| {
        let odd_in_x2 = [false, false, true, false, true, false];
        let kept = coefficients.iter().zip(odd_in_x2);
        kept.map(|(&c, odd)| if odd == even { 0.0 } else { c })
            .collect()
    };
    Drift([keep(&drift.0[0], true), keep(&drift.0[1], false)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The averaged drift has no defect, and one that the mean law does not see has one.
    #[test]
    fn averaged_drifts_are_equivariant() -> Result<(), StatementError> {
        let (x, drift) = setting(&EquivariantForAllStarts.default_instance())?;
        let even = averaged(&drift);
        assert!(even.defect(x).iter().all(|h| h.value.abs() <= 1e-15));
        assert!(drift.defect(x).iter().all(|h| h.value.abs() > 1e-3));
        Ok(())
    }
}
