//! The real trainer's run held against the second program's, step by step.

use std::{collections::BTreeMap, path::Path};

use ndarray::ArrayD;
use serde_json::Value;

use super::{
    Values,
    arithmetic::Arithmetic,
    phases::Phase,
    program::{Program, Step, Update},
    real::{Real, Seen, Term, array, run},
    settings::Settings,
    spread::{SAMPLES, Spread, everywhere},
};
use crate::{
    check::scalar,
    compare::compare,
    error::{Error, Result},
};

/// What a comparison of one run found.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// Largest error/allowance of each kind of quantity.
    pub worst: BTreeMap<String, f64>,
    /// Numbers that were equal to the bit.
    pub drawn: u64,
    /// Numbers that were computed on both sides.
    pub computed: u64,
    /// Steps of the run.
    pub steps: usize,
    /// What is wrong first, and where.
    pub failure: Option<String>,
    /// Why nothing can be said: a decision hangs on rounding.
    pub undecided: Option<String>,
    /// Why the run cannot be made: both sides refuse it, or the audit of gradients does. Nothing is compared then.
    pub refused: Option<String>,
}

impl Held {
    fn fail(&mut self, what: impl FnOnce() -> String) {
        if self.failure.is_none() {
            self.failure = Some(what());
        }
    }

    /// Equal to the bit.
    fn same(&mut self, at: &str, name: &str, got: &ArrayD<f64>, want: &ArrayD<f64>) {
        self.drawn += want.len() as u64;
        let bits = |x: &ArrayD<f64>| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        if got.shape() != want.shape() || bits(got) != bits(want) {
            let first = got
                .iter()
                .zip(want)
                .position(|(a, b)| a.to_bits() != b.to_bits());
            let first = first.unwrap_or(0);
            let [got, want] = [got, want].map(|x| x.iter().nth(first).copied());
            self.fail(|| {
                format!("{at}: `{name}` must be equal to the bit: number {first} is {got:?}, must be {want:?}")
            });
        }
    }

    /// Equal in every other way.
    fn equal<T: PartialEq + std::fmt::Debug>(&mut self, at: &str, name: &str, got: T, want: T) {
        self.drawn += 1;
        if got != want {
            self.fail(|| format!("{at}: {name} must be {want:?}, got {got:?}"));
        }
    }

    /// Within its allowance.
    fn near(&mut self, at: &str, kind: &str, name: &str, sides: [&ArrayD<f64>; 2], allowed: f64) {
        let [got, want] = sides;
        let found = compare(name, got, want, &everywhere(allowed, want));
        self.computed += want.len() as u64;
        let worst = self.worst.entry(kind.to_owned()).or_insert(0.0);
        if found.worst > *worst {
            *worst = found.worst;
        }
        if !found.holds() {
            self.fail(|| format!("{at}: {}, {:.3e} times that", found.place, found.worst));
        }
    }
}

