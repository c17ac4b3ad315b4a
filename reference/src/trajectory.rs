//! Straightness of sampling trajectories.

use ndarray::{ArrayView1, ArrayView2, Axis};

/// Why a path was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Fewer than two points.
    #[error("a path needs at least 2 points, got {got}")]
    TooShort {
        /// The refused number of points.
        got: usize,
    },
    /// Points and times differ in number.
    #[error("a path needs a time for every point, got {points} points and {times} times")]
    Times {
        /// Number of points.
        points: usize,
        /// Number of times.
        times: usize,
    },
    /// Times that stand still or turn back.
    #[error("the times of a path must go one way, got {before} and then {after} at point {index}")]
    Order {
        /// Index of the second of the two.
        index: usize,
        /// Time before.
        before: f64,
        /// The refused time.
        after: f64,
    },
    /// A coordinate that is infinite or NaN.
    #[error("a path must be finite, got {got} in coordinate {coordinate} of point {index}")]
    NotFinite {
        /// Index of the point.
        index: usize,
        /// Its coordinate.
        coordinate: usize,
        /// The refused value.
        got: f64,
    },
    /// A path that ends where it begins: no direction to be straight in.
    #[error("a path must end elsewhere than it begins")]
    Closed,
}

/// Geometry of a trajectory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Straightness {
    /// C, from end to end.
    pub chord: f64,
    /// L ≥ C, along the path.
    pub arc: f64,
    /// V ≥ 0: how far from a straight line at constant speed.
    pub deviation: f64,
}

impl Straightness {
    /// C/L in (0, 1]; 1 for a straight line.
    pub fn straightness(&self) -> f64 {
        self.chord / self.arc
    }

    /// 1 − C/L in [0, 1); 0 for a straight line.
    pub fn curvature(&self) -> f64 {
        (self.arc - self.chord).max(0.0) / self.arc
    }
}

/// Straightness of a path through points x_0, …, x_K at times τ_0, …, τ_K. `[eq:path-straightness]`
/// ```text
/// C = ‖x_K − x_0‖,   L = Σ_k ‖x_k − x_{k−1}‖,   straightness = C/L,   curvature = 1 − C/L
/// V = T ∫ ‖ẋ − (x_K − x_0)/T‖² dτ / C² = |τ_K − τ_0| Σ_k ‖x_k − x_{k−1}‖²/|τ_k − τ_{k−1}| / C² − 1
/// ```
/// of the polygon through the points, whose curvature is at most that of a curve through them. Curvature is unchanged by
/// rotations, translations, scalings and any other clock; V by those, but only by linear changes of the clock, and
/// V ≥ (L/C)² − 1 with equality at constant speed (Cauchy and Schwarz).
///
/// On a sampler's way from noise to data x is z = x_t/α_t and τ is σ' = σ_t/α_t: there V = 0 if and only if the
/// denoised data never change.
///
/// # Shapes
/// `points: [K + 1, n]`, `times: [K + 1]`, rising or falling.
///
/// # Errors
/// [`PathError`]: what is wrong and where.
///
/// # Source
/// 1 − C/L: Kim et al. 2024 (arXiv:2403.05069), as in `[thm:ode-curvature]`; V: Liu et al. 2022 (arXiv:2209.03003),
/// Sec. 2.2, S(Z), made free of units by C².
pub fn straightness(
    points: ArrayView2<f64>,
    times: ArrayView1<f64>,
) -> Result<Straightness, PathError> {
    check(points, times)?;
    let last = times.len() - 1;
    let mut arc = 0.0;
    let mut energy = 0.0;
    for k in 1..=last {
        let step = distance(points.row(k - 1), points.row(k));
        arc += step;
        energy += step * step / (times[k] - times[k - 1]).abs();
    }
    let chord = distance(points.row(0), points.row(last));
    if chord == 0.0 {
        return Err(PathError::Closed);
    }
    let duration = (times[last] - times[0]).abs();
    Ok(Straightness {
        chord,
        // Rounding may leave a straight path a little shorter than its chord.
        arc: arc.max(chord),
        deviation: (duration * energy / (chord * chord) - 1.0).max(0.0),
    })
}

fn distance(a: ArrayView1<f64>, b: ArrayView1<f64>) -> f64 {
    let square = |sum: f64, (a, b): (&f64, &f64)| sum + (b - a) * (b - a);
    a.iter().zip(b).fold(0.0, square).sqrt()
}

fn check(points: ArrayView2<f64>, times: ArrayView1<f64>) -> Result<(), PathError> {
    if points.nrows() < 2 {
        return Err(PathError::TooShort {
            got: points.nrows(),
        });
    }
    if points.nrows() != times.len() {
        return Err(PathError::Times {
            points: points.nrows(),
            times: times.len(),
        });
    }
    for (index, point) in points.axis_iter(Axis(0)).enumerate() {
        if let Some((coordinate, &got)) = point.iter().enumerate().find(|(_, x)| !x.is_finite()) {
            return Err(PathError::NotFinite {
                index,
                coordinate,
                got,
            });
        }
    }
    let rises = times[1] > times[0];
    for index in 1..times.len() {
        let (before, after) = (times[index - 1], times[index]);
        let goes_on = if rises {
            after > before
        } else {
            after < before
        };
        if !(goes_on && after.is_finite() && before.is_finite()) {
            return Err(PathError::Order {
                index,
                before,
                after,
            });
        }
    }
    Ok(())
}
