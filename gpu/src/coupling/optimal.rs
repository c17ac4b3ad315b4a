//! Optimal coupling: noise is dealt out so that images and noises lie close together in sum.  [Kim et al. 2024, arXiv:2403.05069]

use super::{Coupling, Entry, rows_of};
use crate::error::{Error, Result};
use crate::forward::loss_dtype;
use candle_core::{DType, Device, Tensor, WithDType};
use lapjv::{LapJVCost, Matrix, lapjv};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fmt;

pub(super) const ENTRY: Entry = Entry {
    name: "optimal",
    build: |config| {
        Box::new(Optimal {
            cost: config.cost,
            classes: config.classes,
        })
    },
};

/// What it costs to move a noise ε onto an image x. `[eq:transport-costs]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cost {
    /// ‖x − ε‖, as the published code has it.
    Euclidean,
    /// ‖x − ε‖².
    SquaredEuclidean,
}

impl Cost {
    /// Both costs.
    pub const ALL: [Self; 2] = [Self::Euclidean, Self::SquaredEuclidean];

    /// The cost of a pair at the squared distance `square`.
    fn of(self, square: f64) -> f64 {
        match self {
            Self::Euclidean => square.sqrt(),
            Self::SquaredEuclidean => square,
        }
    }

    /// The mean cost of images with the noise beside them.
    ///
    /// # Shapes
    /// `x0`, `eps`: `[N, …]`, equal.
    pub fn mean(self, x0: &Tensor, eps: &Tensor) -> Result<f64> {
        let dtype = loss_dtype(x0.dtype());
        let difference = (x0.to_dtype(dtype)? - eps.to_dtype(dtype)?)?;
        let squares = difference.flatten_from(1)?.sqr()?.sum(1)?;
        let squares = squares.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let squares = squares.to_vec1::<f64>()?;
        let sum: f64 = squares.iter().map(|square| self.of(*square)).sum();
        Ok(sum / squares.len() as f64)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Euclidean => "euclidean",
            Self::SquaredEuclidean => "squared-euclidean",
        })
    }
}

/// Whether noise may go to images of another class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Classes {
    /// It may: noise then tells something of the class.
    Together,
    /// Each class deals out the noise that was drawn with its images, so that noise and class stay independent.
    Within,
}

impl fmt::Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Together => "together",
            Self::Within => "within",
        })
    }
}

/// The assignment of least total cost. `[eq:assignment]`
///
/// # Formula
/// ```text
/// π = argmin Σ_i c(x_i, ε_π(i)),   c = ‖x − ε‖ or ‖x − ε‖²,   ‖x − ε‖² = ‖x‖² + ‖ε‖² − 2⟨x, ε⟩
/// ```
/// with all inner products in one matrix product of f32 (f64 where the images are f64) and the rest in f64. Where more than six
/// bits cancel, the square is formed from the differences. Costs are solved as whole numbers, exactly, after rounding to 2⁻²¹ of their
/// range (2⁻⁵⁰ in f64).
/// # Error
/// The total is at most 2 Σ_i max_j δ_ij above the least, δ_ij being the error of c(x_i, ε_j) with that rounding.
/// # Source
/// Kim et al. 2024, Sec. 3.2, with the cost of their code; the solver is Jonker and Volgenant's (crate `lapjv`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Optimal {
    /// c.
    pub cost: Cost,
    /// Among which noises an image may choose.
    pub classes: Classes,
}

impl Coupling for Optimal {
    fn assign(&self, x0: &Tensor, eps: &Tensor, labels: Option<&[u32]>) -> Result<Vec<usize>> {
        let count = x0.dim(0)?;
        if count == 0 || x0.dims() != eps.dims() {
            let must = format!("have the shape of the images, {:?}", x0.dims());
            return Err(Error::invalid(
                "noise to be assigned",
                must,
                format!("{:?}", eps.dims()),
            ));
        }
        let dtype = loss_dtype(x0.dtype());
        let rows = |x: &Tensor| x.reshape((count, ()))?.to_dtype(dtype);
        let (x, eps) = (rows(x0)?, rows(eps)?);
        let mut permutation: Vec<usize> = vec![0; count];
        for members in self.groups(count, labels)? {
            let own = |x: &Tensor| match members.len() {
                all if all == count => Ok(x.clone()),
                _ => rows_of(x, &members),
            };
            let (x, eps) = (own(&x)?, own(&eps)?);
            let partners = match dtype {
                DType::F64 => self.partners::<f64>(&x, &eps, &members)?,
                _ => self.partners::<f32>(&x, &eps, &members)?,
            };
            for (&image, noise) in members.iter().zip(partners) {
                permutation[image] = members[noise];
            }
        }
        Ok(permutation)
    }

