//! E10: for one given start an invariant law does not need an equivariant drift; for all invariant starts it does.

use crate::laws::finite::two_pi;
use crate::rounding::Rounded;
use crate::statements::elementary::{cosine, sine};
use crate::statements::{
    About, Built, Evidence, Finding, Instance, Kind, Parameter, Statement, StatementError,
};

const RATE: Parameter = Parameter::linear(
    "omega",
    "rate of rotation ω in dx = (ωJ + cI)x dt + dw",
    0.0..=4.0,
    1.0,
);
const GROWTH: Parameter = Parameter::linear(
    "c",
    "rate of growth c, the equivariant part of the drift",
    0.125..=1.0,
    0.375,
);
const TIME: Parameter =
    Parameter::linear("time", "time since the isotropic start", 0.0..=2.0, 0.75);
const START: Parameter = Parameter::logarithmic("v_0", "variance at the start", 0.125..=8.0, 0.625);

type Matrix = [[Rounded; 2]; 2];

/// J, a quarter turn.
const J: [[f64; 2]; 2] = [[0.0, -1.0], [1.0, 0.0]];

/// `[thm:e10]` From one start all laws are invariant, and yet the drift is not equivariant: a reading of the printed condition.
///
/// "A process preserves invariance if and only if its drift is equivariant", read as "for every invariant start", is true
/// (`[thm:drift-all-starts]`). Read for one given start it is not; this process keeps the isotropic starts and no others.
///
/// # Formula `[eq:invisible-drift]`
/// ```text
/// dx = (ωJ + cI)x dt + dw in R², x(0) ~ N(0, v_0 I), J = (0 −1; 1 0), R = diag(1, −1)
/// e^{At} = e^{ct}(cos ωt, −sin ωt; sin ωt, cos ωt)    Σ(t) = e^{At} v_0 e^{Aᵀt} + ∫_0^t e^{As}e^{Aᵀs} ds = v(t) I
/// v(t) = v_0 e^{2ct} + (e^{2ct} − 1)/2c               RΣR = Σ for all t, but RJR = −J
/// from diag(1, 4), which is invariant too:            Σ_12(t) = −(3/2) e^{2ct} sin 2ωt
/// ```
/// For one start the drift need be equivariant only up to fields d with ∇·(p_t d) = 0, which move no mass. For linear
/// fields d = Bx and p = N(0, vI), ∇·(p d) = p(tr B − xᵀBx/v) vanishes exactly if B is antisymmetric. With
/// B = RAR − A, the covariance leaves invariance at the rate
/// ```text
/// d/dt (RΣR − Σ) = v(B + Bᵀ)          Σ' = AΣ + ΣAᵀ + I,  Σ = vI
/// ```
/// so to this order the condition is also necessary. For any drift, and both ways: `[thm:invariant-flow]`.
pub struct DriftUpToInvisibleFields;

fn multiply(a: &Matrix, b: &Matrix) -> Matrix {
    let cell = |i: usize, j: usize| a[i][0] * b[0][j] + a[i][1] * b[1][j];
    [[cell(0, 0), cell(0, 1)], [cell(1, 0), cell(1, 1)]]
}

fn transpose(a: &Matrix) -> Matrix {
    [[a[0][0], a[1][0]], [a[0][1], a[1][1]]]
}

fn combine(a: &Matrix, b: &Matrix, f: impl Fn(Rounded, Rounded) -> Rounded) -> Matrix {
    [
        [f(a[0][0], b[0][0]), f(a[0][1], b[0][1])],
        [f(a[1][0], b[1][0]), f(a[1][1], b[1][1])],
    ]
}

/// RaR with R = diag(1, −1): the off-diagonal changes sign.
fn reflect(a: &Matrix) -> Matrix {
    [[a[0][0], -a[0][1]], [-a[1][0], a[1][1]]]
}

fn known(a: [[f64; 2]; 2]) -> Matrix {
    a.map(|row| row.map(Rounded::exact))
}

/// ξᵀaξ.
fn form(a: &Matrix, xi: [f64; 2]) -> Rounded {
    let along = |i: usize| (a[i][0] * xi[0] + a[i][1] * xi[1]) * xi[i];
    along(0) + along(1)
}

