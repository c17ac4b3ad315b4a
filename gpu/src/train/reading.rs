//! The numbers of an update: losses, S and the gradient's norm, which must be finite, and may still be on their way from a card.

use super::step::{Structure, bad_features};
use crate::config::Config;
use crate::device::transfer::Later;
use crate::structure::Relation;
use crate::{Error, Result};
use candle_core::Tensor;

/// Numbers of one update.
#[derive(Debug)]
pub(super) struct Reading {
    step: usize,
    expected: Vec<Expected>,
    later: Later,
    /// Ψ and Ψ̂, which may say why S is no number.
    features: Option<([Tensor; 2], Relation)>,
}

/// A number that must be finite.
#[derive(Debug, Clone, Copy)]
struct Expected {
    name: &'static str,
    /// What may help if it is not.
    remedy: Option<&'static str>,
}

const S: Expected = Expected {
    name: "structural loss",
    remedy: Some("train.learning_rate, adversarial.learning_rate or structure.weight"),
};

impl Reading {
    /// The loss of Ψ as a classifier.
    pub(super) fn of_encoder(step: usize, loss: &Tensor) -> Result<Self> {
        let name = "encoder's loss";
        let expected = Expected {
            name,
            remedy: Some("encoder.learning_rate"),
        };
        Self::begun(step, vec![expected], &[loss], None)
    }

    /// The denoising loss, and S if there is one.
    pub(super) fn of_theta(
        step: usize,
        denoising: &Tensor,
        structure: Option<&Structure>,
        config: &Config,
    ) -> Result<Self> {
        let name = "denoising loss";
        let mut expected = vec![Expected {
            name,
            remedy: Some("train.learning_rate"),
        }];
        expected.extend(structure.map(|_| S));
        let losses: Vec<&Tensor> = [denoising]
            .into_iter()
            .chain(structure.map(|s| &s.loss))
            .collect();
        Self::begun(step, expected, &losses, features(structure, config))
    }

    /// S alone.
    pub(super) fn of_structure(
        step: usize,
        structure: &Structure,
        config: &Config,
    ) -> Result<Self> {
        Self::begun(
            step,
            vec![S],
            &[&structure.loss],
            features(Some(structure), config),
        )
    }

    /// The norm of a gradient.
    pub(super) fn of_gradient(step: usize, later: Later) -> Result<Self> {
        let expected = vec![Expected {
            name: "gradient norm",
            remedy: None,
        }];
        Self {
            step,
            expected,
            later,
            features: None,
        }
        .checked_if_known()
    }

    fn begun(
        step: usize,
        expected: Vec<Expected>,
        numbers: &[&Tensor],
        features: Option<([Tensor; 2], Relation)>,
    ) -> Result<Self> {
        let later = Later::of(numbers)?;
        Self {
            step,
            expected,
            later,
            features,
        }
        .checked_if_known()
    }

    /// What needs no waiting is refused at once, before it has done harm.
    fn checked_if_known(mut self) -> Result<Self> {
        if self.is_known() {
            self.wait()?;
        }
        Ok(self)
    }

    /// Whether [`Reading::wait`] does not wait.
    pub(super) fn is_known(&self) -> bool {
        self.later.if_known().is_some()
    }

    /// The numbers in their order, all of them finite.
    ///
    /// # Errors
    /// One that is not finite: which, where, and which settings may help when smaller, or what is wrong with the features.
    pub(super) fn wait(&mut self) -> Result<&[f64]> {
        let step = self.step;
        let numbers = self.later.wait()?;
        for (&number, Expected { name, remedy }) in numbers.iter().zip(&self.expected) {
            if number.is_finite() {
                continue;
            }
            if let (Some((features, relation)), true) = (&self.features, *name == S.name)
                && let Ok(Some(reason)) = bad_features(features.each_ref(), *relation)
            {
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
    pub(super) fn first(&mut self) -> Result<f64> {
        Ok(self.wait()?[0])
    }
}

fn features(structure: Option<&Structure>, config: &Config) -> Option<([Tensor; 2], Relation)> {
    // Without their graph: it would keep all of a step's tensors.
    let features = structure.map(|s| [s.psi.detach(), s.psi_hat.detach()]);
    features.map(|features| (features, config.structure.relation))
}
