//! A statement tried on many instances; what refutes it is shrunk.

use std::cell::RefCell;

use proptest::prelude::{BoxedStrategy, Just, Strategy, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::{Comparison, Evidence, Instance, Parameter, Scale, Statement, VALUES, Verdict};

/// What came of trying a statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Instances tried, up to the first that failed.
    pub instances: u32,
    /// Largest lhs/(rhs + allowance) of an inequality with positive sides: 1 where it is attained.
    pub tightest: Option<f64>,
    /// Largest error/allowance of an equality: at most 1 where all hold.
    pub worst_rounding: Option<f64>,
    /// Equalities that were judged.
    pub equalities: u32,
    /// How many of them said nothing: the allowance was no smaller than both sides, which were not both 0.
    pub vacuous: u32,
    /// Inequalities that were judged.
    pub inequalities: u32,
    /// How many of them said nothing: the allowance was no smaller than both sides; 0 ≤ 0, whose allowance is tiny, among them.
    pub idle: u32,
    /// The smallest instance found on which the statement does not hold.
    pub failure: Option<Failure>,
}

/// An instance on which a statement does not hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The instance, shrunk.
    pub instance: Instance,
    /// Why: the claim that fails, or the refusal.
    pub reason: String,
}

/// Instances of a statement: parameters over their ranges at their scales, free values in [−2, 2].
///
/// Three values of four are multiples of 1/64, so that atoms coincide and differences are exact now and then; the
/// others have full mantissas. Parameters move in 256 steps, which shrink towards the lower end; one draw in four is at an
/// end of the range.
pub fn instances(statement: &dyn Statement) -> impl Strategy<Value = Instance> + use<> {
    let known = statement.parameters();
    let chosen: Vec<_> = known.iter().map(parameter).collect();
    let value = prop_oneof![
        3 => (-128..=128_i32).prop_map(|k| f64::from(k) / 64.0),
        1 => -2.0..2.0_f64
    ];
    (chosen, proptest::collection::vec(value, VALUES)).prop_map(|(chosen, values)| {
        let named = known.iter().map(|p| p.name).zip(chosen).collect();
        Instance::from_parts(named, values)
    })
}

fn parameter(p: &Parameter) -> BoxedStrategy<f64> {
    let p = *p;
    match p.scale {
        Scale::Integer => (0..=64_u32)
            .prop_map(move |k| p.low + (f64::from(k) % (p.high - p.low + 1.0)))
            .boxed(),
        Scale::Linear | Scale::Log => prop_oneof![6 => 0..=256_u32, 1 => Just(0), 1 => Just(256)]
            .prop_map(move |k| p.at(f64::from(k) / 256.0))
            .boxed(),
    }
}