/// e^{(ωJ + cI)t}.
fn flow(omega: f64, c: f64, t: f64) -> Matrix {
    let angle = Rounded::exact(omega) * t;
    let scale = (Rounded::exact(c) * t).exp();
    let (cos, sin) = (cosine(angle) * scale, sine(angle) * scale);
    [[cos, -sin], [sin, cos]]
}

/// ∫_0^t e^{2cs} ds.
fn diffused(c: f64, t: f64) -> Rounded {
    ((Rounded::exact(c) * 2.0 * t).exp() - Rounded::exact(1.0)) / (2.0 * c)
}

/// Σ(t) from a diagonal start.
fn covariance(omega: f64, c: f64, t: f64, start: [f64; 2]) -> Matrix {
    let flow = flow(omega, c, t);
    let start = known([[start[0], 0.0], [0.0, start[1]]]);
    let carried = multiply(&multiply(&flow, &start), &transpose(&flow));
    let added = diffused(c, t);
    let mut sigma = carried;
    sigma[0][0] = sigma[0][0] + added;
    sigma[1][1] = sigma[1][1] + added;
    sigma
}

/// ∂_i of the density N(0, vI) at x: −x_i/v · e^{−|x|²/2v}/2πv.
fn slope(x: [f64; 2], v: f64, i: usize) -> Rounded {
    let square = Rounded::exact(x[0]).square() + Rounded::exact(x[1]).square();
    let density = (-(square / (2.0 * v))).exp() / (two_pi() * v);
    -(density * x[i]) / v
}

/// Σ' at Σ = vI: (A + Aᵀ)v + I.
fn covariance_rate(a: &Matrix, v: f64) -> Matrix {
    let grown = combine(a, &transpose(a), |x, y| (x + y) * v);
    combine(&grown, &known([[1.0, 0.0], [0.0, 1.0]]), |x, y| x + y)
}

/// ξ, x and the rows of A.
fn pairs(instance: &Instance) -> Result<[[f64; 2]; 4], StatementError> {
    let taken = instance.values().take(8)?;
    Ok([0, 2, 4, 6].map(|k| [taken[k], taken[k + 1]]))
}

