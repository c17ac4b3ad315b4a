//! Permitted changes of a run's configuration: keys that change none of its numbers, the place of its images, its length.

use super::history::Change;
use crate::config::{Config, Decay};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// `other` with the keys that change no number of a run as they are in `config`.
pub(crate) fn with_free_keys_of(config: &Config, other: &Config) -> Config {
    let mut same = other.clone();
    same.checkpoint = config.checkpoint.clone();
    same.shadow = config.shadow.clone();
    same.sample.every = config.sample.every;
    let (train, own) = (&mut same.train, &config.train);
    train.log_every = own.log_every;
    train.tensorboard = own.tensorboard;
    train.check_memory = own.check_memory;
    train.recompute = own.recompute;
    same
}

/// The configuration with which a run that was begun with `there` goes on after `done` steps when `asked` for another, and the
/// keys in which it differs from that run's own.
///
/// More steps than were planned go to the last phase, at the rate that the schedule ends with: what was done stays what a
/// longer run would have done. The planned number stays in `train.planned`.
///
/// # Errors
/// A key that decides the run's numbers; fewer steps than are done; more than were planned where the rate falls until then.
pub(crate) fn continued(
    path: &Path,
    there: &Config,
    asked: &Config,
    done: usize,
) -> Result<(Config, Vec<Change>)> {
    let mut config = asked.clone();
    let planned = there.train.layout();
    let (steps, most) = (asked.train.steps, there.train.steps);
    let mut alike = with_free_keys_of(there, asked);
    alike.data.dir.clone_from(&there.data.dir);
    alike.train.steps = most;
    if [0, planned].contains(&asked.train.planned) {
        alike.train.planned = there.train.planned;
        config.train.planned = if done == 0 || steps == planned {
            0
        } else {
            planned
        };
    }
    if alike != *there {
        let problem = format!(
            "the run was started with another configuration ({}); a resumed run must keep what decides its numbers: choose another \
             --out, or begin a new run from these weights with --from",
            said(&differences(there, &alike))
        );
        return Err(Error::file(path, problem));
    }
    if steps != most && steps < done {
        let must = format!("be at least the {done} that are done");
        return Err(Error::invalid("train.steps of this run", must, steps));
    }
    if done > 0 && steps > planned && there.train.decay != Decay::None {
        return Err(Error::invalid(
            "train.steps of this run",
            format!(
                "be at most the {planned} that its learning rate falls over (train.decay = {}): with more, the steps already done \
                 would have been others; `sadm train --from RUN --out NEW` begins a new run from these weights",
                setting(there, "train.decay")
            ),
            steps,
        ));
    }
    let changes = differences(there, &config);
    Ok((config, changes))
}

/// The keys in which two configurations differ, with their values.
pub(crate) fn differences(there: &Config, here: &Config) -> Vec<Change> {
    let [there, here] = [there, here].map(|config| settings(&config.to_toml()));
    let keys = there
        .keys()
        .chain(here.keys().filter(|key| !there.contains_key(*key)));
    let value = |settings: &BTreeMap<String, String>, key: &String| {
        settings
            .get(key)
            .map_or("not set", String::as_str)
            .to_owned()
    };
    keys.filter(|key| there.get(*key) != here.get(*key))
        .map(|key| Change {
            key: key.clone(),
            from: value(&there, key),
            to: value(&here, key),
        })
        .collect()
}

/// Three of the differences at most, for a message.
fn said(differences: &[Change]) -> String {
    let (shown, rest) = differences.split_at(differences.len().min(3));
    let shown: Vec<_> = shown
        .iter()
        .map(|Change { key, from, to }| format!("{key}: `{from}` there, `{to}` here"))
        .collect();
    let more = match rest.len() {
        0 => String::new(),
        n => format!("; {n} more"),
    };
    shown.join("; ") + &more
}

/// The value of one key.
fn setting(config: &Config, key: &str) -> String {
    settings(&config.to_toml()).remove(key).unwrap_or_default()
}

