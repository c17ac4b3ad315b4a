//! Whole updates of the players, alone and in rounds: forward process, networks, losses, all gradients, clipping,
//! AdamW and the moving average.

use std::collections::BTreeMap;

use candle_core::DType;
use ndarray::{Array2, ArrayD, Axis, Ix2};
use proptest::prelude::*;
use sadm_gpu::{
    ema::Ema,
    features::Encoder as GpuEncoder,
    network::Network,
    objective::{
        Objective, denoising::Weight as GpuWeight,
        parametrisation::Parametrisation as GpuParametrisation, preconditioner::NoiseCondition,
    },
    optim::{AdamW as GpuAdamW, clip_grad_norm_later},
    params::Params,
    structure::Eta,
    train::{
        batch::Batch,
        pass::{Moves, Pass, View},
        term::{Losses, Summand, Tape, losses},
        terms,
    },
};
use sadm_reference::{
    bound::{self, Precision},
    denoise::{self, Weight},
    distance::Distance,
    ema, forward,
    network::{Condition, Encoder, Head, Parameters},
    nn,
    optim::{self, AdamW, Moments},
    parametrisation::{self, Coefficients, Parametrisation},
    polarised::{Form, polarised_loss},
    relation::Relation,
    schedule::ScheduleKind,
    structure::{self, Diagonal, StructureOptions},
};

use super::{
    networks::{RESOLVED, Small, encoder, gpu_encoder, load, parameters, spread},
    optim::gpu_adamw,
    structure::gpu_options,
};
use crate::{
    case::Case,
    check::{Check, Computed, Cost, Exact, Quantity, scalar},
    engine::Place,
    error::{Error, Result},
    generators::{round_f32, seeded_normal},
    ledger::Rule,
};

/// Factor of the structural loss beside the denoising loss.
const LAMBDA: f64 = 0.5;
/// σ_d.
const SIGMA_DATA: f64 = 0.5;
/// Clamp of η = 1/t.
const T_MIN: f64 = 0.05;
/// Largest gradient norm: small enough to clip.
pub(super) const MAX_NORM: f64 = 0.5;
/// Steps the optimisers have behind them.
const STEPS_BEFORE: u32 = 10;
/// Images seen before, half-life and ramp of the average, batch size.
const IMAGES: f64 = 64.0;
const HALF_LIFE: f64 = 100.0;
const RAMP: f64 = 0.5;
const BATCH: usize = 3;

const ADAMW: AdamW = AdamW {
    lr: 0.01,
    beta1: 0.9,
    beta2: 0.99,
    eps: 1e-8,
    weight_decay: 0.02,
};

const OPTIONS: StructureOptions = StructureOptions {
    relation: Relation::COSINE,
    distance: Distance::SQUARED,
    diagonal: Diagonal::Include,
};

/// One update of one player.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Update {
    /// θ descends L + λS.
    Descend,
    /// φ ascends S.
    Ascend,
    /// φ descends the cross-entropy of a classifier.
    Classify,
}

use Update::{Ascend, Classify, Descend};

/// Updates that follow each other, each on a batch of its own.
#[derive(Debug, Clone, Copy)]
struct Game {
    name: &'static str,
    network: &'static str,
    schedule: ScheduleKind,
    updates: &'static [Update],
}

impl Game {
    /// θ's guided update.
    const GUIDED: Self = Self {
        name: "step.guided",
        network: "unet",
        schedule: ScheduleKind::VP_LINEAR,
        updates: &[Descend],
    };
    /// Every game.
    const ALL: [Self; 7] = [
        Self::GUIDED,
        Self {
            name: "step.guided.dit-small",
            network: "dit-small",
            ..Self::GUIDED
        },
        Self {
            name: "step.guided.edm",
            schedule: ScheduleKind::EDM,
            ..Self::GUIDED
        },
        Self {
            name: "step.phi",
            updates: &[Ascend],
            ..Self::GUIDED
        },
        Self {
            name: "step.encoder",
            updates: &[Classify],
            ..Self::GUIDED
        },
        Self {
            name: "step.round.theta-first",
            updates: &[Descend, Ascend, Ascend],
            ..Self::GUIDED
        },
        Self {
            name: "step.round.phi-first",
            updates: &[Ascend, Ascend, Descend],
            ..Self::GUIDED
        },
    ];
}

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    Game::ALL.into_iter().map(check).collect()
}

