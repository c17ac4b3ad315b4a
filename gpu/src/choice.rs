//! Choices by name: the registry of a slot, and an entry of it as configurations write it.

use crate::error::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// The parameter of an entry: a number from [`Parameter::RANGE`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameter {
    /// What it is called, such as `bandwidth`.
    pub name: &'static str,
    /// Its usual value.
    pub default: f64,
}

impl Parameter {
    /// Least and largest value: losses are computed in f32, which must hold the squares of both and their reciprocals.
    pub const RANGE: [f64; 2] = [1e-18, 1e18];

    /// Refuses a value outside the range.
    fn check(self, of: &str, value: f64) -> Result<()> {
        let [least, most] = Self::RANGE;
        let must = if !(value.is_finite() && value > 0.0) {
            "be finite and > 0".to_owned()
        } else if !(least..=most).contains(&value) {
            format!(
                "be from {least:e} to {most:e}, so that f32 holds its square and the reciprocal of that"
            )
        } else {
            return Ok(());
        };
        Err(Error::invalid(
            format!("{} of {of}", self.name),
            must,
            format!("{value:?}"),
        ))
    }
}

/// An entry of a registry: a name for `kind`.
pub struct Entry<T: ?Sized> {
    name: &'static str,
    parameter: Option<Parameter>,
    kind: T,
}

impl<T> Entry<T> {
    /// An entry without a parameter.
    pub const fn new(name: &'static str, kind: T) -> Self {
        Self {
            name,
            parameter: None,
            kind,
        }
    }

    /// An entry with a parameter.
    pub const fn with(name: &'static str, parameter: &'static str, default: f64, kind: T) -> Self {
        Self {
            name,
            parameter: Some(Parameter {
                name: parameter,
                default,
            }),
            kind,
        }
    }
}

/// A slot of the method, such as the relation: what its entries have in common, and the list of them.
pub trait Slot: 'static {
    /// What an entry is called in messages.
    const NAME: &'static str;

    /// Every entry, in the order in which messages list them.
    const ALL: &'static [Choice<Self>];
}

/// An entry of a registry, with the value of its parameter.
///
/// As text: `rbf`, or with its parameter `rbf(0.5)`.
pub struct Choice<T: ?Sized + 'static> {
    entry: &'static Entry<T>,
    number: Option<f64>,
}

impl<T: ?Sized> Choice<T> {
    /// An entry with the usual value of its parameter.
    pub const fn new(entry: &'static Entry<T>) -> Self {
        Self {
            entry,
            number: None,
        }
    }

    /// The same entry with another value of its parameter; an entry without one ignores it.
    #[must_use]
    pub const fn with(self, number: f64) -> Self {
        Self {
            number: Some(number),
            ..self
        }
    }

    /// The entry's name.
    pub fn name(self) -> &'static str {
        self.entry.name
    }

    /// The entry's parameter, if it has one.
    pub fn parameter(self) -> Option<Parameter> {
        self.entry.parameter
    }

    /// The value of the entry's parameter; NaN for an entry without one.
    pub fn number(self) -> f64 {
        let value = |p: Parameter| self.number.unwrap_or(p.default);
        self.entry.parameter.map_or(f64::NAN, value)
    }
}

impl<T: ?Sized + Slot> Choice<T> {
    /// Every entry, with the usual value of its parameter.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        T::ALL.iter().copied()
    }

    /// The names of all entries.
    pub fn names() -> Vec<&'static str> {
        Self::all().map(Self::name).collect()
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
        &self.entry.kind
    }
}

/// The same name and number.
impl<T: ?Sized + Slot> PartialEq for Choice<T> {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.number().to_bits() == other.number().to_bits()
    }
}

impl<T: ?Sized + Slot> fmt::Display for Choice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parameter() {
            None => f.write_str(self.name()),
            Some(_) => write!(f, "{}({})", self.name(), self.number()),
        }
    }
}

impl<T: ?Sized + Slot> fmt::Debug for Choice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T: ?Sized + Slot> FromStr for Choice<T> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, number) = match text.split_once('(') {
            None => (text.trim(), None),
            Some((name, rest)) => {
                let number = rest.trim_end().strip_suffix(')');
                let number = number.and_then(|n| n.trim().parse().ok());
                let malformed = || Error::invalid(T::NAME, "be `name` or `name(number)`", text);
                (name.trim(), Some(number.ok_or_else(malformed)?))
            }
        };
        let choice = Self::all().find(|choice| choice.name() == name);
        let choice = choice.ok_or_else(|| Error::unknown_name(T::NAME, name, &Self::names()))?;
        let slot = T::NAME;
        match (choice.parameter(), number) {
            (None, Some(number)) => {
                let what = format!("{slot} `{name}`");
                Err(Error::invalid(what, "have no number", number))
            }
            (parameter, number) => {
                if let (Some(parameter), Some(number)) = (parameter, number) {
                    parameter.check(&format!("{slot} `{name}`"), number)?;
                }
                Ok(Self { number, ..choice })
            }
        }
    }
}

impl<T: ?Sized + Slot> Serialize for Choice<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: ?Sized + Slot> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
