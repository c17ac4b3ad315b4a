//! Which numbers of the runs become which curves.

use super::chart::{Chart, Series};
use super::log::{Log, Points};
use super::run::Run;

/// The phase whose loss is another quantity.
const ENCODER: &str = "encoder";
const STEPS: &str = "steps";

/// Numbers with a chart of their own; every other number gets one too, without comment.
const KNOWN: [&str; 7] = [
    "loss",
    "structure",
    "learning_rate",
    "grad_norm",
    "images_per_second",
    "shadow",
    "seconds",
];

/// One chart over all runs.
fn chart(runs: &[Run], title: &str, about: &str, points: impl Fn(&Run) -> Points) -> Chart {
    let series = runs.iter().enumerate().map(|(index, run)| Series {
        name: run.name.clone(),
        index,
        points: points(run),
        breaks: run.spans().into_iter().map(|s| s.end as f64).collect(),
    });
    Chart {
        title: title.to_owned(),
        about: about.to_owned(),
        x: STEPS,
        series: series.collect(),
        noisy: true,
        line: None,
        bands: bands(runs),
    }
}

/// The phases, where all runs have the same.
fn bands(runs: &[Run]) -> Vec<(String, f64, f64)> {
    let spans = runs.first().map(Run::spans).unwrap_or_default();
    if runs.iter().any(|run| run.spans() != spans) {
        return Vec::new();
    }
    let band =
        |s: sadm_gpu::run::phases::Span| (s.phase.name().to_owned(), s.start as f64, s.end as f64);
    spans.into_iter().map(band).collect()
}

/// The curves over the steps, but for the denoising loss, which belongs to the convergence.
pub fn over_steps(runs: &[Run]) -> Vec<Chart> {
    let mut charts = vec![
        Chart {
            bands: Vec::new(),
            ..chart(runs, "Cross-entropy of Ψ", "the encoder's phase", |run| {
                run.log.series("loss", |phase| phase == ENCODER)
            })
        },
        chart(runs, "Structural loss S", "where a phase has it", |run| {
            run.log.series("structure", |_| true)
        }),
        Chart {
            line: Some((1.0, "bound")),
            noisy: false,
            ..chart(
                runs,
                "Shadow check: error/bound",
                "at most 1; the newest check of each line",
                |run| run.log.series("shadow", |_| true),
            )
        },
        Chart {
            line: clip_norm(runs),
            ..chart(runs, "Gradient norm", "before clipping", |run| {
                run.log.series("grad_norm", |_| true)
            })
        },
        Chart {
            noisy: false,
            ..chart(runs, "Learning rate", "", |run| {
                run.log.series("learning_rate", |_| true)
            })
        },
        chart(runs, "Images per second", "", |run| {
            run.log.series("images_per_second", |_| true)
        }),
    ];
    for key in other_keys(runs) {
        charts.push(chart(runs, &key, "", |run| run.log.series(&key, |_| true)));
    }
    charts
}

/// The norm that gradients are clipped to, where it is one.
fn clip_norm(runs: &[Run]) -> Option<(f64, &'static str)> {
    let mut norms = runs
        .iter()
        .map(|run| run.config.as_ref().map(|c| c.train.clip_norm));
    let first = norms.next()??;
    let one = first > 0.0 && norms.all(|norm| norm.is_some_and(|n| n.to_bits() == first.to_bits()));
    one.then_some((first, "clipped to"))
}

/// Numbers that later versions or other programs add; a number that is there once is no curve.
fn other_keys(runs: &[Run]) -> Vec<String> {
    let keys = runs.iter().flat_map(|run| run.log.keys());
    let mut keys: Vec<String> = keys
        .filter(|key| !KNOWN.contains(key))
        .filter(|key| {
            runs.iter()
                .any(|run| run.log.series(key, |_| true).len() > 1)
        })
        .map(str::to_owned)
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

/// Convergence (SADM, Fig. 6): the loss, and what was evaluated, against steps and against seconds.
pub fn convergence(runs: &[Run]) -> Vec<Chart> {
    let loss = |run: &Run| run.log.series("loss", |phase| phase != ENCODER);
    let mut charts = vec![
        chart(runs, "Denoising loss against steps", "", loss),
        over_seconds(runs, "Denoising loss against time", loss),
    ];
    for (key, circumstances) in evaluated(runs) {
        let points = |run: &Run| {
            let log = run.evaluation.as_ref();
            log.map(|log| log.measured(&key, &circumstances))
                .unwrap_or_default()
        };
        let about = match circumstances.as_str() {
            "" => "after evaluation.jsonl",
            said => said,
        };
        charts.push(Chart {
            noisy: false,
            ..chart(runs, &format!("{key} against steps"), about, points)
        });
        charts.push(Chart {
            noisy: false,
            about: about.to_owned(),
            ..over_seconds(runs, &format!("{key} against time"), points)
        });
    }
    charts
}

/// Every number that any run was evaluated by, under each of the circumstances it was: numbers that differ in them are
/// not points of one curve.
pub fn evaluated(runs: &[Run]) -> Vec<(String, String)> {
    let logs = runs.iter().filter_map(|run| run.evaluation.as_ref());
    let lines = logs.flat_map(|log: &Log| &log.lines);
    let mut found: Vec<(String, String)> = lines
        .flat_map(|line| {
            let keys = line.numbers.keys();
            keys.map(|key| (key.clone(), line.circumstances(key)))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

fn over_seconds(runs: &[Run], title: &str, points: impl Fn(&Run) -> Points) -> Chart {
    let timed = |run: &Run| {
        let elapsed = run.log.elapsed();
        let points = points(run).into_iter();
        points
            .filter_map(|(step, value)| Some((seconds_at(&elapsed, step)?, value)))
            .collect()
    };
    let mut chart = Chart {
        x: "seconds of training",
        bands: Vec::new(),
        ..chart(runs, title, "", timed)
    };
    chart
        .series
        .iter_mut()
        .for_each(|series| series.breaks.clear());
    chart
}

/// Seconds until a step, on the line between the logged steps around it.
fn seconds_at(elapsed: &[(f64, f64)], step: f64) -> Option<f64> {
    let after = elapsed.partition_point(|(logged, _)| *logged < step);
    let (later, seconds) = elapsed.get(after)?;
    let (earlier, before) = match after.checked_sub(1) {
        Some(before) => elapsed[before],
        None => (0.0, 0.0),
    };
    Some(before + (seconds - before) * (step - earlier) / (later - earlier))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_lie_between_the_logged_ones() {
        let elapsed = [(10.0, 5.0), (20.0, 25.0)];
        assert_eq!(seconds_at(&elapsed, 5.0), Some(2.5));
        assert_eq!(seconds_at(&elapsed, 10.0), Some(5.0));
        assert_eq!(seconds_at(&elapsed, 15.0), Some(15.0));
        assert_eq!(seconds_at(&elapsed, 20.0), Some(25.0));
        assert_eq!(seconds_at(&elapsed, 21.0), None);
    }
}
