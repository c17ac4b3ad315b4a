//! A failed step as a case of the registry: of the quantity that failed, on the live tensors that it was given.

use std::path::{Path, PathBuf};

use candle_core::{DeviceLocation, Tensor};
use sadm_gpu::train::observer::{DenoisingObservation, Observation, StructureObservation};
use sadm_reference::{
    bound::{Precision, schedule},
    schedule::ScheduleKind,
};

use super::{DENOISING_LOSS, STRUCTURAL_LOSS, matrix, options_of};
use crate::{
    case::Case,
    engine::Place,
    error::{Error, Result},
    replay::Counterexample,
};

/// Writes the case of the failed `quantity` to a file in `folder`. A case that cannot be written costs the run
/// nothing: the failure itself is reported either way.
pub(super) fn write(
    observation: &Observation<'_>,
    quantity: &str,
    folder: &Path,
    message: &str,
) -> Option<PathBuf> {
    let (check, case, tensor) = of(observation, quantity)?.ok()?;
    let path = folder.join(format!("shadow-{}.json", observation.step));
    let found = Counterexample {
        check,
        device: device(tensor.device().location()),
        dtype: tensor.dtype().as_str().to_owned(),
        message: message.to_owned(),
        case,
    };
    found.write(&path).ok().map(|()| path)
}

/// A check of the registry, its case, and a tensor that was where the step was computed.
type Found<'a> = (String, Case, &'a Tensor);

/// The case of a quantity by the name that the shadow check gives it; none if the step had no such part.
fn of<'a>(observation: &Observation<'a>, quantity: &str) -> Option<Result<Found<'a>>> {
    let (denoising, structure) = (&observation.denoising, &observation.structure);
    match quantity {
        "w" => denoising.as_ref().map(|o| Ok(weight(o))),
        "x_t" => denoising.as_ref().map(forward),
        "skip" | "out" | "input" | "noise" | "x_hat" => denoising.as_ref().map(denoise),
        DENOISING_LOSS | "grad x_hat" => denoising.as_ref().map(denoising_loss),
        "eta" => structure.as_ref().map(|o| Ok(eta(o))),
        STRUCTURAL_LOSS | "grad psi" | "grad psi_hat" => structure.as_ref().map(structural_loss),
        _ => None,
    }
}

/// As [`Place::open`] reads it.
fn device(location: DeviceLocation) -> String {
    match location {
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Cpu | DeviceLocation::Metal { .. } => "cpu".to_owned(),
    }
}

/// A parameter's value, and any number where there is none: nothing reads it.
fn any(number: f64) -> f64 {
    if number.is_nan() { 1.0 } else { number }
}

fn weight<'a>(o: &DenoisingObservation<'a>) -> Found<'a> {
    let (name, gamma) = (o.weight.name(), any(o.weight.number()));
    let case = Case::new()
        .text("schedule", o.schedule.name())
        .numbers("t", o.t.to_vec())
        .number("gamma", gamma)
        .number("sigma_data", o.sigma_data);
    (format!("weight.{name}"), case, o.x_t)
}

fn forward<'a>(o: &DenoisingObservation<'a>) -> Result<Found<'a>> {
    let kind: ScheduleKind = o.schedule.name().parse().map_err(Error::reference)?;
    let levels = schedule::levels(kind, o.t, Precision::F64).map_err(Error::reference)?;
    let case = Case::new()
        .tensor("x0", Place::array(o.x0)?)
        .tensor("eps", Place::array(o.eps)?)
        .numbers("alpha", levels.alpha.value.iter().copied().collect())
        .numbers("sigma", levels.sigma.value.iter().copied().collect());
    Ok(("forward".to_owned(), case, o.x_t))
}

fn denoise<'a>(o: &DenoisingObservation<'a>) -> Result<Found<'a>> {
    let case = Case::new()
        .tensor("x_t", Place::array(o.x_t)?)
        .tensor("network", Place::array(o.network_out)?)
        .numbers("t", o.t.to_vec())
        .text("schedule", o.schedule.name())
        .number("sigma_data", o.sigma_data);
    Ok((format!("denoise.{}", o.parametrisation.name()), case, o.x_t))
}

fn denoising_loss<'a>(o: &DenoisingObservation<'a>) -> Result<Found<'a>> {
    let case = Case::new()
        .tensor("x_hat", Place::array(o.x_hat)?)
        .tensor("x0", Place::array(o.x0)?)
        .numbers("w", o.weights.to_vec());
    Ok(("denoising-loss".to_owned(), case, o.x_hat))
}

fn eta<'a>(o: &StructureObservation<'a>) -> Found<'a> {
    let case = Case::new()
        .text("schedule", o.schedule.name())
        .numbers("t", o.t.to_vec())
        .number("t_min", o.eta_t_min);
    (format!("eta.{}", o.schedule.name()), case, o.psi)
}

fn structural_loss<'a>(o: &StructureObservation<'a>) -> Result<Found<'a>> {
    let options = options_of(&o.options)?;
    let case = Case::new()
        .tensor("real", matrix(o.psi)?)
        .tensor("generated", matrix(o.psi_hat)?)
        .numbers("eta", o.eta.to_vec())
        .text("diagonal", &options.diagonal.to_string())
        .number("bandwidth", any(options.relation.number()))
        .number("delta", any(options.distance.number()));
    let (relation, distance) = (options.relation.name(), options.distance.name());
    let name = format!("structural-loss.{relation}.{distance}");
    Ok((name, case, o.psi))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_keeps_its_number() {
        assert_eq!(device(DeviceLocation::Cuda { gpu_id: 3 }), "cuda:3");
        assert_eq!(device(DeviceLocation::Cpu), "cpu");
    }
}
