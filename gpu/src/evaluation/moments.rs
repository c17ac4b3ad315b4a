//! Mean and covariance of features that arrive batch by batch, in f64.

use candle_core::{DType, Device, Tensor};

use crate::{Error, Result};

/// Rows that are centred and multiplied together.
const BLOCK: usize = 256;

/// Count, mean and co-moment of a stream of features.
///
/// # Formula `[eq:merged-moments]`
/// ```text
/// n = n_a + n_b,   δ = μ_b − μ_a,   μ = μ_a + δ n_b/n,   S = S_a + S_b + δδᵀ n_a n_b/n
/// ```
/// Rows are gathered into blocks of a fixed number before they enter, each block centred by its own mean: so the result
/// depends on the order of the rows to rounding only, and on the sizes of the batches not at all, to the last bit.
///
/// # Memory
/// d² + 256 d numbers, however many rows.
///
/// # Source
/// Chan, Golub and LeVeque 1983, Eq. 2.1.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureStatistics {
    dimension: usize,
    block: usize,
    count: usize,
    mean: Vec<f64>,
    comoment: Vec<f64>,
    pending: Vec<f64>,
}

impl FeatureStatistics {
    /// Of no features yet, of `dimension` columns.
    pub fn new(dimension: usize) -> Self {
        Self::with_block(dimension, BLOCK)
    }

    /// The same with another number of rows to a block, at least 1.
    pub fn with_block(dimension: usize, block: usize) -> Self {
        Self {
            dimension,
            block: block.max(1),
            count: 0,
            mean: vec![0.0; dimension],
            comoment: vec![0.0; dimension * dimension],
            pending: Vec::new(),
        }
    }

    /// Number of rows taken in.
    pub fn count(&self) -> usize {
        self.count + self.pending.len() / self.dimension.max(1)
    }

    /// Number of columns.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Takes in a batch.
    ///
    /// # Shapes
    /// `features: [B, d]`, of any element type and on any device.
    ///
    /// # Errors
    /// Another shape; a feature that is infinite or NaN, named by its row and column. Nothing is taken in then.
    pub fn push(&mut self, features: &Tensor) -> Result<()> {
        let dims = features.dims();
        if dims.len() != 2 || dims[1] != self.dimension || self.dimension == 0 {
            let must = format!("[B, {}]", self.dimension);
            return Err(Error::shape("features", must, dims));
        }
        let rows = features
            .to_device(&Device::Cpu)?
            .to_dtype(DType::F64)?
            .flatten_all()?
            .to_vec1::<f64>()?;
        if let Some(at) = rows.iter().position(|x| !x.is_finite()) {
            let (row, column) = (self.count() + at / dims[1], at % dims[1]);
            let what = format!("feature {column} of sample {row}");
            return Err(Error::invalid(what, "be finite", rows[at]));
        }
        let mut rows = rows.as_slice();
        while !rows.is_empty() {
            let room = self.block * self.dimension - self.pending.len();
            let (now, later) = rows.split_at(room.min(rows.len()));
            self.pending.extend_from_slice(now);
            rows = later;
            if self.pending.len() == self.block * self.dimension {
                self.settle()?;
            }
        }
        Ok(())
    }

    /// Takes in all that another stream took in.
    ///
    /// # Errors
    /// Another number of columns.
    pub fn merge(&mut self, mut other: Self) -> Result<()> {
        if other.dimension != self.dimension {
            return Err(Error::invalid(
                "merged features",
                format!("have {} columns", self.dimension),
                other.dimension,
            ));
        }
        self.settle()?;
        other.settle()?;
        self.absorb(other.count, &other.mean, &other.comoment);
        Ok(())
    }

