//! The `--set key=value` options of a quantity: declared, parsed, checked.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;

use crate::naming::{nearest, quoted, unknown};

/// Values of an option.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// One of these words.
    Choice(fn() -> Vec<&'static str>),
    /// A finite number > 0.
    Positive,
    /// A finite number ≥ 0.
    NonNegative,
    /// A whole number from 1 to this.
    Count(usize),
}

/// One option of a quantity.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// The key before `=`.
    pub name: &'static str,
    /// What may follow.
    pub kind: Kind,
    /// What is taken where the option is not given, as it would be typed.
    pub default: &'static str,
    /// The key and the words without one of which the option has no effect.
    pub only_with: Option<(&'static str, fn() -> Vec<&'static str>)>,
}

impl OptionSpec {
    /// An option that always has an effect.
    pub(crate) const fn new(name: &'static str, kind: Kind, default: &'static str) -> Self {
        Self {
            name,
            kind,
            default,
            only_with: None,
        }
    }

    /// The same option where it has an effect only with `key=` one of the words.
    pub(crate) const fn only_with(
        self,
        key: &'static str,
        words: fn() -> Vec<&'static str>,
    ) -> Self {
        Self {
            only_with: Some((key, words)),
            ..self
        }
    }
}

/// A checked value; in JSON a word or a number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// One of the words of [`Kind::Choice`].
    Word(&'static str),
    /// A real number.
    Number(f64),
    /// A whole number.
    Count(usize),
}

/// Every option of a quantity that has an effect, with its value, given or default.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Options(BTreeMap<&'static str, Value>);

impl Options {
    /// Reads `key=value` settings against the declared options.
    ///
    /// # Errors
    /// A setting without `=`, an unknown key (with the nearest known one), a bad value, a key set twice, an option that
    /// has no effect with the others.
    pub fn resolve(specs: &[OptionSpec], settings: &[String]) -> Result<Self> {
        let mut values = BTreeMap::new();
        for setting in settings {
            let (key, value) = setting
                .split_once('=')
                .ok_or_else(|| anyhow!("--set needs key=value, got `{setting}`"))?;
            let spec = find(specs, key.trim())?;
            let value = spec.parse(value.trim())?;
            if values.insert(spec.name, value).is_some() {
                bail!("option `{}` is set twice; set it once", spec.name);
            }
        }
        let given: Vec<&str> = values.keys().copied().collect();
        for spec in specs {
            let default = spec.parse(spec.default)?;
            values.entry(spec.name).or_insert(default);
        }
        for spec in specs {
            if let Some((key, words)) = spec.only_with
                && !words()
                    .iter()
                    .any(|word| values.get(key) == Some(&Value::Word(word)))
            {
                if given.contains(&spec.name) {
                    bail!(
                        "option `{0}` has an effect only with {key}={1}; set that too, or leave `{0}` out",
                        spec.name,
                        words().join("|")
                    );
                }
                values.remove(spec.name);
            }
        }
        Ok(Self(values))
    }

    /// The value of a word option.
    ///
    /// # Panics
    /// If the quantity did not declare it so, as for the other getters.
    pub(crate) fn word(&self, name: &str) -> &'static str {
        match self.0.get(name) {
            Some(Value::Word(word)) => word,
            other => panic!("option {name} is not declared as a choice but as {other:?}"),
        }
    }

    /// The value of a real option.
    pub(crate) fn number(&self, name: &str) -> f64 {
        match self.0.get(name) {
            Some(Value::Number(number)) => *number,
            other => panic!("option {name} is not declared as a number but as {other:?}"),
        }
    }

    /// The value of a whole-number option.
    pub(crate) fn count(&self, name: &str) -> usize {
        match self.0.get(name) {
            Some(Value::Count(count)) => *count,
            other => panic!("option {name} is not declared as a count but as {other:?}"),
        }
    }
}

/// The declared option called `key`.
fn find<'a>(specs: &'a [OptionSpec], key: &str) -> Result<&'a OptionSpec> {
    specs.iter().find(|spec| spec.name == key).ok_or_else(|| {
        let known: Vec<&str> = specs.iter().map(|spec| spec.name).collect();
        anyhow!(unknown("option", key, &known))
    })
}

impl OptionSpec {
    /// The checked value of `text`.
    fn parse(&self, text: &str) -> Result<Value> {
        let value = match self.kind {
            Kind::Choice(words) => return self.parse_word(&words(), text),
            Kind::Count(most) => match text.parse::<usize>() {
                Ok(count) if (1..=most).contains(&count) => Some(Value::Count(count)),
                _ => None,
            },
            Kind::Positive => finite(text).filter(|x| *x > 0.0).map(Value::Number),
            Kind::NonNegative => finite(text).filter(|x| *x >= 0.0).map(Value::Number),
        };
        value.with_context(|| {
            format!(
                "option `{}` must be {}, got `{text}`",
                self.name,
                self.kind.domain()
            )
        })
    }

    /// One of the known words, or an error with the nearest.
    fn parse_word(&self, words: &[&'static str], text: &str) -> Result<Value> {
        if let Some(word) = words.iter().find(|word| **word == text) {
            return Ok(Value::Word(word));
        }
        let hint = nearest(text, words.iter().copied())
            .map(|word| format!("; did you mean `{word}`?"))
            .unwrap_or_default();
        bail!(
            "option `{}` must be one of {}, got `{text}`{hint}",
            self.name,
            quoted(words)
        )
    }
}

impl Kind {
    /// The domain in words, for messages and for the table.
    pub fn domain(self) -> String {
        match self {
            Self::Choice(words) => words().join("|"),
            Self::Positive => "a finite number > 0".to_owned(),
            Self::NonNegative => "a finite number ≥ 0".to_owned(),
            Self::Count(most) => format!("a whole number from 1 to {most}"),
        }
    }
}

/// A finite number, or nothing.
fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|x: &f64| x.is_finite())
}