    fn cost(&self) -> Option<Cost> {
        Some(self.cost)
    }
}

impl Optimal {
    /// The images among which noise is dealt out.
    fn groups(self, count: usize, labels: Option<&[u32]>) -> Result<Vec<Vec<usize>>> {
        if self.classes == Classes::Together {
            return Ok(vec![(0..count).collect()]);
        }
        let labels = labels.unwrap_or_default();
        if labels.len() != count {
            let must = format!("be {count}, one for each image, for coupling.classes = \"within\"");
            return Err(Error::invalid("number of labels", must, labels.len()));
        }
        let mut classes: Vec<u32> = labels.to_vec();
        classes.sort_unstable();
        classes.dedup();
        let members = |class| (0..count).filter(|i| labels[*i] == class).collect();
        Ok(classes.into_iter().map(members).collect())
    }

    /// The best permutation of some images.
    fn partners<T: Steps + WithDType + Into<f64>>(
        self,
        x: &Tensor,
        eps: &Tensor,
        members: &[usize],
    ) -> Result<Vec<usize>> {
        solve::<T>(&self.costs::<T>(x, eps, members)?, members.len())
    }

    /// c of every image (rows) with every noise.
    fn costs<T: WithDType + Into<f64>>(
        self,
        x: &Tensor,
        eps: &Tensor,
        members: &[usize],
    ) -> Result<Vec<f64>> {
        let inner = x.matmul(&eps.t()?)?.flatten_all()?.to_vec1::<T>()?;
        let x = Rows::<T>::of(x, "images", members)?;
        let eps = Rows::<T>::of(eps, "noise", members)?;
        let count = members.len();
        let mut costs = vec![0.0; inner.len()];
        let rows = costs.par_chunks_mut(count).zip(inner.par_chunks(count));
        rows.enumerate().for_each(|(i, (costs, inner))| {
            for (j, (cost, &inner)) in costs.iter_mut().zip(inner).enumerate() {
                let norms = x.norms[i] + eps.norms[j];
                let mut square = norms - 2.0 * inner.into();
                if !(square.is_finite() && square >= KEPT * norms) {
                    square = distance(x.row(i), eps.row(j));
                }
                *cost = self.cost.of(square);
            }
        });
        Ok(costs)
    }
}

/// Part of ‖x‖² + ‖ε‖² that ‖x − ε‖² may be for it to be trusted: six bits cancel.
const KEPT: f64 = 1.0 / 64.0;

/// Rows of a matrix with their squared norms.
struct Rows<T> {
    values: Vec<T>,
    width: usize,
    norms: Vec<f64>,
}

impl<T: WithDType + Into<f64>> Rows<T> {
    fn of(x: &Tensor, what: &str, members: &[usize]) -> Result<Self> {
        let width = x.dim(1)?;
        let values = x.flatten_all()?.to_vec1::<T>()?;
        let rows = values.par_chunks(width.max(1));
        let norms: Vec<f64> = rows.map(|row| sum(row, |a| a * a)).collect();
        if let Some(row) = norms.iter().position(|norm| !norm.is_finite()) {
            let values = &values[row * width..(row + 1) * width];
            let place = values.iter().position(|v| !(*v).into().is_finite());
            return Err(Error::invalid(
                format!("{what} to be assigned"),
                "be finite, and their squares too",
                match place {
                    Some(at) => format!("{} at [{}, {at}]", values[at].into(), members[row]),
                    None => format!("a squared norm that overflows at {}", members[row]),
                },
            ));
        }
        Ok(Self {
            values,
            width,
            norms,
        })
    }

    fn row(&self, i: usize) -> &[T] {
        &self.values[i * self.width..(i + 1) * self.width]
    }
}

