//! The times of a batch: no summand, but recorded beside them, so that an observer can judge what was made of the draws.

use crate::config::ObjectiveConfig;
use crate::train::batch::Batch;
use crate::train::term::Record;

/// t of a batch with the random numbers that it was made from.
pub fn timed(objective: &ObjectiveConfig, draws: Vec<f64>, batch: &Batch) -> Record {
    let mut record = Record::of("time");
    record.choices.extend([
        ("law", objective.time.name().to_owned()),
        ("schedule", objective.schedule.to_string()),
    ]);
    record
        .samples
        .extend([("draws", draws), ("t", batch.t.clone())]);
    record.tensors.insert("x0", batch.x0.clone());
    record
}
