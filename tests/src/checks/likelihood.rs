//! The probability flow and the change of density along it.

use candle_core::Tensor;
use ndarray::{Array1, ArrayD, Axis, Ix1};
use proptest::prelude::*;
use sadm_gpu::{forward::schedule::Schedule, likelihood as gpu_likelihood};
use sadm_reference::{
    bound::{self, Precision, Tracked},
    likelihood::{self, Denoised},
};

use super::exact;
use crate::{
    case::Case,
    check::{Check, Computed, Quantity, bounds, values},
    engine::Place,
    error::{Error, Result},
    generators::{moderate, positive, tensor, tensor_of},
};

/// Levels, and sums of what leaves the tensors.
const HOST: Precision = Precision::F64;

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    vec![flow()]
}

/// A batch, signs for it, the coefficients of a denoiser, two levels and a number of steps.
fn flows() -> BoxedStrategy<Case> {
    (1..=2_usize, 2..=4_usize)
        .prop_flat_map(|(b, n)| {
            let sign = prop::sample::select(vec![-1.0, 1.0]);
            (
                (tensor(&[b, n]), tensor_of(&[b, n], sign)),
                (tensor_of(&[n], moderate()), tensor_of(&[n], moderate())),
                (positive(), positive(), 1..=2_usize),
            )
        })
        .prop_map(|((z, signs), (gain, mix), (low, more, steps))| {
            Case::new()
                .tensor("z", z)
                .tensor("signs", signs)
                .tensor("gain", gain)
                .tensor("mix", mix)
                .number("sigma_min", low)
                .number("sigma_max", low + more)
                .count("steps", steps)
        })
        .boxed()
}

/// x̂_i = a_i tanh(z_i) + b_i z_{i+1}/(1 + σ), the indices in a ring.
struct Ring {
    gain: Array1<f64>,
    mix: Array1<f64>,
    levels: [f64; 2],
    steps: usize,
}

impl Ring {
    fn of(case: &Case) -> Result<Self> {
        let list = |name: &str| -> Result<Array1<f64>> {
            let array = case.get(name)?.clone();
            array.into_dimensionality::<Ix1>().map_err(Error::reference)
        };
        Ok(Self {
            gain: list("gain")?,
            mix: list("mix")?,
            levels: [case.get_number("sigma_min")?, case.get_number("sigma_max")?],
            steps: case.get_count("steps")?,
        })
    }

    /// x̂ of one sample, and the trace or its estimate vᵀJv.
    fn denoised(&self, z: &Array1<f64>, sigma: f64, v: Option<&Array1<f64>>) -> Denoised {
        let n = z.len();
        let next = |x: &Array1<f64>, i: usize| x[(i + 1) % n];
        let c = 1.0 / (1.0 + sigma);
        let slope = z.mapv(|z| 1.0 - z.tanh() * z.tanh()) * &self.gain;
        let moved = |x: &Array1<f64>, i: usize| self.mix[i] * next(x, i) * c;
        let x_hat = (0..n).map(|i| self.gain[i] * z[i].tanh() + moved(z, i));
        let trace = match v {
            None => slope.sum(),
            Some(v) => likelihood::hutchinson_trace(
                v.view(),
                (0..n)
                    .map(|i| slope[i] * v[i] + moved(v, i))
                    .collect::<Array1<f64>>()
                    .view(),
            ),
        };
        Denoised {
            x_hat: x_hat.collect(),
            trace,
        }
    }

    /// The same of a tracked batch; the trace is of exact products ±1, added on the host.
    fn bound(
        &self,
        z: &Tracked,
        sigma: &Tracked,
        v: Option<&Tracked>,
        p: Precision,
    ) -> bound::likelihood::DenoisedBound {
        let row = |x: &Array1<f64>| Tracked::exact(x.clone().into_dyn());
        let (gain, mix) = (row(&self.gain), row(&self.mix));
        let n = self.gain.len();
        let next = |x: &Tracked| Tracked::concat(&[&x.narrow(1, 1, n - 1), &x.narrow(1, 0, 1)], 1);
        let c = sigma.add_scalar(1.0, HOST).recip(HOST).stored_as(p);
        let turned = z.tanh(p);
        let moved = |x: &Tracked| next(x).mul(&mix, p).mul(&c, p);
        let x_hat = turned.mul(&gain, p).add(&moved(z), p);
        let flat = turned.square(p).neg().add_scalar(1.0, p);
        // The backward pass multiplies by the gain first, and adds the parts of z that are zero.
        let slope = gain.broadcast_to(z.shape()).mul(&flat, p);
        let trace = match v {
            None => slope.sum_axis(1, false, HOST),
            Some(v) => {
                let across = v.mul(&moved(v), p);
                // A column at a time: vᵀJ gathers slope_i v_i and what comes from the row before.
                let gathered = Tracked::concat(
                    &[&across.narrow(1, n - 1, 1), &across.narrow(1, 0, n - 1)],
                    1,
                );
                slope.add(&gathered, p).sum_axis(1, false, HOST)
            }
        };
        bound::likelihood::DenoisedBound { x_hat, trace }
    }
}

