//! The inception score: how certain a classifier is of each sample, and how varied over all of them.

use std::ops::Range;

use ndarray::{ArrayView2, Axis, Slice};

use super::error::{MetricError, beyond, check, refused, too_few_values};

/// An inception score over splits.
#[derive(Debug, Clone, PartialEq)]
pub struct InceptionScore {
    /// Mean of the splits' scores, from 1 to the number of classes.
    pub mean: f64,
    /// Their standard deviation over n, not n−1, as in every published tool.
    pub std: f64,
    /// One score per split.
    pub scores: Vec<f64>,
}

/// Inception score over consecutive splits. `[eq:inception-score]`
///
/// # Formula
/// ```text
/// score of a split = exp(mean_i Σ_c p_ic (ln p_ic − ln p̄_c)),   p̄ = mean_i p_i,   0·ln 0 = 0
/// ```
/// Split s holds rows ⌊sN/splits⌋ to ⌊(s+1)N/splits⌋. A shuffle, as torch-fidelity's, is a permutation of the rows by the
/// caller.
///
/// # Shapes
/// `probabilities: [N, C]`, rows ≥ 0 with sum 1.
///
/// # Errors
/// [`MetricError::Argument`], among others for a row whose sum is off by more than a softmax in f32 explains,
/// (C + 4)·2⁻²³.
///
/// # Source
/// Salimans et al. 2016 (arXiv:1606.03498), Sec. 4.
pub fn inception_score(
    probabilities: ArrayView2<f64>,
    splits: usize,
) -> Result<InceptionScore, MetricError> {
    let n = probabilities.nrows();
    if !(1..=n).contains(&splits) {
        let must = format!("be from 1 to {n}, the number of samples");
        return Err(refused("splits", must, splits));
    }
    let ranges: Vec<_> = split_rows(n, splits).collect();
    inception_score_of_splits(probabilities, &ranges)
}

/// The rows of each of the consecutive splits of [`inception_score`], of `n` in all.
pub fn split_rows(n: usize, splits: usize) -> impl Iterator<Item = Range<usize>> {
    (0..splits).map(move |k| k * n / splits..(k + 1) * n / splits)
}

/// Inception score over the given ranges of rows, such as ADM's of 5000 each.
///
/// # Errors
/// As [`inception_score`]; [`MetricError::Argument`] for a range that is empty or beyond the rows.
pub fn inception_score_of_splits(
    probabilities: ArrayView2<f64>,
    splits: &[Range<usize>],
) -> Result<InceptionScore, MetricError> {
    check_probabilities(probabilities)?;
    let scores = splits
        .iter()
        .map(|rows| {
            if rows.end > probabilities.nrows() {
                return Err(beyond("probabilities", probabilities.nrows(), rows.end - 1));
            }
            if rows.is_empty() {
                return Err(too_few_values("a split", 1, 0));
            }
            Ok(score(
                probabilities.slice_axis(Axis(0), Slice::from(rows.clone())),
            ))
        })
        .collect::<Result<Vec<_>, _>>()?;
    if scores.is_empty() {
        return Err(too_few_values("the splits", 1, 0));
    }
    let n = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / n;
    let variance = scores.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    Ok(InceptionScore {
        mean,
        std: variance.sqrt(),
        scores,
    })
}

/// exp of the mean divergence of the rows from their mean.
fn score(p: ArrayView2<f64>) -> f64 {
    let n = p.nrows() as f64;
    let log_mean = (p.sum_axis(Axis(0)) / n).mapv(f64::ln);
    let divergence = |row: ndarray::ArrayView1<f64>| {
        row.iter()
            .zip(&log_mean)
            .filter(|(p, _)| **p > 0.0)
            .map(|(p, log_mean)| p * (p.ln() - log_mean))
            .sum::<f64>()
    };
    (p.rows().into_iter().map(divergence).sum::<f64>() / n).exp()
}

fn check_probabilities(p: ArrayView2<f64>) -> Result<(), MetricError> {
    check("probabilities", p, 1, "an inception score")?;
    if let Some(((row, column), &got)) = p.indexed_iter().find(|(_, p)| **p < 0.0) {
        let got = format!("{got} in row {row}, column {column}");
        return Err(refused("`probabilities`", "not be negative", got));
    }
    let allowed = (p.ncols() as f64 + 4.0) * f64::from(f32::EPSILON);
    for (row, sum) in p.sum_axis(Axis(1)).into_iter().enumerate() {
        if (sum - 1.0).abs() > allowed {
            let what = format!("row {row} of `probabilities`");
            return Err(refused(what, format!("sum to 1 (to {allowed:.1e})"), sum));
        }
    }
    Ok(())
}
