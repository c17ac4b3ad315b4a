//! Buffers that are used again and again by the same thread.

use std::ops::{Deref, DerefMut};

use super::real::Real;

/// A buffer of a given length, from those that this thread has given back. What it holds does not matter to who asks
/// for it: it is whatever the last user left.
///
/// Asking the system for fresh memory and clearing it was a twentieth of a training step. It begins with a line of the cache: of
/// vectors as long as a line every one that begins elsewhere is two lines to load.
pub(super) struct Scratch<R: Real> {
    values: Vec<R>,
    start: usize,
    len: usize,
}

/// Bytes of a line of the cache.
const LINE: usize = 64;

impl<R: Real> Scratch<R> {
    /// A buffer of `len` elements.
    pub(super) fn new(len: usize) -> Self {
        let mut values = R::pool().with_borrow_mut(|pool| pool.pop().unwrap_or_default());
        let room = len + LINE / size_of::<R>();
        if values.len() < room {
            values.resize(room, R::default());
        }
        let start = values.as_ptr().align_offset(LINE).min(room - len);
        Self { values, start, len }
    }
}

impl<R: Real> Deref for Scratch<R> {
    type Target = [R];

    fn deref(&self) -> &[R] {
        &self.values[self.start..][..self.len]
    }
}

impl<R: Real> DerefMut for Scratch<R> {
    fn deref_mut(&mut self) -> &mut [R] {
        &mut self.values[self.start..][..self.len]
    }
}

impl<R: Real> Drop for Scratch<R> {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        R::pool().with_borrow_mut(|pool| pool.push(values));
    }
}
