//! A pool: pairs of images and noise that are assigned together and used up batch by batch.

use super::{Cost, Coupling, rows_of};
use crate::error::Result;
use candle_core::Tensor;

/// Images and noise of several batches, as they were drawn, and who got which.
///
/// Nothing of it needs saving: it is drawn again from the numbers of its batches.
pub struct Pool {
    /// The images `[N, …]`.
    pub x0: Tensor,
    /// The noise as it was drawn, `[N, …]`.
    pub eps: Tensor,
    /// Class of each image.
    pub labels: Vec<u32>,
    /// π: image i gets noise π(i).
    pub permutation: Vec<usize>,
    /// The cost that was made small, and its mean before and after, if the coupling looks at one.
    pub transport: Option<(Cost, [f64; 2])>,
    assigned: Tensor,
}

impl Pool {
    /// Assigns the noise.
    ///
    /// # Errors
    /// As [`Coupling::assign`].
    pub fn new(coupling: &dyn Coupling, x0: Tensor, eps: Tensor, labels: Vec<u32>) -> Result<Self> {
        let permutation = coupling.assign(&x0, &eps, Some(&labels))?;
        let assigned = rows_of(&eps, &permutation)?;
        let transport = match coupling.cost() {
            Some(cost) => Some((cost, [cost.mean(&x0, &eps)?, cost.mean(&x0, &assigned)?])),
            None => None,
        };
        Ok(Self {
            x0,
            eps,
            labels,
            permutation,
            transport,
            assigned,
        })
    }

    /// Batch number `at` of the pool: its images, their noise and their classes.
    ///
    /// # Errors
    /// A batch beyond the pool's end.
    pub fn batch(&self, at: usize, size: usize) -> Result<(Tensor, Tensor, Vec<u32>)> {
        let rows = |x: &Tensor| x.narrow(0, at * size, size)?.copy();
        let (x0, eps) = (rows(&self.x0)?, rows(&self.assigned)?);
        Ok((x0, eps, self.labels[at * size..(at + 1) * size].to_vec()))
    }
}