    /// μ `[d]` and Σ `[d, d]` over n−1, in row-major order.
    ///
    /// # Errors
    /// Fewer than two rows.
    pub fn moments(&self) -> Result<(Vec<f64>, Vec<f64>)> {
        let mut settled = self.clone();
        settled.settle()?;
        if settled.count < 2 {
            let what = "the number of samples of a covariance";
            return Err(Error::invalid(what, "be at least 2", settled.count));
        }
        let divisor = settled.count as f64 - 1.0;
        let covariance = settled.comoment.iter().map(|s| s / divisor).collect();
        Ok((settled.mean, covariance))
    }

    /// Centres the pending rows by their mean and merges them.
    fn settle(&mut self) -> Result<()> {
        let d = self.dimension;
        let rows = self.pending.len() / d.max(1);
        if rows == 0 {
            return Ok(());
        }
        let mut centred = std::mem::take(&mut self.pending);
        let mut mean = vec![0.0; d];
        for row in centred.chunks_exact(d) {
            for (sum, x) in mean.iter_mut().zip(row) {
                *sum += x;
            }
        }
        for sum in &mut mean {
            *sum /= rows as f64;
        }
        for row in centred.chunks_exact_mut(d) {
            for (x, mean) in row.iter_mut().zip(&mean) {
                *x -= mean;
            }
        }
        let centred = Tensor::from_vec(centred, (rows, d), &Device::Cpu)?;
        let comoment = centred.t()?.matmul(&centred)?.flatten_all()?;
        self.absorb(rows, &mean, &comoment.to_vec1::<f64>()?);
        Ok(())
    }

    /// Merges count, mean and co-moment of other rows.
    fn absorb(&mut self, count: usize, mean: &[f64], comoment: &[f64]) {
        if count == 0 {
            return;
        }
        let total = (self.count + count) as f64;
        let share = count as f64 / total;
        let weight = self.count as f64 * share;
        let delta: Vec<f64> = mean.iter().zip(&self.mean).map(|(b, a)| b - a).collect();
        let rows = self.comoment.chunks_exact_mut(self.dimension);
        for ((row, other), left) in rows.zip(comoment.chunks_exact(self.dimension)).zip(&delta) {
            for ((sum, other), right) in row.iter_mut().zip(other).zip(&delta) {
                *sum += other + left * right * weight;
            }
        }
        for (mean, delta) in self.mean.iter_mut().zip(&delta) {
            *mean += delta * share;
        }
        self.count += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Streams;

    fn features(rows: usize, columns: usize) -> Tensor {
        Streams::new(3)
            .normal_tensor("features", 0, (rows, columns), &Device::Cpu, DType::F32)
            .expect("a tensor")
    }

    fn pushed(x: &Tensor, batches: &[usize]) -> FeatureStatistics {
        let mut statistics = FeatureStatistics::new(x.dims()[1]);
        let mut start = 0;
        for &rows in batches {
            let batch = x.narrow(0, start, rows).expect("rows");
            statistics.push(&batch).expect("finite features");
            start += rows;
        }
        statistics
    }

    #[test]
    fn the_sizes_of_the_batches_leave_no_trace() {
        let x = features(700, 5);
        let whole = pushed(&x, &[700]);
        assert_eq!(pushed(&x, &[1, 255, 256, 100, 88]), whole);
        assert_eq!(whole.count(), 700);
        assert_eq!(pushed(&x, &[300]).count(), 300);
    }

    #[test]
    fn what_is_no_feature_is_refused_and_not_taken_in() {
        let mut statistics = pushed(&features(4, 2), &[4]);
        let bad = Tensor::new(&[[0.0, 1.0], [f64::NAN, 2.0]], &Device::Cpu).expect("a tensor");
        let message = statistics.push(&bad).expect_err("NaN").to_string();
        assert!(message.contains("feature 0 of sample 5"), "{message}");
        assert_eq!(statistics.count(), 4);
        assert!(statistics.push(&features(3, 3)).is_err());
        assert!(statistics.merge(FeatureStatistics::new(3)).is_err());
        let one = pushed(&features(1, 2), &[1]);
        let message = one.moments().expect_err("one row").to_string();
        assert!(message.contains("at least 2"), "{message}");
    }
}
