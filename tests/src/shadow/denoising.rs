//! The denoising loss of a live step, from its inputs to its gradient.

use candle_core::Tensor;
use ndarray::ArrayD;
use sadm_reference::{
    bound::{self, Precision, Tracked, gaussian::VarianceBound},
    denoise::{self, Weight},
    gaussian::{Diffusion, Variance, linear_betas},
    parametrisation::Preconditioner,
    schedule::ScheduleKind,
};

use super::{Found, Judge, Memory, Precisions, Replay, any, seen::Seen};
use crate::{
    case::Case,
    check::scalar,
    checks::{forward::denoiser_coefficients, per_sample},
    error::{Error, Result},
};

/// The judge of the term `denoising`.
pub(super) struct Denoising;

const LOSS: &str = "denoising loss";

impl Judge for Denoising {
    fn term(&self) -> &'static str {
        "denoising"
    }

    fn loss(&self) -> &'static str {
        LOSS
    }

    fn judge(&self, seen: Seen<'_>, found: &mut Found, _: &mut Memory) -> Result<()> {
        let o = &seen.config.objective;
        seen.says("schedule", &o.schedule)?;
        seen.says("parametrisation", &o.parametrisation)?;
        seen.says("noise", &o.noise_condition)?;
        seen.says("weight", &o.weight)?;
        found.exact("denoising factor", seen.record.factor, 1.0);
        found.exact("sigma_data", seen.setting("sigma_data")?, o.sigma_data);
        let schedule: ScheduleKind = seen.parsed("schedule")?;
        let t = seen.samples("t")?;
        let p = Precisions::of(seen.tensor("x_t")?);
        let host = Precision::F64;
        let [x0, eps, x_t, network, x_hat] =
            ["x0", "eps", "x_t", "network", "x_hat"].map(|name| seen.array(name));
        let (x0, eps, x_t, network, x_hat) = (x0?, eps?, x_t?, network?, x_hat?);

        let (weight, sigma_data): (Weight, _) =
            (seen.parsed("weight")?, seen.setting("sigma_data")?);
        let w = bound::denoise::weight(weight, schedule, t, sigma_data, host);
        let w = w.map_err(Error::reference)?;
        found.add("w", &seen.list("w")?, &w, &w);
        let around = Preconditioner {
            parametrisation: seen.parsed("parametrisation")?,
            noise: seen.parsed("noise")?,
            sigma_data,
        };
        let c = denoiser_coefficients(&around, schedule, t, true)?;
        for (name, bound) in [
            ("skip", &c.skip),
            ("out", &c.out),
            ("input", &c.input),
            ("noise", &c.noise),
        ] {
            found.add(name, &seen.list(name)?, bound, bound);
        }

        let levels = bound::schedule::levels(schedule, t, host).map_err(Error::reference)?;
        let rank = x0.ndim();
        let noised = |p: Precision| {
            let signal =
                Tracked::exact(x0.clone()).mul(&per_sample(levels.alpha.clone(), rank, p), p);
            signal.add(
                &Tracked::exact(eps.clone()).mul(&per_sample(levels.sigma.clone(), rank, p), p),
                p,
            )
        };
        found.add("x_t", &x_t, &noised(p.element), &noised(host));
        let denoised = |p: Precision| {
            let (skip, out) = (
                per_sample(c.skip.clone(), rank, p),
                per_sample(c.out.clone(), rank, p),
            );
            let (x_t, network) = (Tracked::exact(x_t.clone()), Tracked::exact(network.clone()));
            bound::parametrisation::denoised(&x_t, &network, &skip, &out, p)
        };
        found.add("x_hat", &x_hat, &denoised(p.element), &denoised(host));

        let weights = seen.samples("w")?;
        let loss =
            |p| bound::denoise::denoising_loss(&x_hat, &x0, weights, p).map_err(Error::reference);
        let (wide, own) = (loss(p.wide)?, loss(host)?);
        // The reference's plain value, so that the bound's own chain is not what it is compared with.
        let value = denoise::denoising_loss(&x_hat, &x0, weights).map_err(Error::reference)?;
        let exact = Tracked {
            value: scalar(value.loss),
            error: wide.loss.error,
        };
        let factor = seen.record.factor;
        let of_variances = variances(seen, p, (&x0, &x_t, &network))?;
        let (exact, loss) = match of_variances {
            None => (exact, own.loss),
            Some([in_p, in_host]) => {
                let scaled = |grad: &Tracked, p| grad.scale(factor, p);
                found.add(
                    "grad variances",
                    &seen.gradient("variances")?,
                    &scaled(&in_p.grad, p.wide).stored_as(p.element),
                    &scaled(&in_host.grad, host),
                );
                (
                    exact.add(&in_p.loss, p.wide),
                    own.loss.add(&in_host.loss, host),
                )
            }
        };
        found.add(LOSS, &scalar(seen.record.loss), &exact, &loss);
        let grad = wide
            .grad_prediction
            .scale(factor, p.wide)
            .stored_as(p.element);
        found.add(
            "grad x_hat",
            &seen.gradient("x_hat")?,
            &grad,
            &own.grad_prediction.scale(factor, host),
        );
        Ok(())
    }

    fn case<'a>(&self, seen: Seen<'a>, quantity: &str) -> Option<Result<Replay<'a>>> {
        match quantity {
            "w" => Some(weight(seen)),
            "x_t" => Some(forward(seen)),
            "skip" | "out" | "input" | "noise" | "x_hat" => Some(denoised(seen)),
            // With a term of variances the loss is no quantity of the registry.
            LOSS if seen.record.tensors.contains_key("variances") => None,
            LOSS | "grad x_hat" => Some(denoising_loss(seen)),
            "grad variances" => Some(variance_loss(seen)),
            _ => None,
        }
    }
}

