//! Runs every Rust block of the book against this workspace (`cargo test -p sadm-docs --doc`).
//!
//! The chapters lie in `docs/src`; `docs/tests/book.rs` checks that their labels and the code's agree, that every
//! formula parses, and that no chapter with Rust blocks is missing here.

#[cfg(doctest)]
#[doc = include_str!("src/01-structure.md")]
mod structure {}

#[cfg(doctest)]
#[doc = include_str!("src/03-statements.md")]
mod statements {}
