//! Choices as text: a name, or a name with a number.

use crate::error::{Error, Result};
use std::fmt;

/// A choice with at most one number, written `name` or `name(number)`.
pub(crate) struct NameAndNumber<'a> {
    kind: &'static str,
    pub(crate) name: &'a str,
    number: Option<f64>,
}

impl<'a> NameAndNumber<'a> {
    /// Splits `text`; `kind` is what the error messages call it.
    pub(crate) fn parse(kind: &'static str, text: &'a str) -> Result<Self> {
        let (name, number) = match text.split_once('(') {
            None => (text.trim(), None),
            Some((name, rest)) => {
                let number = rest.trim_end().strip_suffix(')');
                let number = number.and_then(|n| n.trim().parse().ok());
                let malformed = || Error::invalid(kind, "be `name` or `name(number)`", text);
                (name.trim(), Some(number.ok_or_else(malformed)?))
            }
        };
        Ok(Self { kind, name, number })
    }

    /// `value`, if no number was given.
    pub(crate) fn alone<T>(&self, value: T) -> Result<T> {
        match self.number {
            None => Ok(value),
            Some(number) => {
                let what = format!("{} `{}`", self.kind, self.name);
                Err(Error::invalid(what, "have no number", number))
            }
        }
    }

    /// The number, or `default` if none was given; positive and finite.
    pub(crate) fn positive(&self, what: &str, default: f64) -> Result<f64> {
        let number = self.number.unwrap_or(default);
        if number.is_finite() && number > 0.0 {
            Ok(number)
        } else {
            let what = format!("{what} of {} `{}`", self.kind, self.name);
            Err(Error::invalid(what, "be finite and > 0", number))
        }
    }
}

/// Writes `name(number)`, which [`NameAndNumber`] reads back exactly.
pub(crate) fn with_number(f: &mut fmt::Formatter<'_>, name: &str, number: f64) -> fmt::Result {
    write!(f, "{name}({number})")
}
