//! The loss of Ψ as a classifier in a live step, with its gradient in the logits.

use sadm_reference::{
    bound::{Precision, Tracked, nn as bound},
    nn,
};

use super::{Found, Judge, Memory, Precisions, Replay, seen::Seen};
use crate::{
    case::Case,
    check::scalar,
    error::{Error, Result},
};

/// The judge of the term `classification`.
pub(super) struct Classification;

const LOSS: &str = "classification loss";
const GRADIENT: &str = "grad logits";

impl Judge for Classification {
    fn term(&self) -> &'static str {
        "classification"
    }

    fn loss(&self) -> &'static str {
        LOSS
    }

    fn judge(&self, seen: Seen<'_>, found: &mut Found, _: &mut Memory) -> Result<()> {
        found.exact("classification factor", seen.record.factor, 1.0);
        let (logits, labels) = (seen.array("logits")?, labels(seen)?);
        let (p, host) = (Precisions::of(seen.tensor("logits")?), Precision::F64);
        let exact = Tracked::exact(logits.clone());
        let bound = |p| bound::cross_entropy(&exact, &labels, p).map_err(Error::reference);
        let (wide, own) = (bound(p.wide)?, bound(host)?);
        let value = nn::cross_entropy(&logits, &labels).map_err(Error::reference)?;
        let loss = wide.loss.recentred(scalar(value.loss));
        found.add(LOSS, &scalar(seen.record.loss), &loss, &own.loss);
        let gradient = wide.grad_logits.recentred(value.grad_logits);
        let gradient = gradient
            .scale(seen.record.factor, p.wide)
            .stored_as(p.element);
        let got = seen.gradient("logits")?;
        found.add(GRADIENT, &got, &gradient, &own.grad_logits);
        Ok(())
    }

    fn case<'a>(&self, seen: Seen<'a>, quantity: &str) -> Option<Result<Replay<'a>>> {
        [LOSS, GRADIENT].contains(&quantity).then(|| case(seen))
    }
}

/// The classes of the batch.
fn labels(seen: Seen<'_>) -> Result<Vec<u32>> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole numbers below 2³², which were u32"
    )]
    let labels = seen.samples("labels")?.iter().map(|&label| label as u32);
    Ok(labels.collect())
}

fn case(seen: Seen<'_>) -> Result<Replay<'_>> {
    let logits = seen.array("logits")?;
    let labels = labels(seen)?.into_iter().map(u64::from).collect();
    let case = Case::new()
        .tensor("logits", logits)
        .counts("labels", labels);
    Ok(Replay {
        check: "nn.cross-entropy".to_owned(),
        case,
        tensor: seen.tensor("logits")?,
    })
}
