//! Four ways to compute one structural loss under the cosine, and the digits each keeps: measured in f32 and in f64.

use ndarray::Array2;

use super::double_double::Wide;
use crate::rounding::Rounded;
use crate::statements::{
    About, Built, Evidence, Instance, Kind, Parameter, Statement, StatementError,
};

const SIZE: Parameter = Parameter::logarithmic(
    "size",
    "size of the difference of the two batches in f32; its square in f64",
    1e-6..=1e-2,
    1e-5,
);
/// Samples and features of an instance.
const B: usize = 8;
const D: usize = 4;
/// Roundings along the longest path of the accurate forms, generously: rows, sums over the batch and over d × d.
const ROUNDINGS: f64 = 256.0;

/// `[thm:polarised-cosine]` Under the cosine the polarised form is as accurate as its P: P must come from the differences of the features,
/// or from rows normalised with twice the digits.
///
/// # Formula `[eq:polarised-cosine]`
/// ```text
/// Δ² = Σ_i ‖ψ_i − ψ̂_i‖²/‖ψ_i‖²,    ‖E‖² = ½(⟨PᵀP, SᵀS⟩ + tr((PᵀS)²)),    u the unit roundoff
/// P from ψ − ψ̂ [eq:unit-difference], or from rows normalised in f64 and rounded once:  | computed − ‖E‖² | ≤ c u Δ² ‖S‖²
/// P = u − û of rows that were normalised and rounded first:   P is off by u in every row, whatever its size: error/‖E‖² about u/Δ, as for the naive form
/// ```
/// # Formula `[eq:unit-difference]`
/// ```text
/// ψ/‖ψ‖ − ψ̂/‖ψ̂‖ = (d − û ⟨d, s⟩/(‖ψ‖ + ‖ψ̂‖))/‖ψ‖,    d = ψ − ψ̂,  s = ψ + ψ̂,   as ‖ψ‖² − ‖ψ̂‖² = ⟨d, s⟩
/// ```
/// The features are numbers of the precision that is tried, and exact: what is said is said of the loss of given features. That a network in
/// f32 computed them with errors of its own is another matter.
///
/// Everything is computed in plain loops in the precision itself, so that every machine finds the same numbers. The truth, for those
/// features, is the naive form in twice the digits of f64. c = 256 is a count of roundings, not fitted.
///
/// # Values
/// 2·8·4: the features, and the direction of the difference.
pub struct AccuracyUnderCosine;

/// Relative errors of the four ways, for one pair of batches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accuracies {
    /// M − M̂ entry by entry, from rows normalised in the precision.
    pub naive: f64,
    /// Polarised, P the difference of rows normalised in the precision.
    pub normalised: f64,
    /// Polarised, rows normalised in f64, P and S rounded once. In f64 the same as `normalised`.
    pub doubled: f64,
    /// Polarised, P from the difference of the features, all in the precision.
    pub difference: f64,
    /// ‖M‖/‖E‖.
    pub kappa: f64,
}

/// ‖E‖² computed in the four ways.
struct Squares {
    naive: f64,
    normalised: f64,
    doubled: f64,
    difference: f64,
}

