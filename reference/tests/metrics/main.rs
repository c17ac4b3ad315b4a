//! Golden numbers, properties and refusals of the metrics.

#![expect(clippy::float_cmp, reason = "where a value is exact, a test says so")]

mod by_product;
mod frechet;
mod golden;
mod kernel_and_score;
mod neighbours;
mod refusals;
mod statistics;
mod support;
