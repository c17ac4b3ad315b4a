//! The results as Markdown and as JSON.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::arm::Arm;
use super::compare::{Difference, LEVEL};
use super::evaluate::{Evaluation, METRICS, Metric, Settings};
use super::plan::{Plan, Trial};
use crate::files;

/// The evaluations so far.
pub struct Results {
    settings: Settings,
    phases: [f64; 4],
    /// Names in the order of the plan, each with the arm that it varies.
    arms: Vec<(String, Option<Arm>)>,
    evaluations: BTreeMap<String, BTreeMap<u64, Evaluation>>,
}

/// The arm that the others are compared with.
const AGAINST: &str = "base";

impl Results {
    /// For a plan, with nothing evaluated yet.
    pub fn new(plan: &Plan, settings: &Settings) -> Self {
        let p = &plan.base_config().phases;
        let arms = plan.trials().iter().map(|t| (t.name.clone(), t.parent));
        let mut arms: Vec<_> = arms.collect();
        arms.dedup();
        Self {
            settings: settings.clone(),
            phases: [p.encoder, p.denoise, p.guided, p.adversarial],
            arms,
            evaluations: BTreeMap::new(),
        }
    }

    /// A run's evaluation.
    pub fn add(&mut self, trial: &Trial, evaluation: Evaluation) {
        let seeds = self.evaluations.entry(trial.name.clone()).or_default();
        seeds.insert(trial.config.seed, evaluation);
    }

