//! Training callbacks.

use crate::Result;
use crate::run::phases::Phase;
use candle_core::Tensor;
use serde_json::Value;
use std::path::Path;

/// One step, as reported to a progress bar.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// Name of the phase.
    pub phase: &'static str,
    /// Steps done.
    pub step: usize,
    /// Steps of the run.
    pub steps: usize,
    /// The denoising loss, or the cross-entropy of the encoder's phase.
    pub loss: f64,
    /// S, when the phase has it.
    pub structure: Option<f64>,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Newest error/bound of the shadow check.
    pub shadow: Option<f64>,
    /// Real images that went through the step.
    pub images: usize,
    /// Seconds the step took, the shadow check's included.
    pub seconds: f64,
}

/// Training callbacks. Every method has a default that does nothing.
pub trait Hooks {
    /// A phase begins; its gradients were audited.
    fn phase(&mut self, _phase: Phase, _start: usize, _end: usize) {}
    /// A step was done.
    fn step(&mut self, _report: &StepReport) {}
    /// A grid of samples `[N, C, H, W]` in [−1, 1] was drawn; to be stored below the run's folder.
    fn samples(&mut self, _folder: &Path, _step: usize, _images: &Tensor) -> Result<()> {
        Ok(())
    }
    /// A line was appended to `metrics.jsonl`.
    fn metrics(&mut self, _line: &Value) -> Result<()> {
        Ok(())
    }
    /// A checkpoint was written.
    fn checkpoint(&mut self, _folder: &Path) {}
    /// All that was done, so many steps, is on the disk from now on, or without a number no longer: while it is, the process may
    /// end at any moment and nothing is lost.
    fn all_is_saved(&mut self, _step: Option<usize>) {}
    /// Something worth a line.
    fn note(&mut self, _line: &str) {}
}

/// Hooks for nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;
impl Hooks for Silent {}
