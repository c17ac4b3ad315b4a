//! Observers of training steps: the hook that shows the tensors of a step.
//!
//! `sadm-crosscheck` implements it with the f64 reference: that is the shadow check.

use super::account::Account;
use super::term::Record;
use crate::Result;
use crate::config::Config;

/// One update of one player.
#[derive(Debug)]
pub struct Observation<'a> {
    /// Step of the run.
    pub step: usize,
    /// Name of the phase: `denoise`, `guided` or `adversarial`.
    pub phase: &'a str,
    /// Whose update it is: `theta` or `phi`.
    pub player: &'a str,
    /// What was configured.
    pub config: &'a Config,
    /// The terms that the player descends, as they were computed, and how their batch was drawn.
    pub terms: &'a [Record],
}

/// The outcome of an observation.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Largest error/bound over all quantities; above 1 the step is wrong.
    pub ratio: f64,
    /// The quantity with that ratio.
    pub quantity: String,
    /// Every quantity with its ratio.
    pub ratios: Vec<(String, f64)>,
    /// What is wrong and where, when something is.
    pub failure: Option<String>,
}

/// Observer of training steps.
pub trait Observer: Send {
    /// Judges one step, before anything is changed.
    fn observe(&mut self, observation: &Observation<'_>) -> Result<Verdict>;
    /// Judges what its update did, after it; nothing where an observer does not look at updates.
    fn observe_update(
        &mut self,
        _observation: &Observation<'_>,
        _account: &Account,
    ) -> Result<Option<Verdict>> {
        Ok(None)
    }
}