fn check(game: Game) -> Box<dyn Check> {
    Quantity::new(
        game.name,
        "losses, gradients in the player and their norm, clipped, parameters and moments after AdamW, the moving average",
        "SADM Eq. 6, 9, 10 and Alg. 1; sadm_gpu::train",
    )
    .cost(Cost::Heavy)
    .draws(move || draws(game))
    .reference(move |case| play(game, case, &Arithmetic::Exact))
    .bound(move |case, rule| {
        let exact = play(game, case, &Arithmetic::Exact)?;
        let own = loss_bounds(game, case, &exact, rule)?;
        let mut bounds = spread(exact, rule, |rounding| {
            let moved = case.map_tensors(rounding);
            play(game, &moved, &Arithmetic::Rounded(rounding))
        })?;
        for (name, error) in own {
            let loss = bounds.entry(name);
            loss.and_modify(|loss| *loss = loss.widened(&error));
        }
        Ok(bounds)
    })
    .candle(move |case, place| candle_game(game, case, place))
    .boxed()
}

/// What a quantity of an update is called: the first update of a game needs no number.
fn at(i: usize, name: &str) -> String {
    if i == 0 {
        name.to_owned()
    } else {
        format!("{name}, update {i}")
    }
}

/// The a-priori bounds of S for given features. The spread does not contain them: moving Ψ and Ψ̂ at random leaves
/// their lengths out, to which cosine is blind, while the rounding of the normalised rows is seen as soon as
/// Ψ̂ is near Ψ.
fn loss_bounds(
    game: Game,
    case: &Case,
    exact: &Exact,
    rule: &Rule,
) -> Result<Vec<(String, ArrayD<f64>)>> {
    let structural = (game.updates.iter().enumerate()).filter(|(_, update)| **update != Classify);
    structural
        .map(|(i, _)| {
            let [psi, psi_hat] = ["psi", "psi_hat"].map(|name| matrix(exact[&at(i, name)].clone()));
            let eta = eta(game, case.get_number(&at(i, "t"))?)?;
            let form = Form::choose(BATCH, encoder().dim);
            let p = rule.compute;
            let bound =
                bound::structure::polarised_loss(&psi?, &psi_hat?, &[eta], &OPTIONS, form, p);
            let error = bound.map_err(Error::reference)?.loss.error;
            Ok((at(i, "structural loss"), error))
        })
        .collect()
}

fn eta(game: Game, t: f64) -> Result<f64> {
    let schedule = game.schedule.schedule();
    structure::eta(structure::Eta::INVERSE_TIME, t, T_MIN, schedule.as_ref())
        .map_err(Error::reference)
}

/// Parameters of both networks, moments as after some steps (m of the size of a gradient, v well away from
/// zero: at v = 0 the update is the gradient's sign, which no rounding leaves alone), the old average, and for each
/// update a batch, its noise and its shared time.
fn draws(game: Game) -> BoxedStrategy<Case> {
    let times = prop::collection::vec(64..=960_i32, game.updates.len());
    (any::<u32>(), times)
        .prop_map(move |(seed, times)| {
            let seed = u64::from(seed);
            let theta = Small::of(game.network).and_then(|small| small.parameters(seed));
            let theta = theta.expect("the configuration is possible");
            let shapes = encoder().parameter_shapes();
            let phi = parameters(
                seed ^ 0xe0c,
                &shapes.expect("the configuration is possible"),
            );
            // Under EDM t is σ, in any size.
            let scale = if game.schedule == ScheduleKind::EDM {
                8.0
            } else {
                1.0
            };
            let image =
                |i: usize, k: u64| seeded_normal(seed ^ (2 * i as u64 + k), &[BATCH, 1, 4, 4]);
            let phi = centred(phi, &image(0, 1));
            let mut case = Case::new();
            let named = theta.into_iter().map(|p| ("theta", p));
            let named = named.chain(phi.into_iter().map(|p| ("phi", p)));
            for (i, (player, (name, value))) in named.enumerate() {
                let normal = |k: u64| {
                    seeded_normal(seed.wrapping_add(7919 * (4 * i as u64 + k)), value.shape())
                };
                case = case
                    .tensor(&format!("m {player} {name}"), normal(0) / 16.0)
                    .tensor(
                        &format!("v {player} {name}"),
                        normal(1).mapv(|z| 0.25 + (z / 4.0).abs()),
                    );
                if player == "theta" {
                    case = case.tensor(&format!("average {name}"), normal(2));
                }
                case = case.tensor(&format!("{player} {name}"), value);
            }
            for (i, t) in times.into_iter().enumerate() {
                case = case
                    .number(&at(i, "t"), scale * f64::from(t) / 1024.0)
                    .tensor(&at(i, "x0"), image(i, 1))
                    .tensor(&at(i, "eps"), image(i, 2));
            }
            case
        })
        .boxed()
}

