//! Couplings: which noise goes with which image (slot `Coupling`).
//!
//! A coupling only puts the drawn noise into another order, so that its law stays what it was; how a noise depends on its image is
//! the coupling's choice.

mod independent;
mod optimal;
mod pool;

use crate::error::{Error, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use std::fmt;

pub use optimal::{Classes, Cost, Optimal};
pub use pool::Pool;

/// Which noise goes with which image.
pub trait Coupling: Send + Sync {
    /// π: image i gets noise π(i). A permutation of 0..N.
    ///
    /// # Shapes
    /// `x0`, `eps`: `[N, …]`, equal; `labels`: the N images' classes.
    /// # Errors
    /// Images or noise that are not finite, labels that are missing or too few.
    fn assign(&self, x0: &Tensor, eps: &Tensor, labels: Option<&[u32]>) -> Result<Vec<usize>>;

    /// The cost that it makes small, if it looks at one.
    fn cost(&self) -> Option<Cost> {
        None
    }
}

/// The rows with these numbers, in this order: of noise and a permutation, the noise of each image.
pub fn rows_of(x: &Tensor, rows: &[usize]) -> Result<Tensor> {
    let number = |row: &usize| {
        u32::try_from(*row).map_err(|_| Error::invalid("a row's number", "be below 2³²", row))
    };
    let rows = rows.iter().map(number).collect::<Result<Vec<u32>>>()?;
    Ok(x.index_select(&Tensor::new(rows, x.device())?, 0)?)
}

/// A coupling as configurations name it.
pub struct Entry {
    /// The value of `coupling.method`.
    pub name: &'static str,
    /// The coupling with its configuration.
    pub build: fn(&CouplingConfig) -> Box<dyn Coupling>,
}

/// Every coupling; a new one is a file and a line at the end.
pub const COUPLINGS: [&Entry; 2] = [&independent::ENTRY, &optimal::ENTRY];

/// One of [`COUPLINGS`], by its place there and in text by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Method(usize);

impl Method {
    /// Each image keeps the noise that was drawn with it.
    pub const INDEPENDENT: Self = Self(0);

    fn entry(self) -> &'static Entry {
        COUPLINGS[self.0]
    }
}

impl TryFrom<String> for Method {
    type Error = Error;
    fn try_from(name: String) -> Result<Self> {
        let names = COUPLINGS.map(|entry| entry.name);
        let place = names.iter().position(|known| *known == name);
        place
            .map(Self)
            .ok_or_else(|| Error::unknown_name("coupling", &name, &names))
    }
}

impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.entry().name.to_owned()
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry().name)
    }
}

/// Which noise goes with which image, and among how many the choice is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CouplingConfig {
    /// `independent`, or `optimal`: the assignment of least total cost.
    pub method: Method,
    /// c(x, ε): `euclidean` or `squared-euclidean`, of images in [−1, 1] and unit noise.
    pub cost: Cost,
    /// Whether noise may go to images of another class: `together`, or `within` each class.
    pub classes: Classes,
    /// Pairs that are assigned together and used up in the following steps, a multiple of `train.batch` (0: one batch).
    pub pool: usize,
}

impl Default for CouplingConfig {
    fn default() -> Self {
        Self {
            method: Method::INDEPENDENT,
            cost: Cost::Euclidean,
            classes: Classes::Together,
            pool: 0,
        }
    }
}

impl CouplingConfig {
    /// Largest pool: its matrix of costs has as many squares, 2 GiB.
    pub const LARGEST_POOL: usize = 1 << 14;

    /// The configured coupling.
    pub fn build(&self) -> Box<dyn Coupling> {
        (self.method.entry().build)(self)
    }

    /// Whether each image keeps the noise that was drawn with it.
    pub fn is_independent(&self) -> bool {
        self.method == Method::INDEPENDENT
    }

    /// Batches that are assigned together.
    pub fn batches(&self, batch: usize) -> usize {
        (self.pool / batch.max(1)).max(1)
    }
}
