//! One input of a check: named parameters and named tensors, with an exact text form.

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayD, Ix2};
use sadm_reference::operation::Inputs;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeStruct};

use crate::error::{Error, Result};

/// A scalar or a short list that a check reads beside its tensors.
#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    /// A real number; never rounded to the element type, because the training system keeps scalars in f64.
    Number(f64),
    /// A count, a size or a seed.
    Count(u64),
    /// The name of a choice, spelled as in the configuration file.
    Text(String),
    /// A switch.
    Flag(bool),
    /// Real numbers, one for each sample: times, weights.
    Numbers(Vec<f64>),
    /// Counts: labels, sizes.
    Counts(Vec<u64>),
}

/// One input of a check.
///
/// Two cases are equal when every number is; [`Case::to_json`] and [`Case::from_json`] keep every bit, so
/// a counter-example that was written to a file is the counter-example that was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Parameters by name.
    pub params: BTreeMap<String, Param>,
    /// Tensors by name.
    #[serde(serialize_with = "write_tensors", deserialize_with = "read_tensors")]
    pub tensors: BTreeMap<String, ArrayD<f64>>,
}

impl Case {
    /// An empty case.
    pub fn new() -> Self {
        Self::default()
    }

    /// The case with a number added.
    #[must_use]
    pub fn number(mut self, name: &str, value: f64) -> Self {
        self.params.insert(name.to_owned(), Param::Number(value));
        self
    }

    /// The case with a count added.
    #[must_use]
    pub fn count(mut self, name: &str, value: usize) -> Self {
        self.params
            .insert(name.to_owned(), Param::Count(value as u64));
        self
    }

    /// The case with a seed added.
    #[must_use]
    pub fn seed(mut self, value: u64) -> Self {
        self.params.insert("seed".to_owned(), Param::Count(value));
        self
    }

    /// The case with a named choice added.
    #[must_use]
    pub fn text(mut self, name: &str, value: &str) -> Self {
        self.params
            .insert(name.to_owned(), Param::Text(value.to_owned()));
        self
    }

    /// The case with a switch added.
    #[must_use]
    pub fn flag(mut self, name: &str, value: bool) -> Self {
        self.params.insert(name.to_owned(), Param::Flag(value));
        self
    }

    /// The case with a list of numbers added.
    #[must_use]
    pub fn numbers(mut self, name: &str, values: Vec<f64>) -> Self {
        self.params.insert(name.to_owned(), Param::Numbers(values));
        self
    }

    /// The case with a list of counts added.
    #[must_use]
    pub fn counts(mut self, name: &str, values: Vec<u64>) -> Self {
        self.params.insert(name.to_owned(), Param::Counts(values));
        self
    }

    /// The case with a tensor added.
    #[must_use]
    pub fn tensor<D: ndarray::Dimension>(
        mut self,
        name: &str,
        value: ndarray::Array<f64, D>,
    ) -> Self {
        self.tensors.insert(name.to_owned(), value.into_dyn());
        self
    }

    /// Reads a number.
    pub fn get_number(&self, name: &str) -> Result<f64> {
        match self.param(name)? {
            Param::Number(value) => Ok(*value),
            other => Err(wrong(name, "a number", other)),
        }
    }

    /// Reads a count.
    pub fn get_count(&self, name: &str) -> Result<usize> {
        usize::try_from(self.get_u64(name)?).map_err(|_| Error::Parameter {
            name: name.to_owned(),
            must: "a size",
            got: "a larger number".to_owned(),
        })
    }

    /// Reads a seed or any other 64-bit count.
    pub fn get_u64(&self, name: &str) -> Result<u64> {
        match self.param(name)? {
            Param::Count(value) => Ok(*value),
            other => Err(wrong(name, "a count", other)),
        }
    }

    /// Reads a named choice.
    pub fn get_text(&self, name: &str) -> Result<&str> {
        match self.param(name)? {
            Param::Text(value) => Ok(value),
            other => Err(wrong(name, "a name", other)),
        }
    }

    /// Reads a switch.
    pub fn get_flag(&self, name: &str) -> Result<bool> {
        match self.param(name)? {
            Param::Flag(value) => Ok(*value),
            other => Err(wrong(name, "a switch", other)),
        }
    }

