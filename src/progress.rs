//! How a run goes, for a person at a terminal or a log file.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use sadm_gpu::run::phases::Phase;
use sadm_gpu::train::{Hooks, StepReport};

/// Time between lines where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(5);
/// Weight of the newest step in the averages of speed.
const NEWEST: f64 = 0.05;

/// A bar on a terminal, a line every few seconds elsewhere.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
    phase: &'static str,
    speed: Speed,
}

/// Running averages over the steps of a phase.
#[derive(Debug, Default, Clone, Copy)]
struct Speed {
    seconds_per_step: f64,
    images_per_second: f64,
}

impl Progress {
    /// For a run of `steps` steps of which `done` are done.
    ///
    /// # Panics
    /// Never: the bar's template is a constant that a test draws.
    pub fn new(steps: usize, done: usize) -> Self {
        let bar = stderr().is_terminal().then(|| bar(steps, done));
        Self {
            bar,
            last_line: None,
            phase: "",
            speed: Speed::default(),
        }
    }

    /// One line above the bar, or just a line.
    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }

    /// Removes the bar.
    pub fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(steps: usize, done: usize) -> ProgressBar {
    let bar = ProgressBar::new(steps as u64).with_position(done as u64);
    let style = ProgressStyle::with_template("{prefix:11} {bar:24} {pos}/{len} {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// A bar over `count` things on a terminal, nothing elsewhere.
pub fn count_bar(count: usize, what: &str) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = bar(count, 0);
    bar.set_message(what.to_owned());
    bar
}

/// A line on standard error; a reader that went away does not stop the run.
pub fn say(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

impl Hooks for Progress {
    fn phase(&mut self, phase: Phase, start: usize, end: usize) {
        self.phase = phase.name();
        self.speed = Speed::default();
        if let Some(bar) = &self.bar {
            bar.set_prefix(self.phase);
        }
        self.line(&format!(
            "phase {}: steps {} to {end}, gradients audited",
            self.phase,
            start + 1
        ));
    }

    fn step(&mut self, report: &StepReport) {
        self.speed.take(report);
        let message = message(report, self.speed);
        if let Some(bar) = &self.bar {
            bar.set_position(report.step as u64);
            bar.set_message(message);
        } else if self.last_line.is_none_or(|last| last.elapsed() >= INTERVAL) {
            self.last_line = Some(Instant::now());
            say(&format!(
                "{} step {}/{} {message}",
                report.phase, report.step, report.steps
            ));
        }
    }

    fn note(&mut self, line: &str) {
        self.line(line);
    }
}

impl Speed {
    /// The first step of a phase counts whole, later ones by [`NEWEST`].
    fn take(&mut self, report: &StepReport) {
        let weight = if self.seconds_per_step > 0.0 {
            NEWEST
        } else {
            1.0
        };
        self.seconds_per_step += weight * (report.seconds - self.seconds_per_step);
        self.images_per_second = report.images as f64 / self.seconds_per_step;
    }
}

/// `loss 0.0123, structure 0.0045, shadow 0.3, 812 images/s, 3 min 20 s left`.
fn message(report: &StepReport, speed: Speed) -> String {
    let left = speed.seconds_per_step * report.steps.saturating_sub(report.step) as f64;
    let mut parts = vec![format!("loss {:.4}", report.loss)];
    parts.extend(report.structure.map(|s| format!("structure {s:.5}")));
    parts.extend(report.shadow.map(|ratio| format!("shadow {ratio:.2}")));
    parts.push(format!("{:.0} images/s", speed.images_per_second));
    parts.push(format!("{} left", duration(left)));
    parts.join(", ")
}

/// `2 h 5 min`, `3 min 20 s` or `7 s`.
pub fn duration(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.round())
        .unwrap_or_default()
        .as_secs();
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, min, s) => format!("{min} min {s} s"),
        (h, min, _) => format!("{h} h {min} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(step: usize, seconds: f64) -> StepReport {
        StepReport {
            phase: "guided",
            step,
            steps: 100,
            loss: 0.123_456,
            structure: Some(0.004_567_8),
            grad_norm: 1.0,
            shadow: Some(0.314),
            images: 64,
            seconds,
        }
    }

    #[test]
    fn a_report_names_losses_shadow_speed_and_time_left() {
        let mut speed = Speed::default();
        speed.take(&report(1, 0.5));
        assert_eq!(
            message(&report(1, 0.5), speed),
            "loss 0.1235, structure 0.00457, shadow 0.31, 128 images/s, 50 s left"
        );
        speed.take(&report(2, 1.5));
        assert!((speed.seconds_per_step - 0.55).abs() < 1e-12, "{speed:?}");
    }

    #[test]
    fn durations_read_as_people_say_them() {
        let said = [6.6, 200.0, 7500.0, f64::INFINITY].map(duration);
        assert_eq!(said, ["7 s", "3 min 20 s", "2 h 5 min", "0 s"]);
    }

    #[test]
    fn the_template_of_the_bar_is_valid() {
        let style = ProgressStyle::with_template("{prefix:11} {bar:24} {pos}/{len} {wide_msg}");
        assert!(style.is_ok());
    }
}
