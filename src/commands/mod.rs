//! One file per subcommand, each with its arguments and its `run`.

pub mod oracle;
pub mod report;
pub mod sample;
pub mod theory;
pub mod train;
pub mod verify;
