//! The update of a live step: its learning rate, the norm of its gradient and clipping, AdamW, and the average that follows.

use candle_core::{DType, Tensor};
use ndarray::ArrayD;
use sadm_gpu::train::{
    account::{Account, Numbers, Window},
    observer::Observation,
};
use sadm_reference::{
    bound::{self, Precision, Tracked},
    ema,
    optim::{self, AdamW},
};

use super::{Found, Precisions, Replay, plan::Planned};
use crate::{
    case::Case,
    check::scalar,
    checks::{course::numbers, optim::averaged},
    engine::Place,
    error::{Error, Result},
};

/// What the reference's refusal of an update is charged to.
pub(super) const UPDATE: &str = "update";

/// Elements of all gradients together that a case may hold.
const MOST: usize = 1 << 22;

const NUMBER: &str = "number of the update";
const RATE: &str = "learning rate";
const SETTINGS: &str = "AdamW's settings";
const NORM: &str = "gradient norm";
const CLIPPED_NORM: &str = "clipped norm";
const CLIPPED: &str = "clipped gradient";
const THETA: &str = "updated parameters";
const M: &str = "first moment";
const V: &str = "second moment";
const LEFT: &str = "parameters without gradient";
const SEEN: &str = "images seen";
const STEP: &str = "rate of the average";
const AVERAGE: &str = "average";

/// A part of a window.
type Part = fn(&Window) -> &Vec<f64>;

/// Holds every number of an update against its bound.
///
/// Everything that a whole run decides (which update it is, its learning rate, AdamW's settings, the images that the average counts)
/// is worked out from the configuration and the step; the rest from the live inputs of its own formula. The norms are of all
/// parameters; clipping, AdamW and the average are judged in a window of every parameter, the next one at each look.
pub(super) fn judge(seen: &Observation<'_>, account: &Account, found: &mut Found) -> Result<()> {
    let host = Precision::F64;
    let config = seen.config;
    let planned = Planned::of(config, seen.step, seen.phase, seen.player)?;
    let train = &config.train;
    found.exact(NUMBER, account.updates as f64, planned.updates as f64);
    let rate = planned.learning_rate(config, host);
    found.add(RATE, &scalar(account.learning_rate), &rate, &rate);
    let settings = [
        train.beta1,
        train.beta2,
        train.epsilon,
        planned.weight_decay,
    ];
    let settings = Tracked::exact(numbers(&settings));
    found.add(SETTINGS, &numbers(&account.settings), &settings, &settings);

    let first = account.gradients.values().next();
    let p = Precisions::of(&first.ok_or_else(|| Error::Gpu("no gradient".to_owned()))?[0]);
    clipping(account, train.clip_norm, p, found)?;

    let (with, without): (Vec<&Window>, Vec<&Window>) =
        (account.windows.values()).partition(|window| !window.gradient[0].is_empty());
    let all = |part: Part| joined(with.iter().map(|window| part(window)));
    let options = AdamW {
        lr: account.learning_rate,
        beta1: train.beta1,
        beta2: train.beta2,
        eps: train.epsilon,
        weight_decay: planned.weight_decay,
    };
    let steps = u32::try_from(account.updates).map_err(Error::reference)?;
    let [theta, g, m, v] = [
        all(|w| &w.before.theta),
        all(|w| &w.gradient[1]),
        all(|w| &w.before.m),
        all(|w| &w.before.v),
    ]
    .map(Tracked::exact);
    let after = |p| {
        bound::optim::adamw_step(&options, &theta, &g, [&m, &v], steps, p).map_err(Error::reference)
    };
    let (element, own) = (after(p.element)?, after(host)?);
    // The reference's plain values, so that the bound's own chain is not what the step is compared with.
    let state = optim::Moments {
        steps,
        m: m.value.clone(),
        v: v.value.clone(),
    };
    let (theta, state) =
        (options.step(&theta.value, &g.value, &state)).map_err(Error::reference)?;
    let results: [(&str, Part, ArrayD<f64>, Tracked, Tracked); 3] = [
        (THETA, |w| &w.after.theta, theta, element.theta, own.theta),
        (M, |w| &w.after.m, state.m, element.m, own.m),
        (V, |w| &w.after.v, state.v, element.v, own.v),
    ];
    for (name, part, value, element, own) in results {
        found.add(name, &all(part), &element.recentred(value), &own);
    }
    let unmoved = |of: fn(&Window) -> &Numbers| {
        let each = without
            .iter()
            .flat_map(|w| [&of(w).theta, &of(w).m, &of(w).v]);
        joined(each)
    };
    let before = Tracked::exact(unmoved(|w| &w.before));
    found.add(LEFT, &unmoved(|w| &w.after), &before, &before);
    average(seen, account, &planned, p.element, found)
}

