//! A term's record as its judge reads it.

use candle_core::Tensor;
use ndarray::{Array1, Array2, ArrayD, Ix2};
use sadm_gpu::{config::Config, train::term::Record};

use crate::{
    engine::Place,
    error::{Error, Result},
};

/// A term as it was computed in a live step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    /// What was recorded.
    pub(super) record: &'a Record,
    /// What was configured.
    pub(super) config: &'a Config,
    /// Name of the phase.
    pub(super) phase: &'a str,
    /// Whose update it is.
    pub(super) player: &'a str,
}

impl<'a> Seen<'a> {
    fn there<T>(self, what: &str, name: &str, entry: Option<T>) -> Result<T> {
        entry.ok_or_else(|| {
            Error::Gpu(format!(
                "the record of `{}` has no {what} `{name}`",
                self.record.term
            ))
        })
    }

    /// A choice by name.
    pub(super) fn choice(self, name: &str) -> Result<&'a str> {
        self.there(
            "choice",
            name,
            self.record.choices.get(name).map(String::as_str),
        )
    }

    /// That a choice is the configured one.
    ///
    /// # Errors
    /// Another one.
    pub(super) fn says(self, name: &str, configured: &dyn std::fmt::Display) -> Result<()> {
        let (used, configured) = (self.choice(name)?, configured.to_string());
        if used == configured {
            return Ok(());
        }
        let term = self.record.term;
        Err(Error::Gpu(format!(
            "the {name} of `{term}` must be `{configured}` as configured, got `{used}`"
        )))
    }

    /// A choice as a type knows it.
    pub(super) fn parsed<T>(self, name: &str) -> Result<T>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        self.choice(name)?.parse().map_err(Error::reference)
    }

    /// A number that holds for the batch.
    pub(super) fn setting(self, name: &str) -> Result<f64> {
        self.there("setting", name, self.record.settings.get(name).copied())
    }

    /// A number of each sample.
    pub(super) fn samples(self, name: &str) -> Result<&'a [f64]> {
        self.there(
            "numbers",
            name,
            self.record.samples.get(name).map(Vec::as_slice),
        )
    }

    /// A number of each sample as an array.
    pub(super) fn list(self, name: &str) -> Result<ArrayD<f64>> {
        Ok(Array1::from(self.samples(name)?.to_vec()).into_dyn())
    }

    /// A live tensor.
    pub(super) fn tensor(self, name: &str) -> Result<&'a Tensor> {
        self.there("tensor", name, self.record.tensors.get(name))
    }

    /// A live tensor as an array.
    pub(super) fn array(self, name: &str) -> Result<ArrayD<f64>> {
        Place::array(self.tensor(name)?)
    }

    /// A live tensor as a matrix.
    pub(super) fn matrix(self, name: &str) -> Result<Array2<f64>> {
        (self.array(name)?.into_dimensionality::<Ix2>()).map_err(Error::reference)
    }

    /// A gradient as an array.
    pub(super) fn gradient(self, name: &str) -> Result<ArrayD<f64>> {
        Place::array(self.there("gradient", name, self.record.gradients.get(name))?)
    }
}
