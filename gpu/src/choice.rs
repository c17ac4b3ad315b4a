//! Choices by name: the registry of a slot, and an entry of it as configurations write it.

use crate::error::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// The parameter of an entry: a finite number > 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameter {
    /// What messages call it.
    pub name: &'static str,
    /// Its value where a configuration gives the bare name.
    pub default: f64,
}

/// An entry of a registry.
pub trait Named: Send + Sync {
    /// The name in configurations.
    fn name(&self) -> &'static str;

    /// The parameter, if it has one.
    fn parameter(&self) -> Option<Parameter> {
        None
    }
}

/// The entries of a slot of the configuration.
pub trait Registry: Named + 'static {
    /// What the slot is called.
    const SLOT: &'static str;

    /// All of them, in the order in which messages list them.
    fn all() -> &'static [&'static Self];
}

/// An entry of a registry with the value of its parameter.
///
/// As text: `rbf`, or with its parameter `rbf(0.5)`.
pub struct Choice<T: ?Sized + 'static> {
    entry: &'static T,
    number: Option<f64>,
}

impl<T: ?Sized> Choice<T> {
    /// An entry, with its parameter's default.
    pub const fn new(entry: &'static T) -> Self {
        Self {
            entry,
            number: None,
        }
    }

    /// The entry with its parameter at `number`; no more than the entry if it has none.
    #[must_use]
    pub const fn with(self, number: f64) -> Self {
        Self {
            number: Some(number),
            ..self
        }
    }
}

impl<T: ?Sized + Registry> Choice<T> {
    /// Every entry, with its parameter's default.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        T::all().iter().map(|entry| Self::new(entry))
    }

    /// The names of all entries.
    pub fn names() -> Vec<&'static str> {
        T::all().iter().map(|entry| entry.name()).collect()
    }

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        self.entry.name()
    }

    /// The parameter's value; NaN for an entry without one.
    pub fn number(self) -> f64 {
        let value = |p: Parameter| self.number.unwrap_or(p.default);
        self.entry.parameter().map_or(f64::NAN, value)
    }
}

impl<T: ?Sized> Clone for Choice<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Choice<T> {}

impl<T: ?Sized> Deref for Choice<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.entry
    }
}

/// The same name and number.
impl<T: ?Sized + Registry> PartialEq for Choice<T> {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.number().to_bits() == other.number().to_bits()
    }
}

impl<T: ?Sized + Registry> fmt::Display for Choice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry.parameter() {
            None => f.write_str(self.name()),
            Some(_) => write!(f, "{}({})", self.name(), self.number()),
        }
    }
}

impl<T: ?Sized + Registry> fmt::Debug for Choice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T: ?Sized + Registry> FromStr for Choice<T> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, number) = match text.split_once('(') {
            None => (text.trim(), None),
            Some((name, rest)) => {
                let number = rest.trim_end().strip_suffix(')');
                let number = number.and_then(|n| n.trim().parse().ok());
                let malformed = || Error::invalid(T::SLOT, "be `name` or `name(number)`", text);
                (name.trim(), Some(number.ok_or_else(malformed)?))
            }
        };
        let entry = T::all().iter().find(|entry| entry.name() == name);
        let entry = *entry.ok_or_else(|| Error::unknown_name(T::SLOT, name, &Self::names()))?;
        let slot = T::SLOT;
        match (entry.parameter(), number) {
            (None, Some(number)) => {
                let what = format!("{slot} `{name}`");
                Err(Error::invalid(what, "have no number", number))
            }
            (Some(parameter), Some(number)) if !(f64::is_finite(number) && number > 0.0) => {
                let what = format!("{} of {slot} `{name}`", parameter.name);
                Err(Error::invalid(what, "be finite and > 0", number))
            }
            _ => Ok(Self { entry, number }),
        }
    }
}

impl<T: ?Sized + Registry> Serialize for Choice<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: ?Sized + Registry> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