/// The norm before and after clipping, of all gradients, and the clipped gradients of the windows.
fn clipping(account: &Account, limit: f64, p: Precisions, found: &mut Found) -> Result<()> {
    let unit = Precision::F64.unit;
    let (mut before, mut after, mut count) = (0.0, 0.0, 0.0);
    for [raw, used] in account.gradients.values() {
        before += squares(raw)?;
        after += squares(used)?;
        count += raw.elem_count() as f64;
    }
    // Both sides add `count` squares in f64, in an order of their own: relative errors of sums of what is not negative, halved by
    // the root, and the root's own.
    let sum = (0.5 * count + 2.0) * unit;
    let around = |value: f64, error: f64| Tracked {
        value: scalar(value),
        error: scalar(error * value),
    };
    let norm = before.sqrt();
    found.add(
        NORM,
        &scalar(account.norm),
        &around(norm, sum),
        &around(norm, sum),
    );

    // min(1, limit/norm) of the norm as it was read: a quotient or two, and a rounding to the element type.
    let is_clipped = limit > 0.0 && account.norm >= limit * (1.0 - 4.0 * unit);
    let factor = if limit > 0.0 {
        (limit / account.norm).min(1.0)
    } else {
        1.0
    };
    let relative = if is_clipped {
        p.element.unit + 4.0 * unit
    } else {
        0.0
    };
    let all = |at: usize| {
        let windows = account.windows.values();
        joined(windows.map(move |window| &window.gradient[at]))
    };
    let factors = Tracked {
        value: scalar(factor),
        error: scalar(relative * factor),
    };
    let raw = Tracked::exact(all(0));
    let (clipped, own) = if is_clipped {
        (
            raw.mul(&factors, p.element),
            raw.mul(&factors, Precision::F64),
        )
    } else {
        (raw.clone(), raw)
    };
    found.add(CLIPPED, &all(1), &clipped, &own);
    // Each element is off by the factor's error and one rounding of its own, and the norm by no more than the worst of them.
    let elements = relative + if is_clipped { p.element.unit } else { 0.0 };
    let wanted = factor * norm;
    // What underflows does so by `tiny` each.
    let lost = if is_clipped {
        p.element.tiny * count.sqrt()
    } else {
        0.0
    };
    let mut allowed = around(wanted, elements + 2.0 * sum);
    allowed.error += lost;
    found.add(
        CLIPPED_NORM,
        &scalar(after.sqrt()),
        &allowed,
        &around(wanted, sum),
    );
    Ok(())
}

/// The average that follows the parameters, if the player has one.
fn average(
    seen: &Observation<'_>,
    account: &Account,
    planned: &Planned,
    p: Precision,
    found: &mut Found,
) -> Result<()> {
    let Some(step) = account.step_size else {
        return Ok(());
    };
    let (train, host) = (&seen.config.train, Precision::F64);
    let batch = planned.batch as f64;
    let images = planned.updates as f64 * batch;
    let counts = Tracked::exact(numbers(&[images, batch]));
    found.add(
        SEEN,
        &numbers(&[account.images_seen, account.batch]),
        &counts,
        &counts,
    );
    let ramp = Some(train.ema_ramp);
    let rate = bound::optim::ema_step(train.ema_half_life, ramp, images, batch, host);
    found.add(STEP, &scalar(step), &rate, &rate);

    let all = |part: Part| joined(account.windows.values().map(part));
    let (before, theta) = (
        Tracked::exact(all(|w| &w.before.average)),
        Tracked::exact(all(|w| &w.after.theta)),
    );
    let decay = 1.0 - step;
    let value = ema::ema_update(&before.value, &theta.value, decay).map_err(Error::reference)?;
    let element = averaged(&before, &theta, decay, p)?.recentred(value);
    let own = averaged(&before, &theta, decay, host)?;
    found.add(AVERAGE, &all(|w| &w.after.average), &element, &own);
    Ok(())
}

