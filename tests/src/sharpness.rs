//! How small an error every check of the registry catches: 16 units of roundoff, or what the ledger says of it, and four bounds.

use std::collections::BTreeMap;

use candle_core::DType;
use ndarray::IxDyn;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    Check, Place,
    compare::compare,
    engine::{Sides, judge, sides},
    error::Error,
    ledger::{COARSE, WIDE, is_on_host, rule},
    registry::registry,
};

/// Cases of a cheap check.
const CASES: u32 = 24;

/// What must be caught where the ledger says nothing else, in units of roundoff of the largest element.
const UNITS: f64 = 16.0;

/// The unit roundoff of a check's numbers, stated here again and not taken from the ledger. In f64 both sides round, and each bound
/// pays for its own value besides: four units.
fn unit(check: &dyn Check, place: &Place) -> f64 {
    match place.dtype {
        DType::F32 if !is_on_host(check) => 2f64.powi(-24),
        _ => 4.0 * 2f64.powi(-53),
    }
}

/// The largest element.
fn largest(both: &Sides) -> Option<(IxDyn, f64)> {
    let all = both.want.indexed_iter();
    let largest = all.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
    largest.map(|(at, x)| (at, x.abs()))
}

/// Whether an error at an element is caught, away from where the computed number lies already.
fn is_caught(both: &Sides, at: &IxDyn, error: f64) -> bool {
    let mut got = both.got.clone();
    let below = both.got[at] < both.want[at];
    got[at] = both.want[at] + if below { -error } else { error };
    !compare(&both.name, &got, &both.want, &both.allowed).holds()
}

/// What was found of a quantity.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four things that were seen, or not"
)]
struct Found {
    /// The least bound, in units of the largest element; infinite where nothing is ever rounded.
    units: f64,
    /// Whether an error of the stated size was caught.
    caught: bool,
    /// Whether the two sides ever differed.
    differed: bool,
    /// Whether a difference was allowed.
    rounds: bool,
    /// Whether a number was none of the element type's.
    wide: bool,
}

/// The most units that may hide in a quantity.
fn most(check: &str, quantity: &str) -> Option<f64> {
    let stated = COARSE.iter().find(|coarse| coarse.is_of(check, quantity));
    stated.map(|coarse| coarse.units)
}

fn look(check: &dyn Check, place: &Place, all: &mut BTreeMap<(String, String), Found>) {
    let rule = rule(check, place).expect("every check has an entry");
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(config, seed);
    let strategy = check.strategy();
    for number in 0..check.cost().cases(CASES) {
        let case = strategy.new_tree(&mut runner).expect("a case").current();
        let found = match sides(check, &case, place, &rule) {
            Ok(found) => found,
            Err(Error::Unsupported { .. }) => return,
            Err(error) => panic!("{}: {error}", check.name()),
        };
        for both in &found {
            let Some((at, size)) = largest(both).filter(|(_, size)| *size > 0.0) else {
                continue;
            };
            let bound = both.allowed[&at];
            if !bound.is_finite() {
                continue;
            }
            // What the largest element cannot show is no error of it.
            let least = 4.0 * f64::EPSILON * size;
            assert!(
                is_caught(both, &at, (4.0 * bound).max(least)),
                "`{}` of `{}` lets four bounds pass",
                both.name,
                check.name()
            );
            let quantity = (check.name().to_owned(), both.name.clone());
            let entry = all.entry(quantity).or_insert(Found {
                units: f64::INFINITY,
                ..Found::default()
            });
            let unit = unit(check, place);
            // Where nothing is rounded the bound is what may underflow.
            if bound > 4.0 * rule.compute.tiny {
                entry.units = entry.units.min(bound / (unit * size));
            }
            let units = most(check.name(), &both.name).unwrap_or(UNITS);
            entry.caught |= is_caught(both, &at, units * unit * size);
            entry.differed |= both.got != both.want;
            entry.wide |= (both.got.iter()).any(|x| place.round(*x).to_bits() != x.to_bits());
            entry.rounds |= both.allowed.iter().any(|a| *a > rule.compute.tiny);
        }
        if number == 0 {
            judged_again(check, place, &case, &found);
        }
    }
}

