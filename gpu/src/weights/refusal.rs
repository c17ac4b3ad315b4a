//! Why a file is not read.

/// Defect of a file, without its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// A part is missing or does not hold what its place asks for.
    #[error("{0}")]
    Damaged(String),
    /// It is whole, but of a kind that is not read.
    #[error("{0}")]
    Unread(String),
}

pub(super) type Outcome<T> = Result<T, Refusal>;

/// [`Refusal::Damaged`].
pub(super) fn damaged<T>(problem: impl Into<String>) -> Outcome<T> {
    Err(Refusal::Damaged(problem.into()))
}

/// [`Refusal::Unread`].
pub(super) fn unread<T>(problem: impl Into<String>) -> Outcome<T> {
    Err(Refusal::Unread(problem.into()))
}
