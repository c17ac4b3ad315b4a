//! Memorisation test: whether generated samples are nearer to the training set than new samples are.

use super::error::{MetricError, refused, too_few_values};

/// A comparison of two sets of distances.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MannWhitney {
    /// Share of pairs with the first value below the second, ties counted half; 1/2 if both have one law.
    pub below: f64,
    /// Its distance from 1/2 in standard deviations; beyond 3, generated samples copy (positive) or avoid (negative).
    pub z: f64,
}

/// Whether the first values tend to lie below the second. `[eq:mann-whitney]`
///
/// With `first` the distances of generated samples to their nearest training sample, and `second` those of held-out
/// real ones, a large z says that the model copies.
///
/// # Formula
/// ```text
/// below = 1/(nm) Σ_ij ([a_i < b_j] + ½[a_i = b_j]),     z = (below − ½)/s
/// s² = ((N + 1) − Σ_t (t³ − t)/(N(N − 1)))/(12nm),      N = n + m, t the number of each tied value
/// ```
///
/// # Errors
/// [`MetricError::Argument`] if a set is empty or a value infinite or NaN. All values
/// equal give z = 0.
///
/// # Source
/// Mann and Whitney 1947; for data copying: Meehan, Chaudhuri and Dasgupta 2020 (arXiv:2004.05675), Sec. 3.
pub fn mann_whitney(first: &[f64], second: &[f64]) -> Result<MannWhitney, MetricError> {
    for (what, values) in [("the first values", first), ("the second values", second)] {
        if values.is_empty() {
            return Err(too_few_values(what, 1, 0));
        }
        if let Some(&got) = values.iter().find(|v| !v.is_finite()) {
            return Err(refused(what, "be finite", got));
        }
    }
    let mut all: Vec<(f64, bool)> = first.iter().map(|v| (*v, true)).collect();
    all.extend(second.iter().map(|v| (*v, false)));
    all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (n, m) = (first.len() as f64, second.len() as f64);
    let (mut pairs, mut ties, mut first_before) = (0.0, 0.0, 0.0);
    #[expect(clippy::float_cmp, reason = "ties are equal values")]
    for group in all.chunk_by(|a, b| a.0 == b.0) {
        let of_first = group.iter().filter(|(_, is_first)| *is_first).count() as f64;
        let size = group.len() as f64;
        pairs += (size - of_first) * (first_before + 0.5 * of_first);
        first_before += of_first;
        ties += size.powi(3) - size;
    }
    let below = pairs / (n * m);
    let total = n + m;
    let variance = ((total + 1.0) - ties / (total * (total - 1.0))) / (12.0 * n * m);
    let z = if variance > 0.0 {
        (below - 0.5) / variance.sqrt()
    } else {
        0.0
    };
    Ok(MannWhitney { below, z })
}
