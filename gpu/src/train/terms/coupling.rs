//! The coupling of a batch: no summand, but recorded beside them, so that an observer can judge it.

use crate::coupling::{CouplingConfig, Pool};
use crate::train::batch::Batch;
use crate::train::term::Record;

/// A batch that was taken from a pool, with everything that decided its noise. None if no cost was made small.
///
/// `at` is the place of the batch's first image in the pool.
pub fn coupled(pool: &Pool, config: &CouplingConfig, at: usize, batch: &Batch) -> Option<Record> {
    let (cost, [before, after]) = pool.transport?;
    let mut record = Record::of("coupling");
    record.loss = after;
    record.choices.extend([
        ("cost", cost.to_string()),
        ("classes", config.classes.to_string()),
    ]);
    let settings = [("before", before), ("after", after), ("at", at as f64)];
    record.settings.extend(settings);
    let permutation = pool.permutation.iter().map(|&noise| noise as f64);
    let labels = pool.labels.iter().map(|&label| f64::from(label));
    record.samples.extend([
        ("permutation", permutation.collect()),
        ("labels", labels.collect()),
    ]);
    record.tensors.extend([
        ("x0", pool.x0.clone()),
        ("eps", pool.eps.clone()),
        ("batch x0", batch.x0.clone()),
        ("batch eps", batch.eps.clone()),
    ]);
    Some(record)
}
