//! When a diffusion keeps the symmetry of its law: both directions, for any drift.

use crate::laws::finite::two_pi;
use crate::rounding::Rounded;
use crate::statements::{
    About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError,
};

const ELEMENT: Parameter = Parameter::whole(
    "kappa",
    "1 quarter turn, 2 half turn, 3 three quarters of a turn, 4 mirror x2, 5 mirror on the diagonal, 6 mirror x1, 7 mirror on the other diagonal",
    1.0..=7.0,
    1.0,
);
const SPREAD: Parameter = Parameter::logarithmic(
    "s",
    "standard deviation of each part of the law",
    0.5..=4.0,
    1.25,
);

/// `[thm:invariant-flow]` A diffusion from one invariant start keeps its law invariant exactly if its drift is equivariant up to fields that
/// move no mass, one for each element of the group.
///
/// # Formula `[eq:invariant-flow]`
/// ```text
/// L_g p = −∇·(p g) + ½Δp,    h_κ = κ⁻¹ g∘κ − g       (κ orthogonal, p_t the law of dx = g dt + dw)
/// (L_g p)∘κ = L_{g+h_κ}(p∘κ)                      for every p and g                            (1)
/// ∇·((p∘κ) h_κ) = −(∇·(p h_{κ⁻¹}))∘κ              for every p and g                            (2)
/// (L_g p)∘κ − L_g p = −∇·(p h_κ)                  for p = p∘κ, by (1)                          (3)
/// ```
/// "⇒": if every p_t is invariant, so is ∂_t p_t = L_g p_t, and (3) gives ∇·(p_t h_κ) = 0 for every κ of the group. "⇐": if ∇·(p_t h_κ) = 0
/// for every κ, hence for κ⁻¹, then by (2) ∇·((p_t∘κ) h_κ) = 0, so by (1) p_t∘κ solves the Fokker–Planck equation of p_t itself; from an
/// invariant start the two are one, where that equation has one solution (g Lipschitz is enough). A drift g = f + d with f
/// equivariant and ∇·(p d) = 0 for invariant p is such a drift, and `[thm:e10]` an instance. For all invariant starts at once d must
/// vanish (`[thm:drift-all-starts]`). Where κ = κ⁻¹, as for a mirror, (2) has one h on both sides.
///
/// Tried in the plane with the symmetries κ of the square, on mixtures of two Gaussians and of their eight images; f is an equivariant cubic, an
/// arbitrary u quadratic, d = J∇ψ/p with a quadratic ψ.
pub struct InvariantFlow;

type Point = [f64; 2];
type Vector = [Rounded; 2];

/// A symmetry of the square, by its matrix.
#[derive(Clone, Copy)]
struct Element([[f64; 2]; 2]);

impl Element {
    /// By its number in the list of [`ELEMENT`], 0 the identity.
    fn numbered(k: usize) -> Self {
        let turn = [[0.0, -1.0], [1.0, 0.0]];
        let start = if k < 4 {
            [[1.0, 0.0], [0.0, 1.0]]
        } else {
            [[1.0, 0.0], [0.0, -1.0]]
        };
        (0..k % 4).fold(Self(start), |so_far, _| Self(turn).after(so_far))
    }

    fn all() -> [Self; 8] {
        std::array::from_fn(Self::numbered)
    }

    fn after(self, first: Self) -> Self {
        let (a, b) = (self.0, first.0);
        let cell = |i: usize, j: usize| a[i][0] * b[0][j] + a[i][1] * b[1][j];
        Self([[cell(0, 0), cell(0, 1)], [cell(1, 0), cell(1, 1)]])
    }

    fn inverse(self) -> Self {
        let m = self.0;
        Self([[m[0][0], m[1][0]], [m[0][1], m[1][1]]])
    }

    fn of(self, x: Point) -> Point {
        self.0.map(|row| row[0] * x[0] + row[1] * x[1])
    }

    /// κv: every row has one entry, ±1.
    fn of_vector(self, v: Vector) -> Vector {
        self.0.map(|row| {
            if row[0] == 0.0 {
                v[1] * row[1]
            } else {
                v[0] * row[0]
            }
        })
    }
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

    /// p∘κ, whose means are κ⁻¹m.
    fn moved(&self, kappa: Element) -> Self {
        let back = kappa.inverse();
        Self {
            means: self.means.iter().map(|&m| back.of(m)).collect(),
            variance: self.variance,
        }
    }