/// φ with the offsets of its features such that those of these images have mean 0. As drawn, what the features of all images have
/// in common is so large that their cosines are nearly 1 in both batches, and S all but 0.
fn centred(mut phi: Parameters, x0: &ArrayD<f64>) -> Parameters {
    let none = ArrayD::zeros(ndarray::IxDyn(&[BATCH, encoder().dim]));
    let pass = encoder().forward_backward(&phi, x0, Head::Features, &none);
    let features = pass.expect("the encoder takes these images").output;
    let offsets = phi.get_mut("features.bias").expect("an offset");
    *offsets -= &(features.sum_axis(Axis(0)) / BATCH as f64);
    offsets.mapv_inplace(round_f32);
    phi
}

/// Classes of a batch, the last of them "no class" where that can be.
fn labels(update: Update) -> Vec<u32> {
    match update {
        Descend | Ascend => vec![0, 3, 1],
        Classify => vec![0, 2, 1],
    }
}

pub(super) fn part(case: &Case, prefix: &str) -> Parameters {
    let prefix = format!("{prefix} ");
    let named = |(key, value): (&String, &ArrayD<f64>)| {
        Some((key.strip_prefix(&prefix)?.to_owned(), value.clone()))
    };
    case.tensors.iter().filter_map(named).collect()
}

/// Whether intermediate results are rounded.
pub(super) enum Arithmetic<'a> {
    Exact,
    Rounded(&'a dyn Fn(f64) -> f64),
}

impl Arithmetic<'_> {
    pub(super) fn round(&self, x: ArrayD<f64>) -> ArrayD<f64> {
        match self {
            Self::Exact => x,
            Self::Rounded(f) => x.mapv(f),
        }
    }

    pub(super) fn round_one(&self, x: f64) -> f64 {
        match self {
            Self::Exact => x,
            Self::Rounded(f) => f(x),
        }
    }

    /// Ψ's answer, and the gradients in x and φ of ⟨g, Ψ's answer⟩.
    fn encoder(
        &self,
        phi: &Parameters,
        x: &ArrayD<f64>,
        head: Head,
        g: &ArrayD<f64>,
    ) -> Result<sadm_reference::network::Pass> {
        let network: Encoder = encoder();
        let pass = match self {
            Self::Exact => network.forward_backward(phi, x, head, g),
            Self::Rounded(f) => network.forward_backward_rounded(phi, x, head, g, f),
        };
        pass.map_err(Error::reference)
    }
}

/// c_i x_i for sample i.
fn scaled(x: &ArrayD<f64>, c: &[Coefficients], of: fn(&Coefficients) -> f64) -> ArrayD<f64> {
    let mut y = x.clone();
    for (mut sample, c) in y.axis_iter_mut(Axis(0)).zip(c) {
        sample *= of(c);
    }
    y
}

fn matrix(x: ArrayD<f64>) -> Result<Array2<f64>> {
    x.into_dimensionality::<Ix2>().map_err(Error::reference)
}

/// A player in the reference: parameters and moments by name.
pub(super) struct Player {
    pub(super) parameters: Parameters,
    moments: BTreeMap<String, Moments>,
}

impl Player {
    pub(super) fn of(case: &Case, name: &str) -> Self {
        let mut v = part(case, &format!("v {name}"));
        let moments = part(case, &format!("m {name}")).into_iter();
        let moments = moments.map(|(name, m)| {
            let v = v
                .remove(&name)
                .unwrap_or_else(|| ArrayD::zeros(m.raw_dim()));
            let steps = STEPS_BEFORE;
            (name, Moments { steps, m, v })
        });
        Self {
            moments: moments.collect(),
            parameters: part(case, name),
        }
    }

