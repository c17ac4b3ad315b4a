//! The denoising loss.

use crate::Result;
use crate::gaussian::{GaussianDiffusion, variance_loss};
use crate::objective::denoising::denoising_loss;
use crate::objective::preconditioner::{Coefficients, no_variances};
use crate::objective::variance::PredictedVariance;
use crate::train::pass::Pass;
use crate::train::term::{Record, Tape, Term};
use candle_core::Tensor;
use std::sync::LazyLock;

/// L, the weighted mean of ‖x̂ − x_0‖², and of learnt variances their term of the bound.
#[derive(Debug, Clone, Copy)]
pub struct Denoising;

/// w of every sample.
fn weights(pass: &Pass<'_>) -> Vec<f64> {
    let o = pass.objective();
    (o.weight).weights(o.schedule, &pass.batch().t, o.sigma_data)
}

/// The process whose variances are learnt: all steps of the schedule `ddpm`.
static PROCESS: LazyLock<GaussianDiffusion> = LazyLock::new(GaussianDiffusion::ddpm);

/// The network's variances, where the objective asks for them.
fn variances<'a>(pass: &'a Pass<'_>) -> Result<Option<&'a Tensor>> {
    if pass.objective().variance == PredictedVariance::None {
        return Ok(None);
    }
    let variances = pass.prediction()?.answer.variances.as_ref();
    variances.map(Some).ok_or_else(no_variances)
}

/// The numbers of the steps at times of the schedule `ddpm`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 999"
)]
fn steps(t: &[f64]) -> Vec<usize> {
    let last = (PROCESS.count() - 1) as f64;
    let step = |t: &f64| (t * last).round().clamp(0.0, last) as usize;
    t.iter().map(step).collect()
}

impl Term for Denoising {
    fn name(&self) -> &'static str {
        "denoising"
    }

    fn quantity(&self) -> &'static str {
        "denoising loss"
    }

    fn remedy(&self) -> &'static str {
        "train.learning_rate"
    }

    fn loss(&self, pass: &Pass<'_>, tape: &mut Tape) -> Result<Tensor> {
        let x_hat = &pass.prediction()?.answer.x_hat;
        let x_hat = tape.probe(self.name(), "x_hat", x_hat)?;
        let loss = denoising_loss(&x_hat, &pass.batch().x0, &weights(pass))?;
        let Some(v) = variances(pass)? else {
            return Ok(loss);
        };
        let v = tape.probe(self.name(), "variances", v)?;
        let prediction = pass.prediction()?;
        let (batch, eps) = (pass.batch(), &prediction.answer.network_out);
        let images = (&batch.x0, &prediction.x_t);
        let of_variances = variance_loss(&PROCESS, (eps, &v), images, &steps(&batch.t))?;
        Ok((loss + of_variances)?)
    }

    fn record(&self, pass: &Pass<'_>) -> Result<Record> {
        let (batch, o) = (pass.batch(), pass.objective());
        let prediction = pass.prediction()?;
        let of = |part: fn(&Coefficients) -> f64| {
            let all = prediction.answer.coefficients.iter();
            all.map(part).collect::<Vec<f64>>()
        };
        let mut record = Record::of(self.name());
        record.choices.extend([
            ("schedule", o.schedule.to_string()),
            ("parametrisation", o.parametrisation.to_string()),
            ("noise", o.noise.to_string()),
            ("weight", o.weight.to_string()),
        ]);
        if let Some(v) = variances(pass)? {
            record.tensors.insert("variances", v.clone());
            let steps = steps(&batch.t).into_iter().map(|k| k as f64);
            record.samples.insert("step", steps.collect());
        }
        record.settings.insert("sigma_data", o.sigma_data);
        let labels = batch.labels.iter().flatten().map(|&l| f64::from(l));
        record.samples.extend([
            ("labels", labels.collect()),
            ("t", batch.t.clone()),
            ("w", weights(pass)),
            ("skip", of(|c| c.skip)),
            ("out", of(|c| c.out)),
            ("input", of(|c| c.input)),
            ("noise", of(|c| c.noise)),
        ]);
        if let Some(labels) = &batch.labels {
            let labels = labels.iter().map(|&label| f64::from(label));
            record.samples.insert("labels", labels.collect());
        }
        record.tensors.extend([
            ("x0", batch.x0.clone()),
            ("eps", batch.eps.clone()),
            ("x_t", prediction.x_t.clone()),
            ("network", prediction.answer.network_out.clone()),
            ("x_hat", prediction.answer.x_hat.clone()),
        ]);
        Ok(record)
    }
}
