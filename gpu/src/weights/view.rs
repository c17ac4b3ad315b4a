//! A tensor in a file: which elements of which bytes it is.

use super::elements::Elements;
use super::refusal::{Outcome, damaged, unread};

/// Elements from which a tensor that shows the elements of its storage again and again is not made whole.
const REPEATED: usize = 1 << 22;

/// Element (i, j, …) of the tensor is element `offset + i·strides[0] + j·strides[1] + …` of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub elements: Elements,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

impl View {
    /// The whole of a storage, row by row.
    pub(super) fn whole(elements: Elements, shape: Vec<usize>) -> Self {
        let mut strides = vec![1_usize; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i].saturating_mul(shape[i].max(1));
        }
        Self {
            elements,
            offset: 0,
            shape,
            strides,
        }
    }

    /// Its elements, row by row, from the bytes of the storage.
    ///
    /// # Errors
    /// A tensor that reaches beyond the storage, or that repeats its elements beyond reason.
    pub(super) fn values(&self, storage: &[u8]) -> Outcome<Vec<f64>> {
        let size = self.elements.size();
        let at = self.places(storage)?;
        Ok(self.elements.gather(storage, at.map(|at| at * size)))
    }

    /// The bytes of its elements, row by row.
    ///
    /// # Errors
    /// As [`values`](Self::values).
    pub(super) fn bytes(&self, storage: &[u8]) -> Outcome<Vec<u8>> {
        let size = self.elements.size();
        let places = self.places(storage)?;
        let count = places.left;
        if count == 0 {
            return Ok(Vec::new());
        }
        if Self::whole(self.elements, self.shape.clone()).strides == self.strides {
            let start = self.offset * size;
            let all = storage.get(start..start + count * size);
            return Ok(all.unwrap_or_default().to_vec());
        }
        let mut bytes = Vec::with_capacity(count * size);
        for at in places {
            // `places` lie inside the storage.
            bytes.extend_from_slice(storage.get(at * size..(at + 1) * size).unwrap_or_default());
        }
        Ok(bytes)
    }

    /// Where its elements are, all of them inside the storage.
    fn places(&self, storage: &[u8]) -> Outcome<Places<'_>> {
        let room = storage.len() / self.elements.size();
        let beyond = || {
            format!(
                "its elements reach beyond the {room} of their storage: shape {:?}, strides {:?}, first element {}",
                self.shape, self.strides, self.offset
            )
        };
        if self.strides.len() != self.shape.len() {
            return damaged(format!(
                "it has {} sides and {} strides",
                self.shape.len(),
                self.strides.len()
            ));
        }
        if self.shape.contains(&0) {
            return Ok(Places::new(self, 0));
        }
        let last = self
            .shape
            .iter()
            .zip(&self.strides)
            .try_fold(self.offset, |at, (side, stride)| {
                at.checked_add((side - 1).checked_mul(*stride)?)
            });
        let count = self
            .shape
            .iter()
            .try_fold(1_usize, |n, side| n.checked_mul(*side));
        match (last, count) {
            (Some(last), Some(count)) if last < room => {
                if count > room.max(REPEATED) {
                    return unread(format!(
                        "its shape {:?} repeats the {room} elements of its storage to {count}",
                        self.shape
                    ));
                }
                Ok(Places::new(self, count))
            }
            _ => damaged(beyond()),
        }
    }
}

/// Offset in its storage of each element of a tensor, row by row.
struct Places<'a> {
    view: &'a View,
    index: Vec<usize>,
    at: usize,
    left: usize,
}

impl<'a> Places<'a> {
    fn new(view: &'a View, count: usize) -> Self {
        Self {
            view,
            index: vec![0; view.shape.len()],
            at: view.offset,
            left: count,
        }
    }
}

impl Iterator for Places<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let at = self.at;
        for ((i, side), stride) in self
            .index
            .iter_mut()
            .zip(&self.view.shape)
            .zip(&self.view.strides)
            .rev()
        {
            *i += 1;
            self.at += stride;
            if *i < *side {
                break;
            }
            self.at -= *i * stride;
            *i = 0;
        }
        Some(at)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(offset: usize, shape: &[usize], strides: &[usize]) -> View {
        View {
            elements: Elements::U8,
            offset,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
        }
    }

    #[test]
    fn strides_say_where_an_element_lies() {
        let bytes: Vec<u8> = (0..24).collect();
        let read = |view: View| view.values(&bytes).expect("inside");
        assert_eq!(
            read(view(0, &[2, 3], &[3, 1])),
            [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        );
        assert_eq!(
            read(view(1, &[2, 3], &[1, 2])),
            [1.0, 3.0, 5.0, 2.0, 4.0, 6.0],
            "transposed"
        );
        assert_eq!(
            read(view(7, &[2, 2], &[0, 5])),
            [7.0, 12.0, 7.0, 12.0],
            "expanded"
        );
        assert_eq!(read(view(23, &[], &[])), [23.0], "no side");
        assert_eq!(read(view(99, &[3, 0], &[1, 1])), [0.0; 0], "no element");
        assert_eq!(
            read(View::whole(Elements::U8, vec![2, 2, 2])),
            [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
        );
    }

    #[test]
    fn nothing_is_read_beyond_a_storage() {
        let bytes = [0_u8; 24];
        for (offset, shape, strides) in [
            (0, vec![25], vec![1]),
            (5, vec![20], vec![1]),
            (24, vec![], vec![]),
            (usize::MAX, vec![2], vec![1]),
            (0, vec![usize::MAX, usize::MAX], vec![1, 1]),
            (0, vec![2, 3], vec![usize::MAX, 1]),
            (0, vec![2], vec![1, 1]),
        ] {
            view(offset, &shape, &strides)
                .values(&bytes)
                .expect_err("beyond");
        }
        let repeated = view(0, &[1 << 40], &[0])
            .values(&bytes)
            .expect_err("a terabyte of one byte");
        assert!(repeated.to_string().contains("repeats"), "{repeated}");
    }
}
