//! The answer of `sadm evaluate`: a table for people, JSON for programs.

use std::collections::BTreeMap;
use std::fmt;

use sadm_reference::metrics::Interval;
use serde::Serialize;

use super::networks::Provenance;

/// Quantile of the standard normal law that leaves 2.5 % above.
pub const NORMAL: f64 = 1.959_963_984_540_054;
/// A distance that is all rounding: features of ordinary size differ by their own rounding, about 1e-16, squared.
const ROUNDING: f64 = 1e-20;

/// One number with what it takes to compare it with another.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// Its name, which says the features.
    pub metric: String,
    /// The number.
    pub value: f64,
    /// Ends of the confidence interval.
    pub interval: Option<[f64; 2]>,
    /// Which of several conventions it follows.
    pub convention: String,
    /// Numbers beside it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<&'static str, f64>,
    /// What a reader must know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Line {
    /// A number without anything else yet.
    pub fn new(metric: String, value: f64) -> Self {
        Self {
            metric,
            value,
            interval: None,
            convention: String::new(),
            parts: BTreeMap::new(),
            note: None,
        }
    }

    /// With a confidence interval.
    #[must_use]
    pub fn with_interval(mut self, interval: Option<Interval>) -> Self {
        self.interval = interval.map(|i| [i.low, i.high]);
        self
    }

    /// With the interval of its standard error.
    #[must_use]
    pub fn with_error(self, error: Option<f64>) -> Self {
        let interval = error.map(|error| Interval {
            low: self.value - NORMAL * error,
            high: self.value + NORMAL * error,
        });
        self.with_interval(interval)
    }

    /// With its convention.
    #[must_use]
    pub fn with_convention(mut self, convention: String) -> Self {
        self.convention = convention;
        self
    }

    /// Says so where the value lies outside its interval, which is then all bias.
    pub fn note_bias(&mut self) {
        // What is within rounding of an end is not outside: of a set against itself all are rounding.
        if let Some([low, high]) = self.interval
            && !(low - ROUNDING..=high + ROUNDING).contains(&self.value)
        {
            let bias = format!(
                "{} lies outside its interval: of so few samples it is biased by more than it scatters",
                self.metric
            );
            self.note = Some(match self.note.take() {
                Some(note) => format!("{note}; {bias}"),
                None => bias,
            });
        }
    }

    /// With a number beside it.
    #[must_use]
    pub fn with_part(mut self, name: &'static str, value: f64) -> Self {
        self.parts.insert(name, value);
        self
    }
}

/// One of the two sets.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    /// Where it comes from.
    pub source: String,
    /// How many samples; unknown for stored statistics.
    pub samples: Option<usize>,
    /// How they were chosen: the classes of a run's samples, the part of a reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    /// What reading did to its files, where it did something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reading: Option<String>,
}

/// What is compared with the reference.
#[derive(Debug, Clone, Serialize)]
pub struct Compared {
    /// Name of the features.
    pub features: String,
    /// How many there are.
    pub dimension: usize,
    /// What is judged.
    pub generated: Side,
    /// The network that gave the features, where its weights come from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Provenance>,
    /// The run's encoder that gave them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder: Option<String>,
}

impl Compared {
    /// The head of the table.
    fn lines(&self) -> Vec<String> {
        let features = format!("features   {} ({} of them)", self.features, self.dimension);
        let weights = self.network.as_ref();
        let weights = weights.map(|network| format!("weights    {}", network.line()));
        let encoder = self.encoder.as_ref();
        let encoder = encoder.map(|encoder| format!("encoder    {encoder}"));
        let generated = format!("generated  {}", self.generated);
        [features]
            .into_iter()
            .chain(weights)
            .chain(encoder)
            .chain([generated])
            .collect()
    }
}

/// A run's model.
#[derive(Debug, Clone, Serialize)]
pub struct Model {
    /// The run's folder.
    pub run: String,
    /// Training steps of its checkpoint.
    pub step: usize,
}

/// Everything that is answered.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The samples, unless only the model was asked.
    #[serde(flatten)]
    pub compared: Option<Compared>,
    /// The run that was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// What it is held against, where a metric needs that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<Side>,
    /// Confidence level of the intervals.
    pub level: f64,
    /// The numbers.
    pub metrics: Vec<Line>,
}

impl Report {
    /// For a person.
    pub fn table(&self) -> String {
        let widths = self.metrics.iter().map(|line| line.metric.len());
        let width = widths.max().unwrap_or(0).max(6);
        let level = format!("{:.0} % interval", 100.0 * self.level);
        let mut lines = match (&self.compared, &self.model) {
            (Some(compared), _) => compared.lines(),
            (None, Some(model)) => vec![format!("model      {}, step {}", model.run, model.step)],
            (None, None) => Vec::new(),
        };
        lines.extend(self.reference.as_ref().map(|side| {
            let said = match (&self.compared, side.samples) {
                // Of a model alone: its images were not counted.
                (None, None) => [Some(side.source.clone()), side.chosen.clone()]
                    .into_iter()
                    .chain([side.reading.as_ref().map(|reading| format!("({reading})"))])
                    .flatten()
                    .collect::<Vec<_>>()
                    .join(" "),
                _ => side.to_string(),
            };
            format!("reference  {said}")
        }));
        lines.extend([
            String::new(),
            format!(
                "{:width$}  {:>12}  {level:>26}  convention",
                "metric", "value"
            ),
        ]);
        lines.extend(self.metrics.iter().map(|line| line.row(width)));
        let notes = self.metrics.iter().filter_map(|line| line.note.as_ref());
        lines.extend(notes.map(|note| format!("\nnote: {note}")));
        let network = self.compared.as_ref().and_then(|c| c.network.as_ref());
        let note = network.and_then(Provenance::note);
        lines.extend(note.map(|note| format!("\nnote: {note}")));
        lines.join("\n") + "\n"
    }
}

impl Line {
    /// Its row of the table.
    fn row(&self, width: usize) -> String {
        let interval = self.interval.map_or("–".to_owned(), |[low, high]| {
            format!("[{}, {}]", number(low), number(high))
        });
        let parts = self.parts.iter();
        let parts: Vec<String> = parts
            .map(|(name, value)| format!("; {name} {}", number(*value)))
            .collect();
        let value = number(self.value);
        let rest = self.convention.clone() + &parts.concat();
        format!(
            "{:width$}  {value:>12}  {interval:>26}  {rest}",
            self.metric
        )
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.samples {
            Some(n) => {
                write!(f, "{n} samples of {}", self.source)?;
                if let Some(chosen) = &self.chosen {
                    write!(f, ", {chosen}")?;
                }
                match &self.reading {
                    Some(reading) => write!(f, " ({reading})"),
                    None => Ok(()),
                }
            }
            None => write!(f, "stored mean and covariance in {}", self.source),
        }
    }
}

/// Six significant digits.
fn number(x: f64) -> String {
    if x == 0.0 || (1e-4..1e6).contains(&x.abs()) {
        #[expect(clippy::cast_possible_truncation, reason = "between −4 and 5")]
        let before = if x == 0.0 {
            0
        } else {
            x.abs().log10().floor() as i32
        };
        let after = usize::try_from(5 - before).unwrap_or(0);
        let text = format!("{x:.after$}");
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    } else {
        format!("{x:.5e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_six_digits() {
        let said = [0.0, 1.0, 0.000_123_456_78, 1_234.567_89, -3.5e-9, 999_999.6].map(number);
        assert_eq!(
            said,
            ["0", "1", "0.000123457", "1234.57", "-3.50000e-9", "1000000"]
        );
    }
}