/// Runs a configuration on both sides, the real one in an empty folder.
///
/// # Errors
/// A configuration that one of them refuses, and files that cannot be read. A wrong number is no error, but the result's failure.
pub fn hold(text: &str, folder: &Path) -> Result<Held> {
    let settings = Settings::read(text)?;
    let refused = |why: String| {
        Ok(Held {
            refused: Some(why),
            ..Held::default()
        })
    };
    let real = match run(text, folder) {
        Ok(Ok(real)) => real,
        Ok(Err(audited)) => return refused(audited),
        Err(error) if cannot_be_made(&settings) => return refused(error.to_string()),
        Err(error) => return Err(error),
    };
    let mut programs = vec![Program::new(&settings, Arithmetic::exact())?];
    for sample in 1..=SAMPLES {
        programs.push(Program::new(&settings, Arithmetic::moved(sample))?);
    }
    let mut comparison = Comparison {
        settings: &settings,
        seen: real.seen.iter().peekable(),
        lines: real.lines.iter(),
        real: &real,
        updates: Spread::default(),
        logged: Spread::default(),
        states: Spread::default(),
        verdict: None,
        gains: [0.0; 2],
        looked: [false; 2],
        held: Held::default(),
    };
    let spans: Vec<_> = (programs[0].spans().iter())
        .map(|span| (span.phase.name(), span.start, span.end))
        .collect();
    while !programs[0].finished() && comparison.held.failure.is_none() {
        let steps = programs.iter_mut().map(Program::step);
        let steps = steps.collect::<Result<Vec<Step>>>()?;
        if programs
            .iter()
            .any(|p| p.balanced_at != programs[0].balanced_at)
        {
            comparison.held.undecided = Some("the balance hangs on rounding".to_owned());
            break;
        }
        if programs[0].kinked {
            comparison.held.undecided = Some(
                "an image twice among those that are compared, or margins of augmentation"
                    .to_owned(),
            );
            break;
        }
        comparison.step(&programs[0], &steps);
    }
    let mut held = comparison.finish(&programs[0], &spans);
    if programs[0].narrowest < CLOSE {
        held.undecided = Some("the balance hangs on rounding".to_owned());
    }
    if held.undecided.is_some() {
        held.failure = None;
    }
    let again = Settings::read(&real.resolved)?;
    // The sections of networks that are not trained are there too.
    let whole = Settings {
        model: again.model.clone(),
        ..settings.clone()
    };
    held.equal("config.toml", "what the run's folder says", &again, &whole);
    held.equal(
        "config.toml",
        "its network",
        again.network()?,
        settings.network()?,
    );
    Ok(held)
}

/// Whether the second program refuses the run too, such as for features that are all 0 under the cosine relation.
fn cannot_be_made(settings: &Settings) -> bool {
    let made = || -> Result<()> {
        let mut program = Program::new(settings, Arithmetic::exact())?;
        while !program.finished() {
            program.step()?;
        }
        Ok(())
    };
    made().is_err()
}

/// A decision nearer than this to the other one is not held against anybody.
const CLOSE: f64 = 1e-9;

struct Comparison<'a> {
    settings: &'a Settings,
    real: &'a Real,
    seen: std::iter::Peekable<std::slice::Iter<'a, Seen>>,
    lines: std::slice::Iter<'a, Value>,
    updates: Spread,
    logged: Spread,
    states: Spread,
    /// The newest step that was shown, with the worst of its answers.
    verdict: Option<(usize, f64)>,
    /// Whether an update of a denoiser's phase was shown, and one of the encoder's.
    looked: [bool; 2],
    /// Largest allowance of a step's gains so far: of φ and of θ.
    gains: [f64; 2],
    held: Held,
}

