//! What a quantity of the oracle is, and the check of its inputs.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use ndarray::ArrayD;

use crate::options::{OptionSpec, Options};
use crate::tensors::{Tensors, check, first_non_finite};

/// A named tensor of a quantity and its shape in symbols, such as `[B, d]` or `[N, …]`.
#[derive(Debug, Clone, Copy)]
pub struct Port {
    /// The tensor's name in the file.
    pub name: &'static str,
    /// One symbol per axis; a last `…` stands for any further axes.
    pub shape: &'static [&'static str],
}

/// Shorthand for a [`Port`].
pub const fn port(name: &'static str, shape: &'static [&'static str]) -> Port {
    Port { name, shape }
}

/// One quantity that `sadm oracle` computes.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    /// The name on the command line.
    pub name: &'static str,
    /// Its definition, one line of text each.
    pub formula: &'static [&'static str],
    /// What the input file must hold; empty for a quantity without input.
    pub inputs: &'static [Port],
    /// What it may hold besides.
    pub optional: &'static [Port],
    /// What `--set` takes.
    pub options: &'static [OptionSpec],
    /// What the output file will hold.
    pub outputs: &'static [Port],
    /// The computation, on inputs whose shapes fit.
    pub compute: fn(&Tensors<'_>, &Options) -> Result<Outputs>,
    /// How far scalars of the output may be from their exact values, by name; for a quantity that may cancel.
    pub bounds: Option<Bounds>,
    /// What a reader of the answer should know of the inputs, if anything.
    pub note: Option<fn(&Tensors<'_>) -> Option<String>>,
}

/// Running-error bounds of scalars by name.
pub type Bounds = fn(&Tensors<'_>, &Options) -> Result<BTreeMap<&'static str, f64>>;

/// Computed tensors in the order of [`Quantity::outputs`].
pub type Outputs = Vec<ArrayD<f64>>;

/// A computed quantity.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Which.
    pub quantity: &'static Quantity,
    /// The options that it was computed with.
    pub options: Options,
    /// Its tensors, in the order of [`Quantity::outputs`].
    pub outputs: Outputs,
    /// How far its scalars may be from their exact values, where that was asked for and is known.
    pub bounds: BTreeMap<&'static str, f64>,
    /// What its reader should know of the inputs, if anything.
    pub note: Option<String>,
}

impl Answer {
    /// Each tensor beside its name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &ArrayD<f64>)> {
        names(self.quantity.outputs).into_iter().zip(&self.outputs)
    }

    /// A tensor by name.
    pub fn output(&self, name: &str) -> Option<&ArrayD<f64>> {
        self.named()
            .find(|(known, _)| *known == name)
            .map(|(_, tensor)| tensor)
    }

    /// The outputs declared as one number.
    pub fn scalars(&self) -> BTreeMap<&'static str, f64> {
        let ports = self.quantity.outputs.iter().zip(&self.outputs);
        ports
            .filter(|(port, _)| port.is_scalar())
            .filter_map(|(port, x)| Some((port.name, *x.first()?)))
            .collect()
    }
}

impl Port {
    /// Whether it is declared as one number.
    pub fn is_scalar(&self) -> bool {
        self.shape == ["1"]
    }
}

impl Quantity {
    /// Computes the quantity of checked inputs.
    ///
    /// # Errors
    /// A tensor that is missing, unknown, not finite or of another shape, an input outside the quantity's domain, and an output that f64
    /// cannot hold.
    pub fn answer(&'static self, inputs: &Tensors<'_>, options: Options) -> Result<Answer> {
        check(inputs, &names(self.inputs), &names(self.optional))?;
        check_shapes(self.inputs.iter().chain(self.optional), inputs)?;
        let answer = Answer {
            quantity: self,
            outputs: (self.compute)(inputs, &options)?,
            options,
            bounds: BTreeMap::new(),
            note: self.note.and_then(|note| note(inputs)),
        };
        refuse_overflow(&answer, inputs)?;
        Ok(answer)
    }

    /// The same with [`Answer::bounds`], which take a running error analysis of the whole quantity.
    ///
    /// # Errors
    /// As [`Quantity::answer`].
    pub fn answer_with_bounds(
        &'static self,
        inputs: &Tensors<'_>,
        options: Options,
    ) -> Result<Answer> {
        let mut answer = self.answer(inputs, options)?;
        if let Some(bounds) = self.bounds {
            answer.bounds = bounds(inputs, &answer.options)?;
        }
        Ok(answer)
    }
}

/// An output that is infinite or NaN is refused by name, except λ, whose limit ±∞ is a value.
fn refuse_overflow(answer: &Answer, inputs: &Tensors<'_>) -> Result<()> {
    for (name, tensor) in answer.named() {
        match first_non_finite(tensor) {
            Some((_, value)) if name == "lambda" && !value.is_nan() => {}
            Some((index, value)) => {
                bail!(
                    "`{name}` is {value} at {index}: the inputs are too large or too small for f64{}",
                    extremes(inputs)
                )
            }
            None => {}
        }
    }
    Ok(())
}