    /// The mean of p∘κ over the group.
    fn symmetric(&self) -> Self {
        let images = Element::all().map(|kappa| self.moved(kappa).means);
        Self {
            means: images.concat(),
            variance: self.variance,
        }
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

/// h_κ = κ⁻¹g∘κ − g at x: the divergence of κ⁻¹g∘κ is that of g at κx.
fn defect(g: &impl Fn(Point) -> Field, kappa: Element, x: Point) -> Field {
    let there = g(kappa.of(x));
    let back = Field {
        value: kappa.inverse().of_vector(there.value),
        divergence: there.divergence,
    };
    minus(back, g(x))
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
            even: values.take(3)?,
            any: values.take(4)?,
            psi: values.take(5)?,
        })
    }

    /// f = (a + b|x|²) x + c (x_1³, x_2³), equivariant under all symmetries of the square.
    fn equivariant(&self, x: Point) -> Field {
        let [x1, x2] = x.map(Rounded::exact);
        let k = &self.even;
        let square = x1.square() + x2.square();
        let radial = square * k[1] + Rounded::exact(k[0]);
        Field {
            value: [x1, x2].map(|v| v * radial + v * v.square() * k[2]),
            divergence: Rounded::exact(2.0 * k[0]) + square * (4.0 * k[1]) + square * (3.0 * k[2]),
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
    fn about(&self) -> About {
        About {
            id: "invariant-flow",
            source: "Structure preserving diffusion models (arXiv:2402.19369), the drift condition for one given start (E10)",
            kind: Kind::Identity,
            summary: "from one start laws stay invariant exactly if the drift is equivariant up to fields that move no mass, for every element of the group",
            terms: &[],
            parameters: &[ELEMENT, SPREAD],
        }
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
        let kappa = Element::numbered(instance.size(ELEMENT.name)?);
        let (x, image) = (setting.x, kappa.of(setting.x));
        let (lopsided, moved) = (&setting.law, setting.law.moved(kappa));
        let invariant = setting.law.symmetric();
        let any = |y| plus(setting.equivariant(y), setting.arbitrary(y));
        let hidden = |y| setting.hidden_in(&invariant, y);
        let with_defect = plus(any(x), defect(&any, kappa, x));
        let (p, h) = (invariant.at(x), defect(&hidden, kappa, x));
        Ok(vec![
            Evidence::equal(
                "any law, any drift: (L_g p)(κx) = L_{g+h}(p∘κ)(x), h = h_κ",
                rate(lopsided.at(image), any(image)),
                rate(moved.at(x), with_defect),
            ),
            Evidence::equal(
                "any law, any drift: ∇·((p∘κ)h_κ)(x) = -∇·(p h_{κ⁻¹})(κx)",
                mass(moved.at(x), defect(&any, kappa, x)),
                -mass(lopsided.at(image), defect(&any, kappa.inverse(), image)),
            ),
            Evidence::equal(
                "invariant law, any drift: (L_g p)(κx) - (L_g p)(x) = -∇·(p h_κ)(x)",
                rate(invariant.at(image), any(image)) - rate(invariant.at(x), any(x)),
                -mass(invariant.at(x), defect(&any, kappa, x)),
            ),
            Evidence::equal(
                "equivariant f, ∇·(p d) = 0, g = f + d: ∇·(p h_κ) = 0, that is p∇·h = -∇p·h",
                p.value * h.divergence,
                -inner(p.gradient, h.value),
            ),
            Evidence::equal(
                "the same drift: (L_g p)(κx) = (L_g p)(x)",
                rate(invariant.at(image), hidden(image)),
                rate(invariant.at(x), hidden(x)),
            ),
        ])
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let setting = Setting::of(&self.default_instance())?;
        let kappa = Element::numbered(1);
        let (x, image) = (setting.x, kappa.of(setting.x));
        let invariant = setting.law.symmetric();
        let any = |y| plus(setting.equivariant(y), setting.arbitrary(y));
        let hidden = |y| setting.hidden_in(&invariant, y);
        let foreign = |y| setting.hidden_in(&setting.law, y);
        Ok(vec![
            Evidence::equal(
                "control: from one start invariant laws have an equivariant drift; a coordinate of h_κ is 0 for a drift that keeps them",
                defect(&hidden, kappa, x).value[1],
                Rounded::exact(0.0),
            ),
            Evidence::equal(
                "control: (L_g p)(κx) = L_g(p∘κ)(x), without h",
                rate(setting.law.at(image), any(image)),
                rate(setting.law.moved(kappa).at(x), any(x)),
            ),
            Evidence::equal(
                "control: ∇·((p∘κ)h_κ)(x) = -∇·(p h_κ)(κx) for a quarter turn, as for a mirror",
                mass(setting.law.moved(kappa).at(x), defect(&any, kappa, x)),
                -mass(setting.law.at(image), defect(&any, kappa, image)),
            ),
            Evidence::equal(
                "control: an arbitrary drift keeps an invariant law",
                rate(invariant.at(image), any(image)),
                rate(invariant.at(x), any(x)),
            ),
            Evidence::equal(
                "control: a field that moves no mass of one law moves none of another",
                mass(invariant.at(x), defect(&foreign, kappa, x)),
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

    /// Eight matrices, a group: every product and inverse is among them, and turns add up.
    #[test]
    fn the_square_has_eight_symmetries() {
        let all = Element::all();
        let same = |a: Element, b: Element| a.0 == b.0;
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().filter(|b| same(*a, **b)).count() == 1, "{i}");
            assert!(same(a.after(a.inverse()), all[0]));
            for b in &all {
                assert!(all.iter().any(|c| same(a.after(*b), *c)));
            }
        }
        assert!(same(all[1].after(all[1]), all[2]));
        for (k, want) in [(1, [-2.0, 1.0]), (4, [1.0, -2.0]), (5, [2.0, 1.0])] {
            let got = all[k].of([1.0, 2.0_f64]);
            assert_eq!(got.map(f64::to_bits), want.map(f64::to_bits), "{k}");
        }
    }

    #[test]
    fn one_field_is_equivariant_and_the_others_are_not() {
        let setting = setting();
        let of = |field: &dyn Fn(Point) -> Field| {
            defect(&|y| field(y), Element::numbered(1), setting.x)
                .value
                .map(|v| v.value.abs())
        };
        let [first, second] = of(&|y| setting.equivariant(y));
        assert!(first <= 1e-15 && second <= 1e-15);
        let [first, second] = of(&|y| setting.arbitrary(y));
        assert!(first > 0.01 && second > 0.01);
    }
}
