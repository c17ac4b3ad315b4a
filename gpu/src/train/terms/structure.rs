//! The structural loss of a batch.

use crate::config::Config;
use crate::run::phases::Phase;
use crate::structure::{Eta, Relation, Rows, StructureOptions, structural_loss};
use crate::train::pass::{Node, Pass};
use crate::train::term::{Record, Suspect, Tape, Term};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// S, what is asked of the batch as a whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Structure {
    /// R, D and the diagonal.
    pub options: StructureOptions,
    /// η_t.
    pub eta: Eta,
    /// Clamp of η_t = 1/t.
    pub eta_t_min: f64,
}

impl Structure {
    /// The configured term, as it is in `phase`.
    pub fn of(config: &Config, phase: Phase) -> Self {
        let structure = &config.structure;
        Self {
            options: structure.options(),
            eta: match phase {
                Phase::Guided => structure.guided_eta.or(structure.eta),
                _ => structure.eta,
            },
            eta_t_min: structure.eta_t_min,
        }
    }

    /// η of every sample.
    fn eta(&self, pass: &Pass<'_>) -> Vec<f64> {
        let schedule = pass.objective().schedule;
        self.eta.values(schedule, &pass.batch().t, self.eta_t_min)
    }
}

impl Term for Structure {
    fn name(&self) -> &'static str {
        "structure"
    }

    fn quantity(&self) -> &'static str {
        "structural loss"
    }

    fn remedy(&self) -> &'static str {
        "train.learning_rate, adversarial.learning_rate or structure.weight"
    }

    fn couples(&self) -> &'static [Node] {
        &[Node::Psi, Node::PsiHat]
    }

    fn loss(&self, pass: &Pass<'_>, tape: &mut Tape) -> Result<Tensor> {
        let psi = tape.probe(self.name(), "psi", pass.psi()?)?;
        let psi_hat = tape.probe(self.name(), "psi_hat", pass.psi_hat()?)?;
        structural_loss(&psi, &psi_hat, &self.eta(pass), &self.options)
    }

    fn record(&self, pass: &Pass<'_>) -> Result<Record> {
        let options = &self.options;
        let mut record = Record::of(self.name());
        record.choices.extend([
            ("schedule", pass.objective().schedule.to_string()),
            ("relation", options.relation.to_string()),
            ("distance", options.distance.to_string()),
            ("diagonal", options.diagonal.to_string()),
            ("eta", self.eta.to_string()),
        ]);
        record.settings.insert("eta_t_min", self.eta_t_min);
        record
            .samples
            .extend([("t", pass.batch().t.clone()), ("eta", self.eta(pass))]);
        record.tensors.extend([
            ("psi", pass.psi()?.clone()),
            ("psi_hat", pass.psi_hat()?.clone()),
        ]);
        Ok(record)
    }

    fn suspect(&self, pass: &Pass<'_>) -> Result<Option<Suspect>> {
        // Without their graph: it would keep all of a step's tensors.
        let features = [pass.psi()?.detach(), pass.psi_hat()?.detach()];
        let relation = self.options.relation;
        Ok(Some(Box::new(move || {
            bad_features(features.each_ref(), relation)
        })))
    }
}

/// What is wrong with the features Ψ(x_0) and Ψ(x̂) under a structural loss that is not finite: the first sample of the batch whose features
/// are not finite, or are all 0 under cosine, which then has no direction.
pub fn bad_features(features: [&Tensor; 2], relation: Relation) -> Result<Option<Error>> {
    for (name, psi) in ["Ψ(x_0)", "Ψ(x̂)"].into_iter().zip(features) {
        let rows = psi
            .to_device(&Device::Cpu)?
            .to_dtype(DType::F64)?
            .to_vec2::<f64>()?;
        for (i, row) in rows.iter().enumerate() {
            let what = format!("the features {name} of sample {i} of the batch");
            if let Some(value) = row.iter().find(|value| !value.is_finite()) {
                let must = "be finite (a smaller learning rate, of Ψ or of the denoiser, may help)";
                return Ok(Some(Error::invalid(what, must, value)));
            }
            if relation.rows() == Some(Rows::Unit) && row.iter().all(|&value| value == 0.0) {
                let must = "not all be 0 under the cosine relation (another structure.relation, or an encoder that is trained \
                            longer, may help)";
                return Ok(Some(Error::invalid(what, must, "zeros alone")));
            }
        }
    }
    Ok(None)
}
