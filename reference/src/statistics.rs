//! Small-sample statistics: a line through points, the mean of a few differences.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2, SQRT_2};

use statrs::function::erf::erf_inv;

/// Most degrees of freedom for which Student's law is summed. Above, three terms of its expansion suffice.
const SUMMED: usize = 10_000;

/// Why a statistic was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StatisticsError {
    /// Fewer values than the statistic is defined for.
    #[error("{what} needs at least {least} values, got {got}")]
    TooFew {
        /// Which statistic.
        what: &'static str,
        /// The least number of values.
        least: usize,
        /// The refused number.
        got: usize,
    },
    /// A value that is infinite or NaN.
    #[error("value {index} of {what} must be finite, got {got}")]
    NotFinite {
        /// Which values.
        what: &'static str,
        /// Place of the refused one.
        index: usize,
        /// The refused value.
        got: f64,
    },
    /// Abscissae and ordinates differ in number.
    #[error("a line needs as many ordinates as abscissae, got {y} and {x}")]
    Lengths {
        /// Number of abscissae.
        x: usize,
        /// Number of ordinates.
        y: usize,
    },
    /// All abscissae are one number, which fits any slope.
    #[error("a line needs two different abscissae, all {0} are equal")]
    Vertical(usize),
    /// A confidence level outside (0, 1).
    #[error("a confidence level must lie between 0 and 1, got {0}")]
    Level(f64),
    /// No degrees of freedom.
    #[error("Student's law must have at least 1 degree of freedom, got 0")]
    Freedom,
}

/// A mean with Student's interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanInterval {
    /// x̄.
    pub mean: f64,
    /// s, over n − 1.
    pub std: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Mean of n values with Student's confidence interval. `[eq:mean-interval]`
/// ```text
/// x̄ ± t_{n−1, (1+level)/2} s/√n,   s² = Σ (x_i − x̄)²/(n − 1)
/// ```
/// Its coverage is exact for independent normal values, and approximate for others the less they are normal and the
/// fewer they are. For paired comparisons the values are the differences of the pairs.
///
/// # Errors
/// [`StatisticsError::TooFew`] below 2 values, [`StatisticsError::NotFinite`], [`StatisticsError::Level`].
///
/// # Source
/// Student 1908; any textbook.
///
/// # Example
/// ```
/// # use sadm_reference::statistics::{StatisticsError, mean_interval};
/// // t_{2, 0.975} = 4.302652729749462 and s = 1.
/// let interval = mean_interval(&[1.0, 2.0, 3.0], 0.95)?;
/// assert!((interval.high - (2.0 + 4.302_652_729_749_462 / 3f64.sqrt())).abs() < 1e-14);
/// # Ok::<(), StatisticsError>(())
/// ```
pub fn mean_interval(values: &[f64], level: f64) -> Result<MeanInterval, StatisticsError> {
    check("a confidence interval of a mean", "the sample", values, 2)?;
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
    let std = (square / (n - 1.0)).sqrt();
    let half = student_quantile(values.len() - 1, level)? * std / n.sqrt();
    Ok(MeanInterval {
        mean,
        std,
        low: mean - half,
        high: mean + half,
    })
}

/// A fitted line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LineFit {
    /// b.
    pub slope: f64,
    /// a.
    pub intercept: f64,
    /// Half of the slope's confidence interval.
    pub half_width: f64,
}

/// The line y = a + b x by least squares, with Student's interval for b. `[eq:line-fit]`
/// ```text
/// b = Σ (x_i − x̄)(y_i − ȳ)/S,   S = Σ (x_i − x̄)²,   a = ȳ − b x̄
/// b ± t_{n−2, (1+level)/2} √(Σ (y_i − a − b x_i)²/((n − 2) S))
/// ```
/// For an order of convergence, x = ln N and y = ln error: the order is −b. Errors of a method are no random numbers:
/// there the interval says how far the points are from lying on a line, that is from the asymptotic law.
///
/// # Errors
/// [`StatisticsError::TooFew`] below 3 points, [`StatisticsError::Lengths`], [`StatisticsError::NotFinite`],
/// [`StatisticsError::Vertical`], [`StatisticsError::Level`].
///
/// # Source
/// Any textbook on linear regression.
pub fn fit_line(x: &[f64], y: &[f64], level: f64) -> Result<LineFit, StatisticsError> {
    if x.len() != y.len() {
        return Err(StatisticsError::Lengths {
            x: x.len(),
            y: y.len(),
        });
    }
    let what = "a line with an interval";
    check(what, "the abscissae", x, 3)?;
    check(what, "the ordinates", y, 3)?;
    let n = x.len() as f64;
    let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let pairs = || x.iter().zip(y);
    let spread = x.iter().map(|x| (x - mean_x) * (x - mean_x)).sum::<f64>();
    if spread == 0.0 {
        return Err(StatisticsError::Vertical(x.len()));
    }
    let together: f64 = pairs().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let slope = together / spread;
    let intercept = mean_y - slope * mean_x;
    let residual: f64 = pairs()
        .map(|(x, y)| (y - intercept - slope * x).powi(2))
        .sum();
    let error = (residual / ((n - 2.0) * spread)).sqrt();
    Ok(LineFit {
        slope,
        intercept,
        half_width: student_quantile(x.len() - 2, level)? * error,
    })
}

