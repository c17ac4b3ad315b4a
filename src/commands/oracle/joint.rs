//! `finite-posterior`, `jensen` and `relation-score`: joint sample diffusion on a law with finitely many atoms.

use anyhow::Result;
use ndarray::{Array1, Array2};
use sadm_theory::laws::relation_oracle::{Finite, Pairs};
use sadm_theory::laws::{FiniteLaw, Observation, tight_weight};

use super::options::{Kind, OptionSpec, Options};
use super::quantity::{Outputs, Port, Quantity, port};
use super::schedule::{SCHEDULE, column, columns, schedule};
use super::structure::{BANDWIDTH, RELATION, matrix, relation};
use crate::tensors::Tensors;

const PRIOR: Port = port("prior", &["K"]);
const RELATION_OF_ATOMS: OptionSpec = OptionSpec {
    default: "inner-product",
    ..RELATION
};
const GAMMA: OptionSpec = OptionSpec {
    name: "gamma",
    kind: Kind::Positive,
    default: "1",
};
const PAIRS: &[Port] = &[
    port("atoms", &["K", "n"]),
    port("yi", &["N", "n"]),
    port("yj", &["N", "n"]),
    port("t", &["N"]),
    port("r", &["N"]),
];

/// The posterior of a finite law given a noised point.
pub const FINITE_POSTERIOR: Quantity = Quantity {
    name: "finite-posterior",
    formula: &[
        "weights ∝ prior·exp(−‖xt − α·atom‖²/(2σ²)), the prior uniform unless given",
        "mean, covariance of x_0 given xt;  score = ∇ log q_t(xt), log_density = log q_t(xt)",
    ],
    inputs: &[
        port("atoms", &["K", "n"]),
        port("xt", &["N", "n"]),
        port("t", &["N"]),
    ],
    optional: &[PRIOR],
    options: &[SCHEDULE],
    outputs: &[
        port("weights", &["N", "K"]),
        port("mean", &["N", "n"]),
        port("covariance", &["N", "n", "n"]),
        port("score", &["N", "n"]),
        port("log_density", &["N"]),
    ],
    compute: finite_posterior,
};

/// The terms of SADM Eq. 14 for noised pairs.
pub const JENSEN: Quantity = Quantity {
    name: "jensen",
    formula: &[
        "g(r|y_0) = N(r; R(y_0), gamma²),  ŷ_0 = (x_hat_i, x_hat_j), the posterior means unless given",
        "q_r = E[g|y_t],  plug_in = g(r|ŷ_0),  error2 = (q_r − plug_in)²,  gap = Var[g|y_t]",
        "jensen = E[(g − plug_in)²|y_t] = error2 + gap  ≤  bound = w_gamma·E[(R(y_0) − R(ŷ_0))²|y_t]",
        "w_gamma = 1/(2πe·gamma⁴)",
    ],
    inputs: PAIRS,
    optional: &[
        PRIOR,
        port("x_hat_i", &["N", "n"]),
        port("x_hat_j", &["N", "n"]),
    ],
    options: &[SCHEDULE, RELATION_OF_ATOMS, BANDWIDTH, GAMMA],
    outputs: &[
        port("q_r", &["N"]),
        port("plug_in", &["N"]),
        port("error2", &["N"]),
        port("gap", &["N"]),
        port("jensen", &["N"]),
        port("bound", &["N"]),
        port("w_gamma", &["1"]),
    ],
    compute: jensen,
};

/// The score of a noised pair's relation, exactly and through the ideal denoiser.
pub const RELATION_SCORE: Quantity = Quantity {
    name: "relation-score",
    formula: &[
        "grad_yi, grad_yj = ∇ log q_t(r|y_t),  q_t(r|y_t) = E[N(r; R(y_0), gamma²)|y_t]",
        "plug_in_grad = ∇ log N(r; R(x̂(yi), x̂(yj)), gamma²),  x̂(y) = E[x_0|y]",
    ],
    inputs: PAIRS,
    optional: &[PRIOR],
    options: &[SCHEDULE, RELATION_OF_ATOMS, BANDWIDTH, GAMMA],
    outputs: &[
        port("grad_yi", &["N", "n"]),
        port("grad_yj", &["N", "n"]),
        port("plug_in_grad_yi", &["N", "n"]),
        port("plug_in_grad_yj", &["N", "n"]),
    ],
    compute: relation_score,
};

