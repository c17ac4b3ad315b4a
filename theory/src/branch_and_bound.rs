//! Proof of a claim on a whole box: halve the box until interval arithmetic decides every piece.

use std::collections::VecDeque;

use crate::interval::Interval;

/// What interval arithmetic can say of a claim on one box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// True at every point of the box.
    Holds,
    /// False at a point of the box at least.
    Fails,
    /// Too wide to tell.
    Unknown,
}

/// The result of [`cover`].
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// True on the whole box; a proof of `boxes` pieces looked at.
    Proved {
        /// Pieces looked at.
        boxes: usize,
    },
    /// False: `at` contains a counter-example.
    CounterExample {
        /// The piece on which the claim fails.
        at: Vec<Interval>,
        /// Pieces looked at.
        boxes: usize,
    },
    /// The budget was spent, or a piece could not be halved any more.
    Undecided {
        /// A piece that was left.
        at: Vec<Interval>,
        /// Pieces looked at.
        boxes: usize,
    },
}

impl Outcome {
    /// Whether the claim is proved.
    pub fn is_proved(&self) -> bool {
        matches!(self, Self::Proved { .. })
    }

    /// Whether the claim is refuted.
    pub fn is_refuted(&self) -> bool {
        matches!(self, Self::CounterExample { .. })
    }

    /// Pieces looked at.
    pub fn boxes(&self) -> usize {
        match self {
            Self::Proved { boxes }
            | Self::CounterExample { boxes, .. }
            | Self::Undecided { boxes, .. } => *boxes,
        }
    }
}

/// Covers `region` by boxes on each of which `claim` holds, halving the widest side of those that are unknown.
///
/// # Formula `[eq:branch-and-bound]`
/// ```text
/// region = B_1 ∪ … ∪ B_n,   claim holds on every B_i   ⇒   claim holds on the region
/// ```
/// Halves share their boundary, so the pieces cover; `claim` must be rigorous (interval arithmetic with outward
/// rounding). Breadth first, so that a counter-example is found on the largest piece that shows it, and not missed next to
/// a point where the two sides cross. Looks at `budget` pieces at most.
///
/// # Example
/// ```
/// use sadm_theory::branch_and_bound::{Decision, cover};
/// use sadm_theory::interval::Interval;
/// // x(1 − x) ≤ 0.2501 on [0, 1]: too wide to see at once.
/// let claim = |b: &[Interval]| {
///     let value = b[0] * (Interval::point(1.0) - b[0]);
///     if value.hi() <= 0.2501 { Decision::Holds } else { Decision::Unknown }
/// };
/// assert!(cover(&[Interval::new(0.0, 1.0)], 10_000, claim).is_proved());
/// ```
pub fn cover(
    region: &[Interval],
    budget: usize,
    claim: impl Fn(&[Interval]) -> Decision,
) -> Outcome {
    let mut pending = VecDeque::from([region.to_vec()]);
    let mut boxes = 0;
    while let Some(piece) = pending.pop_front() {
        if boxes == budget {
            return Outcome::Undecided { at: piece, boxes };
        }
        boxes += 1;
        match claim(&piece) {
            Decision::Holds => {}
            Decision::Fails => return Outcome::CounterExample { at: piece, boxes },
            Decision::Unknown => match split(&piece) {
                Some((left, right)) => pending.extend([left, right]),
                None => return Outcome::Undecided { at: piece, boxes },
            },
        }
    }
    Outcome::Proved { boxes }
}

/// The box in two, across its widest side; `None` if that side has no number between its ends.
fn split(piece: &[Interval]) -> Option<(Vec<Interval>, Vec<Interval>)> {
    let by_width = |&a: &usize, &b: &usize| piece[a].width().total_cmp(&piece[b].width());
    let widest = (0..piece.len()).max_by(by_width)?;
    let (low, high) = piece[widest].halves()?;
    let with = |side| {
        let mut half = piece.to_vec();
        half[widest] = side;
        half
    };
    Some((with(low), with(high)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x² + y² against a radius.
    fn disc(radius_squared: f64) -> impl Fn(&[Interval]) -> Decision {
        move |b| {
            let value = b[0].square() + b[1].square();
            if value.hi() <= radius_squared {
                Decision::Holds
            } else if value.lo() > radius_squared {
                Decision::Fails
            } else {
                Decision::Unknown
            }
        }
    }

    #[test]
    fn a_square_lies_in_its_outer_disc_and_not_in_a_smaller_one() {
        let square = [Interval::new(-1.0, 1.0), Interval::new(-1.0, 1.0)];
        let proved = cover(&square, 100_000, disc(2.01));
        assert!(proved.is_proved() && !proved.is_refuted() && proved.boxes() >= 1);
        let refuted = cover(&square, 100_000, disc(1.9));
        assert!(refuted.is_refuted() && !refuted.is_proved(), "{refuted:?}");
        let Outcome::CounterExample { at, boxes } = refuted else {
            panic!("just seen")
        };
        assert!(
            boxes > 1 && at[0].lo().powi(2) + at[1].lo().powi(2) > 1.8,
            "{at:?}"
        );
    }

    #[test]
    fn a_tight_claim_without_a_special_argument_runs_out_of_budget() {
        let side = Interval::new(0.0, 1.0);
        let outcome = cover(&[side, side], 20, disc(2.0));
        assert!(
            matches!(outcome, Outcome::Undecided { boxes: 20, .. }),
            "{outcome:?}"
        );
        assert_eq!(outcome.boxes(), 20);
        assert!(!outcome.is_proved() && !outcome.is_refuted());
    }

    #[test]
    fn a_point_that_cannot_be_halved_is_undecided() {
        let outcome = cover(&[Interval::point(1.0)], 1000, |_| Decision::Unknown);
        assert_eq!(
            outcome,
            Outcome::Undecided {
                at: vec![Interval::point(1.0)],
                boxes: 1
            }
        );
    }

    /// The pieces that hold cover the region: their areas add up to it.
    #[test]
    fn pieces_cover_the_region() {
        let area = std::cell::Cell::new(0.0);
        let region = [Interval::new(0.0, 3.0), Interval::new(-1.0, 1.0)];
        let outcome = cover(&region, 1000, |b| {
            if b[0].width() > 0.5 || b[1].width() > 0.25 {
                return Decision::Unknown;
            }
            area.set(area.get() + b[0].width() * b[1].width());
            Decision::Holds
        });
        assert!(outcome.is_proved());
        assert_eq!(area.get().to_bits(), 6.0_f64.to_bits());
    }
}
