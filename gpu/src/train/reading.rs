//! The numbers of an update: losses, S and the gradient's norm, which must be finite, and may still be on their way from a GPU.

use super::term::{Summand, Suspect};
use crate::device::transfer::Later;
use crate::{Error, Result};
use candle_core::Tensor;

/// Numbers of one update.
pub(crate) struct Reading {
    step: usize,
    expected: Vec<Expected>,
    later: Later,
}

/// A number that must be finite.
struct Expected {
    name: &'static str,
    /// What may help if it is not.
    remedy: Option<&'static str>,
    /// Who may know why it is not.
    suspect: Option<Suspect>,
}

impl Reading {
    /// The values of terms, in their order.
    pub(crate) fn of_terms(
        step: usize,
        terms: &[Summand<'_>],
        losses: &[Tensor],
        suspects: Vec<Option<Suspect>>,
    ) -> Result<Self> {
        let expected = terms
            .iter()
            .zip(suspects)
            .map(|((_, term), suspect)| Expected {
                name: term.quantity(),
                remedy: Some(term.remedy()),
                suspect,
            });
        let reading = Self {
            step,
            expected: expected.collect(),
            later: Later::of(&losses.iter().collect::<Vec<_>>())?,
        };
        reading.checked_if_known()
    }

    /// The norm of a gradient.
    pub(crate) fn of_gradient(step: usize, later: Later) -> Result<Self> {
        let expected = vec![Expected {
            name: "gradient norm",
            remedy: None,
            suspect: None,
        }];
        let reading = Self {
            step,
            expected,
            later,
        };
        reading.checked_if_known()
    }

    /// What needs no waiting is refused at once, before it has done harm.
    fn checked_if_known(mut self) -> Result<Self> {
        if self.is_known() {
            self.wait()?;
        }
        Ok(self)
    }

    /// Whether [`Reading::wait`] does not wait.
    pub(crate) fn is_known(&self) -> bool {
        self.later.if_known().is_some()
    }

    /// The numbers in their order, all of them finite.
    ///
    /// # Errors
    /// One that is not finite: which, where, and which settings may help when smaller, or what is wrong with the features.
    pub(crate) fn wait(&mut self) -> Result<&[f64]> {
        let step = self.step;
        let numbers = self.later.wait()?;
        for (&number, expected) in numbers.iter().zip(&self.expected) {
            if number.is_finite() {
                continue;
            }
            let Expected {
                name,
                remedy,
                suspect,
            } = expected;
            if let Some(Ok(Some(reason))) = suspect.as_ref().map(|ask| ask()) {
                return Err(reason.after(&format!(" at step {step}"), ""));
            }
            let must = match remedy {
                Some(settings) => format!("be finite (a smaller {settings} may help)"),
                None => "be finite".to_owned(),
            };
            return Err(Error::invalid(
                format!("the {name} at step {step}"),
                must,
                number,
            ));
        }
        Ok(numbers)
    }

    /// The first of the numbers.
    pub(crate) fn first(&mut self) -> Result<f64> {
        Ok(self.wait()?[0])
    }
}
