//! `metrics.jsonl` as series of numbers, with what could not be read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Steps done.
    pub step: u64,
    /// The phase; empty where the line names none.
    pub phase: String,
    /// Every number but the step.
    pub numbers: BTreeMap<String, f64>,
    /// The quantity with the worst shadow ratio.
    pub shadow_quantity: Option<String>,
    /// What its numbers were measured against and on, as `evaluation.jsonl` says.
    pub setting: String,
    /// The convention of each number, where it is said.
    pub how: BTreeMap<String, String>,
}

impl Line {
    /// What a number must agree in with another to be on one curve with it.
    pub fn circumstances(&self, key: &str) -> String {
        let how = self.how.get(key).map_or("", String::as_str);
        let parts = [self.setting.as_str(), how];
        let said: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        said.join("; ")
    }
}

/// The lines of a file in which each is a JSON object with a `step`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Log {
    /// What could be read, in the order of the steps.
    pub lines: Vec<Line>,
    /// What could not.
    pub problems: Vec<String>,
}

/// (step or seconds, value).
pub type Points = Vec<(f64, f64)>;

impl Log {
    /// Reads the file; one that does not exist is a problem, and an empty log.
    pub fn read(path: &Path) -> Self {
        match std::fs::read(path) {
            Ok(bytes) => Self::of(&String::from_utf8_lossy(&bytes), &name(path)),
            Err(reason) => Self {
                lines: Vec::new(),
                problems: vec![format!("{} cannot be read: {reason}", name(path))],
            },
        }
    }

    /// The complete lines of a text.
    pub fn of(text: &str, name: &str) -> Self {
        let mut log = Self::default();
        for (number, text) in text.split_inclusive('\n').enumerate() {
            match Line::of(text) {
                _ if text.trim().is_empty() => {}
                Some(line) => log.lines.push(line),
                None if !text.ends_with('\n') => log.problems.push(format!(
                    "the last line of {name} is cut short (the run was killed, or is writing it now); it is left out"
                )),
                None => log.problems.push(format!(
                    "line {} of {name} is no JSON object with a step; it is left out",
                    number + 1
                )),
            }
        }
        log.lines.sort_by_key(|line| line.step);
        log
    }

    /// The last step that a line speaks of.
    pub fn last_step(&self) -> Option<u64> {
        self.lines.last().map(|line| line.step)
    }

    /// Every name of a number.
    pub fn keys(&self) -> BTreeSet<&str> {
        let keys = self.lines.iter().flat_map(|line| line.numbers.keys());
        keys.map(String::as_str).collect()
    }

    /// (step, value) of `key`, in the phases that `wanted` accepts.
    pub fn series(&self, key: &str, wanted: impl Fn(&str) -> bool) -> Points {
        self.points(key, |line| wanted(&line.phase))
    }

    /// (step, value) of `key` where it was measured under these circumstances.
    pub fn measured(&self, key: &str, circumstances: &str) -> Points {
        self.points(key, |line| line.circumstances(key) == circumstances)
    }

    fn points(&self, key: &str, wanted: impl Fn(&Line) -> bool) -> Points {
        let lines = self.lines.iter().filter(|line| wanted(line));
        lines
            .filter_map(|line| Some((line.step as f64, *line.numbers.get(key)?)))
            .collect()
    }

    /// Seconds of training until each step that was logged: a logged step's time stands for those since the
    /// one logged before it.
    pub fn elapsed(&self) -> Points {
        let (mut before, mut total) = (0.0, 0.0);
        let seconds = self.series("seconds", |_| true);
        seconds
            .into_iter()
            .map(|(step, seconds)| {
                total += seconds * (step - before);
                before = step;
                (step, total)
            })
            .collect()
    }

    /// The greatest shadow ratio, its quantity and its step.
    pub fn worst_shadow(&self) -> Option<(f64, &str, u64)> {
        let ratios = self.lines.iter().filter_map(|line| {
            let quantity = line.shadow_quantity.as_deref().unwrap_or("?");
            Some((*line.numbers.get("shadow")?, quantity, line.step))
        });
        // The first of equal ones: a ratio is repeated until the next check. None is worse than one that is no number.
        let worse = |next: f64, worst: f64| next > worst || next.is_nan() && !worst.is_nan();
        ratios.reduce(|worst, next| if worse(next.0, worst.0) { next } else { worst })
    }

