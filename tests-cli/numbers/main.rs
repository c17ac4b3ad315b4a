//! Every number that leaves the program, computed again from the files that it wrote: by the reference, or by the formula.
//!
//! No line here is shared with the program: the random streams, the samplers' walks, resampling and intervals are written again
//! from what the documentation says of them.

mod ablate;
mod draws;
mod evaluate;
mod evaluate_run;
mod formulas;
mod oracle;
mod report;
mod respaced;
#[path = "../runs.rs"]
#[expect(dead_code, reason = "of these helpers the other binary needs more")]
mod runs;
mod sample;
#[path = "../support.rs"]
#[expect(dead_code, reason = "of these helpers the other binary needs more")]
mod support;
mod sweep;
mod tables;
mod train;
mod walk;
mod written;
