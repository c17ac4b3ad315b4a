//! `forward` and `transition`: the laws q(x_t | x_0), q(x_t | x_s) and q(x_s | x_t, x_0).

use anyhow::Result;
use sadm_reference::forward::{diffuse_batch, posterior, transition};

use crate::options::Options;
use crate::quantity::{Outputs, Quantity, port};
use crate::schedule::{SCHEDULE, column, columns, schedule};
use crate::tensors::Tensors;

/// x_t = α_t x_0 + σ_t ε with the schedule's coefficients.
pub const FORWARD: Quantity = Quantity {
    name: "forward",
    formula: &[
        "xt = alpha·x0 + sigma·noise,  lambda = ln(alpha²/sigma²), ±∞ where one of them is 0",
        "vp-linear: β from 0.1 to 20, α = exp(−½∫β);  ddpm: 1000 steps, k = round(999·t);",
        "edm: α = 1, σ = t;  rectified-flow: α = 1 − t, σ = t",
    ],
    inputs: &[
        port("x0", &["N", "…"]),
        port("noise", &["N", "…"]),
        port("t", &["N"]),
    ],
    optional: &[],
    options: &[SCHEDULE],
    outputs: &[
        port("xt", &["N", "…"]),
        port("alpha", &["N"]),
        port("sigma", &["N"]),
        port("lambda", &["N"]),
    ],
    compute: forward,
    bounds: None,
    note: None,
};

/// The transition from s to t and the posterior of x_s.
pub const TRANSITION: Quantity = Quantity {
    name: "transition",
    formula: &[
        "q(x_t | x_s) = N(alpha_ts·x_s, sigma2_ts),  s ≤ t",
        "q(x_s | x_t, x_0) = N(posterior_coef_xt·x_t + posterior_coef_x0·x_0, posterior_var)",
    ],
    inputs: &[port("s", &["N"]), port("t", &["N"])],
    optional: &[],
    options: &[SCHEDULE],
    outputs: &[
        port("alpha_ts", &["N"]),
        port("sigma2_ts", &["N"]),
        port("posterior_coef_xt", &["N"]),
        port("posterior_coef_x0", &["N"]),
        port("posterior_var", &["N"]),
    ],
    compute: transitions,
    bounds: None,
    note: None,
};

fn forward(inputs: &Tensors<'_>, options: &Options) -> Result<Outputs> {
    let schedule = schedule(options)?;
    let t = column(&inputs["t"])?;
    let levels = columns(t.len(), |i| {
        schedule.check(t[i])?;
        Ok([
            schedule.alpha(t[i]),
            schedule.sigma(t[i]),
            schedule.lambda(t[i]),
        ])
    })?;
    let (alpha, sigma) = (column(&levels[0])?.to_vec(), column(&levels[1])?.to_vec());
    let xt = diffuse_batch(&inputs["x0"], &inputs["noise"], &alpha, &sigma)?;
    Ok([vec![xt], levels].concat())
}

fn transitions(inputs: &Tensors<'_>, options: &Options) -> Result<Outputs> {
    let schedule = schedule(options)?;
    let (s, t) = (column(&inputs["s"])?, column(&inputs["t"])?);
    columns(t.len(), |i| {
        let step = transition(schedule.as_ref(), s[i], t[i])?;
        let back = posterior(schedule.as_ref(), s[i], t[i])?;
        Ok([
            step.alpha_ts,
            step.sigma2_ts,
            back.coef_xt,
            back.coef_x0,
            back.var,
        ])
    })
}
