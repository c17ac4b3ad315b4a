//! Ψ as a classifier of the images.

use crate::nn::cross_entropy;
use crate::train::pass::Pass;
use crate::train::term::{Record, Tape, Term};
use crate::{Error, Result};
use candle_core::Tensor;

/// The cross-entropy of Ψ's answers on clean images.
#[derive(Debug, Clone, Copy)]
pub struct Classification;

impl Term for Classification {
    fn name(&self) -> &'static str {
        "classification"
    }

    fn quantity(&self) -> &'static str {
        "encoder's loss"
    }

    fn remedy(&self) -> &'static str {
        "encoder.learning_rate"
    }

    fn loss(&self, pass: &Pass<'_>, tape: &mut Tape) -> Result<Tensor> {
        let batch = pass.batch();
        let logits = tape.probe(self.name(), "logits", pass.logits()?)?;
        let labels = batch.labels.as_deref().ok_or_else(|| {
            Error::invalid("the labels of a classifier's batch", "be there", "none")
        })?;
        Ok(cross_entropy(&logits, labels)?)
    }

    fn record(&self, pass: &Pass<'_>) -> Result<Record> {
        let batch = pass.batch();
        let labels = batch.labels.iter().flatten().map(|&l| f64::from(l));
        let mut record = Record::of(self.name());
        record.samples.insert("labels", labels.collect());
        record.tensors.insert("logits", pass.logits()?.clone());
        Ok(record)
    }
}