impl Comparison<'_> {
    /// One step: `steps[0]` is exact.
    fn step(&mut self, program: &Program<'_>, steps: &[Step]) {
        let exact = &steps[0];
        self.held.steps += 1;
        let phi_due = self.is_due("phi", exact);
        for (i, update) in exact.updates.iter().enumerate() {
            let at = format!(
                "step {} ({}), {} update {}",
                exact.number,
                exact.span.phase.name(),
                update.player,
                update.inner
            );
            let moved: Vec<&Values> = steps[1..].iter().map(|s| &s.updates[i].values).collect();
            let named = |values: &Values| -> Values {
                let each = values.iter();
                each.map(|(name, x)| (format!("{} {name}", update.player), x.clone()))
                    .collect()
            };
            let moved: Vec<Values> = moved.into_iter().map(named).collect();
            let allowed =
                (self.updates).allowed(&named(&update.values), &moved.iter().collect::<Vec<_>>());
            let due = match update.player {
                "phi" => phi_due,
                _ => self.is_due("theta", exact),
            };
            // φ moves several times in a round, and is shown once.
            if due && update.inner == 0 {
                self.shown(&at, exact, update, &allowed);
            }
        }
        self.reported(program, steps);
        self.saved(program, steps);
    }

    /// Whether a player's update in a step is shown: every so many steps, the first that could be, and φ's where any step of its round is.
    fn is_due(&self, player: &str, step: &Step) -> bool {
        let (every, done) = (self.settings.shadow.every, step.number - 1);
        let steps = match player {
            "phi" if step.span.phase == Phase::Adversarial => {
                let length = self.settings.adversarial.theta_steps;
                let begin = done - (done - step.span.start) % length;
                begin..begin + length
            }
            _ => done..done + 1,
        };
        every > 0
            && (!self.looked[usize::from(step.span.phase == Phase::Encoder)]
                || steps.into_iter().any(|step| step.is_multiple_of(every)))
    }

    /// The next update that the observer saw must be this one.
    fn shown(&mut self, at: &str, step: &Step, update: &Update, allowed: &BTreeMap<String, f64>) {
        let Some(seen) = self.seen.next() else {
            self.held
                .fail(|| format!("{at}: it is not shown to the observer"));
            return;
        };
        let held = &mut self.held;
        held.equal(at, "the step that is shown", seen.step, step.number - 1);
        held.equal(
            at,
            "the phase that is shown",
            seen.phase.as_str(),
            step.span.phase.name(),
        );
        held.equal(
            at,
            "the player that is shown",
            seen.player.as_str(),
            update.player,
        );
        self.looked[usize::from(step.span.phase == Phase::Encoder)] = true;
        match &mut self.verdict {
            Some((newest, worst)) if *newest == seen.step => *worst = worst.max(seen.ratio),
            verdict => *verdict = Some((seen.step, seen.ratio)),
        }
        let descends = update.player == "theta";
        let mut want = Vec::new();
        if update.batch.is_none() {
            want.push(("classification", 1.0));
        } else if descends {
            want.push(("denoising", 1.0));
        }
        if update.values.contains_key("structure") {
            let factor = if descends {
                self.settings.structure.weight
            } else {
                -1.0
            };
            want.push(("structure", factor));
        }
        let augmented = update.augmented.iter().map(|_| ("augmentation", 1.0));
        if update.batch.is_none() {
            want.extend(augmented.clone());
        }
        if let Some(batch) = &update.batch {
            want.push(("time", 1.0));
            want.extend(augmented);
            want.extend(batch.pool.as_ref().map(|_| ("coupling", 1.0)));
        }
        let terms: Vec<_> = seen.terms.iter().map(|t| (t.name, t.factor)).collect();
        held.equal(at, "the terms and their factors", &terms, &want);
        for term in &seen.terms {
            term_shown(held, at, (update, self.settings), term, allowed);
        }
    }

    /// What is said and logged of a step.
    fn reported(&mut self, program: &Program<'_>, steps: &[Step]) {
        let exact = &steps[0];
        let at = format!("step {} ({})", exact.number, exact.span.phase.name());
        let settings = self.settings;
        let images = images(settings, exact);
        let named = |values: &Values| -> Values {
            let phase = exact.span.phase.name();
            let each = values.iter();
            each.map(|(name, x)| (format!("{phase} {name}"), x.clone()))
                .collect()
        };
        let moved: Vec<Values> = steps[1..].iter().map(|s| named(&s.logged)).collect();
        let allowed =
            (self.logged).allowed(&named(&exact.logged), &moved.iter().collect::<Vec<_>>());
        let allowed = |name: &str| allowed[&format!("{} {name}", exact.span.phase.name())];
        for (gain, name) in self.gains.iter_mut().zip(["gain_phi", "gain_theta"]) {
            if exact.logged.contains_key(name) {
                *gain = gain.max(allowed(name));
            }
        }
        let verdict = self.verdict.map(|(_, ratio)| ratio);
        let held = &mut self.held;
        let Some(report) = self.real.reports.get(exact.number - 1) else {
            held.fail(|| format!("{at}: it is not reported"));
            return;
        };
        held.equal(
            &at,
            "the reported phase",
            report.phase,
            exact.span.phase.name(),
        );
        held.equal(&at, "the reported step", report.step, exact.number);
        held.equal(
            &at,
            "the reported length",
            report.steps,
            settings.train.steps,
        );
        held.equal(&at, "the reported images", report.images, images);
        held.equal(&at, "the reported shadow", report.shadow, verdict);
        for (name, got) in [
            ("loss", Some(report.loss)),
            ("structure", report.structure),
            ("grad_norm", Some(report.grad_norm)),
        ] {
            match (got, exact.logged.get(name)) {
                (Some(got), Some(want)) => {
                    held.near(&at, name, name, [&scalar(got), want], allowed(name));
                }
                (got, want) => held.equal(&at, name, got.is_some(), want.is_some()),
            }
        }
        self.logged(program, exact, &allowed);
    }

    /// The lines of `metrics.jsonl` that a step leaves.
    fn logged(&mut self, program: &Program<'_>, exact: &Step, allowed: &dyn Fn(&str) -> f64) {
        let at = format!("step {} ({})", exact.number, exact.span.phase.name());
        let settings = self.settings;
        let verdict = self.verdict.map(|(_, ratio)| ratio);
        let images = images(settings, exact);
        let held = &mut self.held;
        let last = exact.number == exact.span.end || program.finished();
        if exact.number.is_multiple_of(settings.train.log_every) || last {
            let Some(line) = self.lines.next() else {
                held.fail(|| format!("{at}: no line of metrics.jsonl is left for it"));
                return;
            };
            held.equal(
                &at,
                "the line's step",
                &line["step"],
                &Value::from(exact.number),
            );
            let phase = Value::from(exact.span.phase.name());
            held.equal(&at, "the line's phase", &line["phase"], &phase);
            held.equal(
                &at,
                "the line's shadow",
                line.get("shadow").and_then(Value::as_f64),
                verdict,
            );
            let entries = line.as_object().into_iter().flatten();
            let mut numbers: BTreeMap<&str, f64> = entries
                .filter_map(|(name, value)| Some((name.as_str(), value.as_f64()?)))
                .collect();
            let [rate, seconds] =
                ["images_per_second", "seconds"].map(|n| numbers.remove(n).unwrap_or(f64::NAN));
            // One division and one product.
            let product = [&scalar(rate * seconds), &scalar(images as f64)];
            held.near(&at, "images", "images", product, 2e-15 * images as f64);
            for name in ["step", "shadow"] {
                numbers.remove(name);
            }
            let there: Vec<&str> = numbers.keys().copied().collect();
            let must: Vec<&str> = exact.logged.keys().map(String::as_str).collect();
            held.equal(&at, "the numbers of the line", there, must);
            for (name, want) in &exact.logged {
                let got = numbers.get(name.as_str()).copied().unwrap_or(f64::NAN);
                held.near(&at, name, name, [&scalar(got), want], allowed(name));
            }
        }
        if let Some(accuracy) = &exact.accuracy {
            let Some(line) = self.lines.next() else {
                held.fail(|| format!("{at}: no line of metrics.jsonl has the accuracy of Ψ"));
                return;
            };
            if !accuracy.hangs {
                let (share, last) = (Some(accuracy.share), self.real.outcome.encoder_accuracy);
                held.equal(&at, "Ψ's accuracy", line["accuracy"].as_f64(), share);
                held.equal(&at, "Ψ's accuracy at the end", last, share);
            }
        }
    }

    /// What is saved after a step, and whether it is.
    fn saved(&mut self, program: &Program<'_>, steps: &[Step]) {
        let exact = &steps[0];
        let at = format!("step {} ({})", exact.number, exact.span.phase.name());
        let moved: Vec<&Values> = steps[1..].iter().map(|s| &s.state).collect();
        let allowed = self.states.allowed(&exact.state, &moved);
        let every = self.settings.checkpoint.every;
        let due = (every > 0 && exact.number.is_multiple_of(every))
            || exact.number == exact.span.end
            || program.finished();
        let held = &mut self.held;
        let saved = self.real.saved.get(&exact.number);
        held.equal(&at, "whether it is saved", saved.is_some(), due);
        let Some(saved) = saved else { return };
        let names = |values: &Values| values.keys().cloned().collect::<Vec<_>>();
        held.equal(
            &at,
            "the tensors of the checkpoint",
            names(&saved.tensors),
            names(&exact.state),
        );
        for (name, want) in &exact.state {
            if let Some(got) = saved.tensors.get(name) {
                let kind = match name.split_once(' ') {
                    Some((file, name)) if file.ends_with("optimizer") => {
                        format!("{file} {}", &name[..1])
                    }
                    Some((file, _)) => file.to_owned(),
                    None => name.clone(),
                };
                held.near(&at, &kind, name, [got, want], allowed[name]);
            }
        }
        let state = &saved.state;
        let [theta, phi] = program.updates();
        held.equal(
            &at,
            "the saved step",
            &state["step"],
            &Value::from(exact.number),
        );
        held.equal(
            &at,
            "θ's saved updates",
            &state["updates"]["theta"],
            &Value::from(theta),
        );
        held.equal(
            &at,
            "φ's saved updates",
            &state["updates"]["phi"],
            &Value::from(phi),
        );
        let balanced = state["balanced_at"].as_u64();
        held.equal(
            &at,
            "the saved balance",
            balanced,
            program.balanced_at.map(|s| s as u64),
        );
        let gains = state["gains"].as_array().map(Vec::len);
        held.equal(
            &at,
            "the number of saved gains",
            gains,
            Some(program.gains.len()),
        );
        let pairs = program
            .gains
            .iter()
            .zip(state["gains"].as_array().into_iter().flatten());
        for (want, got) in pairs {
            for (player, name) in ["gain_phi", "gain_theta"].iter().enumerate() {
                // A round's gain is a sum of those of its steps, each of which is held where it is logged.
                let got = scalar(got[player].as_f64().unwrap_or(f64::NAN));
                let rounds = self.settings.adversarial.theta_steps as f64;
                let allowed = rounds * self.gains[player];
                held.near(&at, name, name, [&got, &scalar(want[player])], allowed);
            }
        }
    }

    /// What concerns the whole run.
    fn finish(mut self, program: &Program<'_>, spans: &[(&'static str, usize, usize)]) -> Held {
        if self.held.failure.is_some() || self.held.undecided.is_some() {
            return self.held;
        }
        let (real, settings, at) = (self.real, self.settings, "the run");
        let held = &mut self.held;
        let steps = program.steps();
        let entered: Vec<_> = spans
            .iter()
            .filter(|span| span.1 < steps)
            .copied()
            .collect();
        held.equal(at, "its phases", &real.phases, &entered);
        held.equal(at, "its reports", real.reports.len(), steps);
        held.equal(at, "updates shown beyond these", self.seen.count(), 0);
        held.equal(
            at,
            "lines of metrics.jsonl beyond these",
            self.lines.count(),
            0,
        );
        held.equal(at, "its steps", real.outcome.step, steps);
        held.equal(at, "whether it is finished", real.outcome.finished, true);
        held.equal(
            at,
            "its balance",
            real.outcome.balanced_at,
            program.balanced_at,
        );
        // The newest, and those at the ends of phases.
        let all: Vec<usize> = real.saved.keys().copied().collect();
        let newest = all.iter().rev().take(settings.checkpoint.keep);
        let ends: Vec<usize> = spans.iter().map(|span| span.2).collect();
        let mut kept: Vec<usize> = newest.copied().collect();
        kept.extend(all.iter().filter(|step| ends.contains(step)));
        kept.sort_unstable();
        kept.dedup();
        held.equal(at, "its checkpoints", &real.kept, &kept);
        let every = settings.sample.every;
        let is_sampled = |step: usize| {
            let span = spans.iter().find(|span| step <= span.2);
            every > 0 && step.is_multiple_of(every) && span.is_some_and(|span| span.0 != "encoder")
        };
        let mut sampled: Vec<usize> = (1..steps).filter(|&step| is_sampled(step)).collect();
        sampled.push(steps);
        held.equal(at, "its samples", &real.sampled, &sampled);
        self.held
    }
}

