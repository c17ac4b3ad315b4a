//! Couplings: an assignment of the training system, judged by the reference's costs and dual potentials.

use candle_core::Tensor;
use ndarray::{Array2, ArrayD};
use proptest::prelude::*;
use sadm_gpu::coupling::{Classes, Cost as GpuCost, Coupling, Optimal};
use sadm_reference::{
    bound::{Precision, Tracked, coupling as bound},
    coupling::{Assignment, Cost, assign, costs},
};

use crate::{
    case::Case,
    check::{Bounds, Check, Quantity, Sided, bounds, scalar, values},
    checks::list,
    error::{Error, Result},
    generators::tensor,
};

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    GpuCost::ALL.into_iter().map(coupling).collect()
}

/// Costs in f64, classes, and the assignment that is the best of them.
#[derive(Debug)]
pub(crate) struct Judge {
    costs: Array2<f64>,
    errors: Array2<f64>,
    classes: Option<Vec<u32>>,
    best: Assignment,
}

impl Judge {
    /// For images and noise `[N, d]`, whose inner products were computed in `p`.
    pub(crate) fn new(
        images: &Array2<f64>,
        noise: &Array2<f64>,
        classes: Option<Vec<u32>>,
        cost: Cost,
        p: Precision,
    ) -> Result<Self> {
        let (images, noise) = (images.view(), noise.view());
        let costs = costs(images, noise, cost).map_err(Error::reference)?;
        let errors = bound::costs(images, noise, &costs, cost, p);
        let best = assign(&costs, classes.as_deref()).map_err(Error::reference)?;
        Ok(Self {
            costs,
            errors,
            classes,
            best,
        })
    }

    /// What is judged of a permutation.
    ///
    /// | quantity | must be |
    /// |---|---|
    /// | `uses` | how often each noise is used: once |
    /// | `strangers` | images with the noise of another class: none |
    /// | `total` | Σ c(i, π(i)): the least |
    /// | `certificate` | the same and N times what u + v exceeds c by: Σ u + Σ v, which no permutation can go below |
    pub(crate) fn values<S>(&self, permutation: &[usize]) -> Sided<S> {
        let count = self.costs.nrows();
        let pairs = permutation.iter().copied().enumerate();
        let there: Vec<_> = pairs.filter(|(i, j)| *i < count && *j < count).collect();
        let mut uses = vec![0.0; count];
        for (_, noise) in &there {
            uses[*noise] += 1.0;
        }
        let stranger =
            |(i, j): &&(usize, usize)| self.classes.as_ref().is_some_and(|c| c[*i] != c[*j]);
        let strangers = there.iter().filter(stranger).count();
        let total = self.total(permutation);
        let violation = self.best.violation(&self.costs, self.classes.as_deref());
        let certificate = total + count as f64 * violation.max(0.0);
        values([
            ("uses", list(uses)),
            ("strangers", scalar(strangers as f64)),
            ("total", scalar(total)),
            ("certificate", scalar(certificate)),
        ])
    }

    /// Σ c(i, π(i)) of the pairs that there are.
    pub(crate) fn total(&self, permutation: &[usize]) -> f64 {
        let pairs = permutation.iter().copied().enumerate();
        let costs = pairs.filter_map(|pair| self.costs.get(pair));
        costs.sum()
    }

    /// The values of the best assignment, each with what the training system may be off by.
    pub(crate) fn bounds(&self) -> Bounds {
        let allowed = bound::excess(&self.costs, &self.errors);
        let potentials = self.best.dual_images.iter().chain(&self.best.dual_noise);
        let promised = scalar(potentials.sum());
        let within = |value: ArrayD<f64>, error: f64| Tracked {
            error: value.mapv(|_| error),
            value,
        };
        bounds([
            ("uses", within(list(vec![1.0; self.costs.nrows()]), 0.0)),
            ("strangers", within(scalar(0.0), 0.0)),
            ("total", within(scalar(self.best.total), allowed)),
            ("certificate", within(promised, allowed)),
        ])
    }
}

/// The judge of a case.
pub(crate) fn judge(case: &Case, p: Precision) -> Result<Judge> {
    let cost = case.get_text("cost")?.parse().map_err(Error::reference)?;
    Judge::new(
        &case.get2("images")?,
        &case.get2("noise")?,
        labels(case)?,
        cost,
        p,
    )
}

/// The classes of a case in which noise stays within its class.
pub(crate) fn labels(case: &Case) -> Result<Option<Vec<u32>>> {
    if !case.get_flag("within")? {
        return Ok(None);
    }
    let labels = case.get_counts("labels")?.iter();
    let labels = labels.map(|label| u32::try_from(*label).map_err(Error::reference));
    labels.collect::<Result<_>>().map(Some)
}

