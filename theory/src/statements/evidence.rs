//! Evidence of a statement: two numbers, a relation, and a rounding allowance.

use std::fmt;

use crate::branch_and_bound::Outcome;
use crate::rounding::Rounded;

/// How the two sides of a claim are related.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// lhs = rhs.
    Equal,
    /// lhs ≤ rhs.
    AtMost,
}

/// What a piece of evidence says about its claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// True to within the rounding allowance.
    Holds,
    /// False by more than the rounding allowance.
    Refuted,
    /// A side is NaN or infinite, or the allowance is infinite: nothing can be said.
    Undecided,
}

/// One claim as numbers.
///
/// # Formula `[eq:evidence]`
/// ```text
/// =  holds if |lhs − rhs| ≤ allowance          ≤  holds if lhs − rhs ≤ allowance
/// ```
/// The allowance is the sum of both sides' running-error bounds: it is computed with them, never chosen.
/// A claim is *refuted* only if it fails by more than the allowance, so a refutation is as rigorous as a
/// confirmation.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The claim in words or symbols.
    pub claim: String,
    /// Left side.
    pub lhs: f64,
    /// Relation claimed.
    pub comparison: Comparison,
    /// Right side.
    pub rhs: f64,
    /// Rounding allowance on lhs − rhs.
    pub allowance: f64,
}

impl Evidence {
    /// The claim lhs = rhs.
    pub fn equal(claim: impl Into<String>, lhs: Rounded, rhs: Rounded) -> Self {
        Self::new(claim.into(), lhs, Comparison::Equal, rhs)
    }

    /// The claim lhs ≤ rhs.
    pub fn at_most(claim: impl Into<String>, lhs: Rounded, rhs: Rounded) -> Self {
        Self::new(claim.into(), lhs, Comparison::AtMost, rhs)
    }

    /// The claim that a cover has settled on a whole box: 1 = 1 where it is proved, 0 = 1 where a piece is a counter-example,
    /// undecided where the cover gave up.
    pub fn covered(claim: impl Into<String>, outcome: &Outcome) -> Self {
        let truth = match outcome {
            Outcome::Proved { .. } => Rounded::exact(1.0),
            Outcome::CounterExample { .. } => Rounded::exact(0.0),
            Outcome::Undecided { .. } => Rounded::within(f64::NAN, f64::INFINITY),
        };
        let claim = format!("{}, on {} pieces", claim.into(), outcome.boxes());
        Self::equal(claim, truth, Rounded::exact(1.0))
    }

    fn new(claim: String, lhs: Rounded, comparison: Comparison, rhs: Rounded) -> Self {
        let allowance = (lhs - rhs).error; // both errors, and the rounding of this subtraction
        Self {
            claim,
            lhs: lhs.value,
            comparison,
            rhs: rhs.value,
            allowance,
        }
    }

    /// By how much the claim fails, before the allowance; ≤ 0 where an inequality has room.
    pub fn excess(&self) -> f64 {
        let difference = self.lhs - self.rhs;
        match self.comparison {
            Comparison::Equal => difference.abs(),
            Comparison::AtMost => difference,
        }
    }

    /// Whether the claim holds, fails, or cannot be judged.
    pub fn verdict(&self) -> Verdict {
        let excess = self.excess();
        if !excess.is_finite() || !self.allowance.is_finite() {
            Verdict::Undecided
        } else if excess <= self.allowance {
            Verdict::Holds
        } else {
            Verdict::Refuted
        }
    }

    /// Error in units of the allowance for an equality; lhs/rhs, the tightness, for an inequality.
    pub fn ratio(&self) -> f64 {
        match self.comparison {
            Comparison::Equal if self.excess() == 0.0 => 0.0,
            Comparison::Equal => self.excess() / self.allowance,
            Comparison::AtMost => self.lhs / self.rhs,
        }
    }
}

/// The claim with its numbers, on one line.
impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.comparison {
            Comparison::Equal => '=',
            Comparison::AtMost => '≤',
        };
        let (lhs, rhs) = (self.lhs, self.rhs);
        write!(
            f,
            "{}: {lhs:.12e} {sign} {rhs:.12e}, excess {:.2e}",
            self.claim,
            self.excess()
        )?;
        write!(f, " of {:.2e} allowed: {}", self.allowance, self.verdict())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds",
            Self::Refuted => "refuted",
            Self::Undecided => "undecided",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_and_infinite_allowances_decide_nothing() {
        let one = Rounded::exact(1.0);
        for bad in [
            Rounded::exact(f64::NAN),
            Rounded::within(1.0, f64::INFINITY),
            Rounded::within(1.0, f64::NAN),
        ] {
            assert_eq!(Evidence::equal("", bad, one).verdict(), Verdict::Undecided);
            assert_eq!(
                Evidence::at_most("", one, bad).verdict(),
                Verdict::Undecided
            );
        }
    }

    #[test]
    fn the_allowance_is_the_line_between_holding_and_refuted() {
        let (a, b) = (Rounded::within(1.0, 0.25), Rounded::exact(1.5));
        assert_eq!(Evidence::equal("", a, b).verdict(), Verdict::Refuted);
        assert_eq!(Evidence::at_most("", b, a).verdict(), Verdict::Refuted);
        assert_eq!(Evidence::at_most("", a, b).verdict(), Verdict::Holds);
        assert_eq!(
            Evidence::equal("", a, Rounded::within(1.5, 0.25)).verdict(),
            Verdict::Holds
        );
    }

    #[test]
    fn a_cover_is_evidence_of_its_outcome() {
        let at = Vec::new();
        for (outcome, verdict) in [
            (Outcome::Proved { boxes: 7 }, Verdict::Holds),
            (
                Outcome::CounterExample {
                    at: at.clone(),
                    boxes: 7,
                },
                Verdict::Refuted,
            ),
            (Outcome::Undecided { at, boxes: 7 }, Verdict::Undecided),
        ] {
            let evidence = Evidence::covered("a claim", &outcome);
            assert_eq!(evidence.verdict(), verdict);
            assert_eq!(evidence.claim, "a claim, on 7 pieces");
        }
    }

    #[test]
    fn ratios_measure_error_or_tightness() {
        let equal = Evidence::equal("", Rounded::within(1.0, 1.0), Rounded::exact(1.5));
        assert!((equal.ratio() - 0.5).abs() < 1e-12);
        let at_most = Evidence::at_most("", Rounded::exact(3.0), Rounded::exact(4.0));
        assert!((at_most.ratio() - 0.75).abs() < 1e-15);
    }
}