/// Σ f(a) in f64, in eight partial sums.
fn sum<A: Copy + Into<f64>>(row: &[A], f: impl Fn(f64) -> f64) -> f64 {
    let mut sums = [0.0; 8];
    for part in row.chunks(sums.len()) {
        for (sum, &a) in sums.iter_mut().zip(part) {
            *sum += f(a.into());
        }
    }
    sums.iter().sum()
}

/// ‖x − ε‖² from the differences, in f64.
fn distance<T: Copy + Into<f64>>(x: &[T], eps: &[T]) -> f64 {
    let difference = |(a, b): (&T, &T)| (*a).into() - (*b).into();
    x.iter().zip(eps).map(difference).map(|e| e * e).sum()
}

/// A type in which costs are solved, and in how many steps their range is divided there.
trait Steps: LapJVCost {
    /// Whole numbers up to eight times as many are exact, and no intermediate result of the solver is larger.
    const STEPS: f64;
    /// A whole number of steps.
    fn of(steps: f64) -> Self;
}

impl Steps for f32 {
    const STEPS: f64 = (1u32 << 21) as f64;
    #[expect(clippy::cast_possible_truncation, reason = "a whole number up to 2²¹")]
    fn of(steps: f64) -> Self {
        steps as Self
    }
}

impl Steps for f64 {
    const STEPS: f64 = (1u64 << 50) as f64;
    fn of(steps: f64) -> Self {
        steps
    }
}

