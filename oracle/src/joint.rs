//! `finite-posterior`, `jensen` and `relation-score`: joint sample diffusion on a law with finitely many atoms.

use anyhow::{Context, Result, anyhow, bail};
use ndarray::{Array1, Array2, ArrayRef2, ArrayView1, Axis};
use sadm_reference::relation::{Relation, RelationError, affinity};
use sadm_theory::laws::relation_oracle::{Finite, Pairs};
use sadm_theory::laws::{FiniteLaw, Observation, tight_weight};

use crate::options::{Kind, OptionSpec, Options};
use crate::quantity::{Outputs, Port, Quantity, port};
use crate::schedule::{SCHEDULE, column, columns, schedule};
use crate::structure::{BANDWIDTH, RELATION, matrix, relation};
use crate::tensors::Tensors;

const PRIOR: Port = port("prior", &["K"]);
const RELATION_OF_ATOMS: OptionSpec = OptionSpec {
    default: "inner-product",
    ..RELATION
};
const GAMMA: OptionSpec = OptionSpec::new("gamma", Kind::Positive, "1");
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
    bounds: None,
    note: None,
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
    bounds: None,
    note: None,
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
    bounds: None,
    note: None,
};

/// A finite law with the levels of its noised points.
struct Noised {
    law: FiniteLaw,
    alpha: Vec<f64>,
    sigma: Vec<f64>,
}