/// The same through the engine: a planted error of four bounds in one quantity after another fails that quantity, by name.
fn judged_again(check: &dyn Check, place: &Place, case: &crate::Case, found: &[Sides]) {
    let rule = rule(check, place).expect("every check has an entry");
    for both in found.iter().take(8) {
        let Some((at, size)) = largest(both) else {
            continue;
        };
        let error = (4.0 * both.allowed[&at]).max(4.0 * f64::EPSILON * size);
        if !error.is_finite() || error <= 0.0 {
            continue;
        }
        let planted = crate::planted::Planted::new(check, |inner, case, place| {
            let mut values = inner.candle(case, place)?;
            let value = values.get_mut(&both.name).expect("the quantity");
            let below = both.got[&at] < both.want[&at];
            value[&at] = both.want[&at] + if below { -error } else { error };
            Ok(values)
        });
        let judged = judge(&planted, case, place, &rule).expect("it can be judged");
        let failed = judged.iter().find(|(name, _)| *name == both.name);
        assert!(
            failed.is_some_and(|(_, comparison)| !comparison.holds()),
            "`{}` of `{}` passes through the engine",
            both.name,
            check.name()
        );
    }
}

/// Everything that is found in `dtype`.
fn found(dtype: DType) -> BTreeMap<(String, String), Found> {
    let mut all = BTreeMap::new();
    for check in registry() {
        look(check.as_ref(), &Place::cpu(dtype), &mut all);
    }
    assert!(all.len() > 300, "only {} quantities", all.len());
    all
}

/// Every entry, every output, in f32 and in f64. A unit 64 times too large would be seen in every check.
#[test]
fn an_error_of_16_units_is_caught_by_every_check() {
    let mut wrong = Vec::new();
    let mut used = vec![f64::INFINITY; COARSE.len()];
    let mut margin: BTreeMap<String, f64> = BTreeMap::new();
    for dtype in [DType::F32, DType::F64] {
        for ((check, quantity), found) in found(dtype) {
            let units = most(&check, &quantity).unwrap_or(UNITS);
            let widest = margin.entry(check.clone()).or_insert(0.0);
            *widest = widest.max(found.units / units);
            let stated = COARSE.iter().position(|c| c.is_of(&check, &quantity));
            if let Some(i) = stated.filter(|_| found.units > UNITS && found.units.is_finite()) {
                used[i] = used[i].min(COARSE[i].units / found.units);
            }
            if !found.caught {
                let units = found.units;
                wrong.push(format!(
                    "{check} {quantity} {dtype:?}: bound/u is {units:.1}"
                ));
            }
        }
    }
    for (coarse, tight) in COARSE.iter().zip(used) {
        if !(1.0..4.0).contains(&tight) {
            wrong.push(format!("{coarse:?}: {tight} times what is needed"));
        }
    }
    for (check, margin) in margin {
        if 64.0 * margin <= 1.0 {
            wrong.push(format!(
                "{check}: {margin} of what may hide, too little to see a wrong unit"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

/// Checks, or families of them, whose two sides are a few operations that anyone would do alike, or numbers that must be equal: for
/// them equal bits prove nothing.
const ALIKE: &[&str] = &[
    "coefficients",
    "coupling",
    "diffusion-gan-levels.const",
    "diffusion-gan-levels.jsd",
    "edm-sigmas",
    "eta.edm",
    "learning-rate.none",
    "noise-condition",
    "schedule.edm",
    "schedule.vp-linear",
];

/// Two ways to compute one number differ in their last bits somewhere; one way, taken twice, never does. And what comes in f64 is
/// judged in f64, or is known to be a sum of narrower numbers.
#[test]
fn the_two_sides_of_a_check_are_not_the_same_computation() {
    let (mut same, mut wide): (BTreeMap<String, bool>, Vec<_>) = (BTreeMap::new(), Vec::new());
    let checks = registry();
    for ((check, quantity), found) in found(DType::F32) {
        if found.rounds {
            *same.entry(check.clone()).or_insert(true) &= !found.differed;
        }
        let one = checks.iter().find(|c| c.name() == check).expect("it ran");
        let known =
            |(family, name): &(&str, &str)| *family == one.family() && quantity.starts_with(name);
        if found.wide && !is_on_host(one.as_ref()) && !WIDE.iter().any(known) {
            wide.push(format!("{check} {quantity}"));
        }
    }
    assert!(wide.is_empty(), "in f64, but not judged in it: {wide:?}");
    let same: Vec<_> = same.iter().filter(|(_, same)| **same).collect();
    let same: Vec<&str> = same.into_iter().map(|(check, _)| check.as_str()).collect();
    let told = |check: &&str| !ALIKE.iter().any(|alike| check.starts_with(alike));
    let same: Vec<&str> = same.into_iter().filter(told).collect();
    assert!(
        same.is_empty(),
        "equal to the last bit in every case: {same:?}"
    );
}