    /// The phases in the order in which they occur, with their first and last logged step.
    pub fn phases(&self) -> Vec<(&str, u64, u64)> {
        let mut phases: Vec<(&str, u64, u64)> = Vec::new();
        for line in self.lines.iter().filter(|line| !line.phase.is_empty()) {
            match phases.last_mut() {
                Some((phase, _, last)) if *phase == line.phase => *last = line.step,
                _ => phases.push((&line.phase, line.step, line.step)),
            }
        }
        phases
    }
}

impl Line {
    fn of(text: &str) -> Option<Self> {
        let Value::Object(object) = serde_json::from_str(text).ok()? else {
            return None;
        };
        let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            step: object.get("step")?.as_u64()?,
            phase: text("phase").unwrap_or_default(),
            shadow_quantity: text("shadow_quantity"),
            setting: [("against ", "reference"), ("", "of")]
                .into_iter()
                .filter_map(|(word, key)| Some(format!("{word}{}", text(key)?)))
                .collect::<Vec<_>>()
                .join(", "),
            how: object
                .get("how")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .filter_map(|(key, how)| Some((key.clone(), how.as_str()?.to_owned())))
                .collect(),
            numbers: object
                .iter()
                .filter(|(key, _)| *key != "step")
                .filter_map(|(key, value)| Some((key.clone(), value.as_f64()?)))
                .collect(),
        })
    }
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// The middle value; the mean of the two middle ones.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    let (low, high) = (values.get(n.checked_sub(1)? / 2)?, values.get(n / 2)?);
    Some(0.5 * (low + high))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\"step\":2,\"phase\":\"encoder\",\"loss\":1.5,\"seconds\":0.5}\n\
        {\"step\":2,\"phase\":\"encoder\",\"accuracy\":0.9}\n\
        {\"step\":4,\"phase\":\"guided\",\"loss\":3,\"seconds\":1,\"shadow\":0.25,\"shadow_quantity\":\"x_t\"}\n\
        {\"step\":6,\"phase\":\"guided\",\"loss\":2,\"seconds\":2,\"shadow\":0.25,\"shadow_quantity\":\"x_t\"}\n";

    #[test]
    fn lines_become_series_by_key_and_phase() {
        let log = Log::of(TEXT, "m");
        assert_eq!(log.problems, Vec::<String>::new());
        assert_eq!(
            log.series("loss", |p| p == "guided"),
            [(4.0, 3.0), (6.0, 2.0)]
        );
        assert_eq!(log.phases(), [("encoder", 2, 2), ("guided", 4, 6)]);
        assert_eq!(log.worst_shadow(), Some((0.25, "x_t", 4)));
        assert_eq!(log.last_step(), Some(6));
        // 2 steps of 0.5 s, 2 of 1 s, 2 of 2 s.
        assert_eq!(log.elapsed(), [(2.0, 1.0), (4.0, 3.0), (6.0, 7.0)]);
    }

    #[test]
    fn every_prefix_of_a_log_can_be_read() {
        for end in 0..=TEXT.len() {
            let log = Log::of(&TEXT[..end], "m");
            let lines = TEXT[..end].matches('\n').count();
            // A last line without its end may be whole.
            assert!(log.lines.len() == lines || log.lines.len() == lines + 1);
            assert!(log.problems.len() <= 1, "{:?}", log.problems);
            assert!(log.problems.iter().all(|p| p.contains("cut short")));
        }
    }

    #[test]
    fn rubbish_inside_is_named_by_its_line() {
        let log = Log::of(
            "{\"step\":1}\nrubbish\n[3]\n\n{\"loss\":2}\n{\"step\":2}\n",
            "m",
        );
        assert_eq!(log.lines.len(), 2);
        let told: Vec<bool> = ["line 2", "line 3", "line 5"]
            .iter()
            .zip(&log.problems)
            .map(|(line, problem)| problem.contains(line))
            .collect();
        assert_eq!(told, [true; 3], "{:?}", log.problems);
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
