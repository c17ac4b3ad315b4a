//! The symmetries of a square image, as permutations of its pixels.

use crate::statements::{Instance, Parameter, StatementError};

/// The group, by its place in [`Group::ALL`].
pub const GROUP: Parameter = Parameter::whole(
    "group",
    "0 horizontal flip, 1 vertical flip, 2 C4, 3 D4",
    0.0..=3.0,
    3.0,
);

/// A group of symmetries of the square.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Left and right exchanged.
    HorizontalFlip,
    /// Top and bottom exchanged.
    VerticalFlip,
    /// Quarter turns.
    C4,
    /// Quarter turns and flips.
    D4,
}

/// A symmetry κ of a k × k image: (κx)_i = x_{source(i)}, an isometry of R^{k²}.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PixelMap {
    source: Vec<usize>,
}

impl PixelMap {
    /// A quarter turn, `turns` times, after a left-right flip if `flip`.
    ///
    /// # Formula `[eq:pixel-map]`
    /// ```text
    /// quarter turn: (κx)[r, c] = x[c, k−1−r]          flip: (κx)[r, c] = x[r, k−1−c]
    /// ```
    pub fn new(size: usize, turns: usize, flip: bool) -> Self {
        let place = |i: usize| {
            let (mut r, mut c) = (i / size, i % size);
            for _ in 0..turns {
                (r, c) = (c, size - 1 - r);
            }
            if flip {
                c = size - 1 - c;
            }
            r * size + c
        };
        Self {
            source: (0..size * size).map(place).collect(),
        }
    }

    /// κx, for an image in rows.
    pub fn apply<T: Copy>(&self, x: &[T]) -> Vec<T> {
        self.source.iter().map(|&i| x[i]).collect()
    }

    /// κ⁻¹ = κᵀ.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let mut source = vec![0; self.source.len()];
        for (i, &from) in self.source.iter().enumerate() {
            source[from] = i;
        }
        Self { source }
    }

    /// Where pixel i of κx comes from.
    pub fn source(&self, i: usize) -> usize {
        self.source[i]
    }

    /// Pixels that stay.
    pub fn fixed(&self) -> usize {
        (0..self.source.len())
            .filter(|&i| self.source[i] == i)
            .count()
    }
}

impl Group {
    /// All of them, in the order of the parameter `group`.
    pub const ALL: [Self; 4] = [Self::HorizontalFlip, Self::VerticalFlip, Self::C4, Self::D4];

    /// The group an instance names.
    pub fn of(instance: &Instance) -> Result<Self, StatementError> {
        Ok(Self::ALL[instance.size(GROUP.name)?])
    }

    /// Its elements on k × k images, the identity first.
    pub fn elements(self, size: usize) -> Vec<PixelMap> {
        let turns = |flip: bool| (0..4).map(move |t| PixelMap::new(size, t, flip));
        match self {
            Self::HorizontalFlip => {
                vec![PixelMap::new(size, 0, false), PixelMap::new(size, 0, true)]
            }
            Self::VerticalFlip => vec![PixelMap::new(size, 0, false), PixelMap::new(size, 2, true)],
            Self::C4 => turns(false).collect(),
            Self::D4 => turns(false).chain(turns(true)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Closed under composition and inverses, with the right number of distinct elements.
    #[test]
    fn groups_are_groups() {
        for (group, order) in Group::ALL.into_iter().zip([2, 2, 4, 8]) {
            let elements = group.elements(3);
            assert_eq!(elements.len(), order);
            for a in &elements {
                assert!(elements.contains(&a.inverse()), "{group:?}");
                assert_eq!(a.inverse().apply(&a.source), (0..9).collect::<Vec<_>>());
                for b in &elements {
                    let product = PixelMap {
                        source: a.apply(&b.source),
                    };
                    assert!(elements.contains(&product), "{group:?}");
                }
            }
            let mut distinct: Vec<_> = elements.iter().map(|e| &e.source).collect();
            distinct.sort();
            distinct.dedup();
            assert_eq!(distinct.len(), order);
        }
    }

    /// On 1 2 / 3 4.
    #[test]
    fn maps_are_as_by_hand() {
        let image = [1, 2, 3, 4];
        let [flip, updown] = [Group::HorizontalFlip, Group::VerticalFlip].map(|g| g.elements(2));
        assert_eq!(flip[0].apply(&image), [1, 2, 3, 4]);
        assert_eq!(flip[1].apply(&image), [2, 1, 4, 3]);
        assert_eq!(updown[1].apply(&image), [3, 4, 1, 2]);
        assert_eq!(Group::C4.elements(2)[1].apply(&image), [2, 4, 1, 3]);
        assert_eq!(Group::C4.elements(3)[1].fixed(), 1);
        assert_eq!(Group::D4.elements(3)[4].fixed(), 3);
        assert_eq!(Group::C4.elements(2)[1].source(1), 3);
    }
}
