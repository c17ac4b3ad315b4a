//! Choices by name: registries, and the names under which their entries appear in configurations and on the command line.

use std::fmt::{self, Display};
use std::ops::Deref;
use std::str::FromStr;

/// A name that is not among the known ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be one of {known}, got `{got}`")]
pub struct UnknownName {
    /// What was to be named.
    pub what: &'static str,
    /// The known names, separated by commas.
    pub known: String,
    /// The refused name.
    pub got: String,
}

impl UnknownName {
    fn new(what: &'static str, names: &[String], got: &str) -> Self {
        Self {
            what,
            known: names.join(", "),
            got: got.to_owned(),
        }
    }
}

/// The member of `all` whose `Display` form is `got`.
pub(crate) fn parse<T: Copy + Display>(
    what: &'static str,
    all: &[T],
    got: &str,
) -> Result<T, UnknownName> {
    let names: Vec<String> = all.iter().map(T::to_string).collect();
    match names.iter().position(|name| name == got) {
        Some(at) => Ok(all[at]),
        None => Err(UnknownName::new(what, &names, got)),
    }
}

/// The parameter of an entry: a number from [`Parameter::LEAST`] to [`Parameter::MOST`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameter {
    /// What it is called, such as `bandwidth`.
    pub name: &'static str,
    /// Its usual value.
    pub default: f64,
}

impl Parameter {
    /// Its least value. Beyond either end its square, or the reciprocal of that, would be no normal number in single precision.
    pub const LEAST: f64 = 1e-18;
    /// Its largest value.
    pub const MOST: f64 = 1e18;

    /// What a value must be that it is not: the end of "… must …".
    fn must(value: f64) -> Option<&'static str> {
        if !(value.is_finite() && value > 0.0) {
            Some("be finite and > 0")
        } else if (Self::LEAST..=Self::MOST).contains(&value) {
            None
        } else {
            Some(
                "be from 1e-18 to 1e18, so that single precision holds its square and its inverse square",
            )
        }
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

    /// The names of the entries with a parameter of this name.
    pub fn names_with(parameter: &str) -> Vec<&'static str> {
        let has = |choice: &Self| choice.parameter().is_some_and(|p| p.name == parameter);
        Self::all().filter(has).map(Self::name).collect()
    }

    /// The parameter's name, what its value must be and what it is, where that is not in its range.
    pub(crate) fn refused(&self) -> Option<(&'static str, &'static str, f64)> {
        let (parameter, number) = (self.parameter()?, self.number());
        Parameter::must(number).map(|must| (parameter.name, must, number))
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

/// The same entry with the same value.
impl<T: ?Sized + Slot> PartialEq for Choice<T> {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.number().to_bits() == other.number().to_bits()
    }
}

impl<T: ?Sized + Slot> Eq for Choice<T> {}

impl<T: ?Sized + Slot> fmt::Debug for Choice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The name, followed by the parameter's value where that was given.
impl<T: ?Sized + Slot> Display for Choice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parameter().and(self.number) {
            None => f.write_str(self.name()),
            Some(number) => write!(f, "{}({number})", self.name()),
        }
    }
}

impl<T: ?Sized + Slot> FromStr for Choice<T> {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let unknown = || {
            let names: Vec<String> = Self::names().into_iter().map(str::to_owned).collect();
            UnknownName::new(T::NAME, &names, text)
        };
        let (name, number) = match text.split_once('(') {
            None => (text, None),
            Some((name, rest)) => {
                let number = rest.strip_suffix(')').and_then(|n| n.parse().ok());
                (name, Some(number.ok_or_else(unknown)?))
            }
        };
        let choice = Self::all().find(|choice| choice.name() == name);
        let choice = choice.filter(|c| number.is_none() || c.parameter().is_some());
        choice
            .map(|choice| Self { number, ..choice })
            .ok_or_else(unknown)
    }
}
