//! Who moves when, one method a file.

pub(crate) mod objectives;
pub(crate) mod sadm;
