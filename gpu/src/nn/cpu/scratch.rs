//! Buffers that are used again and again by the same thread.

use std::ops::{Deref, DerefMut};

use super::real::Real;

/// A buffer of a given length, from those that this thread has given back. What it holds does not matter to who asks
/// for it: it is whatever the last user left.
///
/// Asking the system for fresh memory and clearing it was a twentieth of a training step. It begins with a line of the cache: of
/// vectors as long as a line every one that begins elsewhere is two lines to load.
pub(crate) struct Scratch<R: Real> {
    values: Vec<R>,
    start: usize,
    len: usize,
}

/// Bytes of a line of the cache.
const LINE: usize = 64;

impl<R: Real> Scratch<R> {
    /// A buffer of `len` elements.
    pub(crate) fn new(len: usize) -> Self {
        let room = len + LINE / size_of::<R>();
        let mut values = R::pool().with_borrow_mut(|pool| taken(pool, room));
        if values.len() < room {
            values.resize(room, R::default());
        }
        let start = values.as_ptr().align_offset(LINE).min(room - len);
        Self { values, start, len }
    }
}

/// The smallest buffer with that much room, or the largest: a large one taken for a few elements would be missed where it is
/// needed, and another would grow.
fn taken<R>(pool: &mut Vec<Vec<R>>, room: usize) -> Vec<R> {
    let fits_worse = |values: &Vec<R>| match values.len().checked_sub(room) {
        Some(surplus) => (false, surplus),
        None => (true, room - values.len()),
    };
    let best = (0..pool.len()).min_by_key(|&i| fits_worse(&pool[i]));
    best.map(|i| pool.swap_remove(i)).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_buffer_is_not_cut_from_a_large_one() {
        let mut pool = vec![vec![0.0; 10], vec![0.0; 1000], vec![0.0; 100]];
        assert_eq!(taken(&mut pool, 50).len(), 100);
        assert_eq!(taken(&mut pool, 2000).len(), 1000);
        assert_eq!(taken(&mut pool, 1).len(), 10);
        assert_eq!(taken::<f64>(&mut pool, 1).len(), 0);
    }
}
