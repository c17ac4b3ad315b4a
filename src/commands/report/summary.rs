//! The numbers of a run that fit in a table.

use std::time::Duration;

use super::log::median;
use super::run::Run;
use crate::progress::duration;
use crate::short::short;

/// Share of a run's last lines over which final losses are averaged.
const LAST: usize = 20;
/// Characters of a hash that are shown.
const HASH: usize = 12;
/// A log that was written this recently belongs to a run that goes on.
const RECENT: Duration = Duration::from_secs(120);

/// What a row is, and its entry for a run.
type Row = (&'static str, fn(&Run) -> String);

/// The rows of the table.
pub const ROWS: [Row; 16] = [
    ("state", state),
    ("time in training steps", time),
    ("images per second, median", speed),
    ("denoising loss, last lines", |run| last(run, "loss")),
    ("structural loss, last lines", |run| last(run, "structure")),
    ("accuracy of Ψ", accuracy),
    ("worst shadow ratio", shadow),
    ("parameters", parameters),
    ("data, model, method", method),
    ("classes: images", classes),
    ("seed", |run| key(run, "seed")),
    ("configuration, SHA-256", |run| hash(&run.config_sha256)),
    ("averaged parameters, SHA-256", averaged),
    ("checkpoints kept", checkpoints),
    ("version of sadm", version),
    ("changed after its beginning", changed),
];

const UNKNOWN: &str = "not known";

fn key(run: &Run, key: &str) -> String {
    run.keys.get(key).map_or(UNKNOWN, String::as_str).to_owned()
}

fn state(run: &Run) -> String {
    let (step, steps) = (run.step(), key(run, "train.steps"));
    if run.finished() {
        return match run.state.as_ref().and_then(|state| state.balanced_at) {
            Some(at) => format!("finished: the players were in balance at step {at} of {steps}"),
            None => format!("finished, {steps} steps"),
        };
    }
    let ago = run.quiet.map_or_else(String::new, |quiet| {
        let kind = if quiet < RECENT {
            "still running"
        } else {
            "stopped, killed or waiting"
        };
        format!(", {kind}: last line {} ago", duration(quiet.as_secs_f64()))
    });
    format!("step {step} of {steps}{ago}")
}

fn time(run: &Run) -> String {
    let elapsed = run.log.elapsed();
    let total = elapsed.last().map(|(_, seconds)| duration(*seconds));
    total.unwrap_or_else(|| UNKNOWN.to_owned())
}

fn speed(run: &Run) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (phase, _, _) in run.log.phases() {
        if !names.contains(&phase) {
            names.push(phase);
        }
    }
    let of = |name: &&str| {
        let values = run.log.series("images_per_second", |phase| phase == *name);
        let middle = median(values.into_iter().map(|(_, v)| v).collect())?;
        Some(format!("{middle:.0} {name}"))
    };
    joined(names.iter().filter_map(of).collect())
}

fn last(run: &Run, key: &str) -> String {
    let points = run.log.series(key, |phase| phase != "encoder");
    let tail = &points[points.len() - points.len().div_ceil(LAST)..];
    if tail.is_empty() {
        return "none".to_owned();
    }
    let mean = tail.iter().map(|(_, v)| v).sum::<f64>() / tail.len() as f64;
    let lines = if tail.len() == 1 { "line" } else { "lines" };
    format!("{} (mean of {} {lines})", short(mean), tail.len())
}

fn accuracy(run: &Run) -> String {
    let logged = run.log.series("accuracy", |_| true).last().map(|(_, v)| *v);
    let saved = run.state.as_ref().and_then(|state| state.encoder_accuracy);
    logged.or(saved).map_or_else(
        || "not measured".to_owned(),
        |v| format!("{:.1} %", 100.0 * v),
    )
}

fn shadow(run: &Run) -> String {
    run.log.worst_shadow().map_or_else(
        || "no check logged".to_owned(),
        |(ratio, quantity, step)| format!("{ratio:.3} ({quantity}), by step {step}"),
    )
}

fn parameters(run: &Run) -> String {
    let [theta, phi] = run
        .parameters
        .map(|count| count.map_or_else(|| UNKNOWN.to_owned(), grouped));
    format!("θ {theta}, φ {phi}")
}

/// `1 234 567`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            // A narrow space that does not break.
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

fn method(run: &Run) -> String {
    ["data.dataset", "model.kind", "structure.method"]
        .map(|k| key(run, k))
        .join(", ")
}

fn classes(run: &Run) -> String {
    let known = run.state.as_ref().and_then(|state| state.classes.as_ref());
    known.map_or_else(|| UNKNOWN.to_owned(), ToString::to_string)
}

fn hash(text: &str) -> String {
    text.chars().take(HASH).chain(['…']).collect()
}

fn averaged(run: &Run) -> String {
    let state = run.state.as_ref();
    let found =
        state.and_then(|s| Some((s.step, s.sha256.get(sadm_gpu::run::checkpoint::AVERAGE)?)));
    found.map_or_else(
        || "no checkpoint".to_owned(),
        |(step, sha256)| format!("{} at step {step}", hash(sha256)),
    )
}

fn checkpoints(run: &Run) -> String {
    joined(run.checkpoints.iter().map(ToString::to_string).collect())
}

fn version(run: &Run) -> String {
    match run.state.as_ref().map(|state| state.version.as_str()) {
        Some("") => "not recorded (older than this record)".to_owned(),
        Some(version) => version.to_owned(),
        None => UNKNOWN.to_owned(),
    }
}

/// What the history tells: where the first weights are from, and which keys had which values until when.
fn changed(run: &Run) -> String {
    let events = run.history.iter().flat_map(|event| {
        let step = event.step;
        let from = event.from.iter().map(|origin| {
            format!(
                "began with the weights of {} at step {}",
                origin.run.display(),
                origin.step
            )
        });
        let changes = event.changes.iter();
        let changes = changes
            .map(move |change| format!("{} = {} until step {step}", change.key, change.from));
        from.chain(changes).collect::<Vec<_>>()
    });
    joined(events.collect())
}

fn joined(parts: Vec<String>) -> String {
    if parts.is_empty() {
        "none".to_owned()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
    }
}