/// Loss and gradient of learnt variances, if there are any, in the wider precision and in f64.
fn variances(
    seen: Seen<'_>,
    p: Precisions,
    (x0, x_t, network): (&ArrayD<f64>, &ArrayD<f64>, &ArrayD<f64>),
) -> Result<Option<[VarianceBound; 2]>> {
    if !seen.record.tensors.contains_key("variances") {
        return Ok(None);
    }
    let v = seen.array("variances")?;
    let all: Vec<usize> = (0..1000).collect();
    let process = Diffusion::new(&linear_betas(all.len()), &all, Variance::LearnedRange);
    let process = process.map_err(Error::reference)?;
    let steps = steps(seen)?;
    let bound = |p| {
        let bound = bound::gaussian::variance_loss(&process, (network, &v), (x0, x_t), &steps, p);
        bound.map_err(Error::reference)
    };
    Ok(Some([bound(p.wide)?, bound(Precision::F64)?]))
}

/// k = 999 t of each sample.
fn steps(seen: Seen<'_>) -> Result<Vec<usize>> {
    let step = |t: &f64| (0..1000).find(|&k| (999.0 * t - k as f64).abs() <= 0.5);
    Ok(seen.samples("t")?.iter().filter_map(step).collect())
}

fn variance_loss(seen: Seen<'_>) -> Result<Replay<'_>> {
    let steps = steps(seen)?.into_iter().map(|k| k as f64);
    let case = Case::new()
        .tensor("eps", seen.array("network")?)
        .tensor("v", seen.array("variances")?)
        .tensor("x0", seen.array("x0")?)
        .tensor("x_t", seen.array("x_t")?)
        .numbers("step", steps.collect());
    at("variance-loss".to_owned(), case, seen, "variances")
}

fn at<'a>(check: String, case: Case, seen: Seen<'a>, tensor: &str) -> Result<Replay<'a>> {
    let tensor: &'a Tensor = seen.tensor(tensor)?;
    Ok(Replay {
        check,
        case,
        tensor,
    })
}

fn weight(seen: Seen<'_>) -> Result<Replay<'_>> {
    let weight: Weight = seen.parsed("weight")?;
    let (name, gamma) = (weight.name(), any(weight.number()));
    let case = Case::new()
        .text("schedule", seen.choice("schedule")?)
        .numbers("t", seen.samples("t")?.to_vec())
        .number("gamma", gamma)
        .number("sigma_data", seen.setting("sigma_data")?);
    at(format!("weight.{name}"), case, seen, "x_t")
}

fn forward(seen: Seen<'_>) -> Result<Replay<'_>> {
    let levels =
        bound::schedule::levels(seen.parsed("schedule")?, seen.samples("t")?, Precision::F64);
    let levels = levels.map_err(Error::reference)?;
    let case = Case::new()
        .tensor("x0", seen.array("x0")?)
        .tensor("eps", seen.array("eps")?)
        .numbers("alpha", levels.alpha.value.iter().copied().collect())
        .numbers("sigma", levels.sigma.value.iter().copied().collect());
    at("forward".to_owned(), case, seen, "x_t")
}

fn denoised(seen: Seen<'_>) -> Result<Replay<'_>> {
    let case = Case::new()
        .tensor("x_t", seen.array("x_t")?)
        .tensor("network", seen.array("network")?)
        .numbers("t", seen.samples("t")?.to_vec())
        .text("schedule", seen.choice("schedule")?)
        .text("noise", seen.choice("noise")?)
        .number("sigma_data", seen.setting("sigma_data")?);
    let check = format!("denoise.{}", seen.choice("parametrisation")?);
    at(check, case, seen, "x_t")
}

fn denoising_loss(seen: Seen<'_>) -> Result<Replay<'_>> {
    let case = Case::new()
        .tensor("x_hat", seen.array("x_hat")?)
        .tensor("x0", seen.array("x0")?)
        .numbers("w", seen.samples("w")?.to_vec());
    at("denoising-loss".to_owned(), case, seen, "x_hat")
}