    /// `results.json` and `table.md` in `folder`.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(&self.json()?)? + "\n";
        for (name, text) in [("results.json", json), ("table.md", self.markdown()?)] {
            files::write_atomically(
                &folder.join(name),
                |out| Ok(out.write_all(text.as_bytes())?),
            )?;
        }
        Ok(())
    }

    fn of(&self, name: &str) -> impl Iterator<Item = (&u64, &Evaluation)> {
        self.evaluations.get(name).into_iter().flatten()
    }

    /// A metric of two arms on the seeds that both have.
    fn difference(&self, name: &str, against: &str, (_, _, value): Metric) -> Result<Difference> {
        let base: BTreeMap<u64, f64> = self.of(against).map(|(s, e)| (*s, value(e))).collect();
        let pairs: Vec<(f64, f64)> = self
            .of(name)
            .filter_map(|(seed, e)| Some((value(e), *base.get(seed)?)))
            .collect();
        Difference::of(&pairs)
    }

    fn differences_json(&self, name: &str, against: &str) -> Result<Value> {
        let mut differences = serde_json::Map::new();
        for metric in METRICS {
            let difference = self.difference(name, against, metric)?;
            if !difference.each.is_empty() {
                differences.insert(metric.0.to_owned(), json!(difference));
            }
        }
        Ok(Value::Object(differences))
    }

    fn json(&self) -> Result<Value> {
        let mut arms = Vec::new();
        for (name, parent) in &self.arms {
            let differences = match name.as_str() {
                AGAINST => json!({}),
                _ => self.differences_json(name, AGAINST)?,
            };
            let runs: BTreeMap<String, &Evaluation> =
                self.of(name).map(|(s, e)| (s.to_string(), e)).collect();
            let mut arm = json!({"name": name, "runs": runs, "difference_to_base": differences});
            if let Some(parent) = parent {
                let parent = parent.name();
                let differences = self.differences_json(name, parent)?;
                // Empty where that arm is not trained with the seeds of this one.
                if differences != json!({}) {
                    arm["difference_to_parent"] = json!({"parent": parent, "of": differences});
                }
            }
            arms.push(arm);
        }
        Ok(json!({
            "settings": self.settings,
            "steps": {"encoder": self.phases[0], "denoise": self.phases[1], "guided": self.phases[2], "adversarial": self.phases[3]},
            "level": LEVEL,
            "arms": arms,
        }))
    }

    /// Means over the seeds, then paired differences to `base`.
    ///
    /// # Errors
    /// A metric that is not finite.
    pub fn markdown(&self) -> Result<String> {
        let [encoder, denoise, guided, adversarial] = self.phases;
        let s = &self.settings;
        let mut lines = vec![
            format!(
                "Steps of the adversarial arm: {encoder} encoder, {denoise} denoising, {guided} guided, {adversarial} adversarial; every arm makes {} θ-steps.",
                denoise + guided + adversarial
            ),
            format!(
                "Evaluated on {} images of each run, on the same noise for all arms of a seed, against {} real images, in the features of a separate encoder ({} steps{}).\n",
                s.samples,
                s.real_images,
                s.evaluator_steps,
                s.evaluator_accuracy.map_or(String::new(), |a| format!(
                    ", {:.1} % of held-out images right",
                    100.0 * a
                ))
            ),
            format!("| arm | seeds | {} |", heads().join(" | ")),
            format!("|---|---|{}", "---|".repeat(METRICS.len())),
        ];
        for (name, _) in &self.arms {
            let seeds = self.of(name).count();
            if seeds > 0 {
                let cells: Vec<String> = METRICS
                    .iter()
                    .map(|(_, _, value)| spread(self.of(name).map(|(_, e)| value(e))))
                    .collect();
                lines.push(format!("| {name} | {seeds} | {} |", cells.join(" | ")));
            }
        }
        lines.push(format!(
            "\nMean ± standard deviation over the seeds. All but fd-pixels are in the encoder's features: kid unbiased, in one block; precision and recall with k = {}, density and coverage with k = {}.",
            s.k_precision_recall, s.k_density_coverage
        ));
        let others = self.arms.iter().map(|(name, _)| (name.as_str(), AGAINST));
        let others = others.filter(|(name, against)| name != against);
        self.differences(&mut lines, "arm − base", others)?;
        let children = self.arms.iter();
        let children =
            children.filter_map(|(name, parent)| Some((name.as_str(), (*parent)?.name())));
        self.differences(&mut lines, "variant − the arm it varies", children)?;
        Ok(lines.join("\n") + "\n")
    }

    /// A table of paired differences, where there are any.
    fn differences<'a>(
        &self,
        lines: &mut Vec<String>,
        head: &str,
        pairs: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<()> {
        let mut rows = Vec::new();
        for (name, against) in pairs {
            for metric in METRICS {
                let d = self.difference(name, against, metric)?;
                if !d.each.is_empty() {
                    let name = match against {
                        AGAINST => name.to_owned(),
                        _ => format!("{name} − {against}"),
                    };
                    rows.push(row(&name, metric, &d));
                }
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        lines.push(format!(
            "\n| {head} | metric | pairs | mean difference | {level:.0} % t-interval | {level:.0} % bootstrap | verdict |\n|---|---|---|---|---|---|---|",
            level = 100.0 * LEVEL
        ));
        lines.extend(rows);
        lines.push(
            "\nA verdict needs a t-interval on one side of zero; intervals are for one comparison, not for all at once."
                .to_owned(),
        );
        Ok(())
    }
}

fn heads() -> Vec<String> {
    METRICS
        .iter()
        .map(|(name, less, _)| format!("{name} {}", if *less { "↓" } else { "↑" }))
        .collect()
}

fn row(name: &str, (metric, less, _): Metric, d: &Difference) -> String {
    let interval = |ends: Option<[f64; 2]>| {
        ends.map_or("-".to_owned(), |[low, high]| {
            format!("[{}, {}]", signed(low), signed(high))
        })
    };
    let verdict = match (d.side(), less) {
        (0, _) if d.student.is_none() => "one seed: none",
        (0, _) => "undecided",
        (-1, true) | (1, false) => "better",
        _ => "worse",
    };
    format!(
        "| {name} | {metric} | {} | {} | {} | {} | {verdict} |",
        d.each.len(),
        signed(d.mean),
        interval(d.student),
        interval(d.bootstrap)
    )
}

/// Three significant digits, with the sign.
fn signed(x: f64) -> String {
    format!("{}{}", if x < 0.0 { '−' } else { '+' }, digits(x.abs()))
}

/// Three significant digits of a positive number.
fn digits(x: f64) -> String {
    match x {
        x if x >= 99.95 => format!("{x:.0}"),
        x if x >= 9.995 => format!("{x:.1}"),
        x if x >= 0.9995 => format!("{x:.2}"),
        x if x >= 0.09995 => format!("{x:.3}"),
        x if x >= 0.009_995 => format!("{x:.4}"),
        x if x >= 0.000_999_5 => format!("{x:.5}"),
        0.0 => "0".to_owned(),
        x => format!("{x:.2e}"),
    }
}

/// `mean ± std`, or the only value.
fn spread(values: impl Iterator<Item = f64>) -> String {
    let values: Vec<f64> = values.collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let sign = if mean < 0.0 { "−" } else { "" };
    if values.len() < 2 {
        return format!("{sign}{}", digits(mean.abs()));
    }
    let square = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    format!(
        "{sign}{} ± {}",
        digits(mean.abs()),
        digits((square / (n - 1.0)).sqrt())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_whatever_their_size() {
        let written = [
            1234.5, 45.67, -4.567, 0.4567, 0.04567, -0.004_567, 4.567e-5, 0.0,
        ]
        .map(signed);
        let want = [
            "+1234",
            "+45.7",
            "−4.57",
            "+0.457",
            "+0.0457",
            "−0.00457",
            "+4.57e-5",
            "+0",
        ];
        assert_eq!(written, want);
        assert_eq!(spread([1.0, 2.0, 3.0].into_iter()), "2.00 ± 1.00");
        assert_eq!(spread([0.25].into_iter()), "0.250");
    }
}
