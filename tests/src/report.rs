//! Report of a verification: one line for each check, as a table for people and as JSON for programs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::replay::Counterexample;

/// Share of a check's cases that may have a bound that says nothing, from [`FEW`] cases on. A check with more of them proves
/// little by passing: its draws are to be made such that the bounds hold something.
pub const VACUOUS: f64 = 0.5;

/// Of fewer cases a share says nothing.
pub const FEW: u64 = 8;

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Outcome {
    /// Every number of every case lay within its bound.
    Passed,
    /// Some number did not; the case was shrunk.
    Failed {
        /// The smallest case found that fails, ready to be written to a file and run again.
        counterexample: Box<Counterexample>,
    },
    /// The operation does not exist for this element type or on this device. Neither a pass nor a failure.
    Unsupported {
        /// What the operation said.
        reason: String,
    },
}

/// Report of one check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Name in the registry.
    pub name: String,
    /// The quantity, with its formula.
    pub about: String,
    /// Cases judged.
    pub cases: u64,
    /// Numbers compared.
    pub elements: u64,
    /// Largest error/bound over all numbers of all cases.
    #[serde(with = "ratio")]
    pub worst: f64,
    /// Where it is, with the numbers.
    pub place: String,
    /// Cases in which the bound of some quantity says nothing: infinite, or as large as the quantity itself.
    pub vacuous: u64,
    /// The ledger's reason for the precision it was judged in.
    pub judged_by: String,
    /// Seconds spent.
    pub seconds: f64,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl CheckReport {
    /// Whether a number lay outside its bound.
    pub fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed { .. })
    }

    /// Whether more than the share [`VACUOUS`] of its cases have a bound that says nothing.
    pub fn says_little(&self) -> bool {
        self.cases >= FEW && self.vacuous as f64 > VACUOUS * self.cases as f64
    }

    /// `pass`, `FAIL` or `unsupported`.
    pub fn verdict(&self) -> &'static str {
        match self.outcome {
            Outcome::Passed => "pass",
            Outcome::Failed { .. } => "FAIL",
            Outcome::Unsupported { .. } => "unsupported",
        }
    }
}

/// Report of all checks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Where the training system ran: `cpu` or `cuda:N`.
    pub device: String,
    /// Element type of the training system.
    pub dtype: String,
    /// Seed of the generators.
    pub seed: u64,
    /// Cases asked for; expensive checks run a stated fraction of them.
    pub cases: u32,
    /// One entry for each check, in the registry's order.
    pub checks: Vec<CheckReport>,
}

impl Report {
    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &CheckReport> {
        self.checks.iter().filter(|check| check.failed())
    }

    /// Whether no check failed. An unsupported operation is no failure.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The report as JSON.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// The table's head, to be printed before the first [`CheckReport`].
    pub fn head() -> String {
        format!(
            "{:<44} {:>7} {:>13} {:>8}  {}",
            "quantity", "cases", "error/bound", "vacuous", "verdict"
        )
    }
}

/// One line of the table.
impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worst = match self.outcome {
            Outcome::Unsupported { .. } => "-".to_owned(),
            _ => format!("{:.3}", self.worst),
        };
        write!(
            f,
            "{:<44} {:>7} {:>13} {:>8}  {}",
            self.name,
            self.cases,
            worst,
            self.vacuous,
            self.verdict()
        )
    }
}

/// The whole table, a line of totals, and the place of every failure.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Self::head())?;
        for check in &self.checks {
            writeln!(f, "{check}")?;
        }
        write!(f, "{}", self.totals())?;
        for check in self.failures() {
            write!(f, "\n{}: {}", check.name, check.place)?;
        }
        for check in self.checks.iter().filter(|check| check.says_little()) {
            let CheckReport {
                name,
                cases,
                vacuous,
                ..
            } = check;
            write!(
                f,
                "\n{name}: {vacuous} of {cases} cases have a bound that says nothing; a pass proves little"
            )?;
        }
        Ok(())
    }
}

impl Report {
    /// One sentence with the totals.
    pub fn totals(&self) -> String {
        let count = |verdict: &str| {
            self.checks
                .iter()
                .filter(|c| c.verdict() == verdict)
                .count()
        };
        let vacuous: u64 = self.checks.iter().map(|c| c.vacuous).sum();
        let cases: u64 = self.checks.iter().map(|c| c.cases).sum();
        format!(
            "{} quantities on {} in {}: {} pass, {} fail, {} unsupported; {cases} cases, {vacuous} with a bound that says nothing",
            self.checks.len(),
            self.device,
            self.dtype,
            count("pass"),
            count("FAIL"),
            count("unsupported"),
        )
    }
}

/// A ratio may be infinite, for which JSON has no number: written as `null`, read back as infinite.
pub(crate) mod ratio {
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature is serde's"
    )]
    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(*value)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_says_little_where_most_of_its_bounds_say_nothing() {
        let report = |cases, vacuous| CheckReport {
            name: String::new(),
            about: String::new(),
            cases,
            elements: cases,
            worst: 0.5,
            place: String::new(),
            vacuous,
            judged_by: String::new(),
            seconds: 0.0,
            outcome: Outcome::Passed,
        };
        for (cases, vacuous, little) in [
            (FEW, 4, false),
            (FEW, 5, true),
            (100, 50, false),
            (100, 51, true),
            // Of few cases all may.
            (FEW - 1, FEW - 1, false),
        ] {
            assert_eq!(
                report(cases, vacuous).says_little(),
                little,
                "{vacuous} of {cases}"
            );
        }
    }
}