/// The check of the registry that computes a quantity of an update again; none of what is counted, not computed.
pub(super) fn case<'a>(
    seen: &Observation<'_>,
    account: &'a Account,
    quantity: &str,
) -> Option<Result<Replay<'a>>> {
    let [tensor, _] = account.gradients.values().next()?;
    let replay = |check: &str, case: Result<Case>| {
        case.map(|case| Replay {
            check: check.to_owned(),
            case,
            tensor,
        })
    };
    Some(match quantity {
        RATE => rate_case(seen).map(|(check, case)| Replay {
            check,
            case,
            tensor,
        }),
        NORM | CLIPPED_NORM | CLIPPED => replay("clip", clip_case(seen, account)?),
        THETA | M | V => replay("adamw.step", adamw_case(seen, account)),
        STEP | AVERAGE => replay("ema", ema_case(seen, account)),
        _ => return None,
    })
}

fn rate_case(seen: &Observation<'_>) -> Result<(String, Case)> {
    let planned = Planned::of(seen.config, seen.step, seen.phase, seen.player)?;
    let (number, total) = planned.course;
    let decay = super::plan::decay(seen.config);
    let case = Case::new()
        .count("number", number)
        .count("total", total)
        .number("warmup", seen.config.train.warmup);
    Ok((format!("learning-rate.{decay}"), case))
}

/// All gradients; no case of a network so large that no file should hold them.
fn clip_case(seen: &Observation<'_>, account: &Account) -> Option<Result<Case>> {
    let count: usize = account
        .gradients
        .values()
        .map(|[raw, _]| raw.elem_count())
        .sum();
    let limit = match seen.config.train.clip_norm {
        0.0 => f64::MAX,
        limit => limit,
    };
    let each = account
        .gradients
        .iter()
        .map(|(name, [raw, _])| Ok((name, Place::array(raw)?)));
    let add = |case: Result<Case>, next: Result<(&String, ArrayD<f64>)>| {
        let (name, gradient) = next?;
        Ok(case?.tensor(name, gradient))
    };
    (count <= MOST).then(|| each.fold(Ok(Case::new().number("max", limit)), add))
}

fn adamw_case(seen: &Observation<'_>, account: &Account) -> Result<Case> {
    let planned = Planned::of(seen.config, seen.step, seen.phase, seen.player)?;
    let (windows, train) = (account.windows.values(), &seen.config.train);
    let with: Vec<&Window> = windows.filter(|w| !w.gradient[0].is_empty()).collect();
    let all = |part: Part| joined(with.iter().map(|window| part(window)));
    Ok(Case::new()
        .tensor("theta", all(|w| &w.before.theta))
        .tensor("gradient", all(|w| &w.gradient[1]))
        .tensor("m", all(|w| &w.before.m))
        .tensor("v", all(|w| &w.before.v))
        .count("steps", account.updates)
        .number("learning_rate", account.learning_rate)
        .number("beta1", train.beta1)
        .number("beta2", train.beta2)
        .number("epsilon", train.epsilon)
        .number("weight_decay", planned.weight_decay))
}

fn ema_case(seen: &Observation<'_>, account: &Account) -> Result<Case> {
    let planned = Planned::of(seen.config, seen.step, seen.phase, seen.player)?;
    let (windows, train) = (&account.windows, &seen.config.train);
    let all = |part: Part| joined(windows.values().map(part));
    let batch = planned.batch as f64;
    Ok(Case::new()
        .tensor("average", all(|w| &w.before.average))
        .tensor("theta", all(|w| &w.after.theta))
        .number("half_life", train.ema_half_life)
        .number("ramp", train.ema_ramp)
        .number("images", planned.updates as f64 * batch)
        .number("batch", batch))
}

fn joined<'a>(parts: impl Iterator<Item = &'a Vec<f64>>) -> ArrayD<f64> {
    let all: Vec<f64> = parts.flatten().copied().collect();
    numbers(&all)
}

/// Σ g² in f64; of f32 each square is exact.
fn squares(gradient: &Tensor) -> Result<f64> {
    let flat = gradient.flatten_all()?;
    Ok(match flat.dtype() {
        DType::F32 => {
            let each = flat.to_vec1::<f32>()?;
            each.iter().map(|&g| f64::from(g) * f64::from(g)).sum()
        }
        _ => Place::array(&flat)?.iter().map(|g| g * g).sum(),
    })
}