    /// Clipping and AdamW, on the parameters that have a gradient.
    pub(super) fn step(
        &mut self,
        i: usize,
        grads: &Parameters,
        values: &mut Exact,
        a: &Arithmetic<'_>,
    ) -> Result<()> {
        let clipped = optim::clip_by_global_norm(grads, MAX_NORM).map_err(Error::reference)?;
        let norm = scalar(a.round_one(clipped.norm));
        values.insert(at(i, "gradient norm"), norm);
        for (name, grad) in clipped.grads {
            let gradient = a.round(grads[&name].clone());
            values.insert(at(i, &format!("gradient of {name}")), gradient);
            let (parameter, state) = (&self.parameters[&name], &self.moments[&name]);
            let stepped = ADAMW.step(parameter, &a.round(grad), state);
            let (parameter, state) = stepped.map_err(Error::reference)?;
            self.parameters.insert(name.clone(), a.round(parameter));
            let (m, v) = (a.round(state.m), a.round(state.v));
            self.moments.insert(name, Moments { m, v, ..state });
        }
        Ok(())
    }

    pub(super) fn report(&self, name: &str, values: &mut Exact) {
        for (parameter, value) in &self.parameters {
            values.insert(format!("{name} of {parameter}"), value.clone());
        }
        for (parameter, moments) in &self.moments {
            values.insert(format!("m of {name} {parameter}"), moments.m.clone());
            values.insert(format!("v of {name} {parameter}"), moments.v.clone());
        }
    }
}

/// The game in the reference. Gradients are put together by hand: of L and, through Ψ, of S in x̂; from there
/// through the preconditioner into the denoiser; of S in both its features into φ.
fn play(game: Game, case: &Case, a: &Arithmetic<'_>) -> Result<Exact> {
    let (mut theta, mut phi) = (Player::of(case, "theta"), Player::of(case, "phi"));
    let mut average = part(case, "average");
    let mut values = Exact::new();
    for (i, &update) in game.updates.iter().enumerate() {
        let grads = match update {
            Descend => descent(game, i, case, [&theta, &phi], &mut values, a)?,
            Ascend => ascent(game, i, case, [&theta, &phi], &mut values, a)?,
            Classify => classification(i, case, &phi, &mut values, a)?,
        };
        if update == Descend {
            theta.step(i, &grads, &mut values, a)?;
            let decay = ema::ema_decay(HALF_LIFE, Some(RAMP), IMAGES, BATCH as f64);
            for (name, average) in &mut average {
                let updated = ema::ema_update(average, &theta.parameters[name], decay);
                *average = a.round(updated.map_err(Error::reference)?);
            }
        } else {
            phi.step(i, &grads, &mut values, a)?;
        }
    }
    if game.updates.contains(&Descend) {
        theta.report("theta", &mut values);
        let averages = average.into_iter();
        values.extend(averages.map(|(name, value)| (format!("average of {name}"), value)));
    }
    if game.updates.iter().any(|update| *update != Descend) {
        phi.report("phi", &mut values);
    }
    Ok(values)
}

/// x̂ of update `i`, the coefficients around the network, and the gradients in θ of ⟨g, x̂⟩ for a g that is said then.
type Denoised<'a> = (
    ArrayD<f64>,
    Box<dyn Fn(&ArrayD<f64>) -> Result<Parameters> + 'a>,
);