/// Every number of a term that the observer saw.
fn term_shown(
    held: &mut Held,
    at: &str,
    (update, settings): (&Update, &Settings),
    term: &Term,
    allowed: &BTreeMap<String, f64>,
) {
    let near = |held: &mut Held, name: &str, got: &ArrayD<f64>| {
        let kind = format!("{} {name}", update.player);
        if let Some(want) = update.values.get(name) {
            held.near(at, &kind, name, [got, want], allowed[&kind]);
        } else {
            held.fail(|| format!("{at}: `{name}` is shown, and should not exist"));
        }
    };
    let numbers = |labels: &[u32]| array(&labels.iter().map(|&l| f64::from(l)).collect::<Vec<_>>());
    let batch = update.batch.as_ref();
    let pool = batch.and_then(|batch| batch.pool.as_ref());
    for (name, got) in &term.samples {
        let got = array(got);
        match (*name, batch, pool) {
            ("labels", _, Some(pool)) if term.name == "coupling" => {
                held.same(at, "classes of the pool", &got, &numbers(&pool.labels));
            }
            ("permutation", _, Some(pool)) => {
                let places: Vec<f64> = pool.permutation.iter().map(|&i| i as f64).collect();
                held.same(at, name, &got, &array(&places));
            }
            ("labels", Some(batch), _) => held.same(at, name, &got, &numbers(&batch.labels)),
            ("labels", None, _) => held.same(at, name, &got, &numbers(&update.classes)),
            ("uniform" | "normal", ..) if term.name == "augmentation" => {
                let drawn = update.augmented.as_ref().map(|a| match *name {
                    "uniform" => array(&a.uniform),
                    _ => array(&a.normal),
                });
                held.same(at, name, &got, &drawn.unwrap_or_default());
            }
            ("draws", Some(batch), _) => held.same(at, name, &got, &array(&batch.draws)),
            ("t", Some(batch), _) if batch.exact_t => held.same(at, name, &got, &array(&batch.t)),
            _ => near(held, name, &got),
        }
    }
    for (name, got) in &term.tensors {
        match (name.as_str(), term.name, batch) {
            // The pool before anything was dealt out: its batches are held where they come.
            ("x0" | "eps", "coupling", _) => {}
            // What is augmented is computed, not only drawn.
            ("x0" | "batch x0", ..) if update.augmented.is_some() => near(held, "x0", got),
            ("before", "augmentation", _) => {
                let before = update.augmented.as_ref().map(|a| a.before.clone());
                held.same(at, name, got, &before.unwrap_or_default());
            }
            ("labels", "augmentation", _) => near(held, "augmentation", got),
            ("x0", "denoising" | "time", Some(batch)) | ("batch x0", _, Some(batch)) => {
                held.same(at, name, got, &batch.x0);
            }
            ("eps", "denoising", Some(batch)) | ("batch eps", _, Some(batch)) => {
                held.same(at, name, got, &batch.eps);
            }
            _ => near(held, name, got),
        }
    }
    for (name, got) in &term.gradients {
        near(held, &format!("grad {name}"), got);
    }
    match (term.name, pool) {
        ("coupling", Some(pool)) => {
            for name in ["before", "after"] {
                near(held, name, &scalar(term.settings[name]));
            }
            near(held, "after", &scalar(term.loss));
            let place = term.settings["at"];
            held.equal(at, "the batch's place in its pool", place, pool.at as f64);
        }
        // They have no value.
        ("time", _) => {}
        ("augmentation", _) => {
            let p = settings.data.augment;
            held.equal(at, "the probability of augmentation", term.settings["p"], p);
        }
        ("structure", _) => near(held, "structure", &scalar(term.loss)),
        _ => near(held, "loss", &scalar(term.loss)),
    }
}

/// Images that go through a step.
fn images(settings: &Settings, step: &Step) -> usize {
    match step.span.phase {
        Phase::Encoder => settings.encoder.batch,
        _ => settings.train.batch,
    }
}

/// What went wrong, for a message.
pub(super) fn refused(error: &Error) -> String {
    format!("one side refuses the run: {error}")
}