impl Statement for DriftUpToInvisibleFields {
    fn about(&self) -> About {
        About {
            id: "e10",
            source: "Structure preserving diffusion models (arXiv:2402.19369), summary: 'if and only if the drift is equivariant', read for one start",
            kind: Kind::Erratum(Finding::Reading),
            summary: "for one start a drift may differ from an equivariant one by a field that moves no mass; for all invariant starts it may not",
            terms: &[],
            parameters: &[RATE, GROWTH, TIME, START],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let [xi, x, first, second] = pairs(instance)?;
        Ok(vec![
            Built::row("xi", &xi),
            Built::row("x", &x),
            Built::list("A, any linear drift", &[first, second]),
        ])
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let get = |p: Parameter| instance.get(p.name);
        let (omega, c, t, start) = (get(RATE)?, get(GROWTH)?, get(TIME)?, get(START)?);
        let [xi, x, first, second] = pairs(instance)?;
        let sigma = covariance(omega, c, t, [start, start]);
        let lost = covariance(omega, c, t, [1.0, 4.0]);
        let twice = sine(Rounded::exact(omega) * t * 2.0);
        let growth = (Rounded::exact(c) * 2.0 * t).exp();
        let v = growth * start + diffused(c, t);
        let length = Rounded::exact(xi[0]).square() + Rounded::exact(xi[1]).square();
        let a = known([first, second]);
        let rate = covariance_rate(&a, start);
        let leaving = combine(&reflect(&rate), &rate, |x, y| x - y);
        let b = combine(&reflect(&a), &a, |x, y| x - y);
        let field =
            J.map(|row| (Rounded::exact(row[0]) * x[0] + Rounded::exact(row[1]) * x[1]) * omega);
        Ok(vec![
            Evidence::equal("ξᵀΣ(t)ξ = v(t)|ξ|²", form(&sigma, xi), v * length),
            Evidence::equal(
                "the law is invariant: ξᵀRΣ(t)Rξ = ξᵀΣ(t)ξ",
                form(&reflect(&sigma), xi),
                form(&sigma, xi),
            ),
            Evidence::equal(
                "corrected, for one start: ∇·(p ωJx) = 0, that is d_1 ∂_1 p = -d_2 ∂_2 p",
                field[0] * slope(x, start, 0),
                -(field[1] * slope(x, start, 1)),
            ),
            Evidence::equal(
                "the same process from diag(1, 4), also invariant, leaves invariance: Σ_12(t) = -(3/2) e^{2ct} sin 2ωt",
                lost[0][1],
                -(growth * twice * 1.5),
            ),
            Evidence::equal(
                "any linear drift: ξᵀ(RΣ'R - Σ')ξ = 2v ξᵀBξ",
                form(&leaving, xi),
                form(&b, xi) * (2.0 * start),
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let turn = known(J);
        let reflected = reflect(&turn);
        let shear = known([[0.0, 1.0], [0.0, 0.0]]);
        let rate = covariance_rate(&shear, 0.625);
        let sheared = |xi| form(&combine(&reflect(&rate), &rate, |x, y| x - y), xi);
        Ok(vec![
            Evidence::equal(
                "as read, for one start: invariant laws have an equivariant drift; RJR = J, entry (0, 1)",
                reflected[0][1],
                turn[0][1],
            ),
            Evidence::equal(
                "as read, for one start: invariant laws have an equivariant drift; RJR = J, entry (1, 0)",
                reflected[1][0],
                turn[1][0],
            ),
            Evidence::equal(
                "control: the process keeps diag(1, 4) invariant, too; Σ_12(0.75) = 0",
                covariance(1.0, 0.375, 0.75, [1.0, 4.0])[0][1],
                Rounded::exact(0.0),
            ),
            Evidence::equal(
                "control: a shear keeps the law invariant too",
                form(&reflect(&rate), [1.0, 2.0]),
                form(&rate, [1.0, 2.0]),
            ),
            Evidence::equal(
                "control: the law leaves invariance at half the rate",
                sheared([1.0, 2.0]),
                form(&combine(&reflect(&shear), &shear, |x, y| x - y), [1.0, 2.0]) * 0.625,
            ),
            Evidence::equal(
                "control: without diffusion the variance is the same",
                covariance(1.0, 0.375, 0.75, [0.625, 0.625])[0][0],
                (Rounded::exact(0.375) * 1.5).exp() * 0.625,
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ∫_0^2 e^{s/2} ds = 2(e − 1).
    #[test]
    fn diffusion_adds_the_integral() {
        let got = diffused(0.25, 2.0);
        assert!((got.value - 2.0 * (std::f64::consts::E - 1.0)).abs() <= got.error + 1e-15);
    }

    /// −2.63 after three quarters of a unit of time: the number of the book.
    #[test]
    fn the_process_leaves_invariance_from_another_start() {
        let got = covariance(1.0, 0.375, 0.75, [1.0, 4.0])[0][1];
        assert!((got.value + 2.626).abs() < 5e-4, "{got:?}");
        let isotropic = covariance(1.0, 0.375, 0.75, [0.625, 0.625])[0][1];
        assert!(isotropic.value.abs() <= isotropic.error);
    }

    /// A quarter turn in time π/2 at ω = 1, with growth e^{cπ/2}.
    #[test]
    fn the_flow_turns_and_grows() {
        let (quarter, c) = (std::f64::consts::FRAC_PI_2, 0.25);
        let flow = flow(1.0, c, quarter);
        let grown = (c * quarter).exp();
        for (row, want) in flow.iter().zip([[0.0, -grown], [grown, 0.0]]) {
            for (got, want) in row.iter().zip(want) {
                assert!((got.value - want).abs() <= got.error + 1e-15);
            }
        }
    }

    /// (1 2; 3 4)(5 6; 7 8) = (19 22; 43 50).
    #[test]
    fn small_matrices_are_as_by_hand() {
        let (a, b) = (
            known([[1.0, 2.0], [3.0, 4.0]]),
            known([[5.0, 6.0], [7.0, 8.0]]),
        );
        let product = multiply(&a, &b).map(|row| row.map(|x| x.value));
        assert_eq!(product, [[19.0, 22.0], [43.0, 50.0]]);
        assert_eq!(transpose(&a)[0][1].value.to_bits(), 3.0_f64.to_bits());
        assert_eq!(form(&a, [2.0, -1.0]).value.to_bits(), (-2.0_f64).to_bits());
        let rate = covariance_rate(&a, 2.0).map(|row| row.map(|x| x.value));
        assert_eq!(rate, [[5.0, 10.0], [10.0, 17.0]]);
    }
}
