//! Training methods: which player is updated when, one method a file.

pub(crate) mod objectives;
pub(crate) mod sadm;
