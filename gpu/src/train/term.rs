//! Terms of a loss, and the record with which one can be computed again.

use super::pass::{Node, Pass};
use crate::{Error, Result};
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use std::collections::BTreeMap;

/// A term of a player's loss.
pub trait Term: Send + Sync {
    /// The key under which an observer looks up who judges it.
    fn name(&self) -> &'static str;
    /// What a message calls its value, such as "denoising loss".
    fn quantity(&self) -> &'static str;
    /// The settings of which smaller values may help where the value is not finite.
    fn remedy(&self) -> &'static str;
    /// The tensors of a pass in which it couples samples; none of a mean over samples.
    fn couples(&self) -> &'static [Node] {
        &[]
    }
    /// Its value, a scalar.
    fn loss(&self, pass: &Pass<'_>, tape: &mut Tape) -> Result<Tensor>;
    /// Everything with which it can be computed again, but for its value and gradients.
    fn record(&self, pass: &Pass<'_>) -> Result<Record>;
    /// Explanation of a value that is not finite, where the tensors of the pass tell.
    fn suspect(&self, _pass: &Pass<'_>) -> Result<Option<Suspect>> {
        Ok(None)
    }
}

/// Says why a value is not finite, if it knows.
pub type Suspect = Box<dyn Fn() -> Result<Option<Error>>>;

/// Zeros that are added to intermediate tensors so that `backward` leaves their gradients behind.
///
/// candle keeps gradients of variables only. `x + 0` is `x` to the last bit, and the gradient of the
/// zero is the gradient that flows through `x`: of the very graph that updates the parameters, on any
/// device.
#[derive(Debug, Default)]
pub struct Tape {
    probes: Option<BTreeMap<(&'static str, &'static str), Var>>,
}

impl Tape {
    /// A tape that adds nothing and keeps nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// A tape that keeps the gradients.
    pub fn on() -> Self {
        Self {
            probes: Some(BTreeMap::new()),
        }
    }

    /// `x`, whose gradient is kept under the name of a term and a name of its own.
    pub fn probe(&mut self, term: &'static str, name: &'static str, x: &Tensor) -> Result<Tensor> {
        let Some(probes) = &mut self.probes else {
            return Ok(x.clone());
        };
        let zero = Var::zeros(x.shape(), x.dtype(), x.device())?;
        let sum = (x + zero.as_tensor())?;
        probes.insert((term, name), zero);
        Ok(sum)
    }

    /// The gradients of a term's tensors by their names.
    pub fn gradients(
        &self,
        term: &'static str,
        grads: &GradStore,
    ) -> Result<BTreeMap<&'static str, Tensor>> {
        let probes = self.probes.iter().flatten();
        probes
            .filter(|((of, _), _)| *of == term)
            .map(|((_, name), probe)| {
                // A branch that was cut leaves no gradient: that is a gradient of zero, and the check says so.
                let gradient = match grads.get(probe) {
                    Some(gradient) => gradient.clone(),
                    None => probe.zeros_like()?,
                };
                Ok((*name, gradient))
            })
            .collect()
    }
}

/// A term as it was computed in a step: names, numbers and tensors with which it can be computed again, its value and its gradients.
#[derive(Debug, Clone)]
pub struct Record {
    /// [`Term::name`].
    pub term: &'static str,
    /// Its factor in what the player descends. The gradients contain it.
    pub factor: f64,
    /// Its value without the factor, as used.
    pub loss: f64,
    /// Choices by name.
    pub choices: BTreeMap<&'static str, String>,
    /// Numbers that hold for the whole batch.
    pub settings: BTreeMap<&'static str, f64>,
    /// Numbers of each sample, as used.
    pub samples: BTreeMap<&'static str, Vec<f64>>,
    /// Tensors `[B, …]`, as used.
    pub tensors: BTreeMap<&'static str, Tensor>,
    /// Gradients in some of them, as back-propagated.
    pub gradients: BTreeMap<&'static str, Tensor>,
}

impl Record {
    /// The record of a term of which nothing is known yet.
    pub fn of(term: &'static str) -> Self {
        Self {
            term,
            factor: 1.0,
            loss: f64::NAN,
            choices: BTreeMap::new(),
            settings: BTreeMap::new(),
            samples: BTreeMap::new(),
            tensors: BTreeMap::new(),
            gradients: BTreeMap::new(),
        }
    }

    /// Records of micro-batches as that of their batch, in their order.
    pub(crate) fn joined(parts: Vec<Self>) -> Result<Option<Self>> {
        let mut parts = parts.into_iter();
        let Some(mut whole) = parts.next() else {
            return Ok(None);
        };
        for part in parts {
            for (name, numbers) in part.samples {
                whole.samples.entry(name).or_default().extend(numbers);
            }
            for (all, more) in [
                (&mut whole.tensors, part.tensors),
                (&mut whole.gradients, part.gradients),
            ] {
                for (name, rows) in more {
                    let joined = match all.get(name) {
                        Some(before) => Tensor::cat(&[before, &rows], 0)?,
                        None => rows,
                    };
                    all.insert(name, joined);
                }
            }
        }
        Ok(Some(whole))
    }
}

/// A term with its factor.
pub type Summand<'a> = (f64, &'a dyn Term);

/// The values of terms, and what a player descends.
#[derive(Debug)]
pub struct Losses {
    /// The value of each term, without its factor.
    pub each: Vec<Tensor>,
    /// Σ factor · value.
    pub total: Tensor,
}

/// The terms of a pass and their sum, the first of them first.
///
/// # Errors
/// No term, or what a term refuses.
pub fn losses(terms: &[Summand<'_>], pass: &Pass<'_>, tape: &mut Tape) -> Result<Losses> {
    let each = terms
        .iter()
        .map(|(_, term)| term.loss(pass, tape))
        .collect::<Result<Vec<Tensor>>>()?;
    let mut total = None;
    for ((factor, _), loss) in terms.iter().zip(&each) {
        total = Some(plus(total, &times(loss, *factor)?)?);
    }
    let total = total.ok_or_else(no_term)?;
    Ok(Losses { each, total })
}

/// That a player descends nothing.
pub(crate) fn no_term() -> Error {
    Error::invalid("a player's objective", "have a term", "none")
}

/// `sum + x`, or `x` where there is no sum yet.
pub(crate) fn plus(sum: Option<Tensor>, x: &Tensor) -> Result<Tensor> {
    Ok(match sum {
        None => x.clone(),
        Some(sum) => (sum + x)?,
    })
}

/// `factor · loss`; of 1 the loss itself.
pub(crate) fn times(loss: &Tensor, factor: f64) -> Result<Tensor> {
    const MINUS: f64 = -1.0;
    Ok(match factor {
        1.0 => loss.clone(),
        MINUS => loss.neg()?,
        _ => (loss * factor)?,
    })
}
