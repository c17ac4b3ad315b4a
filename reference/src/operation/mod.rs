//! Operations by name: value, gradients and rounding bound behind one interface.
//!
//! The golden tests and the cross-checks go through [`OPERATIONS`], so that a layer is strung together here and nowhere else.

mod layers;

use ndarray::ArrayD;

use crate::bound::{Precision, Tracked};
use crate::nn::NnError;

/// Every operation.
pub const OPERATIONS: &[Operation] = layers::LAYERS;

/// Where an operation finds what it is given; `None` where nothing has the name.
pub trait Inputs {
    /// A tensor.
    fn tensor(&self, name: &str) -> Option<&ArrayD<f64>>;
    /// A real number.
    fn number(&self, name: &str) -> Option<f64>;
    /// A size or count.
    fn count(&self, name: &str) -> Option<usize>;
    /// Indices or labels.
    fn indices(&self, name: &str) -> Option<Vec<u32>>;
}

/// A function y of tensors, with the gradient of `Σ g·y` in each of them; of y itself where it is a number.
#[derive(Debug)]
pub struct Operation {
    /// Its name: that of its file of golden vectors, and of its cross-check after the family.
    pub name: &'static str,
    /// Its formula.
    pub formula: &'static str,
    /// The tensors that it is differentiated in.
    pub inputs: &'static [&'static str],
    value: fn(Given<'_>) -> Result<Vec<ArrayD<f64>>, OperationError>,
    bound: fn(Given<'_>, Precision) -> Result<Vec<Tracked>, OperationError>,
}

/// Why an operation has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// Something that it needs was not given.
    #[error("the inputs must hold `{0}`")]
    Missing(&'static str),
    /// The layer refused its arguments.
    #[error(transparent)]
    Layer(#[from] NnError),
}

impl Operation {
    /// The operation called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        OPERATIONS.iter().find(|operation| operation.name == name)
    }

    /// `y` and `grad_NAME` for every input, each by its name.
    ///
    /// # Errors
    /// [`OperationError`].
    pub fn value(&self, inputs: &dyn Inputs) -> Result<Vec<(String, ArrayD<f64>)>, OperationError> {
        Ok(self.named((self.value)(Given(inputs))?))
    }

    /// The same by the algorithms of [`crate::bound`], each with a bound for the error in precision `p`.
    ///
    /// # Errors
    /// [`OperationError`].
    pub fn bound(
        &self,
        inputs: &dyn Inputs,
        p: Precision,
    ) -> Result<Vec<(String, Tracked)>, OperationError> {
        Ok(self.named((self.bound)(Given(inputs), p)?))
    }

    fn named<T>(&self, outputs: Vec<T>) -> Vec<(String, T)> {
        let gradients = self.inputs.iter().map(|name| format!("grad_{name}"));
        let names = std::iter::once("y".to_owned()).chain(gradients);
        names.zip(outputs).collect()
    }
}

/// [`Inputs`] that name what is missing.
#[derive(Clone, Copy)]
struct Given<'a>(&'a dyn Inputs);

impl<'a> Given<'a> {
    fn array(self, name: &'static str) -> Result<&'a ArrayD<f64>, OperationError> {
        self.0.tensor(name).ok_or(OperationError::Missing(name))
    }

    fn arrays<const N: usize>(
        self,
        names: [&'static str; N],
    ) -> Result<[&'a ArrayD<f64>; N], OperationError> {
        let mut found = [self.array(names[0])?; N];
        for (slot, name) in found.iter_mut().zip(names) {
            *slot = self.array(name)?;
        }
        Ok(found)
    }

    /// The same, exact in every precision.
    fn exact<const N: usize>(
        self,
        names: [&'static str; N],
    ) -> Result<[Tracked; N], OperationError> {
        Ok(self.arrays(names)?.map(|x| Tracked::exact(x.clone())))
    }

    fn count(self, name: &'static str) -> Result<usize, OperationError> {
        self.0.count(name).ok_or(OperationError::Missing(name))
    }

    fn indices(self, name: &'static str) -> Result<Vec<u32>, OperationError> {
        self.0.indices(name).ok_or(OperationError::Missing(name))
    }

    /// The taps of a resampling filter: whole numbers.
    fn taps(self) -> Result<Vec<f64>, OperationError> {
        Ok(self.indices("taps")?.into_iter().map(f64::from).collect())
    }

    fn eps(self, default: f64) -> f64 {
        self.0.number("eps").unwrap_or(default)
    }
}