/// Both traces: exact, and along given signs.
fn flow() -> Box<dyn Check> {
    Quantity::new(
        "likelihood.flow",
        "z and ln p along dz/d ln σ = z − x̂, d ln p/d ln σ = tr ∂x̂/∂z − d, by Runge–Kutta, with both traces",
        "Song et al. 2021 (arXiv:2011.13456), Eq. 39",
    )
    .draws(flows)
    .reference(|case| {
        let ring = Ring::of(case)?;
        let (z, signs) = (case.get2("z")?, case.get2("signs")?);
        let mut ends = z.clone();
        let mut changes = [Vec::new(), Vec::new()];
        for (row, mut end) in ends.axis_iter_mut(Axis(0)).enumerate() {
            let v = signs.row(row).to_owned();
            for (change, v) in changes.iter_mut().zip([None, Some(&v)]) {
                let flow = likelihood::probability_flow(
                    z.row(row),
                    ring.levels,
                    ring.steps,
                    |z, sigma| Ok::<_, likelihood::LikelihoodError>(ring.denoised(&z.to_owned(), sigma, v)),
                )
                .map_err(Error::reference)?;
                change.push(flow.log_density_change);
                end.assign(&flow.z);
            }
        }
        let [exact, estimated] = changes.map(super::list);
        Ok(values([
            ("z", ends.into_dyn()),
            ("change", exact),
            ("change_estimated", estimated),
        ]))
    })
    .bound(|case, rule| {
        let (ring, p) = (Ring::of(case)?, rule.compute);
        let (z, signs) = (exact(case, "z")?, exact(case, "signs")?);
        let along = |v: Option<&Tracked>| {
            bound::likelihood::probability_flow(&z, ring.levels, ring.steps, p, |z, sigma| {
                Ok::<_, likelihood::LikelihoodError>(ring.bound(z, sigma, v, p))
            })
            .map_err(Error::reference)
        };
        let (by_trace, by_signs) = (along(None)?, along(Some(&signs))?);
        Ok(bounds([
            ("z", by_trace.z),
            ("change", by_trace.log_density_change),
            ("change_estimated", by_signs.log_density_change),
        ]))
    })
    .candle(candle)
    .boxed()
}

fn candle(case: &Case, place: &Place) -> Result<Computed> {
    let ring = Ring::of(case)?;
    let t = |name: &str| place.tensor(case.get(name)?);
    let (z, signs, gain, mix) = (t("z")?, t("signs")?, t("gain")?, t("mix")?);
    let n = ring.gain.len();
    let denoise = |z: &Tensor, sigma: f64| {
        let next = Tensor::cat(&[z.narrow(1, 1, n - 1)?, z.narrow(1, 0, 1)?], 1)?;
        let moved = (next.broadcast_mul(&mix)? * (1.0 / (1.0 + sigma)))?;
        Ok((z.tanh()?.broadcast_mul(&gain)? + moved)?)
    };
    let along = |trace| {
        let (levels, steps) = (ring.levels, ring.steps);
        gpu_likelihood::probability_flow(&denoise, Schedule::EDM, &z, levels, steps, &trace)
    };
    let by_trace = along(gpu_likelihood::Trace::Exact)?;
    let by_signs = along(gpu_likelihood::Trace::Along(vec![signs]))?;
    let changes = |flow: &gpu_likelihood::Flow| -> ArrayD<f64> {
        super::list(flow.log_density_change.iter().copied())
    };
    Ok(values([
        ("z", Place::array(&by_trace.z)?),
        ("change", changes(&by_trace)),
        ("change_estimated", changes(&by_signs)),
    ]))
}