    /// Reads a list of numbers.
    pub fn get_numbers(&self, name: &str) -> Result<&[f64]> {
        match self.param(name)? {
            Param::Numbers(values) => Ok(values),
            other => Err(wrong(name, "a list of numbers", other)),
        }
    }

    /// Reads a list of counts.
    pub fn get_counts(&self, name: &str) -> Result<&[u64]> {
        match self.param(name)? {
            Param::Counts(values) => Ok(values),
            other => Err(wrong(name, "a list of counts", other)),
        }
    }

    /// Reads a tensor.
    pub fn get(&self, name: &str) -> Result<&ArrayD<f64>> {
        self.tensors.get(name).ok_or_else(|| self.missing(name))
    }

    /// Reads a matrix `[rows, columns]`.
    pub fn get2(&self, name: &str) -> Result<Array2<f64>> {
        let tensor = self.get(name)?;
        tensor
            .clone()
            .into_dimensionality::<Ix2>()
            .map_err(|_| Error::Shape {
                name: name.to_owned(),
                must: "two axes".to_owned(),
                got: tensor.shape().to_vec(),
            })
    }

    /// The case with every tensor replaced by `round` of its elements; parameters stay.
    #[must_use]
    pub fn map_tensors(&self, round: impl Fn(f64) -> f64) -> Self {
        let tensors = self
            .tensors
            .iter()
            .map(|(name, value)| (name.clone(), value.mapv(&round)))
            .collect();
        Self {
            params: self.params.clone(),
            tensors,
        }
    }

    /// The case as text; see [`Case::from_json`].
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// The case that [`Case::to_json`] wrote, to the last bit.
    ///
    /// # Errors
    /// When the text is not such a case; the message says where.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    fn param(&self, name: &str) -> Result<&Param> {
        self.params.get(name).ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &str) -> Error {
        let held: Vec<&str> = self
            .params
            .keys()
            .chain(self.tensors.keys())
            .map(String::as_str)
            .collect();
        Error::Missing {
            name: name.to_owned(),
            held: held.join(", "),
        }
    }
}

impl Inputs for Case {
    fn tensor(&self, name: &str) -> Option<&ArrayD<f64>> {
        self.tensors.get(name)
    }
    fn number(&self, name: &str) -> Option<f64> {
        self.get_number(name).ok()
    }
    fn count(&self, name: &str) -> Option<usize> {
        self.get_count(name).ok()
    }
    fn indices(&self, name: &str) -> Option<Vec<u32>> {
        let indices = self.get_counts(name).ok()?;
        indices.iter().map(|&i| u32::try_from(i).ok()).collect()
    }
}

fn wrong(name: &str, must: &'static str, got: &Param) -> Error {
    Error::Parameter {
        name: name.to_owned(),
        must,
        got: format!("{got:?}"),
    }
}

/// A number as JSON: a JSON number, or the names of the three values JSON has no number for.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Named(String),
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        if value.is_finite() {
            Self::Finite(value)
        } else {
            Self::Named(value.to_string())
        }
    }
}

impl Number {
    fn read<E: de::Error>(self) -> std::result::Result<f64, E> {
        match self {
            Self::Finite(value) => Ok(value),
            Self::Named(name) => match name.as_str() {
                "NaN" => Ok(f64::NAN),
                "inf" => Ok(f64::INFINITY),
                "-inf" => Ok(f64::NEG_INFINITY),
                other => Err(E::custom(format!(
                    "a number must be finite, NaN, inf or -inf, got `{other}`"
                ))),
            },
        }
    }
}

fn numbers(values: impl IntoIterator<Item = f64>) -> Vec<Number> {
    values.into_iter().map(Number::from).collect()
}

fn read_numbers<E: de::Error>(values: Vec<Number>) -> std::result::Result<Vec<f64>, E> {
    values.into_iter().map(Number::read).collect()
}

/// The text form of [`Param`]: one key that names the kind, so that `1` the count and `1.0` the number
/// stay apart.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum ParamText {
    Number(Number),
    Count(u64),
    Text(String),
    Flag(bool),
    Numbers(Vec<Number>),
    Counts(Vec<u64>),
}