macro_rules! in_precision {
    ($module:ident, $real:ty, $narrow:expr) => {
        mod $module {
            use super::{Array2, Squares};

            fn narrowed(x: &Array2<f64>) -> Array2<$real> {
                x.mapv($narrow)
            }

            fn inner(a: &[$real], b: &[$real]) -> $real {
                a.iter().zip(b).fold(0.0, |sum, (x, y)| sum + x * y)
            }

            fn norms(x: &Array2<$real>) -> Vec<$real> {
                x.rows()
                    .into_iter()
                    .map(|row| inner(&row.to_vec(), &row.to_vec()).sqrt())
                    .collect()
            }

            pub(super) fn unit(x: &Array2<$real>) -> Array2<$real> {
                let norms = norms(x);
                Array2::from_shape_fn(x.raw_dim(), |(i, j)| x[[i, j]] / norms[i])
            }

            fn columns(a: &Array2<$real>, b: &Array2<$real>) -> Array2<$real> {
                Array2::from_shape_fn((a.ncols(), b.ncols()), |(j, k)| {
                    inner(&a.column(j).to_vec(), &b.column(k).to_vec())
                })
            }

            /// ½(⟨PᵀP, SᵀS⟩ + tr((PᵀS)²)).
            fn polarised(p: &Array2<$real>, s: &Array2<$real>) -> f64 {
                let (pp, ss, ps) = (columns(p, p), columns(s, s), columns(p, s));
                let first = pp.iter().zip(&ss).fold(0.0, |sum, (a, b)| sum + a * b);
                let second = ps.iter().zip(ps.t()).fold(0.0, |sum, (a, b)| sum + a * b);
                (0.5 * (first + second)).into()
            }

            /// ψ/‖ψ‖ − ψ̂/‖ψ̂‖ row by row, from ψ − ψ̂.
            fn unit_difference(real: &Array2<$real>, other: &Array2<$real>) -> Array2<$real> {
                let (own, theirs) = (norms(real), norms(other));
                let mut rows = real - other;
                let sum = real + other;
                for (i, mut row) in rows.rows_mut().into_iter().enumerate() {
                    let along = inner(&row.to_vec(), &sum.row(i).to_vec());
                    let longer = along / (own[i] + theirs[i]) / theirs[i];
                    for (j, v) in row.iter_mut().enumerate() {
                        *v = (*v - other[[i, j]] * longer) / own[i];
                    }
                }
                rows
            }

            pub(super) fn squares(real: &Array2<f64>, generated: &Array2<f64>) -> Squares {
                let (a, b) = (narrowed(real), narrowed(generated));
                let (u, v) = (unit(&a), unit(&b));
                let mut naive: $real = 0.0;
                for i in 0..u.nrows() {
                    for j in 0..u.nrows() {
                        let m = inner(&u.row(i).to_vec(), &u.row(j).to_vec());
                        let n = inner(&v.row(i).to_vec(), &v.row(j).to_vec());
                        naive += (m - n) * (m - n);
                    }
                }
                let (wide_u, wide_v) = (super::double::unit(real), super::double::unit(generated));
                let doubled = [&wide_u - &wide_v, &wide_u + &wide_v].map(|x| narrowed(&x));
                Squares {
                    naive: naive.into(),
                    normalised: polarised(&(&u - &v), &(&u + &v)),
                    doubled: polarised(&doubled[0], &doubled[1]),
                    difference: polarised(&unit_difference(&a, &b), &(&u + &v)),
                }
            }
        }
    };
}
in_precision!(single, f32, super::to_f32);
in_precision!(double, f64, |v| v);

#[expect(clippy::cast_possible_truncation, reason = "it is what is asked for")]
fn to_f32(v: f64) -> f32 {
    v as f32
}

/// ‖E‖² of features of f64, in twice its digits, and a bound on its error.
///
/// A length is off by d + 2 units of itself, an entry of a unit row by d + 4, a cosine by 3d + 9 units, an entry of E by twice that, E as a
/// whole by δ = (6d + 18) B units, so its square by 2δ‖E‖ + δ², and by 2 + B² units of itself for the sum.
fn truth(real: &Array2<f64>, generated: &Array2<f64>) -> (Wide, f64) {
    let inner = |a: &[Wide], b: &[Wide]| {
        let terms = a.iter().zip(b).map(|(&x, &y)| x * y);
        terms.fold(Wide::from(0.0), |sum, x| sum + x)
    };
    let rows = |x: &Array2<f64>| -> Vec<Vec<Wide>> {
        let wide = |row: ndarray::ArrayView1<'_, f64>| -> Vec<Wide> {
            let row: Vec<Wide> = row.iter().map(|&v| v.into()).collect();
            let norm = inner(&row, &row).sqrt();
            row.into_iter().map(|v| v / norm).collect()
        };
        x.rows().into_iter().map(wide).collect()
    };
    let (u, v) = (rows(real), rows(generated));
    let mut sum = Wide::from(0.0);
    for i in 0..u.len() {
        for j in 0..u.len() {
            let off = inner(&u[i], &u[j]) - inner(&v[i], &v[j]);
            sum = sum + off * off;
        }
    }
    let (square, count) = (sum.value(), u.len() as f64);
    let delta = (6.0 * real.ncols() as f64 + 18.0) * count * Wide::UNIT;
    let own = (2.0 + count * count) * Wide::UNIT * square;
    (
        sum,
        1.01 * (2.0 * delta * square.sqrt() + delta * delta + own),
    )
}

