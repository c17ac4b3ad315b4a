//! The times of a live batch: what the configured law makes of their draws.

use sadm_gpu::config::{TimeLaw, TimeSharing};
use sadm_reference::{
    bound::{Precision, Tracked, time},
    schedule::ScheduleKind,
    time::TimeLaw as Law,
};

use super::{Found, Judge, Memory, Replay, seen::Seen};
use crate::{
    case::Case,
    checks::course::{law_of, numbers},
    error::{Error, Result},
};

/// The judge of the record `time`.
pub(super) struct Times;

/// What they are called among the quantities.
const T: &str = "t";

impl Judge for Times {
    fn term(&self) -> &'static str {
        "time"
    }

    fn loss(&self) -> &'static str {
        T
    }

    /// t of every sample, from its draw by the configured law; and within the law's range.
    fn judge(&self, seen: Seen<'_>, found: &mut Found, _: &mut Memory) -> Result<()> {
        let o = &seen.config.objective;
        let (name, parameters) = configured(seen);
        seen.says("law", &name)?;
        seen.says("schedule", &o.schedule)?;
        let (kind, law): (ScheduleKind, Law) =
            (seen.parsed("schedule")?, law_of(name, parameters)?);
        let schedule = kind.schedule();
        let (t, draws) = (seen.samples(T)?, seen.samples("draws")?);
        let shared = o.time_sharing == TimeSharing::Shared;
        let distinct = if shared { 1 } else { t.len() };
        let wanted = distinct + usize::from(name == "soft-truncation");
        if draws.len() != wanted {
            let problem = format!(
                "t of {} samples come from {wanted} draws, got {}",
                t.len(),
                draws.len()
            );
            return Err(Error::Gpu(problem));
        }
        let bound = time::times(&law, draws, schedule.as_ref(), Precision::F64);
        let bound = if shared {
            Tracked {
                value: numbers(&vec![bound.value[[0]]; t.len()]),
                error: numbers(&vec![bound.error[[0]]; t.len()]),
            }
        } else {
            bound
        };
        let (low, high) = match law {
            Law::Uniform { low, high } | Law::SoftTruncation { low, high } => (low, high),
            Law::LogNormal { .. } | Law::LogUniform { .. } | Law::IddpmStep => schedule.domain(),
        };
        // To the last bit: low + u (high − low) may end a rounding beyond its range.
        let slack = 2.0 * Precision::F64.unit * high.min(f64::MAX);
        if let Some((i, t)) = t
            .iter()
            .enumerate()
            .find(|(_, t)| !(low - slack..=high + slack).contains(*t))
        {
            let problem = format!("t of sample {i} must be in [{low}, {high}], got {t}");
            return Err(Error::Gpu(problem));
        }
        found.add(T, &seen.list(T)?, &bound, &bound);
        Ok(())
    }

    fn case<'a>(&self, seen: Seen<'a>, quantity: &str) -> Option<Result<Replay<'a>>> {
        (quantity == T).then(|| case(seen))
    }
}

/// The configured law with its two numbers.
fn configured(seen: Seen<'_>) -> (&'static str, [f64; 2]) {
    let o = &seen.config.objective;
    match o.time {
        TimeLaw::Uniform => ("uniform", [o.time_min, o.time_max]),
        TimeLaw::SoftTruncation => ("soft-truncation", [o.time_min, o.time_max]),
        TimeLaw::LogNormal => ("log-normal", [o.p_mean, o.p_std]),
        TimeLaw::LogUniform => ("log-uniform", [o.sigma_min, o.sigma_max]),
        TimeLaw::IddpmStep => ("iddpm-step", [0.0; 2]),
    }
}

fn case(seen: Seen<'_>) -> Result<Replay<'_>> {
    let (name, [first, second]) = configured(seen);
    let case = Case::new()
        .text("schedule", seen.choice("schedule")?)
        .number("first", first)
        .number("second", second)
        .numbers("draws", seen.samples("draws")?.to_vec());
    Ok(Replay {
        check: format!("time.{name}"),
        case,
        tensor: seen.tensor("x0")?,
    })
}
