//! `diffusion-gan-schedule`, `diffusion-gan-times` and `diffusion-gan-controller`: Diffusion-GAN's chain, its law of t and its length.

use anyhow::Result;
use ndarray::{Array1, ArrayD};
use sadm_reference::diffusion_gan::{
    Betas, Controller, Priority, Update, alpha_bars, probabilities,
};

use crate::options::{Kind, OptionSpec, Options};
use crate::quantity::{Outputs, Quantity, port};
use crate::schedule::column;
use crate::tensors::Tensors;

/// T; the largest of the published chains by default.
const STEPS: OptionSpec = OptionSpec::new("steps", Kind::Count(1_000_000), "1000");

/// β and ᾱ of a chain.
pub const SCHEDULE: Quantity = Quantity {
    name: "diffusion-gan-schedule",
    formula: &[
        "s = (t−1)/(T−1), T = steps:  linear β_start + s(β_end−β_start),  quad (√β_start + s(√β_end−√β_start))²,  const β_end,",
        "sigmoid β_start + (β_end−β_start)/(1+e^(6−12s)),  jsd 1/(T−t+1),  continuous-t 1 − exp(−0.1/T − ½(5−0.1)(2t−1)/T²),",
        "cosine min(1 − c(t/T)/c((t−1)/T), 0.999), c(u) = cos²((u+0.008)/1.008·π/2);  alpha_bar_t = Π_{i≤t} (1−β_i), alpha_bar_0 = 1",
    ],
    inputs: &[],
    optional: &[],
    options: &[
        OptionSpec::new("beta_schedule", Kind::Choice(schedules), "linear"),
        OptionSpec::new("beta_start", Kind::NonNegative, "0.0001"),
        OptionSpec::new("beta_end", Kind::NonNegative, "0.02"),
        STEPS,
    ],
    outputs: &[port("beta", &["T"]), port("alpha_bar", &["T+1"])],
    compute: schedule,
    bounds: None,
    note: None,
};

/// The law of t.
pub const TIMES: Quantity = Quantity {
    name: "diffusion-gan-times",
    formula: &[
        "p(t), t = 1, …, T = steps:  uniform 1/T,  priority 2t/(T(T+1)),  priority-code 2(t−1)/(T(T−1))",
    ],
    inputs: &[],
    optional: &[],
    options: &[
        OptionSpec::new("law", Kind::Choice(laws), "priority"),
        STEPS,
    ],
    outputs: &[port("probability", &["T"])],
    compute: times,
    bounds: None,
    note: None,
};

/// The trace of the chain's length.
pub const CONTROLLER: Quantity = Quantity {
    name: "diffusion-gan-controller",
    formula: &[
        "signs: r_d = the mean sign of the logits of diffused real images at each update; it begins at p = 0, T = t_min",
        "published  p ← clip(p + sign(r_d−target)·batch·interval/(1000·kimg), 0, 1),  T = t_min + round(p(t_max−t_min)), halves to even",
        "constant   T ← clip(T + sign(r_d−target)·step, t_min, t_max),  p = (T−t_min)/(t_max−t_min);  sign(0) = 0",
    ],
    inputs: &[port("signs", &["N"])],
    optional: &[],
    options: &[
        OptionSpec::new("update", Kind::Choice(updates), "published"),
        OptionSpec::new("batch", Kind::Count(1_000_000), "64"),
        OptionSpec::new("interval", Kind::Count(1_000_000), "4"),
        OptionSpec::new("kimg", Kind::Positive, "100"),
        OptionSpec::new("target", Kind::NonNegative, "0.6"),
        OptionSpec::new("t_min", Kind::Count(1_000_000), "10"),
        OptionSpec::new("t_max", Kind::Count(1_000_000), "1000"),
        OptionSpec::new("step", Kind::Count(1_000_000), "4").only_with("update", constant),
    ],
    outputs: &[port("p", &["N"]), port("t", &["N"])],
    compute: controller,
    bounds: None,
    note: None,
};

fn schedules() -> Vec<&'static str> {
    Betas::ALL.map(Betas::name).to_vec()
}

fn laws() -> Vec<&'static str> {
    Priority::ALL.map(Priority::name).to_vec()
}

fn updates() -> Vec<&'static str> {
    vec!["published", "constant"]
}

fn constant() -> Vec<&'static str> {
    vec!["constant"]
}

fn list(values: Vec<f64>) -> ArrayD<f64> {
    Array1::from(values).into_dyn()
}

fn schedule(_: &Tensors<'_>, options: &Options) -> Result<Outputs> {
    let kind: Betas = options.word("beta_schedule").parse()?;
    let (start, end) = (options.number("beta_start"), options.number("beta_end"));
    let betas = kind.betas(start, end, options.count(STEPS.name))?;
    let bars = alpha_bars(&betas)?;
    Ok(vec![list(betas), list(bars)])
}

fn times(_: &Tensors<'_>, options: &Options) -> Result<Outputs> {
    let law: Priority = options.word("law").parse()?;
    Ok(vec![list(probabilities(law, options.count(STEPS.name))?)])
}

fn controller(inputs: &Tensors<'_>, options: &Options) -> Result<Outputs> {
    let update = match options.word("update") {
        "constant" => Update::Constant {
            step: options.count("step"),
        },
        _ => Update::Published {
            kimg: options.number("kimg"),
        },
    };
    let range = (options.count("t_min"), options.count("t_max"));
    let controller = Controller::new(update, options.number("target"), range.0, range.1)?;
    let images = options.count("batch") * options.count("interval");
    let mut now = controller.begin();
    let signs = column(&inputs["signs"])?;
    let (mut p, mut t) = (Vec::new(), Vec::new());
    for r_d in signs {
        now = controller.next(now, r_d, images)?;
        p.push(now.p);
        t.push(now.steps as f64);
    }
    Ok(vec![list(p), list(t)])
}
