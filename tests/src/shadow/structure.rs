//! The structural loss of a live step with its gradients in the features.

use sadm_gpu::train::player::PHI;
use sadm_reference::{
    bound::{self, Precision, Tracked, structure::StructuralBound},
    schedule::ScheduleKind,
    structure::StructureOptions,
};

use super::{Found, Judge, Memory, Precisions, Replay, any, seen::Seen};
use crate::{
    case::Case,
    check::scalar,
    checks::structure::loss_bound,
    error::{Error, Result},
};

/// The judge of the term `structure`.
pub(super) struct Structure;

/// What S is called among the quantities.
pub(super) const LOSS: &str = "structural loss";

impl Judge for Structure {
    fn term(&self) -> &'static str {
        "structure"
    }

    fn loss(&self) -> &'static str {
        LOSS
    }

    fn judge(&self, seen: Seen<'_>, found: &mut Found, _: &mut Memory) -> Result<()> {
        let structure = &seen.config.structure;
        let configured = match seen.phase {
            "guided" => structure.guided_eta.or(structure.eta),
            _ => structure.eta,
        };
        seen.says("schedule", &seen.config.objective.schedule)?;
        seen.says("relation", &structure.relation)?;
        seen.says("distance", &structure.distance)?;
        seen.says("diagonal", &structure.diagonal)?;
        seen.says("eta", &configured)?;
        // θ descends λS, φ ascends S.
        let factor = if seen.player == PHI {
            -1.0
        } else {
            structure.weight
        };
        found.exact("structural factor", seen.record.factor, factor);
        found.exact("eta_t_min", seen.setting("eta_t_min")?, structure.eta_t_min);
        let schedule: ScheduleKind = seen.parsed("schedule")?;
        let kind = seen.parsed("eta")?;
        let (p, host) = (Precisions::of(seen.tensor("psi")?), Precision::F64);
        let t_min = seen.setting("eta_t_min")?;
        let eta = bound::structure::eta(kind, schedule, seen.samples("t")?, t_min, host);
        let eta = eta.map_err(Error::reference)?;
        found.add("eta", &seen.list("eta")?, &eta, &eta);

        let (psi, psi_hat) = (seen.matrix("psi")?, seen.matrix("psi_hat")?);
        let (eta, options) = (seen.samples("eta")?, options_of(seen)?);
        let wide = loss_bound(&psi, &psi_hat, eta, &options, p.wide)?;
        // The reference's own rounding takes as long to bound as all the rest, and nearly never decides: it is asked for where the
        // numbers are not within the first bound alone.
        let mut alone = Found::default();
        compared(seen, &wide, None, p, &mut alone)?;
        if !alone.holds() {
            let own = loss_bound(&psi, &psi_hat, eta, &options, host)?;
            alone = Found::default();
            compared(seen, &wide, Some(&own), p, &mut alone)?;
        }
        found.extend(alone);
        Ok(())
    }

    fn case<'a>(&self, seen: Seen<'a>, quantity: &str) -> Option<Result<Replay<'a>>> {
        match quantity {
            "eta" => Some(eta(seen)),
            LOSS | "grad psi" | "grad psi_hat" => Some(structural_loss(seen)),
            _ => None,
        }
    }
}

/// S and its gradients within their bounds, and within the reference's own rounding where that is given.
fn compared(
    seen: Seen<'_>,
    wide: &StructuralBound,
    own: Option<&StructuralBound>,
    p: Precisions,
    found: &mut Found,
) -> Result<()> {
    let (factor, host) = (seen.record.factor, Precision::F64);
    let nothing = |like: &Tracked| Tracked::exact(like.value.clone());
    let own_loss = own.map_or_else(|| nothing(&wide.loss), |own| own.loss.clone());
    found.add(LOSS, &scalar(seen.record.loss), &wide.loss, &own_loss);
    for (name, of, wide, own) in [
        (
            "grad psi",
            "psi",
            &wide.grad_real,
            own.map(|own| &own.grad_real),
        ),
        (
            "grad psi_hat",
            "psi_hat",
            &wide.grad_generated,
            own.map(|own| &own.grad_generated),
        ),
    ] {
        let bound = wide.scale(factor, p.wide).stored_as(p.element);
        let own = own.map_or_else(|| nothing(&bound), |own| own.scale(factor, host));
        found.add(name, &seen.gradient(of)?, &bound, &own);
    }
    Ok(())
}

/// The training system's choices in the reference.
fn options_of(seen: Seen<'_>) -> Result<StructureOptions> {
    Ok(StructureOptions {
        relation: seen.parsed("relation")?,
        distance: seen.parsed("distance")?,
        diagonal: seen.parsed("diagonal")?,
    })
}

fn eta(seen: Seen<'_>) -> Result<Replay<'_>> {
    let schedule = seen.choice("schedule")?;
    let case = Case::new()
        .text("schedule", schedule)
        .numbers("t", seen.samples("t")?.to_vec())
        .number("t_min", seen.setting("eta_t_min")?);
    Ok(Replay {
        check: format!("eta.{schedule}"),
        case,
        tensor: seen.tensor("psi")?,
    })
}

fn structural_loss(seen: Seen<'_>) -> Result<Replay<'_>> {
    let options = options_of(seen)?;
    let case = Case::new()
        .tensor("real", seen.array("psi")?)
        .tensor("generated", seen.array("psi_hat")?)
        .numbers("eta", seen.samples("eta")?.to_vec())
        .text("diagonal", seen.choice("diagonal")?)
        .number("bandwidth", any(options.relation.number()))
        .number("delta", any(options.distance.number()));
    Ok(Replay {
        check: format!(
            "structural-loss.{}.{}",
            options.relation.name(),
            options.distance.name()
        ),
        case,
        tensor: seen.tensor("psi")?,
    })
}
