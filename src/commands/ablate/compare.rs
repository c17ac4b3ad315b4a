//! Paired differences of two arms, seed by seed, with two intervals.

use anyhow::Result;
use ndarray::Array2;
use sadm_gpu::random::Streams;
use sadm_reference::metrics::{bootstrap_means, percentile_interval};
use sadm_reference::statistics::mean_interval;
use serde::Serialize;

/// Level of both intervals.
pub const LEVEL: f64 = 0.95;
/// Most resamples that are enumerated: all n^n of them up to n = 6.
const ENUMERATED: usize = 50_000;
/// Resamples drawn where there are more.
const DRAWN: usize = 10_000;

/// Differences x_s − y_s over the seeds s that both arms have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// One for each seed.
    pub each: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Student's interval, from two seeds on.
    pub student: Option<[f64; 2]>,
    /// Percentile interval of the bootstrap, from two seeds on.
    pub bootstrap: Option<[f64; 2]>,
}

impl Difference {
    /// Of paired values.
    ///
    /// # Errors
    /// A value that is not finite.
    pub fn of(pairs: &[(f64, f64)]) -> Result<Self> {
        let each: Vec<f64> = pairs.iter().map(|(x, y)| x - y).collect();
        let mean = each.iter().sum::<f64>() / each.len().max(1) as f64;
        if each.len() < 2 {
            return Ok(Self {
                each,
                mean,
                student: None,
                bootstrap: None,
            });
        }
        let student = mean_interval(&each, LEVEL)?;
        let means = bootstrap_means(&each, resamples(each.len()).view())?;
        let bootstrap = percentile_interval(&means, LEVEL)?;
        Ok(Self {
            mean: student.mean,
            student: Some([student.low, student.high]),
            bootstrap: Some([bootstrap.low, bootstrap.high]),
            each,
        })
    }

    /// Whether Student's interval lies on one side of zero, and on which: −1, 0 or 1. Where all differences are the same number,
    /// as those of counted shares may be, the interval has no width and decides nothing.
    pub fn side(&self) -> i8 {
        match self.student {
            Some([low, high]) if low >= high => 0,
            Some([low, _]) if low > 0.0 => 1,
            Some([_, high]) if high < 0.0 => -1,
            _ => 0,
        }
    }
}

/// Resamples of n values as indices: all n^n where these are few, so that nothing is left to chance, else a fixed draw.
fn resamples(n: usize) -> Array2<usize> {
    let all = u32::try_from(n)
        .ok()
        .and_then(|power| n.checked_pow(power))
        .filter(|&all| all <= ENUMERATED);
    if let Some(all) = all {
        return Array2::from_shape_fn((all, n), |(number, place)| {
            (0..place).fold(number, |rest, _| rest / n) % n
        });
    }
    let draws = Streams::new(0).uniform("bootstrap", 0, DRAWN * n);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 ≤ u·n < n"
    )]
    let index = |u: f64| ((u * n as f64) as usize).min(n - 1);
    Array2::from_shape_fn((DRAWN, n), |(row, column)| index(draws[row * n + column]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_paired() -> Result<()> {
        // Large and equal scatter in both arms, a constant gap: pairs see it, means alone would not.
        let pairs = [(11.0, 10.0), (101.0, 100.0), (52.5, 51.0)];
        let got = Difference::of(&pairs)?;
        assert_eq!(got.each, [1.0, 1.0, 1.5]);
        assert_eq!(got.side(), 1);
        let [low, high] = got.student.expect("three seeds");
        // t_{2, 0.975} · s/√3 with s² = 1/12.
        let half = 4.302_652_729_911_275 * (1.0_f64 / 12.0).sqrt() / 3f64.sqrt();
        assert!((high - low - 2.0 * half).abs() < 1e-9 && (low + half - 3.5 / 3.0).abs() < 1e-9);
        let [low, high] = got.bootstrap.expect("three seeds");
        assert!(low >= 1.0 && high <= 1.5 && low < high, "{low} {high}");
        Ok(())
    }

    #[test]
    fn one_seed_has_no_interval() -> Result<()> {
        let got = Difference::of(&[(3.0, 1.0)])?;
        assert_eq!((got.mean, got.student, got.side()), (2.0, None, 0));
        Ok(())
    }

    #[test]
    fn equal_differences_decide_nothing() -> Result<()> {
        let got = Difference::of(&[(0.5, 0.25), (0.75, 0.5)])?;
        assert_eq!(
            (got.mean, got.student, got.side()),
            (0.25, Some([0.25; 2]), 0)
        );
        Ok(())
    }

    #[test]
    fn few_values_are_resampled_in_every_way() {
        let all = resamples(3);
        assert_eq!(all.dim(), (27, 3));
        let mut rows: Vec<Vec<usize>> = all.rows().into_iter().map(|r| r.to_vec()).collect();
        rows.sort();
        rows.dedup();
        assert_eq!(rows.len(), 27);
        let drawn = resamples(9);
        assert_eq!(drawn.dim(), (DRAWN, 9));
        let mean = drawn.iter().sum::<usize>() as f64 / drawn.len() as f64;
        // 90 000 uniform numbers on 0..9: standard error 2.58/300.
        assert!(
            (mean - 4.0).abs() < 0.05 && drawn.iter().all(|&i| i < 9),
            "{mean}"
        );
    }
}