/// π of least Σ_i c(i, π(i)), with c rounded to whole steps: half a step is four units of the last place of c's range.
///
/// In whole numbers the solver's arithmetic is exact. Otherwise it would depend on the unit of the costs: `lapjv` takes two path
/// lengths for equal when they are closer than the type's epsilon.
fn solve<T: Steps>(costs: &[f64], count: usize) -> Result<Vec<usize>> {
    if let Some(cost) = costs.iter().find(|cost| !cost.is_finite()) {
        return Err(Error::invalid("a transport cost", "be finite", cost));
    }
    let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
    let range = costs.iter().copied().fold(0.0, f64::max) - least;
    let step = if range > 0.0 { range / T::STEPS } else { 1.0 };
    let steps = costs
        .iter()
        .map(|cost| T::of(((cost - least) / step).round()));
    let refused = |why: String| Error::invalid("an optimal assignment", "be found", why);
    let costs = Matrix::from_shape_vec((count, count), steps.collect());
    let costs = costs.map_err(|e| refused(e.to_string()))?;
    let (permutation, _) = lapjv(&costs).map_err(|e| refused(e.to_string()))?;
    let mut used = vec![false; count];
    for &noise in &permutation {
        if *used.get(noise).unwrap_or(&true) {
            return Err(refused(format!("noise {noise} twice or not at all")));
        }
        used[noise] = true;
    }
    Ok(permutation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Streams;

    fn normal(purpose: &str, shape: &[usize]) -> Tensor {
        let streams = Streams::new(3);
        let x = streams.normal_tensor(purpose, 0, shape, &Device::Cpu, DType::F32);
        x.expect("a tensor")
    }

    fn optimal(cost: Cost, classes: Classes) -> Optimal {
        Optimal { cost, classes }
    }

    /// Cost by cost, from the differences.
    fn exact(cost: Cost, x: &Tensor, eps: &Tensor) -> Vec<Vec<f64>> {
        let rows = |x: &Tensor| {
            let rows = x.flatten_from(1).and_then(|x| x.to_vec2::<f32>());
            rows.expect("rows")
        };
        let (x, eps) = (rows(x), rows(eps));
        let row = |x: &Vec<f32>| eps.iter().map(|e| cost.of(distance(x, e))).collect();
        x.iter().map(row).collect()
    }

    fn total(costs: &[Vec<f64>], permutation: &[usize]) -> f64 {
        permutation
            .iter()
            .enumerate()
            .map(|(i, &j)| costs[i][j])
            .sum()
    }

    /// No exchange of two noises makes an optimal assignment cheaper; and the mean is that of the pairs.
    #[test]
    fn no_exchange_of_two_noises_is_cheaper() -> Result<()> {
        let (x, eps) = (normal("x", &[40, 3, 2, 2]), normal("eps", &[40, 3, 2, 2]));
        for cost in Cost::ALL {
            let costs = exact(cost, &x, &eps);
            let permutation = optimal(cost, Classes::Together).assign(&x, &eps, None)?;
            let best = total(&costs, &permutation);
            for i in 0..40 {
                for j in 0..i {
                    let mut other = permutation.clone();
                    other.swap(i, j);
                    assert!(total(&costs, &other) >= best - 1e-4, "{cost}: {i}, {j}");
                }
            }
            let mean = cost.mean(&x, &rows_of(&eps, &permutation)?)?;
            assert!(
                (mean - best / 40.0).abs() < 1e-5 * mean,
                "{mean} for {best}"
            );
            assert!(mean < 0.9 * cost.mean(&x, &eps)?);
        }
        Ok(())
    }

    #[test]
    fn a_class_keeps_its_noise() -> Result<()> {
        let (x, eps) = (normal("x", &[9, 4]), normal("eps", &[9, 4]));
        let labels = [2, 0, 2, 1, 2, 0, 0, 2, 0];
        let within = optimal(Cost::Euclidean, Classes::Within);
        let permutation = within.assign(&x, &eps, Some(&labels))?;
        assert!((permutation.iter().enumerate()).all(|(i, &j)| labels[i] == labels[j]));
        assert_eq!(permutation[3], 3, "alone in its class");
        let together = optimal(Cost::Euclidean, Classes::Together);
        assert_ne!(together.assign(&x, &eps, Some(&labels))?, permutation);
        let missing = within.assign(&x, &eps, None).expect_err("no labels");
        assert!(missing.to_string().contains("be 9"), "{missing}");
        Ok(())
    }

    /// Images a little beside their noises, which the matrix product in f32 would not tell apart.
    #[test]
    fn what_cancels_is_computed_from_differences() -> Result<()> {
        let eps = (normal("eps", &[24, 64]) + 1000.0)?;
        let shift = (normal("shift", &[24, 64]) * 0.01)?;
        let order = Streams::new(5).permutation("order", 0, 24);
        let x = (rows_of(&eps, &order)? + shift)?;
        for unit in [1.0, 1e-12, 1e12] {
            let (x, eps) = ((&x * unit)?, (&eps * unit)?);
            for cost in Cost::ALL {
                let permutation = optimal(cost, Classes::Together).assign(&x, &eps, None)?;
                assert_eq!(permutation, order, "{cost}, times {unit}");
            }
        }
        Ok(())
    }

    #[test]
    fn refusals_name_the_place() -> Result<()> {
        let optimal = optimal(Cost::SquaredEuclidean, Classes::Together);
        let (x, eps) = (normal("x", &[3, 2]), normal("eps", &[3, 2]));
        let bad = Tensor::new(&[[0f32, 1.0], [2.0, f32::NAN], [0.0, 0.0]], &Device::Cpu)?;
        let infinite = Tensor::new(
            &[[0f32, 1.0], [f32::INFINITY, 0.0], [0.0, 0.0]],
            &Device::Cpu,
        )?;
        let said = |x: &Tensor, eps: &Tensor| {
            optimal
                .assign(x, eps, None)
                .expect_err("refused")
                .to_string()
        };
        assert!(said(&bad, &eps).contains("images") && said(&bad, &eps).contains("NaN at [1, 1]"));
        assert!(
            said(&x, &infinite).contains("noise") && said(&x, &infinite).contains("inf at [1, 0]")
        );
        assert!(said(&x, &normal("eps", &[2, 2])).contains("[3, 2]"));
        let wide = Tensor::new(&[[1e200f64], [0.0], [0.0]], &Device::Cpu)?;
        assert!(said(&wide, &wide).contains("overflows at 0"));
        let huge = (normal("x", &[3, 2]) * 1e25)?;
        let permutation = optimal.assign(&huge, &huge, None)?;
        assert_eq!(permutation, [0, 1, 2], "products beyond f32 are not needed");
        assert_eq!(
            optimal.assign(&x.narrow(0, 0, 1)?, &eps.narrow(0, 0, 1)?, None)?,
            [0]
        );
        Ok(())
    }
}