fn denoised<'a>(
    game: Game,
    i: usize,
    case: &Case,
    theta: &'a Player,
    a: &'a Arithmetic<'_>,
) -> Result<Denoised<'a>> {
    let (schedule, t) = (game.schedule.schedule(), case.get_number(&at(i, "t"))?);
    let (alpha, sigma) = (schedule.alpha(t), schedule.sigma(t));
    let (x0, eps) = (case.get(&at(i, "x0"))?, case.get(&at(i, "eps"))?);
    let x_t = a.round(forward::diffuse(x0, eps, alpha, sigma).map_err(Error::reference)?);
    let c = parametrisation::coefficients(Parametrisation::Edm, alpha, sigma, SIGMA_DATA);
    let c = vec![c.map_err(Error::reference)?; BATCH];
    let noise: Vec<f64> = c.iter().map(|c| c.noise).collect();
    let input = a.round(scaled(&x_t, &c, |c| c.input));
    let network = Small::of(game.network)?.reference()?;
    let pass = move |g: &ArrayD<f64>| {
        let labels = labels(Descend);
        let condition = Condition::new(&noise, Some(&labels));
        let p = &theta.parameters;
        let pass = match a {
            Arithmetic::Exact => network.forward_backward(p, &input, condition, g),
            Arithmetic::Rounded(f) => network.forward_backward_rounded(p, &input, condition, g, f),
        };
        pass.map_err(Error::reference)
    };
    let output = pass(&ArrayD::zeros(x_t.raw_dim()))?.output;
    let x_hat = a.round(scaled(&x_t, &c, |c| c.skip) + scaled(&output, &c, |c| c.out));
    let gradients = move |g: &ArrayD<f64>| {
        let into_output = a.round(scaled(g, &c, |c| c.out));
        Ok(pass(&into_output)?.grad_parameters)
    };
    Ok((x_hat, Box::new(gradients)))
}

/// S of Ψ(x_0) and Ψ(x̂), with its gradients in both times `factor`.
///
/// Polarised: the difference of two nearly equal affinity matrices would cost the reference digits that no
/// rounding of the networks explains.
fn structural(
    (game, i): (Game, usize),
    case: &Case,
    phi: &Player,
    x_hat: &ArrayD<f64>,
    factor: f64,
    values: &mut Exact,
    a: &Arithmetic<'_>,
) -> Result<[ArrayD<f64>; 2]> {
    let none = ArrayD::zeros(ndarray::IxDyn(&[BATCH, encoder().dim]));
    let features = |x| Ok::<_, Error>(a.encoder(&phi.parameters, x, Head::Features, &none)?.output);
    let (psi, psi_hat) = (features(case.get(&at(i, "x0"))?)?, features(x_hat)?);
    let eta = eta(game, case.get_number(&at(i, "t"))?)?;
    let form = Form::choose(BATCH, encoder().dim);
    let (real, generated) = (matrix(psi.clone())?, matrix(psi_hat.clone())?);
    let s = polarised_loss(&real, &generated, &[eta], &OPTIONS, form).map_err(Error::reference)?;
    values.extend([
        (at(i, "structural loss"), scalar(a.round_one(s.loss))),
        (at(i, "x_hat"), x_hat.clone()),
        (at(i, "psi"), psi),
        (at(i, "psi_hat"), psi_hat),
    ]);
    let mut grads = [s.grad_real, s.grad_generated].map(|grad| grad.into_dyn() * factor);
    if let Arithmetic::Rounded(f) = a {
        // One operation here, hundreds of roundings there, which weigh more the nearer Ψ̂ is to Ψ: each element moves within
        // the bound that S has of its own.
        let p = Precision {
            unit: RESOLVED,
            ..Precision::F64
        };
        let bound = bound::structure::polarised_loss(&real, &generated, &[eta], &OPTIONS, form, p);
        let bound = bound.map_err(Error::reference)?;
        for (grad, bound) in grads
            .iter_mut()
            .zip([bound.grad_real, bound.grad_generated])
        {
            grad.zip_mut_with(&bound.error, |grad, error| {
                *grad += factor * error / RESOLVED * (f(1.0) - 1.0);
            });
        }
    }
    Ok(grads.map(|grad| a.round(grad)))
}

fn descent(
    game: Game,
    i: usize,
    case: &Case,
    [theta, phi]: [&Player; 2],
    values: &mut Exact,
    a: &Arithmetic<'_>,
) -> Result<Parameters> {
    let (x_hat, gradients) = denoised(game, i, case, theta, a)?;
    let t = case.get_number(&at(i, "t"))?;
    let w = denoise::weight(
        Weight::EDM,
        game.schedule.schedule().as_ref(),
        t,
        SIGMA_DATA,
    )
    .map_err(Error::reference)?;
    let x0 = case.get(&at(i, "x0"))?;
    let l = denoise::denoising_loss(&x_hat, x0, &[w; BATCH]).map_err(Error::reference)?;
    values.insert(at(i, "denoising loss"), scalar(a.round_one(l.loss)));
    let [_, generated] = structural((game, i), case, phi, &x_hat, LAMBDA, values, a)?;
    let through = a.encoder(&phi.parameters, &x_hat, Head::Features, &generated)?;
    gradients(&a.round(l.grad_prediction + through.grad_input))
}