fn coupling(cost: GpuCost) -> Box<dyn Check> {
    Quantity::new(
        format!("coupling.{cost}"),
        "which noise meets which image: a permutation, inside the classes where it must be, of the least total cost by the \
         reference's solver and by dual potentials",
        "Kim et al. 2024 (arXiv:2403.05069), Sec. 3.2; certificate: theory, [eq:dual-bound]",
    )
    .draws(move || {
        (1..=12_usize, 1..=8_usize)
            .prop_flat_map(|(n, d)| {
                let labels = prop::collection::vec(0..3_u64, n);
                (tensor(&[n, d]), tensor(&[n, d]), labels, any::<bool>())
            })
            .prop_map(move |(images, noise, labels, within)| {
                Case::new()
                    .tensor("images", images)
                    .tensor("noise", noise)
                    .counts("labels", labels)
                    .flag("within", within)
                    .text("cost", &cost.to_string())
            })
            .boxed()
    })
    .reference(|case| {
        let judge = judge(case, Precision::F64)?;
        Ok(judge.values(&judge.best.permutation))
    })
    .bound(|case, rule| Ok(judge(case, rule.compute)?.bounds()))
    .candle(move |case, place| {
        let (images, noise) = (place.tensor(case.get("images")?)?, place.tensor(case.get("noise")?)?);
        let permutation = assigned(cost, &images, &noise, labels(case)?.as_deref())?;
        Ok(judge(case, Precision::F64)?.values(&permutation))
    })
    .boxed()
}

/// The training system's assignment, within classes where there are any.
fn assigned(
    cost: GpuCost,
    images: &Tensor,
    noise: &Tensor,
    labels: Option<&[u32]>,
) -> Result<Vec<usize>> {
    let classes = match labels {
        Some(_) => Classes::Within,
        None => Classes::Together,
    };
    Ok(Optimal { cost, classes }.assign(images, noise, labels)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::Computed, compare::compare, engine::Place, generators::seeded_normal};
    use candle_core::DType;
    use ndarray::Ix2;
    use sadm_gpu::coupling::{COUPLINGS, CouplingConfig};

    /// Of a new coupling too.
    #[test]
    fn every_coupling_gives_each_noise_once_and_keeps_its_promise() {
        let place = Place::cpu(DType::F32);
        let matrix = |seed| seeded_normal(seed, &[20, 6]).mapv(|x| place.round(x));
        let matrix = |seed| matrix(seed).into_dimensionality::<Ix2>().expect("a matrix");
        let (images, noise) = (matrix(3), matrix(4));
        let tensor = |x: &Array2<f64>| place.tensor(&x.clone().into_dyn()).expect("a tensor");
        let labels: Vec<u32> = (0..20).map(|i| i % 3).collect();
        for entry in COUPLINGS {
            for classes in [Classes::Together, Classes::Within] {
                let config = CouplingConfig {
                    classes,
                    ..CouplingConfig::default()
                };
                let coupling = (entry.build)(&config);
                let permutation = coupling.assign(&tensor(&images), &tensor(&noise), Some(&labels));
                let permutation = permutation.expect("it has an answer");
                let within = (classes == Classes::Within).then(|| labels.clone());
                let cost = coupling.cost().unwrap_or(GpuCost::Euclidean);
                let cost = cost.to_string().parse().expect("the reference knows it");
                let judge = Judge::new(&images, &noise, within, cost, Precision::F32);
                let judge = judge.expect("finite costs");
                let (got, allowed): (Computed, _) = (judge.values(&permutation), judge.bounds());
                for (name, bound) in &allowed {
                    let promised =
                        coupling.cost().is_some() || ["uses", "strangers"].contains(&name.as_str());
                    let found = compare(name, &got[name], &bound.value, &bound.error);
                    assert!(
                        !promised || found.holds(),
                        "{}: {}",
                        entry.name,
                        found.place
                    );
                }
            }
        }
    }

    /// A pool as large as that of the published conditional runs, certified.
    #[test]
    fn two_thousand_pairs_are_certified() {
        let place = Place::cpu(DType::F32);
        let draw = |seed| seeded_normal(seed, &[2048, 48]);
        let (images, noise) = (
            draw(1).mapv(|x| place.round(0.5 * x)),
            draw(2).mapv(|x| place.round(x)),
        );
        let labels: Vec<u32> = (0..2048).map(|i| i * i % 10).collect();
        let tensor = |x| place.tensor(x).expect("a tensor");
        let matrix = |x: &ArrayD<f64>| x.clone().into_dimensionality::<Ix2>().expect("a matrix");
        for (cost, gpu, labels) in [
            (Cost::Euclidean, GpuCost::Euclidean, None),
            (
                Cost::SquaredEuclidean,
                GpuCost::SquaredEuclidean,
                Some(labels),
            ),
        ] {
            let permutation = assigned(gpu, &tensor(&images), &tensor(&noise), labels.as_deref());
            let permutation = permutation.expect("it has a solution");
            let judge = Judge::new(
                &matrix(&images),
                &matrix(&noise),
                labels,
                cost,
                Precision::F32,
            );
            let judge = judge.expect("finite costs");
            let (got, allowed): (Computed, _) = (judge.values(&permutation), judge.bounds());
            for (name, bound) in &allowed {
                let found = compare(name, &got[name], &bound.value, &bound.error);
                assert!(found.holds(), "{cost}: {}", found.place);
            }
            let share = allowed["total"].error[[]] / allowed["total"].value[[]];
            assert!(share < 1e-3, "the bound allows {share:e} of the total");
        }
    }
}