/// The four ways on a batch of 64 samples with 16 features, sin(0.7k) against sin(0.7k) + size·sin(1.3k), in f32 or in f64.
///
pub fn cosine_accuracies(size: f64, double: bool) -> Accuracies {
    let wave =
        |f: f64| Array2::from_shape_fn((64, 16), |(i, j)| (f * (i * 16 + j + 1) as f64).sin());
    let stored = |x: Array2<f64>| if double { x } else { rounded_to_f32(&x) };
    let (real, generated) = (stored(wave(0.7)), stored(wave(0.7) + wave(1.3) * size));
    let exact = truth(&real, &generated).0;
    let got = all_ways(&real, &generated, double);
    let error = |x: f64| ((Wide::from(x) - exact) / exact).value().abs();
    let units = double::unit(&real);
    let table = units.dot(&units.t()).mapv(|v| v * v).sum();
    Accuracies {
        naive: error(got.naive),
        normalised: error(got.normalised),
        doubled: error(got.doubled),
        difference: error(got.difference),
        kappa: (table / exact.value()).sqrt(),
    }
}

fn all_ways(real: &Array2<f64>, generated: &Array2<f64>, double: bool) -> Squares {
    if double {
        double::squares(real, generated)
    } else {
        single::squares(real, generated)
    }
}

fn rounded_to_f32(x: &Array2<f64>) -> Array2<f64> {
    x.mapv(|v| f64::from(to_f32(v)))
}

/// A pair of batches, size apart, whose numbers are numbers of the precision.
fn pair(instance: &Instance, double: bool) -> Result<[Array2<f64>; 2], StatementError> {
    let size = instance.get(SIZE.name)?;
    let size = if double { size * size } else { size };
    let mut values = instance.values();
    let (mut real, direction) = (values.matrix(B, D)?, values.matrix(B, D)?);
    real.column_mut(0).mapv_inplace(|v| v + 3.0);
    let generated = &real + &(direction * size);
    Ok([real, generated].map(|x| if double { x } else { rounded_to_f32(&x) }))
}

/// The two batches' ‖E‖², and c u Δ²‖S‖².
fn allowed(real: &Array2<f64>, generated: &Array2<f64>, unit_roundoff: f64) -> Rounded {
    let square = |row: Vec<f64>| Rounded::sum(row.into_iter().map(|v| Rounded::exact(v).square()));
    let terms = real.rows().into_iter().zip(generated.rows()).map(|(a, b)| {
        let apart = a
            .iter()
            .zip(b)
            .map(|(&x, &y)| (Rounded::exact(x) - Rounded::exact(y)).square());
        Rounded::sum(apart) / square(a.to_vec())
    });
    // ‖S‖² ≤ 4B.
    Rounded::sum(terms) * (ROUNDINGS * unit_roundoff * 4.0 * real.nrows() as f64)
}

/// |computed − truth|, subtracted in twice the digits.
fn off(computed: f64, (truth, error): (Wide, f64)) -> Rounded {
    let difference = (Wide::from(computed) - truth).value().abs();
    Rounded::within(difference, error + f64::EPSILON * difference)
}

const SINGLE_UNIT: f64 = f32::EPSILON as f64 / 2.0;
const DOUBLE_UNIT: f64 = f64::EPSILON / 2.0;

