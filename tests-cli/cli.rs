//! The program as a person runs it: its answers, its files, its error messages, its exit codes.

mod evaluate;
mod help;
mod oracle_errors;
mod oracle_joint;
mod oracle_metrics;
mod oracle_values;
mod runs;
mod sample;
mod support;
mod theory;
mod train;
mod verify;
