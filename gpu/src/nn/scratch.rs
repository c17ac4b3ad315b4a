//! Buffers that are used again and again by the same thread.

use std::ops::{Deref, DerefMut};

use super::real::Real;

/// A buffer of a given length, from those that this thread has given back. What it holds does not matter to who asks
/// for it: it is whatever the last user left.
///
/// Asking the system for fresh memory and clearing it was a twentieth of a training step.
pub(super) struct Scratch<R: Real> {
    values: Vec<R>,
    len: usize,
}

impl<R: Real> Scratch<R> {
    /// A buffer of `len` elements.
    pub(super) fn new(len: usize) -> Self {
        let mut values = R::pool().with_borrow_mut(|pool| pool.pop().unwrap_or_default());
        if values.len() < len {
            values.resize(len, R::default());
        }
        Self { values, len }
    }
}

impl<R: Real> Deref for Scratch<R> {
    type Target = [R];

    fn deref(&self) -> &[R] {
        &self.values[..self.len]
    }
}

impl<R: Real> DerefMut for Scratch<R> {
    fn deref_mut(&mut self) -> &mut [R] {
        &mut self.values[..self.len]
    }
}

impl<R: Real> Drop for Scratch<R> {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        R::pool().with_borrow_mut(|pool| pool.push(values));
    }
}