fn ascent(
    game: Game,
    i: usize,
    case: &Case,
    [theta, phi]: [&Player; 2],
    values: &mut Exact,
    a: &Arithmetic<'_>,
) -> Result<Parameters> {
    let (x_hat, _) = denoised(game, i, case, theta, a)?;
    let [real, generated] = structural((game, i), case, phi, &x_hat, -1.0, values, a)?;
    let into = |x, g| {
        Ok::<_, Error>(
            a.encoder(&phi.parameters, x, Head::Features, g)?
                .grad_parameters,
        )
    };
    let mut grads = into(case.get(&at(i, "x0"))?, &real)?;
    for (name, grad) in into(&x_hat, &generated)? {
        if let Some(sum) = grads.get_mut(&name) {
            *sum += &grad;
        }
    }
    Ok(grads)
}

fn classification(
    i: usize,
    case: &Case,
    phi: &Player,
    values: &mut Exact,
    a: &Arithmetic<'_>,
) -> Result<Parameters> {
    let x0 = case.get(&at(i, "x0"))?;
    let none = ArrayD::zeros(ndarray::IxDyn(&[BATCH, encoder().classes]));
    let logits = a.encoder(&phi.parameters, x0, Head::Logits, &none)?.output;
    let c = nn::cross_entropy(&logits, &labels(Classify)).map_err(Error::reference)?;
    values.insert(at(i, "classification loss"), scalar(a.round_one(c.loss)));
    let into_logits = a.round(c.grad_logits);
    Ok(a.encoder(&phi.parameters, x0, Head::Logits, &into_logits)?
        .grad_parameters)
}

/// A player in the training system.
pub(super) struct Fast {
    name: &'static str,
    pub(super) params: Params,
    pub(super) optimiser: GpuAdamW,
}

impl Fast {
    /// With the moments of a case; `build` makes its parameters.
    pub(super) fn of(
        case: &Case,
        name: &'static str,
        place: &Place,
        build: impl FnOnce(&Params) -> Result<()>,
    ) -> Result<Self> {
        let params = Params::new(&place.device, place.dtype, 0);
        build(&params)?;
        load(&params, &part(case, name), place)?;
        // Moments are f32 at least.
        let dtype = if place.dtype == DType::F64 {
            DType::F64
        } else {
            DType::F32
        };
        let wide = Place {
            dtype,
            ..place.clone()
        };
        let mut moments = BTreeMap::new();
        for moment in ["m", "v"] {
            for (parameter, value) in part(case, &format!("{moment} {name}")) {
                moments.insert(format!("{moment}.{parameter}"), wide.tensor(&value)?);
            }
        }
        let mut optimiser = gpu_adamw(&ADAMW);
        optimiser.load_state(STEPS_BEFORE as usize, moments)?;
        Ok(Self {
            name,
            params,
            optimiser,
        })
    }

    pub(super) fn report(&self, values: &mut Computed) -> Result<()> {
        let name = self.name;
        for (parameter, tensor) in self.params.tensors() {
            values.insert(format!("{name} of {parameter}"), Place::array(&tensor)?);
        }
        for (key, tensor) in self.optimiser.state() {
            let (moment, parameter) = key.split_at(2);
            let key = format!("{} of {name} {parameter}", &moment[..1]);
            values.insert(key, Place::array(&tensor)?);
        }
        Ok(())
    }
}

