//! Confidence intervals from resamples. The resampled indices are the caller's.

use ndarray::ArrayView2;

use super::error::{MetricError, beyond, refused, too_few_values};

/// A confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// Mean of the values that each row of indices picks. `[eq:bootstrap-mean]`
///
/// # Shapes
/// `values: [N]`, `resamples: [R, n]` with indices below N → `[R]`.
///
/// # Errors
/// [`MetricError::Argument`] if there is nothing to pick, or for an index beyond the values.
pub fn bootstrap_means(
    values: &[f64],
    resamples: ArrayView2<usize>,
) -> Result<Vec<f64>, MetricError> {
    if values.is_empty() || resamples.ncols() == 0 {
        return Err(too_few_values("what is resampled", 1, 0));
    }
    let mean = |row: ndarray::ArrayView1<usize>| {
        let mut sum = 0.0;
        for &got in row {
            sum += values
                .get(got)
                .ok_or_else(|| beyond("the values", values.len(), got))?;
        }
        Ok(sum / row.len() as f64)
    };
    resamples.rows().into_iter().map(mean).collect()
}

/// Quantile with linear interpolation between order statistics. `[eq:quantile]`
///
/// # Formula
/// ```text
/// h = (n − 1) q,   v_⌊h⌋ + (h − ⌊h⌋)(v_⌊h⌋₊₁ − v_⌊h⌋)      of the sorted values v_0 ≤ … ≤ v_{n−1}
/// ```
///
/// # Errors
/// [`MetricError::Argument`] if there are none, for q outside [0, 1] or a value that is infinite or
/// NaN.
///
/// # Source
/// Hyndman and Fan 1996, definition 7.
pub fn quantile(values: &[f64], q: f64) -> Result<f64, MetricError> {
    if values.is_empty() {
        return Err(too_few_values("a quantile", 1, 0));
    }
    if !(0.0..=1.0).contains(&q) {
        return Err(refused("a quantile's order", "be from 0 to 1", q));
    }
    if let Some(got) = values.iter().find(|v| !v.is_finite()) {
        return Err(refused("a value of a quantile", "be finite", *got));
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let h = (sorted.len() - 1) as f64 * q;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 ≤ h ≤ n − 1"
    )]
    let below = h.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    Ok(sorted[below] + (h - below as f64) * (sorted[above] - sorted[below]))
}

/// The central `level` of the replicates. `[eq:percentile-interval]`
///
/// # Formula
/// ```text
/// [q_{(1−level)/2}, q_{(1+level)/2}]
/// ```
/// For statistics without bias. For a Fréchet distance, whose resamples are biased as the sample itself is, take
/// [`basic_interval`].
///
/// # Errors
/// As [`quantile`]; [`MetricError::Argument`] for a level outside (0, 1).
pub fn percentile_interval(replicates: &[f64], level: f64) -> Result<Interval, MetricError> {
    if !(level > 0.0 && level < 1.0) {
        return Err(refused("a confidence level", "be between 0 and 1", level));
    }
    Ok(Interval {
        low: quantile(replicates, 0.5 - level / 2.0)?,
        high: quantile(replicates, 0.5 + level / 2.0)?,
    })
}

/// The percentile interval reflected about the estimate. `[eq:basic-interval]`
///
/// # Formula
/// ```text
/// [2θ − q_{(1+level)/2}, 2θ − q_{(1−level)/2}]
/// ```
/// Where resampling biases the statistic as sampling did, the reflection takes that bias off.
///
/// # Errors
/// As [`percentile_interval`]; [`MetricError::Argument`] for an estimate that is infinite or NaN.
///
/// # Source
/// Davison and Hinkley 1997, Sec. 2.4.
pub fn basic_interval(
    estimate: f64,
    replicates: &[f64],
    level: f64,
) -> Result<Interval, MetricError> {
    if !estimate.is_finite() {
        return Err(refused("an estimate", "be finite", estimate));
    }
    let Interval { low, high } = percentile_interval(replicates, level)?;
    Ok(Interval {
        low: 2.0 * estimate - high,
        high: 2.0 * estimate - low,
    })
}

/// Interval of a share, which does not collapse where none or all are counted. `[eq:wilson-interval]`
///
/// # Formula
/// ```text
/// (p + z²/2n ± z √(p(1−p)/n + z²/4n²))/(1 + z²/n),      p = counted/n
/// ```
/// The lower end is taken from the product of the two, p²/(1 + z²/n), the upper one as 1 less the lower one of what is not
/// counted: the ends 0 and 1 are exact.
///
/// with z the standard normal quantile of (1+level)/2: 1.96 for 95 %.
///
/// # Errors
/// [`MetricError::Argument`] if n = 0, if more are counted than there are, or for a z that is not finite and > 0.
///
/// # Source
/// Wilson 1927.
pub fn wilson_interval(counted: usize, n: usize, z: f64) -> Result<Interval, MetricError> {
    if n == 0 {
        return Err(too_few_values("a share", 1, 0));
    }
    if counted > n {
        return Err(beyond("a share", n + 1, counted));
    }
    if !(z.is_finite() && z > 0.0) {
        return Err(refused("a normal quantile", "be finite and > 0", z));
    }
    let (all, half) = (n as f64, z * z / (2.0 * n as f64));
    let [p, q] = [counted, n - counted].map(|counted| counted as f64 / all);
    let reach = z * (p * q / all + half / (2.0 * all)).sqrt();
    let least = |p: f64| p * p / (p + half + reach);
    Ok(Interval {
        low: least(p),
        high: 1.0 - least(q),
    })
}
