//! When a diffusion keeps the symmetry of its law: both directions, for any drift.

use crate::laws::finite::two_pi;
use crate::rounding::Rounded;
use crate::statements::{
    Built, Evidence, Instance, Kind, Parameter, Scale, Statement, StatementError,
};

const SPREAD: Parameter = Parameter {
    name: "s",
    meaning: "standard deviation of each part of the law",
    low: 0.5,
    high: 4.0,
    default: 1.25,
    scale: Scale::Log,
};

/// `[thm:invariant-flow]` A diffusion keeps its law invariant exactly if its drift is equivariant up to a field that moves no mass.
///
/// # Formula `[eq:invariant-flow]`
/// ```text
/// L_g p = −∇·(p g) + ½Δp,    h = Rg∘R − g        (R = R⁻¹ a reflection, p_t the law of dx = g dt + dw)
/// (L_g p)∘R = L_{g+h}(p∘R)                        for every p and g                            (1)
/// ∇·((p∘R) h)∘R = −∇·(p h)                        for every p and g                            (2)
/// (L_g p)∘R − L_g p = −∇·(p h)                    for p = p∘R, by (1)                          (3)
/// ```
/// "⇒": if every p_t is invariant, so is ∂_t p_t = L_g p_t, and (3) gives ∇·(p_t h) = 0. "⇐": if ∇·(p_t h) = 0 then by (2)
/// ∇·((p_t∘R) h) = 0, so by (1) p_t∘R solves the Fokker–Planck equation of p_t itself; from an invariant start the two are one,
/// where that equation has one solution (g Lipschitz is enough). A drift g = f + d with f equivariant and ∇·(p d) = 0 for
/// invariant p is such a drift, and `[thm:e10]` an instance.
///
/// Tried in the plane with R = diag(1, −1), on mixtures of two Gaussians and their mirror images; f and an arbitrary u are
/// quadratic, d = J∇ψ/p with a quadratic ψ.
pub struct InvariantFlow;

type Point = [f64; 2];
type Vector = [Rounded; 2];

fn reflect(x: Point) -> Point {
    [x[0], -x[1]]
}

fn inner(a: Vector, b: Vector) -> Rounded {
    a[0] * b[0] + a[1] * b[1]
}

/// p, ∇p and Δp at a point.
#[derive(Clone, Copy)]
struct Local {
    value: Rounded,
    gradient: Vector,
    laplacian: Rounded,
}

/// Equal parts N(m, s²I).
struct Mixture {
    means: Vec<Point>,
    variance: f64,
}

impl Mixture {
    /// p = (1/K) Σ n_k,  ∇n = −n (x − m)/s²,  Δn = n (|x − m|²/s⁴ − 2/s²).
    fn at(&self, x: Point) -> Local {
        let part = |m: &Point| {
            let v = self.variance;
            let from = [0, 1].map(|i| Rounded::exact(x[i]) - Rounded::exact(m[i]));
            let square = from[0].square() + from[1].square();
            let n = (-(square / (2.0 * v))).exp() / (two_pi() * v) / self.means.len() as f64;
            Local {
                value: n,
                gradient: from.map(|d| -(n * d) / v),
                laplacian: n * (square / v - Rounded::exact(2.0)) / v,
            }
        };
        let parts: Vec<Local> = self.means.iter().map(part).collect();
        let total = |of: fn(&Local) -> Rounded| Rounded::sum(parts.iter().map(of));
        Local {
            value: total(|p| p.value),
            gradient: [total(|p| p.gradient[0]), total(|p| p.gradient[1])],
            laplacian: total(|p| p.laplacian),
        }
    }

    /// p∘R.
    fn mirrored(&self) -> Self {
        Self {
            means: self.means.iter().copied().map(reflect).collect(),
            variance: self.variance,
        }
    }

    /// (p + p∘R)/2.
    fn symmetric(&self) -> Self {
        let mut both = self.mirrored();
        both.means.extend(&self.means);
        both
    }
}

/// A vector field and its divergence at a point.
#[derive(Clone, Copy)]
struct Field {
    value: Vector,
    divergence: Rounded,
}

fn plus(a: Field, b: Field) -> Field {
    Field {
        value: [a.value[0] + b.value[0], a.value[1] + b.value[1]],
        divergence: a.divergence + b.divergence,
    }
}

fn minus(a: Field, b: Field) -> Field {
    Field {
        value: [a.value[0] - b.value[0], a.value[1] - b.value[1]],
        divergence: a.divergence - b.divergence,
    }
}

/// Rg∘R at x, given g at Rx: the divergence is that of g.
fn mirrored(at_mirror: Field) -> Field {
    Field {
        value: [at_mirror.value[0], -at_mirror.value[1]],
        divergence: at_mirror.divergence,
    }
}

/// h = Rg∘R − g at x.
fn defect(g: &impl Fn(Point) -> Field, x: Point) -> Field {
    minus(mirrored(g(reflect(x))), g(x))
}

