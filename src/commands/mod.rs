//! One file per subcommand, each with its arguments and its `run`.

pub mod evaluate;
pub mod oracle;
pub mod sample;
pub mod theory;
pub mod train;
pub mod verify;