impl Serialize for Param {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let text = match self.clone() {
            Self::Number(value) => ParamText::Number(value.into()),
            Self::Count(value) => ParamText::Count(value),
            Self::Text(value) => ParamText::Text(value),
            Self::Flag(value) => ParamText::Flag(value),
            Self::Numbers(values) => ParamText::Numbers(numbers(values)),
            Self::Counts(values) => ParamText::Counts(values),
        };
        text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Param {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Ok(match ParamText::deserialize(deserializer)? {
            ParamText::Number(value) => Self::Number(value.read()?),
            ParamText::Count(value) => Self::Count(value),
            ParamText::Text(value) => Self::Text(value),
            ParamText::Flag(value) => Self::Flag(value),
            ParamText::Numbers(values) => Self::Numbers(read_numbers(values)?),
            ParamText::Counts(values) => Self::Counts(values),
        })
    }
}

struct WriteTensor<'a>(&'a ArrayD<f64>);

impl Serialize for WriteTensor<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut text = serializer.serialize_struct("Tensor", 2)?;
        text.serialize_field("shape", self.0.shape())?;
        text.serialize_field("data", &numbers(self.0.iter().copied()))?;
        text.end()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadTensor {
    shape: Vec<usize>,
    data: Vec<Number>,
}

fn write_tensors<S: Serializer>(
    tensors: &BTreeMap<String, ArrayD<f64>>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(
        tensors
            .iter()
            .map(|(name, value)| (name, WriteTensor(value))),
    )
}

fn read_tensors<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<BTreeMap<String, ArrayD<f64>>, D::Error> {
    let read = BTreeMap::<String, ReadTensor>::deserialize(deserializer)?;
    read.into_iter()
        .map(|(name, ReadTensor { shape, data })| {
            let count = data.len();
            ArrayD::from_shape_vec(shape.clone(), read_numbers(data)?)
                .map(|tensor| (name.clone(), tensor))
                .map_err(|_| {
                    de::Error::custom(format!(
                        "tensor `{name}` of shape {shape:?} must hold as many numbers, got {count}"
                    ))
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array, IxDyn, array};
    use proptest::prelude::*;

    fn any_bits() -> impl Strategy<Value = f64> {
        any::<u64>().prop_map(f64::from_bits)
    }

    fn bits(x: f64) -> u64 {
        if x.is_nan() {
            f64::NAN.to_bits()
        } else {
            x.to_bits()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn text_form_keeps_every_bit(
            values in prop::collection::vec(any_bits(), 6),
            number in any_bits(),
            seed in any::<u64>(),
        ) {
            let tensor = Array::from_shape_vec(IxDyn(&[2, 3]), values).expect("six values");
            let case = Case::new().number("t", number).seed(seed).tensor("x", tensor);
            let text = case.clone().text("relation", "rbf").to_json().expect("it has a text form");
            let back = Case::from_json(&text).expect("the text form is readable");
            let all = |c: &Case| -> Vec<u64> {
                c.get("x").expect("x").iter().map(|&v| bits(v)).collect()
            };
            let t = |c: &Case| bits(c.get_number("t").expect("t"));
            prop_assert_eq!(all(&case), all(&back));
            prop_assert_eq!(t(&case), t(&back));
            prop_assert_eq!(back.get_u64("seed").expect("seed"), seed);
            prop_assert_eq!(back.get_text("relation").expect("relation"), "rbf");
        }
    }

    #[test]
    fn a_tensor_with_too_few_numbers_is_refused_by_name() {
        let text =
            r#"{"params": {}, "tensors": {"psi": {"shape": [2, 2], "data": [1.0, 2.0, 3.0]}}}"#;
        let message = Case::from_json(text)
            .expect_err("three numbers in a 2×2")
            .to_string();
        assert!(
            message.contains("psi") && message.contains("got 3"),
            "unclear: {message}"
        );
    }

    #[test]
    fn a_missing_entry_is_named_with_what_is_there() {
        let case = Case::new().tensor("psi", array![1.0]).number("eta", 2.0);
        let message = case.get("phi").expect_err("phi is not there").to_string();
        assert!(
            message.contains("phi") && message.contains("psi") && message.contains("eta"),
            "unclear: {message}"
        );
        let message = case
            .get_count("eta")
            .expect_err("eta is a number")
            .to_string();
        assert!(
            message.contains("eta") && message.contains("count"),
            "unclear: {message}"
        );
    }
}