/// ∇·(p g) = ∇p·g + p ∇·g.
fn mass(p: Local, g: Field) -> Rounded {
    inner(p.gradient, g.value) + p.value * g.divergence
}

/// L_g p.
fn rate(p: Local, g: Field) -> Rounded {
    p.laplacian / 2.0 - mass(p, g)
}

/// Two means and a point; the coefficients of the fields.
struct Setting {
    law: Mixture,
    x: Point,
    even: Vec<f64>,
    any: Vec<f64>,
    psi: Vec<f64>,
}

impl Setting {
    fn of(instance: &Instance) -> Result<Self, StatementError> {
        let spread = instance.get(SPREAD.name)?;
        let mut values = instance.values();
        let mut pair = || -> Result<Point, StatementError> {
            let taken = values.take(2)?;
            Ok([taken[0], taken[1]])
        };
        let (first, second, x) = (pair()?, pair()?, pair()?);
        Ok(Self {
            law: Mixture {
                means: vec![first, second],
                variance: spread * spread,
            },
            x,
            even: values.take(5)?,
            any: values.take(4)?,
            psi: values.take(5)?,
        })
    }

    /// f = (a + bx_1 + cx_2², x_2(d + ex_1)), equivariant.
    fn equivariant(&self, x: Point) -> Field {
        let [x1, x2] = x.map(Rounded::exact);
        let k = &self.even;
        Field {
            value: [
                x1 * k[1] + x2.square() * k[2] + Rounded::exact(k[0]),
                x2 * (x1 * k[4] + Rounded::exact(k[3])),
            ],
            divergence: x1 * k[4] + Rounded::exact(k[3]) + Rounded::exact(k[1]),
        }
    }

    /// u = (ax_2 + bx_1x_2, c + dx_1²), which is not.
    fn arbitrary(&self, x: Point) -> Field {
        let [x1, x2] = x.map(Rounded::exact);
        let k = &self.any;
        Field {
            value: [
                x2 * (x1 * k[1] + Rounded::exact(k[0])),
                x1.square() * k[3] + Rounded::exact(k[2]),
            ],
            divergence: x2 * k[1],
        }
    }

    /// d = J∇ψ/p with ψ = ax_1 + bx_2 + cx_1²/2 + dx_1x_2 + ex_2²/2; ∇·d = −J∇ψ·∇p/p², since ∇·J∇ψ = 0.
    fn invisible(&self, p: Local, x: Point) -> Field {
        let [x1, x2] = x.map(Rounded::exact);
        let k = &self.psi;
        let along = x1 * k[2] + x2 * k[3] + Rounded::exact(k[0]);
        let across = x1 * k[3] + x2 * k[4] + Rounded::exact(k[1]);
        let turned = [-across, along];
        Field {
            value: turned.map(|component| component / p.value),
            divergence: -(inner(turned, p.gradient) / p.value.square()),
        }
    }

    /// f + d, with the d that moves no mass of `law`.
    fn hidden_in(&self, law: &Mixture, x: Point) -> Field {
        plus(self.equivariant(x), self.invisible(law.at(x), x))
    }
}