/// Tries a statement on `cases` instances drawn from `seed`.
pub fn try_on(statement: &dyn Statement, cases: u32, seed: u64) -> Trial {
    let trial = RefCell::new(Trial {
        instances: 0,
        tightest: None,
        worst_rounding: None,
        equalities: 0,
        vacuous: 0,
        inequalities: 0,
        idle: 0,
        failure: None,
    });
    let failed = RefCell::new(false);
    let test = |instance: Instance| match judged(statement, &instance) {
        Ok(evidence) => {
            if !*failed.borrow() {
                trial.borrow_mut().count(&evidence);
            }
            Ok(())
        }
        Err(reason) => {
            failed.replace(true);
            Err(TestCaseError::fail(reason))
        }
    };
    let config = Config {
        cases,
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let outcome = TestRunner::new_with_rng(config, rng).run(&instances(statement), test);
    let mut trial = trial.into_inner();
    trial.failure = match outcome {
        Ok(()) => None,
        Err(TestError::Fail(reason, instance)) => Some(Failure {
            instance,
            reason: reason.to_string(),
        }),
        Err(TestError::Abort(reason)) => Some(Failure {
            instance: statement.default_instance(),
            reason: reason.to_string(),
        }),
    };
    if trial.failure.is_some() {
        trial.instances += 1;
    }
    trial
}

/// The evidence of an instance on which every claim holds, or why one does not.
fn judged(statement: &dyn Statement, instance: &Instance) -> Result<Vec<Evidence>, String> {
    let evidence = statement.evidence(instance).map_err(|e| e.to_string())?;
    if evidence.is_empty() {
        return Err("no evidence was offered".to_owned());
    }
    match evidence.iter().find(|e| e.verdict() != Verdict::Holds) {
        None => Ok(evidence),
        Some(claim) => Err(claim.to_string()),
    }
}

impl Trial {
    fn count(&mut self, evidence: &[Evidence]) {
        self.instances += 1;
        for claim in evidence {
            let size = claim.lhs.abs().max(claim.rhs.abs());
            let covered = claim.allowance >= size;
            match claim.comparison {
                Comparison::Equal => {
                    self.equalities += 1;
                    self.vacuous += u32::from(covered && size > 0.0);
                }
                Comparison::AtMost => {
                    self.inequalities += 1;
                    self.idle += u32::from(covered);
                }
            }
            let (largest, ratio) = match claim.comparison {
                Comparison::Equal => (&mut self.worst_rounding, claim.ratio()),
                // A quotient says how tight a bound is only between positive numbers.
                Comparison::AtMost if claim.lhs >= 0.0 && claim.rhs > 0.0 => {
                    let tightness = claim.lhs / (claim.rhs + claim.allowance);
                    (&mut self.tightest, tightness)
                }
                Comparison::AtMost => continue,
            };
            // NaN is the worst there is: it is kept and shown.
            let worse = |l: f64| {
                if ratio > l || ratio.is_nan() {
                    ratio
                } else {
                    l
                }
            };
            *largest = Some(largest.map_or(ratio, worse));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounding::Rounded;
    use crate::statements::{About, Kind, StatementError};

    const X: Parameter = Parameter::whole("x", "a whole number", 1.0..=8.0, 1.0);

    /// x ≤ most, and x² = x·x with an allowance of 1/2 for an error of 1/8.
    struct AtMost(f64);

    impl Statement for AtMost {
        fn about(&self) -> About {
            About {
                id: "at-most",
                source: "a test",
                kind: Kind::Bound,
                summary: "x is at most a number",
                terms: &[],
                parameters: &[X],
            }
        }
        fn evidence(&self, instance: &Instance) -> Result<Vec<Evidence>, StatementError> {
            let x = instance.get("x")?;
            let near = Rounded::within(x * x + 0.125, 0.5);
            Ok(vec![
                Evidence::at_most("x <= most", x.into(), self.0.into()),
                Evidence::equal("x² = x·x", near, (x * x).into()),
            ])
        }
        fn refuted(&self) -> Result<Vec<Evidence>, StatementError> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn what_fails_is_shrunk_to_its_smallest_instance() {
        let trial = try_on(&AtMost(3.0), 64, 0);
        let failure = trial.failure.expect("4 is more than 3");
        assert_eq!(failure.instance.get("x"), Ok(4.0));
        assert!(failure.reason.contains("x <= most"), "{}", failure.reason);
        assert!((1..=64).contains(&trial.instances));
        assert!(
            trial.tightest.is_none_or(|t| t <= 1.0),
            "{:?}",
            trial.tightest
        );
    }

    #[test]
    fn what_holds_is_counted_with_its_ratios() {
        let trial = try_on(&AtMost(8.0), 200, 0);
        assert_eq!((trial.instances, &trial.failure), (200, &None));
        let tightest = trial.tightest.expect("an inequality");
        assert!(
            tightest <= 1.0 && tightest > 1.0 - 1e-12,
            "8 of 8: {tightest}"
        );
        let rounding = trial.worst_rounding.expect("an equality");
        assert!((rounding - 0.25).abs() < 1e-9, "{rounding}");
        // The allowance of ½ is beside squares from 1 on: every equality says something.
        assert_eq!((trial.equalities, trial.vacuous), (200, 0));
        let nothing = Rounded::within(0.25, 0.5);
        let mut empty = trial.clone();
        empty.count(&[Evidence::equal("¼ = ¼ to within ½", nothing, nothing)]);
        assert_eq!((empty.equalities, empty.vacuous), (201, 1));
        // Of inequalities 0 ≤ 0 counts too.
        assert_eq!((empty.inequalities, empty.idle), (200, 0));
        let zero = Rounded::exact(0.0);
        empty.count(&[
            Evidence::at_most("¼ ≤ ¼ to within ½", nothing, nothing),
            Evidence::at_most("0 ≤ 0", zero, zero),
            Evidence::at_most("0 ≤ ¼ to within 10⁻³⁰", zero, Rounded::within(0.25, 1e-30)),
        ]);
        assert_eq!((empty.inequalities, empty.idle), (203, 2));
    }

    /// Instances fill the ranges: a draw that only ever gave the ends would try nothing between them.
    #[test]
    fn drawn_parameters_fill_their_ranges() {
        use proptest::strategy::ValueTree;
        use std::collections::BTreeSet;
        let statement = crate::statements::find("eq-13").expect("a statement");
        let mut runner = TestRunner::deterministic();
        let drawn: Vec<Instance> = (0..200)
            .map(|_| instances(statement.as_ref()).new_tree(&mut runner))
            .map(|tree| tree.expect("an instance").current())
            .collect();
        for p in statement.parameters() {
            let at = |i: &Instance| i.get(p.name).expect("a parameter");
            assert!(drawn.iter().all(|i| p.accepts(at(i))), "{}", p.name);
            if p.scale == Scale::Integer {
                let all: BTreeSet<u64> = drawn.iter().map(|i| at(i).to_bits()).collect();
                let count = p.high - p.low + 1.0;
                assert!(
                    (all.len() as f64 - count).abs() < 0.5,
                    "{}: {all:?}",
                    p.name
                );
                continue;
            }
            let third = |i| (0..3).find(|&k| at(i) <= p.at(f64::from(k + 1) / 3.0));
            let thirds: BTreeSet<u32> = drawn.iter().filter_map(third).collect();
            assert_eq!(thirds.len(), 3, "{}: {thirds:?}", p.name);
            let inside = drawn.iter().filter(|i| p.low < at(i) && at(i) < p.high);
            assert!(inside.count() > 100, "{}", p.name);
        }
    }
}