/// A finite law with the levels of its noised points.
struct Noised {
    law: FiniteLaw,
    alpha: Vec<f64>,
    sigma: Vec<f64>,
}

impl Noised {
    fn of(inputs: &Tensors, options: &Options) -> Result<Self> {
        let atoms = matrix(inputs, "atoms")?;
        let law = match inputs.get(PRIOR.name) {
            Some(prior) => FiniteLaw::new(atoms, column(prior)?.to_vec())?,
            None => FiniteLaw::uniform(atoms)?,
        };
        let (schedule, t) = (schedule(options)?, column(&inputs["t"])?);
        let levels = columns(t.len(), |i| {
            schedule.check(t[i])?;
            Ok([schedule.alpha(t[i]), schedule.sigma(t[i])])
        })?;
        Ok(Self {
            law,
            alpha: column(&levels[0])?.to_vec(),
            sigma: column(&levels[1])?.to_vec(),
        })
    }

    fn finite(&self) -> Finite<'_> {
        Finite {
            law: &self.law,
            alpha: &self.alpha,
            sigma: &self.sigma,
        }
    }
}

/// The noised pairs of an input file.
struct Observed {
    yi: Array2<f64>,
    yj: Array2<f64>,
    r: Vec<f64>,
    observation: Observation,
}

impl Observed {
    fn of(inputs: &Tensors, options: &Options) -> Result<Self> {
        Ok(Self {
            yi: matrix(inputs, "yi")?,
            yj: matrix(inputs, "yj")?,
            r: column(&inputs["r"])?.to_vec(),
            observation: Observation {
                relation: relation(options)?,
                r: 0.0,
                gamma: options.number(GAMMA.name),
            },
        })
    }

    fn pairs(&self) -> Pairs<'_> {
        Pairs {
            yi: &self.yi,
            yj: &self.yj,
            r: &self.r,
            observation: self.observation,
        }
    }
}

fn finite_posterior(inputs: &Tensors, options: &Options) -> Result<Outputs> {
    let noised = Noised::of(inputs, options)?;
    let answer = noised.finite().posterior(&matrix(inputs, "xt")?)?;
    Ok(vec![
        answer.weights.into_dyn(),
        answer.mean.into_dyn(),
        answer.covariance.into_dyn(),
        answer.score.into_dyn(),
        answer.log_density.into_dyn(),
    ])
}

fn jensen(inputs: &Tensors, options: &Options) -> Result<Outputs> {
    let noised = Noised::of(inputs, options)?;
    let observed = Observed::of(inputs, options)?;
    let finite = noised.finite();
    let predicted = |name: &str, y: &Array2<f64>| -> Result<Array2<f64>> {
        if inputs.contains_key(name) {
            matrix(inputs, name)
        } else {
            Ok(finite.posterior(y)?.mean)
        }
    };
    let x_hat = (
        predicted("x_hat_i", &observed.yi)?,
        predicted("x_hat_j", &observed.yj)?,
    );
    let answer = finite.jensen(&observed.pairs(), Some((&x_hat.0, &x_hat.1)))?;
    let w_gamma = tight_weight(options.number(GAMMA.name)).value;
    Ok([
        answer.q_r,
        answer.plug_in,
        answer.error2,
        answer.gap,
        answer.jensen,
        answer.bound,
        Array1::from(vec![w_gamma]),
    ]
    .map(Array1::into_dyn)
    .to_vec())
}

fn relation_score(inputs: &Tensors, options: &Options) -> Result<Outputs> {
    let noised = Noised::of(inputs, options)?;
    let observed = Observed::of(inputs, options)?;
    let answer = noised.finite().relation_score(&observed.pairs())?;
    Ok([
        answer.grad_yi,
        answer.grad_yj,
        answer.plug_in_grad_yi,
        answer.plug_in_grad_yj,
    ]
    .map(Array2::into_dyn)
    .to_vec())
}
