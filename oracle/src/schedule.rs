//! The `schedule` option and the times that go with it.

use anyhow::{Context, Result};
use ndarray::{Array1, ArrayD, ArrayRefD, Ix1};
use sadm_reference::schedule::{Schedule, ScheduleKind};

use crate::options::{Kind, OptionSpec, Options};

/// The schedules of the reference.
pub const SCHEDULE: OptionSpec =
    OptionSpec::new("schedule", Kind::Choice(ScheduleKind::names), "vp-linear");

/// The schedule that the options name.
pub fn schedule(options: &Options) -> Result<Box<dyn Schedule>> {
    let kind: ScheduleKind = options.word(SCHEDULE.name).parse()?;
    Ok(kind.schedule())
}

/// A tensor of shape [N] as such.
pub fn column(tensor: &ArrayRefD<f64>) -> Result<Array1<f64>> {
    tensor
        .to_owned()
        .into_dimensionality::<Ix1>()
        .context("a tensor of one axis was expected")
}

/// Turns one row of numbers for each of N elements into one tensor [N] for each number.
///
/// # Errors
/// The first that `row` refuses, with the element's index.
pub fn columns<const K: usize>(
    count: usize,
    row: impl Fn(usize) -> Result<[f64; K]>,
) -> Result<Vec<ArrayD<f64>>> {
    let mut columns = [const { Vec::new() }; K];
    for i in 0..count {
        let values = row(i).with_context(|| format!("element [{i}]"))?;
        for (column, value) in columns.iter_mut().zip(values) {
            column.push(value);
        }
    }
    Ok(columns
        .map(|column| Array1::from(column).into_dyn())
        .to_vec())
}
