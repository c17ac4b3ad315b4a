//! Metrics and intervals as they are defined, by loops over all pairs.

use ndarray::{Array1, Array2, ArrayView1, Axis};

/// The standard normal quantile of 97.5 %.
pub const NORMAL: f64 = 1.959_963_984_540_054;

/// Mean and covariance over `n − less` rows.
pub fn moments(x: &Array2<f64>, less: f64) -> (Array1<f64>, Array2<f64>) {
    let mean = x.mean_axis(Axis(0)).expect("rows");
    let apart = x - &mean;
    let covariance = apart.t().dot(&apart) / (x.nrows() as f64 - less);
    (mean, covariance)
}

/// The mean's part and the covariances' part of the Fréchet distance: roots of the eigenvalues of Σ_a Σ_b from the reference's moments.
pub fn frechet(a: &Array2<f64>, b: &Array2<f64>, less: f64) -> [f64; 2] {
    let of = |x: &Array2<f64>| {
        let (mean, covariance) = moments(x, less);
        sadm_reference::metrics::Moments { mean, covariance }
    };
    let answer = sadm_reference::metrics::frechet_of_moments(&of(a), &of(b)).expect("a distance");
    [answer.mean_term, answer.trace_term]
}

/// Rows of a matrix, in an order, some perhaps twice.
pub fn rows(x: &Array2<f64>, order: &[usize]) -> Array2<f64> {
    x.select(Axis(0), order)
}

fn kernel(x: ArrayView1<f64>, y: ArrayView1<f64>) -> f64 {
    (x.dot(&y) / x.len() as f64 + 1.0).powi(3)
}

/// The kernel distance: means over pairs of different rows.
pub fn kid(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    let within = |x: &Array2<f64>| {
        let n = x.nrows();
        let pairs = (0..n).flat_map(|i| (0..n).filter(move |j| *j != i).map(move |j| (i, j)));
        pairs.map(|(i, j)| kernel(x.row(i), x.row(j))).sum::<f64>() / (n * (n - 1)) as f64
    };
    let across: f64 = a
        .rows()
        .into_iter()
        .flat_map(|x| b.rows().into_iter().map(move |y| kernel(x, y)))
        .sum();
    within(a) + within(b) - 2.0 * across / (a.nrows() * b.nrows()) as f64
}

/// Its standard error: each row of either set left out once.
pub fn kid_error(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    let without = |x: &Array2<f64>, i: usize| {
        let others: Vec<usize> = (0..x.nrows()).filter(|j| *j != i).collect();
        rows(x, &others)
    };
    let spread = |values: Vec<f64>| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (n - 1.0) / n * values.iter().map(|v| (v - mean).powi(2)).sum::<f64>()
    };
    let first = (0..a.nrows()).map(|i| kid(&without(a, i), b)).collect();
    let second = (0..b.nrows()).map(|j| kid(a, &without(b, j))).collect();
    (spread(first) + spread(second)).sqrt()
}

/// Squared distance of each row of `a` to each of `b`.
pub fn distances(a: &Array2<f64>, b: &Array2<f64>) -> Array2<f64> {
    Array2::from_shape_fn((a.nrows(), b.nrows()), |(i, j)| {
        let apart = &a.row(i) - &b.row(j);
        apart.dot(&apart)
    })
}

/// What precision, recall, density and coverage count.
pub struct Balls {
    /// For each generated sample, whether a closed ball of a real one holds it.
    pub precise: Vec<bool>,
    /// For each real sample, whether a closed ball of a generated one holds it.
    pub recalled: Vec<bool>,
    /// For each generated sample, how many open balls of real ones hold it, over k.
    pub held: Vec<f64>,
    /// For each real sample, whether its open ball holds a generated one.
    pub covered: Vec<bool>,
}

