//! The registries of both systems beside each other: what has a name in one must have it in the other, and a check.

use std::collections::BTreeSet;

use sadm_gpu::choice as gpu;
use sadm_reference::choice as reference;

/// The entries of a slot in both systems.
#[derive(Debug, Clone)]
pub struct Pair {
    /// What an entry is called.
    pub what: &'static str,
    /// Names and defaults of the parameters in the reference.
    pub reference: Vec<(&'static str, Option<f64>)>,
    /// The same in the training system.
    pub gpu: Vec<(&'static str, Option<f64>)>,
    /// The check of an entry.
    check: fn(&str) -> String,
}

impl Pair {
    fn of<R, G>(check: fn(&str) -> String) -> Self
    where
        R: ?Sized + reference::Slot,
        G: ?Sized + gpu::Slot,
    {
        Self {
            what: R::NAME,
            reference: (R::ALL.iter())
                .map(|entry| (entry.name(), entry.parameter().map(|p| p.default)))
                .collect(),
            gpu: (G::ALL.iter())
                .map(|entry| (entry.name(), entry.parameter().map(|p| p.default)))
                .collect(),
            check,
        }
    }

    /// What is missing: an entry in one system, its parameter's default, its check among `checks`.
    pub fn missing(&self, checks: &BTreeSet<String>) -> Vec<String> {
        let names = self.reference.iter().chain(&self.gpu);
        let names: BTreeSet<&str> = names.map(|entry| entry.0).collect();
        let mut missing = Vec::new();
        for name in names {
            let sides = [("reference", &self.reference), ("gpu", &self.gpu)];
            let found = sides.map(|(system, entries)| {
                let found = entries.iter().find(|entry| entry.0 == name);
                if found.is_none() {
                    let what = self.what;
                    missing.push(format!("{what} `{name}` is not registered in {system}"));
                }
                found
            });
            if let [Some(reference), Some(gpu)] = found
                && reference.1 != gpu.1
            {
                let (what, [a, b]) = (self.what, [reference.1, gpu.1]);
                missing.push(format!(
                    "{what} `{name}` defaults to {a:?} in reference, {b:?} in gpu"
                ));
            }
            let check = (self.check)(name);
            if !checks.contains(&check) {
                missing.push(format!("{} `{name}` has no check `{check}`", self.what));
            }
        }
        missing
    }
}

/// Every slot that is a registry in both systems.
pub fn slots() -> Vec<Pair> {
    use sadm_gpu::{forward, objective, sampler, structure};
    use sadm_reference::{self as r, denoise};
    vec![
        Pair::of::<dyn r::relation::Kind, dyn structure::relation::Kind>(|n| {
            format!("affinity.{n}")
        }),
        Pair::of::<r::distance::Kind, structure::distance::Kind>(|n| {
            format!("structural-loss.cosine.{n}")
        }),
        // One check for each schedule has every η among its outputs.
        Pair::of::<r::structure::eta::Kind, structure::eta::Kind>(|_| "eta.vp-linear".to_owned()),
        Pair::of::<denoise::weight::Kind, objective::weight::Kind>(|n| format!("weight.{n}")),
        Pair::of::<r::schedule::Kind, dyn forward::schedule::Kind>(|n| format!("schedule.{n}")),
        Pair::of::<r::sampler::Kind, dyn sampler::Kind>(|n| format!("sampler.{n}")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    fn checks() -> BTreeSet<String> {
        let checks = registry().into_iter();
        checks.map(|check| check.name().to_owned()).collect()
    }

    #[test]
    fn every_entry_is_in_both_systems_and_has_a_check() {
        let (slots, checks) = (slots(), checks());
        let missing: Vec<String> = slots
            .iter()
            .flat_map(|slot| slot.missing(&checks))
            .collect();
        assert!(missing.is_empty(), "{missing:#?}");
        assert!(slots.iter().all(|slot| slot.gpu.len() >= 3), "{slots:?}");
    }

    /// An entry forgotten on one side, a default that differs, and a check that nobody wrote are each reported.
    #[test]
    fn what_is_missing_is_said() {
        let (slots, mut checks) = (slots(), checks());
        for slot in &slots {
            let mut forgotten = slot.clone();
            let (name, _) = forgotten.gpu.remove(0);
            let missing = forgotten.missing(&checks);
            assert_eq!(missing.len(), 1, "{missing:?}");
            assert!(missing[0].contains(&format!("`{name}` is not registered in gpu")));
            let mut forgotten = slot.clone();
            forgotten.reference.pop();
            assert_eq!(forgotten.missing(&checks).len(), 1);
            let mut other = slot.clone();
            other.gpu[0].1 = Some(3.0);
            assert!(other.missing(&checks)[0].contains("defaults to"));
        }
        checks.remove("affinity.euclidean");
        let missing = slots[0].missing(&checks);
        assert_eq!(
            missing,
            ["relation `euclidean` has no check `affinity.euclidean`"]
        );
    }

    /// What theory claims of a sampler in one system it claims in the other.
    #[test]
    fn samplers_have_the_same_order_and_cost() {
        use sadm_gpu::sampler::SamplerKind;
        for claimed in sadm_reference::sampler::SamplerKind::all() {
            let own: SamplerKind = claimed.name().parse().expect("a sampler of both");
            assert_eq!(own.order(), claimed.order(), "{own}");
            for steps in 1..40 {
                assert_eq!(own.evaluations(steps), claimed.evaluations(steps), "{own}");
            }
        }
    }
}