/// The values of a configuration's text by their full keys.
fn settings(text: &str) -> BTreeMap<String, String> {
    let mut section = String::new();
    let mut all = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((key, value)) = line.split_once('=') {
            all.insert(format!("{section}{}", key.trim()), value.trim().to_owned());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::phases::{layout, phases};

    fn with(config: &Config, sets: &[&str]) -> Config {
        config.with_sets(sets.iter().copied()).expect("known keys")
    }

    fn go_on(there: &Config, sets: &[&str], done: usize) -> Result<(Config, Vec<Change>)> {
        continued(Path::new("config.toml"), there, &with(there, sets), done)
    }

    #[test]
    fn only_what_decides_the_numbers_is_kept() {
        let there = with(
            &Config::default(),
            &["data.dataset=images", "data.dir=/old"],
        );
        let free = [
            "checkpoint.every=7",
            "checkpoint.keep=9",
            "train.log_every=3",
            "train.tensorboard=false",
            "train.check_memory=false",
            "train.recompute=blocks",
            "shadow.every=0",
            "shadow.on_failure=warn",
            "sample.every=5",
            "data.dir=/new",
        ];
        let (config, changes) = go_on(&there, &free, 100).expect("free keys");
        assert_eq!(config, with(&there, &free));
        assert_eq!(changes.len(), free.len(), "{changes:?}");
        let dir = changes.iter().find(|change| change.key == "data.dir");
        let dir = dir.map(|change| (change.from.as_str(), change.to.as_str()));
        assert_eq!(dir, Some(("\"/old\"", "\"/new\"")));
        for other in [
            "seed=1",
            "data.holdout=0.2",
            "data.limit=9",
            "data.dataset=mnist",
            "model.unet.blocks=2",
            "train.batch=8",
            "train.warmup=0.0",
            "train.decay=none",
            "train.planned=2005",
            "structure.weight=2.0",
            "sample.steps=4",
            "phases.guided=0.1",
        ] {
            let message = go_on(&there, &[other, "shadow.every=0"], 100)
                .expect_err(other)
                .to_string();
            let key = other.split('=').next().unwrap_or(other);
            assert!(
                message.contains(&format!("({key}: `")),
                "{other}: {message}"
            );
            assert!(message.contains("--from"), "{message}");
        }
    }

    #[test]
    fn more_steps_go_to_the_last_phase_and_leave_the_plan() {
        let there = with(&Config::default(), &["train.decay=none", "train.steps=100"]);
        let (longer, changes) = go_on(&there, &["train.steps=250"], 100).expect("a longer run");
        assert_eq!((longer.train.steps, longer.train.planned), (250, 100));
        assert_eq!(layout(&longer), phases(&there));
        let (old, new) = (phases(&there), phases(&longer));
        assert_eq!(old[..3], new[..3]);
        assert_eq!((new[3].start, new[3].end), (80, 250));
        let keys: Vec<_> = changes.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(keys, ["train.planned", "train.steps"]);
        // Again, and back.
        let (longest, _) = go_on(&longer, &["train.steps=300"], 250).expect("a longer run");
        assert_eq!((longest.train.steps, longest.train.planned), (300, 100));
        let (back, _) = go_on(&longer, &["train.steps=100"], 90).expect("the first plan");
        assert_eq!(back, there);
        // A preset that says the first number again is asked for fewer steps than are done.
        let message = continued(Path::new("x"), &longer, &there, 200).expect_err("done");
        assert!(
            message
                .to_string()
                .contains("at least the 200 that are done"),
            "{message}"
        );
        // Shorter than planned: phases end where the steps do.
        let (short, _) = go_on(&there, &["train.steps=30"], 20).expect("a shorter run");
        assert_eq!((short.train.steps, short.train.planned), (30, 100));
        let spans: Vec<_> = phases(&short).iter().map(|s| (s.start, s.end)).collect();
        assert_eq!(spans, [(0, 10), (10, 30)]);
        // What has not begun can be planned anew.
        let (fresh, _) = go_on(&there, &["train.steps=250"], 0).expect("a run without a step");
        assert_eq!((fresh.train.steps, fresh.train.planned), (250, 0));
    }

    #[test]
    fn a_rate_that_falls_ends_with_the_plan() {
        for decay in ["linear", "cosine"] {
            let decay = format!("train.decay={decay}");
            let there = with(&Config::default(), &[&decay, "train.steps=100"]);
            let message = go_on(&there, &["train.steps=101"], 50).expect_err("a longer run");
            let message = message.to_string();
            for part in ["at most the 100", "--from", &decay["train.decay=".len()..]] {
                assert!(message.contains(part), "`{part}` is not in: {message}");
            }
            // Shorter, and back to the plan.
            let (short, _) = go_on(&there, &["train.steps=60"], 50).expect("a shorter run");
            let (back, _) = go_on(&short, &["train.steps=100"], 60).expect("the plan");
            assert_eq!(back, there);
        }
    }
}
