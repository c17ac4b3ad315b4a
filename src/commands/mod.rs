//! One file per subcommand, each with its arguments and its `run`.

pub mod ablate;
pub mod evaluate;
pub mod network;
pub mod oracle;
pub mod report;
pub mod sample;
pub mod sweep;
pub mod theory;
pub mod train;
pub mod verify;
pub mod weights;