impl Statement for InvariantFlow {
    fn id(&self) -> &'static str {
        "invariant-flow"
    }
    fn source(&self) -> &'static str {
        "Structure preserving diffusion models (arXiv:2402.19369), the drift condition as corrected in E10"
    }
    fn kind(&self) -> Kind {
        Kind::Identity
    }
    fn summary(&self) -> &'static str {
        "laws stay invariant exactly if the drift is equivariant up to fields that move no mass"
    }
    fn parameters(&self) -> &'static [Parameter] {
        &[SPREAD]
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let setting = Setting::of(instance)?;
        Ok(vec![
            Built::list("means", &setting.law.means),
            Built::row("point x", &setting.x),
            Built::row("coefficients of the equivariant drift", &setting.even),
            Built::row("coefficients of another drift", &setting.any),
            Built::row("coefficients of psi", &setting.psi),
        ])
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let setting = Setting::of(instance)?;
        let (x, mirror) = (setting.x, reflect(setting.x));
        let (lopsided, swapped) = (&setting.law, setting.law.mirrored());
        let invariant = setting.law.symmetric();
        let any = |y| plus(setting.equivariant(y), setting.arbitrary(y));
        let hidden = |y| setting.hidden_in(&invariant, y);
        let with_defect = plus(any(x), defect(&any, x));
        let (p, h) = (invariant.at(x), defect(&hidden, x));
        Ok(vec![
            Evidence::equal(
                "any law, any drift: (L_g p)(Rx) = L_{g+h}(p∘R)(x)",
                rate(lopsided.at(mirror), any(mirror)),
                rate(swapped.at(x), with_defect),
            ),
            Evidence::equal(
                "any law, any drift: ∇·((p∘R)h)(Rx) = -∇·(p h)(x)",
                mass(swapped.at(mirror), defect(&any, mirror)),
                -mass(lopsided.at(x), defect(&any, x)),
            ),
            Evidence::equal(
                "invariant law, any drift: (L_g p)(Rx) - (L_g p)(x) = -∇·(p h)(x)",
                rate(invariant.at(mirror), any(mirror)) - rate(invariant.at(x), any(x)),
                -mass(invariant.at(x), defect(&any, x)),
            ),
            Evidence::equal(
                "equivariant f, ∇·(p d) = 0, g = f + d: ∇·(p h) = 0, that is p∇·h = -∇p·h",
                p.value * h.divergence,
                -inner(p.gradient, h.value),
            ),
            Evidence::equal(
                "the same drift: (L_g p)(Rx) = (L_g p)(x)",
                rate(invariant.at(mirror), hidden(mirror)),
                rate(invariant.at(x), hidden(x)),
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let setting = Setting::of(&self.default_instance())?;
        let (x, mirror) = (setting.x, reflect(setting.x));
        let invariant = setting.law.symmetric();
        let any = |y| plus(setting.equivariant(y), setting.arbitrary(y));
        let hidden = |y| setting.hidden_in(&invariant, y);
        let foreign = |y| setting.hidden_in(&setting.law, y);
        Ok(vec![
            Evidence::equal(
                "as printed: invariant laws have an equivariant drift; h_2 = 0 for a drift that keeps them",
                defect(&hidden, x).value[1],
                Rounded::exact(0.0),
            ),
            Evidence::equal(
                "control: (L_g p)(Rx) = L_g(p∘R)(x), without h",
                rate(setting.law.at(mirror), any(mirror)),
                rate(setting.law.mirrored().at(x), any(x)),
            ),
            Evidence::equal(
                "control: ∇·((p∘R)h)(Rx) = +∇·(p h)(x)",
                mass(setting.law.mirrored().at(mirror), defect(&any, mirror)),
                mass(setting.law.at(x), defect(&any, x)),
            ),
            Evidence::equal(
                "control: an arbitrary drift keeps an invariant law",
                rate(invariant.at(mirror), any(mirror)),
                rate(invariant.at(x), any(x)),
            ),
            Evidence::equal(
                "control: a field that moves no mass of one law moves none of another",
                mass(invariant.at(x), defect(&foreign, x)),
                Rounded::exact(0.0),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting() -> Setting {
        Setting::of(&InvariantFlow.default_instance()).expect("values")
    }

    /// A derivative by a central difference, good to 1e-6 of the size of what is differentiated.
    fn slope(f: impl Fn(Point) -> f64, x: Point, i: usize) -> f64 {
        let step = 1e-4;
        let moved = |by: f64| {
            let mut y = x;
            y[i] += by;
            f(y)
        };
        (moved(step) - moved(-step)) / (2.0 * step)
    }

    fn close(got: f64, want: f64) {
        assert!(
            (got - want).abs() <= 1e-6 * (1.0 + want.abs()),
            "{got} against {want}"
        );
    }

    #[test]
    fn the_density_has_its_derivatives_and_integrates_to_one() {
        let setting = setting();
        for law in [&setting.law, &setting.law.symmetric()] {
            let p = law.at(setting.x);
            for i in 0..2 {
                close(
                    p.gradient[i].value,
                    slope(|y| law.at(y).value.value, setting.x, i),
                );
            }
            let curved = |i| slope(|y| law.at(y).gradient[i].value, setting.x, i);
            close(p.laplacian.value, curved(0) + curved(1));
            // The sum over a grid, 16 standard deviations wide: exact to rounding for so smooth a function.
            let grid = |k: i32| f64::from(k) / 4.0;
            let sum: f64 = (-60..=60)
                .flat_map(|i| (-60..=60).map(move |j| [grid(i), grid(j)]))
                .map(|y| law.at(y).value.value / 16.0)
                .sum();
            close(sum, 1.0);
        }
    }

    #[test]
    fn divergences_are_those_of_their_fields() {
        let setting = setting();
        let invariant = setting.law.symmetric();
        let fields: [&dyn Fn(Point) -> Field; 3] = [
            &|y| setting.equivariant(y),
            &|y| setting.arbitrary(y),
            &|y| setting.invisible(invariant.at(y), y),
        ];
        for field in fields {
            let by_slopes: f64 = (0..2)
                .map(|i| slope(|y| field(y).value[i].value, setting.x, i))
                .sum();
            close(field(setting.x).divergence.value, by_slopes);
        }
    }

    #[test]
    fn one_field_is_equivariant_and_the_others_are_not() {
        let setting = setting();
        let of = |field: &dyn Fn(Point) -> Field| {
            defect(&|y| field(y), setting.x)
                .value
                .map(|v| v.value.abs())
        };
        let [first, second] = of(&|y| setting.equivariant(y));
        assert!(first <= 1e-15 && second <= 1e-15);
        let [first, second] = of(&|y| setting.arbitrary(y));
        assert!(first > 0.01 && second > 0.01);
    }
}