impl Noised {
    fn of(inputs: &Tensors<'_>, options: &Options) -> Result<Self> {
        let atoms = matrix(inputs, "atoms")?.to_owned();
        let law = match inputs.get(PRIOR.name) {
            Some(prior) => FiniteLaw::new(atoms, column(prior)?.to_vec())?,
            None => FiniteLaw::uniform(atoms)?,
        };
        let (schedule, t) = (schedule(options)?, column(&inputs["t"])?);
        let levels = columns(t.len(), |i| {
            schedule.check(t[i])?;
            let (alpha, sigma) = (schedule.alpha(t[i]), schedule.sigma(t[i]));
            if sigma * sigma >= f64::MIN_POSITIVE {
                return Ok([alpha, sigma]);
            }
            bail!(
                "t = {:?} gives sigma = {sigma:?} under schedule={}: there is no posterior without noise, and sigma² \
                 must not underflow; choose a later t",
                t[i],
                options.word(SCHEDULE.name)
            )
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
    fn of(inputs: &Tensors<'_>, options: &Options) -> Result<Self> {
        Ok(Self {
            yi: matrix(inputs, "yi")?.to_owned(),
            yj: matrix(inputs, "yj")?.to_owned(),
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

/// Refuses a point from which every atom is so far that no weight is known.
fn check_near(noised: &Noised, name: &str, points: &ArrayRef2<f64>) -> Result<()> {
    let exponent = |point: ArrayView1<'_, f64>, atom: ArrayView1<'_, f64>, i: usize| -> f64 {
        let square = |(x, a): (&f64, &f64)| (x - noised.alpha[i] * a).powi(2);
        let distance2: f64 = point.iter().zip(atom).map(square).sum();
        distance2 / (2.0 * noised.sigma[i].powi(2))
    };
    let lost = |(i, point): (usize, ArrayView1<'_, f64>)| {
        let mut atoms = noised.law.atoms().rows().into_iter();
        atoms.all(|atom| !exponent(point, atom, i).is_finite())
    };
    match points.rows().into_iter().enumerate().find(|row| lost(*row)) {
        None => Ok(()),
        Some((row, _)) => bail!(
            "row {row} of tensor `{name}` is too far from every atom: ‖{name} − alpha·atom‖²/(2·sigma²) overflows with \
             sigma = {:e}; it must lie within 1e150·min(1, sigma) of one",
            noised.sigma[row]
        ),
    }
}

/// Refuses atoms between which the relation has no value or overflows.
fn check_atoms(kind: Relation, atoms: &ArrayRef2<f64>) -> Result<()> {
    affinity(kind, atoms).context("tensor `atoms`")?;
    check_lengths(kind, "row {row} of tensor `atoms`", atoms)
}

/// Under cosine, refuses rows whose squared length leaves the range of f64; `what` says which, {row} for its number.
fn check_lengths(kind: Relation, what: &str, rows: &ArrayRef2<f64>) -> Result<()> {
    if kind != Relation::COSINE {
        return Ok(());
    }
    for (row, x) in rows.rows().into_iter().enumerate() {
        let what = what.replace("{row}", &row.to_string());
        let largest = x.fold(0.0_f64, |most, v| most.max(v.abs()));
        if largest == 0.0 {
            bail!("{what} is zero, and cosine has no value there; choose another relation");
        }
        if !(1e-150..=1e150).contains(&largest) {
            bail!(
                "{what} reaches {largest:e}, and the square of its length must be in the range of f64 under cosine; \
                 scale it into 1e-150 to 1e150"
            );
        }
    }
    Ok(())
}

/// Refuses predictions `(x̂_i, x̂_j)` between which the relation has no value or overflows.
fn check_predictions(kind: Relation, sides: [(&str, &ArrayRef2<f64>); 2]) -> Result<()> {
    for (what, x) in sides {
        check_lengths(kind, what, x)?;
    }
    let [(first, a), (second, b)] = sides;
    for row in 0..a.nrows() {
        let pair = ndarray::stack![Axis(0), a.row(row), b.row(row)];
        let named = [first, second].map(|what| what.replace("{row}", &row.to_string()));
        affinity(kind, &pair).map_err(|refused| match refused {
            RelationError::Overflow { .. } => anyhow!(
                "the relation of {} and {} overflows; scale the inputs down",
                named[0],
                named[1]
            ),
            RelationError::NotFinite { row: side, got, .. } => anyhow!(
                "{} is {got}: the inputs are too large or too small for f64; scale them",
                named[side]
            ),
            other => other.into(),
        })?;
    }
    Ok(())
}

fn finite_posterior(inputs: &Tensors<'_>, options: &Options) -> Result<Outputs> {
    let noised = Noised::of(inputs, options)?;
    let xt = matrix(inputs, "xt")?.to_owned();
    check_near(&noised, "xt", &xt)?;
    let answer = noised.finite().posterior(&xt)?;
    Ok(vec![
        answer.weights.into_dyn(),
        answer.mean.into_dyn(),
        answer.covariance.into_dyn(),
        answer.score.into_dyn(),
        answer.log_density.into_dyn(),
    ])
}

/// x̂_i and x̂_j, the tensors or the posterior means; refuses what the relation does not take.
fn predictions(
    inputs: &Tensors<'_>,
    noised: &Noised,
    observed: &Observed,
) -> Result<[Array2<f64>; 2]> {
    let kind = observed.observation.relation;
    check_atoms(kind, noised.law.atoms())?;
    let predicted = |name: &str, point: &str, y: &Array2<f64>| -> Result<(String, Array2<f64>)> {
        check_near(noised, point, y)?;
        if inputs.contains_key(name) {
            let what = format!("row {{row}} of tensor `{name}`");
            Ok((what, matrix(inputs, name)?.to_owned()))
        } else {
            let what = format!("the posterior mean of row {{row}} of tensor `{point}`");
            Ok((what, noised.finite().posterior(y)?.mean))
        }
    };
    let (first, a) = predicted("x_hat_i", "yi", &observed.yi)?;
    let (second, b) = predicted("x_hat_j", "yj", &observed.yj)?;
    check_predictions(kind, [(first.as_str(), &a), (second.as_str(), &b)])?;
    Ok([a, b])
}

/// Refuses a γ of which a power that the answer divides by leaves the range of f64.
fn check_gamma(power: i32, options: &Options) -> Result<()> {
    let gamma = options.number(GAMMA.name);
    let reach = 300 / power;
    if (gamma.log10().abs()) <= f64::from(reach) {
        Ok(())
    } else {
        bail!(
            "option `gamma` must be from 1e-{reach} to 1e{reach}, so that gamma^{power} is in the range of f64, \
             got {gamma:e}"
        )
    }
}

fn jensen(inputs: &Tensors<'_>, options: &Options) -> Result<Outputs> {
    check_gamma(4, options)?;
    let noised = Noised::of(inputs, options)?;
    let observed = Observed::of(inputs, options)?;
    let [first, second] = predictions(inputs, &noised, &observed)?;
    let finite = noised.finite();
    let answer = finite.jensen(&observed.pairs(), Some((&first, &second)))?;
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

fn relation_score(inputs: &Tensors<'_>, options: &Options) -> Result<Outputs> {
    check_gamma(2, options)?;
    let noised = Noised::of(inputs, options)?;
    let observed = Observed::of(inputs, options)?;
    // The plug-in score takes the relation between the posterior means.
    predictions(inputs, &noised, &observed)?;
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
