//! The augmentation of a batch: no summand, but recorded beside them, so that an observer can judge it.

use candle_core::Tensor;

use crate::data::augment::Draws;
use crate::train::batch::Batch;
use crate::train::term::Record;

/// The images of a batch with those that they were made from, the random numbers that decided how, and what the network is told.
pub fn augmented(p: f64, before: Tensor, draws: Draws, batch: &Batch) -> Record {
    let mut record = Record::of("augmentation");
    record.settings.insert("p", p);
    record
        .samples
        .extend([("uniform", draws.uniform), ("normal", draws.normal)]);
    record
        .tensors
        .extend([("before", before), ("x0", batch.x0.clone())]);
    let labels = batch.augment.clone();
    record.tensors.extend(labels.map(|rows| ("labels", rows)));
    record
}
