//! Instances of a statement: named parameters, and free values from which it builds its arrays.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use ndarray::Array2;

use super::StatementError;

/// How a parameter's range is to be sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Uniformly.
    Linear,
    /// Uniformly in the logarithm.
    Log,
    /// Whole numbers.
    Integer,
}

/// A parameter of a statement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameter {
    /// Name, as in the formula.
    pub name: &'static str,
    /// What it is.
    pub meaning: &'static str,
    /// Smallest value allowed.
    pub low: f64,
    /// Largest value allowed.
    pub high: f64,
    /// Value when none is given.
    pub default: f64,
    /// How to sample it.
    pub scale: Scale,
}

impl Parameter {
    /// One that is sampled uniformly.
    pub const fn linear(
        name: &'static str,
        meaning: &'static str,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> Self {
        Self {
            name,
            meaning,
            low: *range.start(),
            high: *range.end(),
            default,
            scale: Scale::Linear,
        }
    }

    /// One that is sampled uniformly in its logarithm.
    pub const fn logarithmic(
        name: &'static str,
        meaning: &'static str,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> Self {
        Self {
            scale: Scale::Log,
            ..Self::linear(name, meaning, range, default)
        }
    }

    /// One that takes whole numbers.
    pub const fn whole(
        name: &'static str,
        meaning: &'static str,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> Self {
        Self {
            scale: Scale::Integer,
            ..Self::linear(name, meaning, range, default)
        }
    }

    /// Whether a value lies in the range (and is whole where it must be).
    pub fn accepts(&self, value: f64) -> bool {
        let whole = self.scale != Scale::Integer || value.fract() == 0.0;
        whole && self.low <= value && value <= self.high
    }

    /// The value at `part` ∈ [0, 1] of the way from the lower end of the range to the upper one, on the parameter's scale.
    pub fn at(&self, part: f64) -> f64 {
        let Self { low, high, .. } = *self;
        let linear = low + (high - low) * part;
        let value = match self.scale {
            Scale::Linear => linear,
            Scale::Log => low * (high / low).powf(part),
            Scale::Integer => linear.round(),
        };
        value.clamp(low, high)
    }
}

/// Parameters by name, and free values for atoms, batches and noised points.
///
/// The values are consumed in order by [`Instance::values`]; a statement documents how many it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    parameters: BTreeMap<&'static str, f64>,
    values: Vec<f64>,
}

/// Number of free values in a default instance: enough for every statement here.
pub const VALUES: usize = 96;

impl Instance {
    /// The defaults of these parameters, with a fixed sequence of values in (−2, 2).
    pub fn of(parameters: &[Parameter]) -> Self {
        Self {
            parameters: parameters.iter().map(|p| (p.name, p.default)).collect(),
            // Multiples of the golden ratio modulo 1: generic, spread out, and the same everywhere.
            values: (1..=VALUES)
                .map(|k| 4.0 * (k as f64 * 0.618_033_988_749_894_9).fract() - 2.0)
                .collect(),
        }
    }

    /// Values for parameters that lie within their ranges, and the free values.
    pub(super) fn from_parts(parameters: BTreeMap<&'static str, f64>, values: Vec<f64>) -> Self {
        Self { parameters, values }
    }

    /// Replaces the free values.
    #[must_use]
    pub fn with_values(mut self, values: Vec<f64>) -> Self {
        self.values = values;
        self
    }

    /// Sets one parameter.
    ///
    /// # Errors
    /// [`StatementError::UnknownParameter`] or [`StatementError::OutOfRange`].
    pub fn with(
        mut self,
        known: &[Parameter],
        name: &str,
        value: f64,
    ) -> Result<Self, StatementError> {
        let Some(parameter) = known.iter().find(|p| p.name == name) else {
            return Err(StatementError::UnknownParameter {
                got: name.to_owned(),
                known: known.iter().map(|p| p.name).collect::<Vec<_>>().join(", "),
            });
        };
        if !parameter.accepts(value) {
            let Parameter {
                name, low, high, ..
            } = *parameter;
            return Err(StatementError::OutOfRange {
                name,
                low,
                high,
                got: value,
            });
        }
        self.parameters.insert(parameter.name, value);
        Ok(self)
    }

    /// The value of a parameter.
    ///
    /// # Errors
    /// [`StatementError::UnknownParameter`] if the instance was made for another statement.
    pub fn get(&self, name: &str) -> Result<f64, StatementError> {
        self.parameters
            .get(name)
            .copied()
            .ok_or_else(|| StatementError::UnknownParameter {
                got: name.to_owned(),
                known: self
                    .parameters
                    .keys()
                    .copied()
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    /// A whole-number parameter, as a size.
    ///
    /// # Errors
    /// As [`Instance::get`].
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked on entry"
    )]
    pub fn size(&self, name: &str) -> Result<usize, StatementError> {
        Ok(self.get(name)? as usize)
    }

    /// Every parameter with its value, by name.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.parameters.iter().map(|(name, value)| (*name, *value))
    }

    /// A cursor at the first free value.
    pub fn values(&self) -> Values<'_> {
        Values { rest: &self.values }
    }
}

/// The parameters, as `--set` takes them, and the free values.
impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.parameters {
            write!(f, "{name}={value} ")?;
        }
        let values: Vec<String> = self.values.iter().map(f64::to_string).collect();
        write!(f, "values={}", values.join(","))
    }
}

/// Reads an instance's free values in order.
#[derive(Debug, Clone)]
pub struct Values<'a> {
    rest: &'a [f64],
}

impl Values<'_> {
    /// The next `count` values.
    ///
    /// # Errors
    /// [`StatementError::TooFewValues`] if fewer are left.
    pub fn take(&mut self, count: usize) -> Result<Vec<f64>, StatementError> {
        if self.rest.len() < count {
            return Err(StatementError::TooFewValues {
                needed: count,
                left: self.rest.len(),
            });
        }
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(taken.to_vec())
    }

    /// The next rows × columns values as a matrix.
    ///
    /// # Errors
    /// As [`Values::take`].
    pub fn matrix(&mut self, rows: usize, columns: usize) -> Result<Array2<f64>, StatementError> {
        let taken = self.take(rows * columns)?;
        Ok(Array2::from_shape_fn((rows, columns), |(i, j)| {
            taken[i * columns + j]
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_walked_evenly() {
        let at = |low: f64, high: f64, scale: Scale, part: f64| {
            let parameter = Parameter {
                name: "x",
                meaning: "a number",
                low,
                high,
                default: low,
                scale,
            };
            let value = parameter.at(part);
            assert!(parameter.accepts(value), "{value}");
            value
        };
        for (scale, low, part, want) in [
            (Scale::Linear, 1.0, 0.5, 50.5),
            (Scale::Integer, 1.0, 0.5, 51.0),
            (Scale::Integer, 1.0, 0.25, 26.0),
            (Scale::Log, 1.0, 0.5, 10.0),
            (Scale::Log, 1.0, 1.0, 100.0),
            // 100/0.3 rounds upwards: without the clamp the end would lie beyond the range.
            (Scale::Log, 0.3, 1.0, 100.0),
        ] {
            let got = at(low, 100.0, scale, part);
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
    }
}