/// The t between whose negative and itself Student's law has the probability `level`: its quantile at (1 + level)/2.
/// `[eq:student-quantile]`
/// ```text
/// t = √ν tan θ,   A(θ) = level
/// A = sin θ (1 + 1/2 cos²θ + 1·3/(2·4) cos⁴θ + … + 1·3⋯(ν−3)/(2·4⋯(ν−2)) cos^{ν−2}θ)                even ν
/// A = 2/π (θ + sin θ (cos θ + 2/3 cos³θ + … + 2·4⋯(ν−3)/(3·5⋯(ν−2)) cos^{ν−2}θ))                   odd ν, 2θ/π for ν = 1
/// ```
/// by bisection to the last bit, for ν up to 10,000. Above, with the normal z = √2 erf⁻¹(level), Cornish and Fisher's
/// ```text
/// t = z + (z³ + z)/(4ν) + (5z⁵ + 16z³ + 3z)/(96ν²) + (3z⁷ + 19z⁵ + 17z³ − 15z)/(384ν³)
/// ```
///
/// # Error
/// Relative: up to ν = 10⁴ below (ν + 8/(1 − level)) · 2⁻⁵², for each power of cos²θ carries the rounding of the first, and of a
/// level near 1 only the digits count that 1 − A has. Above below 2⁻⁵⁰ and twice the next term,
/// (79z⁸ + 776z⁶ + 1482z⁴)/(92160ν⁴). statrs 0.19 has 3e-8 at ν = 3001 and level 0.5, 7 % at 10⁷ and 0.95.
///
/// # Errors
/// [`StatisticsError::Level`] outside (0, 1), [`StatisticsError::Freedom`].
///
/// # Source
/// Abramowitz and Stegun 1964, 26.7.3 to 26.7.5; Cornish and Fisher 1938.
pub fn student_quantile(freedom: usize, level: f64) -> Result<f64, StatisticsError> {
    if !(level > 0.0 && level < 1.0) {
        return Err(StatisticsError::Level(level));
    }
    if freedom == 0 {
        return Err(StatisticsError::Freedom);
    }
    if freedom > SUMMED {
        return Ok(expanded_quantile(freedom as f64, level));
    }
    let (mut low, mut high) = (0.0, FRAC_PI_2);
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return Ok((freedom as f64).sqrt() * high.tan());
        }
        if inside(middle, freedom) < level {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// A: the probability that |T| ≤ √ν tan θ.
fn inside(theta: f64, freedom: usize) -> f64 {
    let (sin, cos) = theta.sin_cos();
    let square = cos * cos;
    let odd = freedom % 2;
    let factors = (1 + odd..freedom.saturating_sub(2)).step_by(2).rev();
    let sum = factors.fold(1.0, |sum, k| {
        1.0 + k as f64 / (k as f64 + 1.0) * square * sum
    });
    match freedom {
        1 => FRAC_2_PI * theta,
        _ if odd == 1 => FRAC_2_PI * (theta + sin * cos * sum),
        _ => sin * sum,
    }
}

/// The normal quantile and three terms of Cornish and Fisher.
fn expanded_quantile(nu: f64, level: f64) -> f64 {
    let z = SQRT_2 * erf_inv(level);
    let s = z * z;
    let first = (s + 1.0) / 4.0;
    let second = ((5.0 * s + 16.0) * s + 3.0) / 96.0;
    let third = (((3.0 * s + 19.0) * s + 17.0) * s - 15.0) / 384.0;
    z + z * (first + (second + third / nu) / nu) / nu
}

fn check(
    statistic: &'static str,
    what: &'static str,
    values: &[f64],
    least: usize,
) -> Result<(), StatisticsError> {
    if values.len() < least {
        return Err(StatisticsError::TooFew {
            what: statistic,
            least,
            got: values.len(),
        });
    }
    match values.iter().enumerate().find(|(_, x)| !x.is_finite()) {
        None => Ok(()),
        Some((index, &got)) => Err(StatisticsError::NotFinite { what, index, got }),
    }
}