/// The balls about each sample reach to its k-th nearest other one.
pub fn balls(real: &Array2<f64>, generated: &Array2<f64>, k: usize) -> Balls {
    let radii = |x: &Array2<f64>| -> Vec<f64> {
        let own = distances(x, x);
        let radius = |row: ArrayView1<f64>| {
            let mut sorted = row.to_vec();
            sorted.sort_by(f64::total_cmp);
            // The first is the sample itself.
            sorted[k]
        };
        own.rows().into_iter().map(radius).collect()
    };
    let (of_real, of_generated) = (radii(real), radii(generated));
    let across = distances(real, generated);
    let (n, m) = across.dim();
    let at = |i: usize, j: usize| across[[i, j]];
    Balls {
        precise: (0..m)
            .map(|j| (0..n).any(|i| at(i, j) <= of_real[i]))
            .collect(),
        recalled: (0..n)
            .map(|i| (0..m).any(|j| at(i, j) <= of_generated[j]))
            .collect(),
        held: (0..m)
            .map(|j| (0..n).filter(|i| at(*i, j) < of_real[*i]).count() as f64 / k as f64)
            .collect(),
        covered: (0..n)
            .map(|i| (0..m).any(|j| at(i, j) < of_real[i]))
            .collect(),
    }
}

/// The share of what is true, and Wilson's interval of it.
pub fn share(flags: &[bool]) -> (f64, [f64; 2]) {
    let n = flags.len() as f64;
    let p = flags.iter().filter(|flag| **flag).count() as f64 / n;
    let z2 = NORMAL * NORMAL;
    let (middle, reach) = (
        p + z2 / (2.0 * n),
        NORMAL * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt(),
    );
    let over = 1.0 + z2 / n;
    (p, [(middle - reach) / over, (middle + reach) / over])
}

/// A quantile, on the line between the order statistics around place (n − 1) q.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() - 1) as f64 * q;
    let (below, above) = (place.floor(), place.ceil());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place"
    )]
    let at = |place: f64| sorted[place as usize];
    at(below) + (place - below) * (at(above) - at(below))
}

/// The middle 95 % of replicates.
pub fn percentiles(replicates: &[f64]) -> [f64; 2] {
    [0.025, 0.975].map(|q| quantile(replicates, q))
}

/// The same reflected about the estimate.
pub fn basic(estimate: f64, replicates: &[f64]) -> [f64; 2] {
    let [low, high] = percentiles(replicates);
    [2.0 * estimate - high, 2.0 * estimate - low]
}

/// The estimate ± 1.96 of its errors.
pub fn normal(estimate: f64, error: f64) -> [f64; 2] {
    [estimate - NORMAL * error, estimate + NORMAL * error]
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Standard deviation over `n − less`.
pub fn deviation(values: &[f64], less: f64) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (squares / (values.len() as f64 - less)).sqrt()
}

/// Inception score of each of some splits of rows.
pub fn inception(p: &Array2<f64>, splits: &[Vec<usize>]) -> Vec<f64> {
    let score = |split: &Vec<usize>| {
        let p = rows(p, split);
        let mean = p.mean_axis(Axis(0)).expect("rows");
        let terms = p.rows().into_iter().flat_map(|row| {
            let pairs: Vec<_> = row.iter().copied().zip(mean.iter().copied()).collect();
            pairs
        });
        let kl: f64 = terms
            .filter(|(p, _)| *p > 0.0)
            .map(|(p, mean)| p * (p / mean).ln())
            .sum();
        (kl / p.nrows() as f64).exp()
    };
    splits.iter().map(score).collect()
}

/// Rows `0..n` in consecutive splits.
pub fn splits(n: usize, count: usize) -> Vec<Vec<usize>> {
    (0..count)
        .map(|s| (s * n / count..(s + 1) * n / count).collect())
        .collect()
}

/// Intercept and slope of a line through points.
pub fn line(x: &[f64], y: &[f64]) -> (f64, f64) {
    let (mx, my) = (mean(x), mean(y));
    let across: f64 = x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum();
    let along: f64 = x.iter().map(|x| (x - mx).powi(2)).sum();
    let slope = across / along;
    (my - slope * mx, slope)
}

/// Relative to the larger of the two.
#[track_caller]
pub fn close(what: &str, got: f64, want: f64, relative: f64) {
    let allowed = relative * got.abs().max(want.abs());
    assert!(
        (got - want).abs() <= allowed,
        "{what}: {got}, not {want} ± {allowed:e}"
    );
}
