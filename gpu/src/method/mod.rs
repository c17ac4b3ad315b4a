//! Who moves when, one method a file.

pub(crate) mod sadm;
