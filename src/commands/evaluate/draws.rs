//! The random draws of torch-fidelity, so that its numbers can be had to the last digits.

use rand_mt::Mt;

/// torch-fidelity's default seed.
const SEED: u32 = 2020;

/// NumPy's legacy generator `RandomState`, as far as torch-fidelity uses it.
pub struct RandomState(Mt);

impl RandomState {
    /// `RandomState(2020)`, which torch-fidelity opens for each metric anew.
    pub fn torch_fidelity() -> Self {
        Self(Mt::new(SEED))
    }

    /// `permutation(n)`: Fisher–Yates from the end, each index by rejection under the smallest mask of ones.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.at_most(i));
        }
        order
    }

    /// A number from 0 to `most` with `most` < 2³².
    fn at_most(&mut self, most: usize) -> usize {
        let mask = usize::MAX >> most.leading_zeros();
        loop {
            let drawn = self.0.next_u32() as usize & mask;
            if drawn <= most {
                return drawn;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `r = numpy.random.RandomState(2020); r.permutation(10); r.permutation(7)` (NumPy 2.4.6).
    #[test]
    fn permutations_are_numpys() {
        let mut draws = RandomState::torch_fidelity();
        assert_eq!(draws.permutation(10), [2, 4, 9, 1, 5, 7, 6, 3, 8, 0]);
        assert_eq!(draws.permutation(7), [4, 3, 1, 2, 5, 6, 0]);
    }
}