/// The game in the training system, by the very functions its trainer calls.
fn candle_game(game: Game, case: &Case, place: &Place) -> Result<Computed> {
    let denoiser = Small::of(game.network)?;
    let mut theta = Fast::of(case, "theta", place, |p| {
        denoiser.gpu(p.builder()).map(drop)
    })?;
    let mut phi = Fast::of(case, "phi", place, |p| {
        gpu_encoder(&encoder(), p.builder()).map(drop)
    })?;
    let averages = Params::new(&place.device, place.dtype, 0);
    denoiser.gpu(averages.builder())?;
    load(&averages, &part(case, "average"), place)?;
    let mut ema = Ema::new(&averages, HALF_LIFE, RAMP)?;

    let mut values = Computed::new();
    for (i, &update) in game.updates.iter().enumerate() {
        let descends = update == Descend;
        let (network, psi) = if descends {
            (
                denoiser.gpu(theta.params.builder())?,
                gpu_encoder(&encoder(), phi.params.frozen())?,
            )
        } else {
            (
                denoiser.gpu(theta.params.frozen())?,
                gpu_encoder(&encoder(), phi.params.builder())?,
            )
        };
        let (mover, still) = if descends {
            (&mut theta, &phi)
        } else {
            (&mut phi, &theta)
        };
        let mut grads = gradients(game, i, case, place, (&*network, &psi), &mut values)?;
        for (name, var) in mover.params.vars() {
            // φ's classifier has none while it ascends.
            if let Some(grad) = grads.get(&var) {
                values.insert(at(i, &format!("gradient of {name}")), Place::array(grad)?);
            }
        }
        let mut others = still.params.vars().into_iter();
        if let Some((name, _)) = others.find(|(_, var)| grads.get(var).is_some()) {
            return Err(Error::Gpu(format!(
                "the frozen `{name}` receives a gradient"
            )));
        }
        let norm = clip_grad_norm_later(&mover.params, &mut grads, MAX_NORM)?.wait()?[0];
        values.insert(at(i, "gradient norm"), scalar(norm));
        if descends {
            let seen = [IMAGES, BATCH as f64];
            mover
                .optimiser
                .step_and_average(&mover.params, &grads, 1.0, &mut ema, seen)?;
        } else {
            mover.optimiser.step(&mover.params, &grads, 1.0)?;
        }
    }
    if game.updates.contains(&Descend) {
        theta.report(&mut values)?;
        for (name, tensor) in ema.params().tensors() {
            values.insert(format!("average of {name}"), Place::array(&tensor)?);
        }
    }
    if game.updates.iter().any(|update| *update != Descend) {
        phi.report(&mut values)?;
    }
    Ok(values)
}

/// The losses of update `i`, and the gradients of what its player descends.
fn gradients(
    game: Game,
    i: usize,
    case: &Case,
    place: &Place,
    (denoiser, encoder): (&dyn Network, &GpuEncoder),
    values: &mut Computed,
) -> Result<candle_core::backprop::GradStore> {
    let update = game.updates[i];
    let objective = Objective {
        schedule: game.schedule.to_string().parse()?,
        parametrisation: GpuParametrisation::Edm,
        noise: NoiseCondition::LogSigma,
        weight: GpuWeight::EDM,
        sigma_data: SIGMA_DATA,
        variance: sadm_gpu::objective::variance::PredictedVariance::None,
    };
    let batch = Batch {
        x0: place.tensor(case.get(&at(i, "x0"))?)?,
        eps: place.tensor(case.get(&at(i, "eps"))?)?,
        t: vec![case.get_number(&at(i, "t"))?; BATCH],
        labels: Some(labels(update)),
        augment: None,
        dropout: None,
    };
    let view = View {
        denoiser,
        encoder: Some(encoder),
        moves: if update == Descend {
            Moves::Denoiser
        } else {
            Moves::Encoder
        },
    };
    let pass = Pass::new(view, &objective, &batch);
    let structure = terms::Structure {
        options: gpu_options(&OPTIONS)?,
        eta: Eta::INVERSE_TIME,
        eta_t_min: T_MIN,
    };
    let summands: &[Summand<'_>] = match update {
        Descend => &[(1.0, &terms::Denoising), (LAMBDA, &structure)],
        Ascend => &[(-1.0, &structure)],
        Classify => &[(1.0, &terms::Classification)],
    };
    let Losses { each, total } = losses(summands, &pass, &mut Tape::off())?;
    for ((_, term), loss) in summands.iter().zip(&each) {
        let name = match term.name() {
            "denoising" => "denoising loss",
            "structure" => "structural loss",
            _ => "classification loss",
        };
        values.insert(at(i, name), Place::array(loss)?);
    }
    if update != Classify {
        values.extend([
            (
                at(i, "x_hat"),
                Place::array(&pass.prediction()?.answer.x_hat)?,
            ),
            (at(i, "psi"), Place::array(pass.psi()?)?),
            (at(i, "psi_hat"), Place::array(pass.psi_hat()?)?),
        ]);
    }
    Ok(total.backward()?)
}