/// The claims on one instance, in one precision.
fn claims(instance: &Instance, double: bool) -> Result<Vec<Evidence>, StatementError> {
    let [real, generated] = pair(instance, double)?;
    let exact = truth(&real, &generated);
    let got = all_ways(&real, &generated, double);
    let (name, unit_roundoff) = if double {
        ("f64", DOUBLE_UNIT)
    } else {
        ("f32", SINGLE_UNIT)
    };
    let most = allowed(&real, &generated, unit_roundoff);
    let mut all = vec![Evidence::at_most(
        format!("{name}, P from the difference of the features: error ≤ 256 u Δ² 4B"),
        off(got.difference, exact),
        most,
    )];
    if !double {
        all.push(Evidence::at_most(
            "f32, rows normalised in f64 and rounded once: error ≤ 256 u Δ² 4B",
            off(got.doubled, exact),
            most,
        ));
    }
    // |E_computed − E| ≤ 256 u in the Frobenius norm of a B × B table of unit rows, times B.
    let table = Rounded::exact(ROUNDINGS * unit_roundoff * real.nrows() as f64);
    let size = Rounded::within(exact.0.value(), exact.1).sqrt();
    let coarse = table.square() + table * 2.0 * size;
    for (text, computed) in [
        ("naive", got.naive),
        ("rows normalised in it", got.normalised),
    ] {
        all.push(Evidence::at_most(
            format!("{name}, {text}: error ≤ ε² + 2ε‖E‖, ε = 256 u B, whatever ‖E‖ is"),
            off(computed, exact),
            coarse + most,
        ));
    }
    Ok(all)
}

impl Statement for AccuracyUnderCosine {
    fn about(&self) -> About {
        About {
            id: "polarised-cosine",
            source: "Ours; for the cosine of SADM (arXiv:2402.17563), Eq. 6-10",
            kind: Kind::Bound,
            summary: "under the cosine the polarised form keeps its digits only if P comes from the features' difference or from rows of twice the digits",
            terms: &[],
            parameters: &[SIZE],
        }
    }
    fn built(&self, instance: &Instance) -> Result<Vec<Built>, StatementError> {
        let [real, generated] = pair(instance, false)?;
        Ok(vec![
            Built::rows("psi, real, f32", real),
            Built::rows("psi, generated, f32", generated),
        ])
    }
    fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
        let mut all = claims(instance, false)?;
        all.extend(claims(instance, true)?);
        Ok(all)
    }
    fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
        let small = self
            .default_instance()
            .with(self.parameters(), SIZE.name, SIZE.low)?;
        let mut all = Vec::new();
        for (double, unit_roundoff, name) in [
            (false, SINGLE_UNIT, "f32, differences of 1e-6"),
            (true, DOUBLE_UNIT, "f64, differences of 1e-12"),
        ] {
            let [real, generated] = pair(&small, double)?;
            let exact = truth(&real, &generated);
            let got = all_ways(&real, &generated, double);
            let most = allowed(&real, &generated, unit_roundoff);
            for (text, computed) in [
                ("rows normalised in that precision", got.normalised),
                ("the naive form", got.naive),
            ] {
                all.push(Evidence::at_most(
                    format!("control: {text} keep the digits that P from the features' difference keeps, {name}"),
                    off(computed, exact),
                    most,
                ));
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The book's table.
    #[test]
    fn the_table_of_the_book() {
        for size in [1e-2, 1e-4, 1e-5, 1e-6] {
            let a = cosine_accuracies(size, false);
            println!("f32 {size:e} {a:?} u kappa {:e}", a.kappa * SINGLE_UNIT);
            assert!(a.doubled < 1e-5 && a.difference < 1e-5, "{size}: {a:?}");
        }
        for size in [1e-8, 1e-10, 1e-12, 1e-14] {
            let a = cosine_accuracies(size, true);
            println!("f64 {size:e} {a:?} u kappa {:e}", a.kappa * DOUBLE_UNIT);
            assert!(a.difference < 1e-13, "{size}: {a:?}");
        }
        let (single, double) = (
            cosine_accuracies(1e-6, false),
            cosine_accuracies(1e-14, true),
        );
        assert!(
            single.normalised > 1e-2 && single.naive > 1e-2,
            "{single:?}"
        );
        assert!(
            double.normalised > 1e-3 && double.naive > 1e-3,
            "{double:?}"
        );
    }
}