/// `; they reach from 1e-200 at `t` [0] to …`: the elements that most probably are to blame.
fn extremes(inputs: &Tensors<'_>) -> String {
    let elements = || {
        inputs.iter().flat_map(|(name, x)| {
            x.indexed_iter()
                .filter(|(_, value)| **value != 0.0)
                .map(move |(index, value)| (value.abs(), *value, name, index))
        })
    };
    let least = elements().min_by(|a, b| a.0.total_cmp(&b.0));
    let most = elements().max_by(|a, b| a.0.total_cmp(&b.0));
    let (Some(least), Some(most)) = (least, most) else {
        return String::new();
    };
    let place = |(_, value, name, index): (f64, f64, &String, ndarray::IxDyn)| {
        let index = ndarray::Dimension::slice(&index).to_vec();
        format!("{value:e} (`{name}` {index:?})")
    };
    format!(
        "; the one nearest to zero is {}, the largest {}",
        place(least),
        place(most)
    )
}

/// Holds the shapes of the inputs to the declared ones.
///
/// A symbol takes the size where it first stands and must keep it. Tensors that are not there are left out.
///
/// # Errors
/// The first tensor with a wrong number of axes, an empty axis or a size that disagrees.
fn check_shapes<'a>(
    ports: impl IntoIterator<Item = &'a Port>,
    tensors: &Tensors<'_>,
) -> Result<()> {
    let mut sizes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for port in ports {
        let Some(tensor) = tensors.get(port.name) else {
            continue;
        };
        let shape = tensor.shape();
        if shape.contains(&0) {
            bail!(
                "tensor `{}` must not be empty, got shape {shape:?}",
                port.name
            );
        }
        let fits = bind(port.shape, shape, &mut sizes);
        if !fits {
            bail!(
                "tensor `{}` must have shape {}{}, got {shape:?}",
                port.name,
                symbols(port.shape),
                known_sizes(port.shape, &sizes),
            );
        }
    }
    Ok(())
}

/// Binds free symbols to sizes; says whether the shape fits.
fn bind(
    pattern: &'static [&'static str],
    shape: &[usize],
    sizes: &mut BTreeMap<&str, Vec<usize>>,
) -> bool {
    let open = pattern.last() == Some(&"…");
    let named = pattern.len() - usize::from(open);
    if shape.len() < named || (!open && shape.len() > named) {
        return false;
    }
    let (head, rest) = shape.split_at(named);
    let parts = head.iter().map(std::slice::from_ref).chain([rest]);
    pattern
        .iter()
        .zip(parts)
        .all(|(symbol, part)| sizes.entry(symbol).or_insert_with(|| part.to_vec()) == part)
}

/// The names of tensors.
pub fn names(ports: &[Port]) -> Vec<&'static str> {
    ports.iter().map(|port| port.name).collect()
}

/// `[B, d]`.
pub fn symbols(shape: &[&str]) -> String {
    format!("[{}]", shape.join(", "))
}

/// ` with B = 4, d = 3` for the symbols that have a size by now.
fn known_sizes(pattern: &[&str], sizes: &BTreeMap<&str, Vec<usize>>) -> String {
    let known: Vec<String> = pattern
        .iter()
        .filter_map(|symbol| Some((symbol, sizes.get(symbol)?)))
        .map(|(symbol, size)| match (*symbol, size.as_slice()) {
            ("…", rest) => format!("… = {rest:?}"),
            (symbol, [n]) => format!("{symbol} = {n}"),
            (symbol, other) => format!("{symbol} = {other:?}"),
        })
        .collect();
    if known.is_empty() {
        String::new()
    } else {
        format!(" with {}", known.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_shapes(shapes: &[(&str, &[usize])]) -> Tensors<'static> {
        shapes
            .iter()
            .map(|(name, shape)| ((*name).to_owned(), ArrayD::zeros(*shape).into()))
            .collect()
    }

    #[test]
    fn a_symbol_keeps_its_size_across_tensors() {
        let ports = [
            port("x0", &["N", "…"]),
            port("noise", &["N", "…"]),
            port("t", &["N"]),
        ];
        let good = with_shapes(&[("x0", &[2, 3, 4]), ("noise", &[2, 3, 4]), ("t", &[2])]);
        assert!(check_shapes(&ports, &good).is_ok());
        let bad = with_shapes(&[("x0", &[2, 3, 4]), ("noise", &[2, 4, 3]), ("t", &[2])]);
        let message = check_shapes(&ports, &bad)
            .expect_err("axes swapped")
            .to_string();
        assert_eq!(
            message,
            "tensor `noise` must have shape [N, …] with N = 2, … = [3, 4], got [2, 4, 3]"
        );
        let bad = with_shapes(&[("x0", &[2, 3, 4]), ("noise", &[2, 3, 4]), ("t", &[3])]);
        assert!(check_shapes(&ports, &bad).is_err());
    }

    #[test]
    fn a_missing_or_surplus_axis_is_refused() {
        let ports = [port("real", &["B", "d"])];
        assert!(check_shapes(&ports, &with_shapes(&[("real", &[4])])).is_err());
        assert!(check_shapes(&ports, &with_shapes(&[("real", &[4, 2, 1])])).is_err());
        assert!(check_shapes(&ports, &with_shapes(&[("real", &[4, 0])])).is_err());
    }
}
