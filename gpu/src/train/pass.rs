//! One forward pass of a batch, each part of it computed when it is first asked for.

use super::batch::Batch;
use crate::features::Encoder;
use crate::forward::diffuse;
use crate::network::Network;
use crate::objective::{Objective, preconditioner};
use crate::{Error, Result};
use candle_core::Tensor;
use std::cell::OnceCell;

/// The player whose parameters receive gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moves {
    /// Those of the denoiser, θ.
    Denoiser,
    /// Those of Ψ, φ; x̂ is a constant, so that no gradient reaches θ `[eq:players-gradients]`.
    Encoder,
    /// Nobody's.
    Nobody,
}

/// The networks as one player's update sees them.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The denoiser, frozen unless it moves.
    pub denoiser: &'a dyn Network,
    /// Ψ, frozen unless it moves; none where no term asks for features.
    pub encoder: Option<&'a Encoder>,
    /// The player that is updated.
    pub moves: Moves,
}

/// The denoiser's answer to a batch, with what led to it.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// α_t x_0 + σ_t ε.
    pub x_t: Tensor,
    /// x̂, with the network's output and the coefficients around it.
    pub answer: preconditioner::Prediction,
}

/// A tensor of a pass by which samples are coupled, a row for each sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// Ψ(x_0) `[B, d]`.
    Psi,
    /// Ψ(x̂) `[B, d]`.
    PsiHat,
}

/// One forward pass of a batch.
pub struct Pass<'a> {
    batch: &'a Batch,
    objective: &'a Objective,
    view: Option<View<'a>>,
    prediction: OnceCell<Prediction>,
    psi: OnceCell<Tensor>,
    psi_hat: OnceCell<Tensor>,
    logits: OnceCell<Tensor>,
}

impl<'a> Pass<'a> {
    /// The pass of a batch through networks.
    pub fn new(view: View<'a>, objective: &'a Objective, batch: &'a Batch) -> Self {
        Self {
            batch,
            objective,
            view: Some(view),
            prediction: OnceCell::new(),
            psi: OnceCell::new(),
            psi_hat: OnceCell::new(),
            logits: OnceCell::new(),
        }
    }

    /// The pass of a batch whose features are known already, and nothing else.
    pub(crate) fn of_features(
        objective: &'a Objective,
        batch: &'a Batch,
        psi: Tensor,
        psi_hat: Tensor,
    ) -> Self {
        Self {
            batch,
            objective,
            view: None,
            prediction: OnceCell::new(),
            psi: OnceCell::from(psi),
            psi_hat: OnceCell::from(psi_hat),
            logits: OnceCell::new(),
        }
    }

    /// What passes.
    pub fn batch(&self) -> &'a Batch {
        self.batch
    }

    /// The denoising objective.
    pub fn objective(&self) -> &'a Objective {
        self.objective
    }

    fn view(&self) -> Result<&View<'a>> {
        self.view.as_ref().ok_or_else(|| {
            Error::invalid(
                "a pass of given features",
                "be asked for these alone",
                "more",
            )
        })
    }

    /// x_t and x̂.
    pub fn prediction(&self) -> Result<&Prediction> {
        once(&self.prediction, || {
            let (batch, schedule) = (self.batch, self.objective.schedule);
            let alpha: Vec<f64> = batch.t.iter().map(|&t| schedule.alpha(t)).collect();
            let sigma: Vec<f64> = batch.t.iter().map(|&t| schedule.sigma(t)).collect();
            let x_t = diffuse(&batch.x0, &batch.eps, &alpha, &sigma)?;
            let (denoiser, told) = (self.view()?.denoiser, batch.told());
            let answer = (self.objective).denoise(denoiser, &x_t, &batch.t, told, batch.mode())?;
            Ok(Prediction { x_t, answer })
        })
    }

    /// Ψ.
    pub fn encoder(&self) -> Result<&'a Encoder> {
        self.view()?.encoder.ok_or_else(|| {
            Error::invalid(
                "a pass whose features are asked for",
                "have an encoder",
                "none",
            )
        })
    }

    /// Ψ(x_0).
    pub fn psi(&self) -> Result<&Tensor> {
        once(&self.psi, || self.encoder()?.features(&self.batch.x0))
    }

    /// Ψ(x̂).
    pub fn psi_hat(&self) -> Result<&Tensor> {
        once(&self.psi_hat, || {
            let x_hat = &self.prediction()?.answer.x_hat;
            match self.view()?.moves {
                Moves::Encoder => self.encoder()?.features(&x_hat.detach()),
                Moves::Denoiser | Moves::Nobody => self.encoder()?.features(x_hat),
            }
        })
    }

    /// Ψ's answers as a classifier on x_0.
    pub fn logits(&self) -> Result<&Tensor> {
        once(&self.logits, || self.encoder()?.logits(&self.batch.x0))
    }

    /// A tensor by which samples are coupled.
    pub fn node(&self, node: Node) -> Result<&Tensor> {
        match node {
            Node::Psi => self.psi(),
            Node::PsiHat => self.psi_hat(),
        }
    }

    /// Whether a gradient in this tensor reaches the parameters of whoever moves.
    pub(crate) fn is_live(&self, node: Node) -> bool {
        match self.view.map_or(Moves::Nobody, |view| view.moves) {
            Moves::Denoiser => node == Node::PsiHat,
            Moves::Encoder => true,
            Moves::Nobody => false,
        }
    }
}

fn once<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if cell.get().is_none() {
        let made = make()?;
        return Ok(cell.get_or_init(|| made));
    }
    cell.get()
        .ok_or_else(|| Error::invalid("a part of a pass", "be there once it is made", "nothing"))
}
