//! `sadm theory`: theorems, bounds and errata that can be run, doubted and looked at.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use sadm_theory::statements::{
    self, Instance, Kind, Parameter, Scale, Statement, Trial, registry, sweep, swept_by_default,
    try_on,
};

use crate::files;
use crate::names::unknown;

mod plot;
mod show;

const EXAMPLE: &str = "\
Examples:
  sadm theory list
  sadm theory check
  sadm theory check eq-13 eq-14a --cases 1000
  sadm theory show eq-14a --set gamma=0.3 --over t
  sadm theory plot eq-14a --over r --out jensen.svg

A claim holds when it is true to within the rounding bound that its own evaluation carries, and is
refuted when it is false by more. The exit code of `check` is 1 if a statement fails. Its columns: how near an
inequality came to equality, the worst error of an equality over its bound, and how many equalities (vacuous)
and inequalities (idle) said nothing because their bound was no smaller than both sides.";

/// The arguments of `sadm theory`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Every statement: id, kind, source, one line
    List,
    /// Try statements on random instances
    #[command(after_help = "Example:\n  sadm theory check eq-13 eq-14a --cases 1000")]
    Check {
        /// The statements; all of them if none is named
        ids: Vec<String>,
        /// Instances of each
        #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        cases: u32,
        /// Seed of the random instances
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// One instance: what holds and what is refuted, the terms, a plot; last the numbers it is made of
    #[command(after_help = "Example:\n  sadm theory show eq-14a --set gamma=0.3 --over t")]
    Show {
        #[command(flatten)]
        which: Which,
    },
    /// Draw a statement's two sides along a parameter
    #[command(after_help = "Example:\n  sadm theory plot eq-14a --over r --out jensen.svg")]
    Plot {
        #[command(flatten)]
        which: Which,
        /// Where the picture goes, an SVG file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// An instance of a statement, and the parameter a plot runs over.
#[derive(Debug, clap::Args)]
struct Which {
    /// The statement
    id: String,
    /// A parameter of the instance, or `values=…`, its free values; may be given again for others
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// The parameter the plot runs over
    #[arg(long, value_name = "KEY")]
    over: Option<String>,
}

/// Answers one of the actions.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.action {
        Action::List => files::print(&list())?,
        Action::Check { ids, cases, seed } => check(ids, *cases, *seed)?,
        Action::Show { which } => files::print(&show::text(&which.resolve()?)?)?,
        Action::Plot { which, out } => {
            if out.extension().is_none_or(|ending| ending != "svg") {
                bail!("--out must end in .svg, got `{}`", out.display());
            }
            let (picture, panels) = plot::svg(&which.resolve()?)?;
            files::write_atomically(out, |file| {
                std::io::Write::write_all(file, picture.as_bytes()).map_err(Into::into)
            })?;
            files::print(&format!("{}: {panels}\n", out.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A statement with an instance and the parameter to sweep, if it has one.
pub struct Chosen {
    statement: Box<dyn Statement>,
    instance: Instance,
    over: Option<&'static Parameter>,
}

impl Which {
    fn resolve(&self) -> Result<Chosen> {
        let statement = find(&self.id)?;
        let known = statement.parameters();
        let mut instance = statement.default_instance();
        for setting in &self.settings {
            let (key, value) = setting
                .split_once('=')
                .ok_or_else(|| anyhow!("--set needs key=value, got `{setting}`"))?;
            let name = latin(key.trim());
            if name == VALUES_KEY {
                instance = instance.with_values(free_values(value)?);
                continue;
            }
            let Some(parameter) = known.iter().find(|p| p.name == name) else {
                bail!(unknown(
                    "parameter",
                    key.trim(),
                    &[&names(known)[..], &[VALUES_KEY]].concat()
                ));
            };
            instance = instance.with(known, name, number(parameter, value.trim())?)?;
        }
        let over = match &self.over {
            None => swept_by_default(statement.as_ref()),
            Some(name) => {
                let wanted = latin(name);
                let found = known.iter().find(|p| p.name == wanted);
                Some(found.ok_or_else(|| anyhow!(unknown("parameter", name, &names(known))))?)
            }
        };
        Ok(Chosen {
            statement,
            instance,
            over,
        })
    }
}

impl Chosen {
    /// Evidence along the swept parameter.
    fn sweep(&self, points: usize) -> Result<Option<(&'static Parameter, statements::Sweep)>> {
        let Some(over) = self.over else {
            return Ok(None);
        };
        let swept = sweep(self.statement.as_ref(), &self.instance, over, points)?;
        Ok(Some((over, swept)))
    }
}

/// Sets the free values, as `check` and `show` print them.
const VALUES_KEY: &str = "values";

/// Numbers between commas.
fn free_values(text: &str) -> Result<Vec<f64>> {
    let number = |word: &str| {
        let number = word.trim().parse().ok();
        number
            .filter(|x: &f64| x.is_finite())
            .ok_or_else(|| anyhow!("values must be finite numbers between commas, got `{word}`"))
    };
    text.split(',').map(number).collect()
}

/// A value that the parameter accepts; where it is a choice, its code or its name.
fn number(parameter: &Parameter, text: &str) -> Result<f64> {
    let Parameter {
        name,
        meaning,
        low,
        high,
        ..
    } = parameter;
    let choices = choices(parameter);
    let named = choices.iter().find(|(_, choice)| same_name(choice, text));
    let number = match named {
        Some((code, _)) => Some(*code),
        None => text.parse().ok(),
    };
    number.filter(|x| parameter.accepts(*x)).ok_or_else(|| {
        if !choices.is_empty() {
            anyhow!("{name} must be one of {meaning}; got `{text}`")
        } else if parameter.scale == Scale::Integer {
            anyhow!("{name} must be a whole number from {low} to {high}, got `{text}`")
        } else if text.parse::<f64>().is_err() {
            anyhow!("{name} must be a number in [{low}, {high}], got `{text}`")
        } else {
            anyhow!("{name} must lie in [{low}, {high}], got {text}")
        }
    })
}

/// Codes and names of a parameter whose meaning is a list, `0 cosine, 1 inner product`; empty for others.
fn choices(parameter: &Parameter) -> Vec<(f64, &'static str)> {
    let choice = |text: &'static str| {
        let (code, name) = text.split_once(' ')?;
        Some((code.parse().ok()?, name))
    };
    let all: Option<_> = parameter.meaning.split(", ").map(choice).collect();
    all.unwrap_or_default()
}

/// Whether `text` names a choice: `inner-product` is `inner product`, and `rbf` is `RBF with bandwidth 1.25`.
fn same_name(choice: &str, text: &str) -> bool {
    let plain = |name: &str| name.to_lowercase().replace('-', " ");
    let (choice, text) = (plain(choice), plain(text));
    choice == text || choice.split(" with ").next() == Some(text.as_str())
}

fn names(known: &[Parameter]) -> Vec<&'static str> {
    known.iter().map(|p| p.name).collect()
}

/// γ is typed as gamma, and so on; the book writes the letters.
fn latin(name: &str) -> &str {
    match name {
        "α" => "alpha",
        "ᾱ" | "α\u{304}" => "alpha_bar",
        "γ" => "gamma",
        "δ" => "delta",
        "η" => "eta",
        "θ" => "theta",
        "λ" => "lambda",
        "ρ" => "rho",
        "σ" => "sigma",
        "τ" => "tau",
        "φ" | "ϕ" => "phi",
        "ω" => "omega",
        other => other,
    }
}

fn find(id: &str) -> Result<Box<dyn Statement>> {
    statements::find(id).ok_or_else(|| {
        let all = registry();
        let known: Vec<&str> = all.iter().map(|s| s.id()).collect();
        anyhow!(unknown("statement", id, &known))
    })
}

fn kind(statement: &dyn Statement) -> &'static str {
    match statement.kind() {
        Kind::Identity => "identity",
        Kind::Bound => "bound",
        Kind::Erratum(_) => "erratum",
    }
}

/// The kind, of an erratum with its sort.
fn described(statement: &dyn Statement) -> String {
    match statement.kind() {
        Kind::Erratum(finding) => format!("erratum, {}", finding.heading()),
        _ => kind(statement).to_owned(),
    }
}

fn list() -> String {
    let entry = |s: &dyn Statement| {
        let (id, kind) = (s.id(), kind(s));
        format!(
            "{id:24} {kind:8}  {}\n{:35}{}{}\n",
            s.summary(),
            "",
            s.source(),
            match s.kind() {
                Kind::Erratum(finding) => format!(" [{}]", finding.heading()),
                _ => String::new(),
            }
        )
    };
    let all = registry();
    all.iter()
        .map(|s| entry(s.as_ref()))
        .collect::<Vec<_>>()
        .concat()
}

fn check(ids: &[String], cases: u32, seed: u64) -> Result<()> {
    let chosen = if ids.is_empty() {
        registry()
    } else {
        ids.iter().map(|id| find(id)).collect::<Result<_>>()?
    };
    let columns = (
        "statement",
        "instances",
        "tightest",
        "rounding",
        "vacuous",
        "idle",
    );
    files::print(&format!(
        "{:24} {:>9}  {:>9}  {:>9}  {:>7}  {:>5}  verdict\n",
        columns.0, columns.1, columns.2, columns.3, columns.4, columns.5
    ))?;
    let mut failed = Vec::new();
    for statement in &chosen {
        let trial = try_on(statement.as_ref(), cases, seed);
        let refuses = refuses_what_is_false(statement.as_ref())?;
        files::print(&row(statement.id(), &trial, refuses))?;
        if trial.failure.is_some() || !refuses {
            failed.push(statement.id());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "{} of {} statements fail: {}",
        failed.len(),
        chosen.len(),
        failed.join(", ")
    )
}

/// Whether every claim that should be refuted is.
fn refuses_what_is_false(statement: &dyn Statement) -> Result<bool> {
    let refuted = statement.refuted()?;
    Ok(!refuted.is_empty()
        && refuted
            .iter()
            .all(|e| e.verdict() == statements::Verdict::Refuted))
}

/// What shows this instance again.
fn command(id: &str, instance: &Instance) -> String {
    let settings = instance.to_string();
    let settings = settings.split_whitespace().map(|s| format!(" --set {s}"));
    format!("sadm theory show {id}{}", settings.collect::<String>())
}

fn row(id: &str, trial: &Trial, refuses: bool) -> String {
    let number = |x: Option<f64>| x.map_or("-".to_owned(), |x| format!("{x:.6}"));
    let verdict = match (&trial.failure, refuses) {
        (None, true) => "holds".to_owned(),
        (None, false) => "FAIL: a claim that should be refuted is not".to_owned(),
        (Some(failure), _) => format!(
            "FAIL: {}\n  smallest instance: {}",
            failure.reason,
            command(id, &failure.instance)
        ),
    };
    format!(
        "{id:24} {:>9}  {:>9}  {:>9}  {:>7}  {:>5}  {verdict}\n",
        trial.instances,
        number(trial.tightest),
        number(trial.worst_rounding),
        trial.vacuous,
        trial.idle
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The printed command, parsed as the shell would, gives the instance back.
    #[test]
    fn a_failing_instance_is_printed_as_the_command_that_shows_it() -> Result<()> {
        for statement in registry() {
            let instance = statement
                .default_instance()
                .with_values((0..64).map(|k| f64::from(k) / 7.0).collect());
            let trial = Trial {
                instances: 3,
                tightest: None,
                worst_rounding: None,
                equalities: 0,
                vacuous: 0,
                inequalities: 0,
                idle: 0,
                failure: Some(statements::Failure {
                    instance: instance.clone(),
                    reason: "broken by hand".to_owned(),
                }),
            };
            let printed = row(statement.id(), &trial, true);
            let line = printed.lines().last().unwrap_or_default();
            let words: Vec<&str> = line
                .strip_prefix("  smallest instance: sadm theory show ")
                .unwrap_or_default()
                .split(' ')
                .collect();
            let settings = words[1..].iter().filter(|word| **word != "--set");
            let which = Which {
                id: words[0].to_owned(),
                settings: settings.map(|word| (*word).to_owned()).collect(),
                over: None,
            };
            assert_eq!(which.resolve()?.instance, instance, "{}", statement.id());
        }
        Ok(())
    }

    /// Every parameter whose meaning lists codes takes each of its names.
    #[test]
    fn choices_have_names() -> Result<()> {
        let mut lists = 0;
        for statement in registry() {
            for parameter in statement.parameters() {
                let choices = choices(parameter);
                lists += usize::from(!choices.is_empty());
                for (code, name) in choices {
                    let got = number(parameter, &name.replace(' ', "-"))?;
                    assert_eq!(got.to_bits(), code.to_bits(), "{name}");
                }
            }
        }
        assert!(lists > 2, "only {lists} lists");
        Ok(())
    }
}
