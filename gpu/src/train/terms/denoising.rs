//! The denoising loss.

use crate::Result;
use crate::objective::denoising::denoising_loss;
use crate::objective::preconditioner::Coefficients;
use crate::train::pass::Pass;
use crate::train::term::{Record, Tape, Term};
use candle_core::Tensor;

/// L, the weighted mean of ‖x̂ − x_0‖².
#[derive(Debug, Clone, Copy)]
pub struct Denoising;

/// w of every sample.
fn weights(pass: &Pass<'_>) -> Vec<f64> {
    let o = pass.objective();
    (o.weight).weights(o.schedule, &pass.batch().t, o.sigma_data)
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
        denoising_loss(&x_hat, &pass.batch().x0, &weights(pass))
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
        record.settings.insert("sigma_data", o.sigma_data);
        record.samples.extend([
            ("t", batch.t.clone()),
            ("w", weights(pass)),
            ("skip", of(|c| c.skip)),
            ("out", of(|c| c.out)),
            ("input", of(|c| c.input)),
            ("noise", of(|c| c.noise)),
        ]);
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
