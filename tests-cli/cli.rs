//! The program as a person runs it: its answers, its files, its error messages, its exit codes.

mod ablate;
mod classes;
mod coupling;
mod evaluate;
mod extending;
mod format_1;
#[path = "../gpu/tests/evaluation/hashed.rs"]
#[expect(dead_code, reason = "images are the other test's")]
mod hashed;
mod help;
mod init_from;
mod memory;
mod network;
mod networks;
mod oracle_coupling;
mod oracle_errors;
mod oracle_golden;
mod oracle_joint;
mod oracle_metrics;
mod oracle_values;
mod own_images;
mod reading;
mod report;
mod report_drawing;
mod runs;
mod sample;
mod shown;
mod small_networks;
mod support;
mod sweep;
mod theory;
mod train;
mod train_on;
mod verify;
mod weights;
