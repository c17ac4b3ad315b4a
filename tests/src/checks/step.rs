//! One whole training step of θ in the guided phase: forward process, denoiser, both losses, all
//! gradients, clipping, AdamW and the moving average.

use std::collections::BTreeMap;

use candle_core::DType;
use ndarray::{Array2, ArrayD, Axis, Ix2};
use proptest::prelude::*;
use sadm_gpu::{
    ema::Ema,
    forward::schedule::Schedule as GpuSchedule,
    objective::Objective,
    objective::denoising::Weight as GpuWeight,
    objective::parametrisation::Parametrisation as GpuParametrisation,
    objective::preconditioner::NoiseCondition,
    optim::clip_grad_norm_later,
    params::Params,
    structure::Eta,
    train::{
        batch::Batch,
        pass::{Moves, Pass, View},
        term::{Losses, Tape, losses},
        terms,
    },
};
use sadm_reference::{
    bound,
    denoise::{self, Weight},
    distance::Distance,
    ema, forward,
    network::{Condition, Encoder, Head},
    optim::{self, AdamW, Moments},
    parametrisation::{self, Coefficients, Parametrisation},
    polarised::{Form, polarised_loss},
    relation::Relation,
    schedule::{Schedule, VpLinear},
    structure::{self, Diagonal, StructureOptions},
};

use super::{
    networks::{Small, encoder, gpu_encoder, load, parameters, spread},
    optim::gpu_adamw,
    structure::gpu_options,
};
use crate::{
    case::Case,
    check::{Check, Cost, Quantity, Values, scalar},
    engine::Place,
    error::{Error, Result},
    generators::seeded_normal,
    ledger::Rule,
};

/// Factor of the structural loss beside the denoising loss.
const LAMBDA: f64 = 0.5;
/// σ_d.
const SIGMA_DATA: f64 = 0.5;
/// Clamp of η = 1/t.
const T_MIN: f64 = 0.05;
/// Largest gradient norm: small enough to clip.
const MAX_NORM: f64 = 0.5;
/// Steps the optimiser has behind it.
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

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    vec![guided_step()]
}

fn guided_step() -> Box<dyn Check> {
    Quantity::new(
        "step.guided",
        "L, S, ∂(L + λS)/∂θ and its norm, clipped, θ and moments after AdamW, the moving average",
        "SADM Eq. 6 and Alg. 1; sadm_gpu::train::term",
    )
    .cost(Cost::Heavy)
    .draws(draws)
    .reference(|case| whole_step(case, &Arithmetic::Exact))
    .bound(|case, rule| {
        let exact = whole_step(case, &Arithmetic::Exact)?;
        let own = loss_bound(case, &exact, rule)?;
        let mut bounds = spread(exact, rule, |rounding| {
            let moved = case.map_tensors(rounding);
            whole_step(&moved, &Arithmetic::Rounded(rounding))
        })?;
        let loss = bounds.entry("structural loss".to_owned());
        loss.and_modify(|loss| *loss = loss.widened(&own));
        Ok(bounds)
    })
    .candle(candle_step)
    .boxed()
}

fn denoiser() -> Result<Small> {
    Small::of("unet")
}

/// The a-priori bound of S for given features. The spread does not contain it: moving Ψ and Ψ̂ at random leaves
/// their lengths out, to which cosine is blind, while the rounding of the normalised rows is seen as soon as
/// Ψ̂ is near Ψ.
fn loss_bound(case: &Case, exact: &Values, rule: &Rule) -> Result<ArrayD<f64>> {
    let [psi, psi_hat] = ["psi", "psi_hat"].map(|name| matrix(exact[name].clone()));
    let t = case.get_number("t")?;
    let eta = structure::eta(structure::Eta::INVERSE_TIME, t, T_MIN, &VpLinear::default())
        .map_err(Error::reference)?;
    let form = Form::choose(BATCH, encoder().dim);
    let bound =
        bound::structure::polarised_loss(&psi?, &psi_hat?, &[eta], &OPTIONS, form, rule.compute)
            .map_err(Error::reference)?;
    Ok(bound.loss.error)
}

/// Parameters of both networks, moments as after some steps (m of the size of a gradient, v well away from
/// zero: at v = 0 the update is the gradient's sign, which no rounding leaves alone), the old average,
/// a batch, its noise and its shared time.
fn draws() -> BoxedStrategy<Case> {
    (any::<u32>(), 64..=960_i32)
        .prop_map(|(seed, t)| {
            let seed = u64::from(seed);
            let theta = denoiser().and_then(|small| small.parameters(seed));
            let theta = theta.expect("the configuration is possible");
            let mut case = Case::new().number("t", f64::from(t) / 1024.0);
            for (i, (name, value)) in theta.into_iter().enumerate() {
                let normal = |k: u64| {
                    seeded_normal(seed.wrapping_add(7919 * (4 * i as u64 + k)), value.shape())
                };
                case = case
                    .tensor(&format!("m {name}"), normal(0) / 16.0)
                    .tensor(
                        &format!("v {name}"),
                        normal(1).mapv(|z| 0.25 + (z / 4.0).abs()),
                    )
                    .tensor(&format!("average {name}"), normal(2))
                    .tensor(&format!("theta {name}"), value);
            }
            let shapes = encoder()
                .parameter_shapes()
                .expect("the configuration is possible");
            for (name, value) in parameters(seed ^ 0xe0c, &shapes) {
                case = case.tensor(&format!("phi {name}"), value);
            }
            case.tensor("x0", seeded_normal(seed ^ 0x1, &[BATCH, 1, 4, 4]))
                .tensor("eps", seeded_normal(seed ^ 0x2, &[BATCH, 1, 4, 4]))
                .counts("labels", vec![0, 3, 1])
        })
        .boxed()
}

fn part(case: &Case, prefix: &str) -> BTreeMap<String, ArrayD<f64>> {
    let prefix = format!("{prefix} ");
    let named = |(key, value): (&String, &ArrayD<f64>)| {
        Some((key.strip_prefix(&prefix)?.to_owned(), value.clone()))
    };
    case.tensors.iter().filter_map(named).collect()
}

fn labels(case: &Case) -> Result<Vec<u32>> {
    let labels = case
        .get_counts("labels")?
        .iter()
        .map(|&l| u32::try_from(l).map_err(Error::reference));
    labels.collect()
}

/// Whether intermediate results are rounded.
enum Arithmetic<'a> {
    Exact,
    Rounded(&'a dyn Fn(f64) -> f64),
}

impl Arithmetic<'_> {
    fn round(&self, x: ArrayD<f64>) -> ArrayD<f64> {
        match self {
            Self::Exact => x,
            Self::Rounded(f) => x.mapv(f),
        }
    }

    fn round_one(&self, x: f64) -> f64 {
        match self {
            Self::Exact => x,
            Self::Rounded(f) => f(x),
        }
    }

    /// ψ = Ψ(x) and the gradient in x of ⟨g, ψ⟩.
    fn features(
        &self,
        network: &Encoder,
        phi: &BTreeMap<String, ArrayD<f64>>,
        x: &ArrayD<f64>,
        g: &ArrayD<f64>,
    ) -> Result<(ArrayD<f64>, ArrayD<f64>)> {
        let pass = match self {
            Self::Exact => network.forward_backward(phi, x, Head::Features, g),
            Self::Rounded(f) => network.forward_backward_rounded(phi, x, Head::Features, g, f),
        };
        let pass = pass.map_err(Error::reference)?;
        Ok((pass.output, pass.grad_input))
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

/// The step in the reference. Gradients are put together by hand: of L and, through Ψ, of S in x̂; from there
/// through the preconditioner into the denoiser.
fn whole_step(case: &Case, arithmetic: &Arithmetic<'_>) -> Result<Values> {
    let (theta, phi) = (part(case, "theta"), part(case, "phi"));
    let schedule = VpLinear::default();
    let t = case.get_number("t")?;
    let (alpha, sigma) = (schedule.alpha(t), schedule.sigma(t));
    let x0 = case.get("x0")?;
    let x_t = forward::diffuse(x0, case.get("eps")?, alpha, sigma).map_err(Error::reference)?;
    let x_t = arithmetic.round(x_t);
    let c = parametrisation::coefficients(Parametrisation::Edm, alpha, sigma, SIGMA_DATA)
        .map_err(Error::reference)?;
    let c = vec![c; BATCH];

    let labels = labels(case)?;
    let noise: Vec<f64> = c.iter().map(|c| c.noise).collect();
    let condition = Condition {
        noise: &noise,
        labels: Some(&labels),
        augment: None,
    };
    let input = arithmetic.round(scaled(&x_t, &c, |c| c.input));
    let network = denoiser()?.reference()?;
    let pass = |g: &ArrayD<f64>| match arithmetic {
        Arithmetic::Exact => network.forward_backward(&theta, &input, condition, g),
        Arithmetic::Rounded(f) => network.forward_backward_rounded(&theta, &input, condition, g, f),
    };
    let output = pass(&ArrayD::zeros(input.raw_dim()))
        .map_err(Error::reference)?
        .output;
    let x_hat = arithmetic.round(scaled(&x_t, &c, |c| c.skip) + scaled(&output, &c, |c| c.out));

    let w = denoise::weight(Weight::EDM, &schedule, t, SIGMA_DATA).map_err(Error::reference)?;
    let l = denoise::denoising_loss(&x_hat, x0, &[w; BATCH]).map_err(Error::reference)?;
    let psi_network = encoder();
    let no_gradient = ArrayD::zeros(ndarray::IxDyn(&[BATCH, psi_network.dim]));
    let psi = arithmetic.features(&psi_network, &phi, x0, &no_gradient)?.0;
    let psi_hat = arithmetic
        .features(&psi_network, &phi, &x_hat, &no_gradient)?
        .0;
    let eta = structure::eta(structure::Eta::INVERSE_TIME, t, T_MIN, &schedule)
        .map_err(Error::reference)?;
    // Polarised: the difference of two nearly equal affinity matrices would cost the reference digits that no
    // rounding of the networks explains.
    let (psi, psi_hat) = (matrix(psi)?, matrix(psi_hat)?);
    let form = Form::choose(BATCH, psi_network.dim);
    let s = polarised_loss(&psi, &psi_hat, &[eta], &OPTIONS, form).map_err(Error::reference)?;
    let into_features = arithmetic.round(s.grad_generated.into_dyn() * LAMBDA);
    let through_features = arithmetic
        .features(&psi_network, &phi, &x_hat, &into_features)?
        .1;
    let into_x_hat = arithmetic.round(l.grad_prediction + through_features);
    let into_output = arithmetic.round(scaled(&into_x_hat, &c, |c| c.out));
    let grads = pass(&into_output)
        .map_err(Error::reference)?
        .grad_parameters;

    let mut values = Values::from([
        (
            "denoising loss".to_owned(),
            scalar(arithmetic.round_one(l.loss)),
        ),
        (
            "structural loss".to_owned(),
            scalar(arithmetic.round_one(s.loss)),
        ),
        ("x_hat".to_owned(), x_hat),
        ("psi".to_owned(), psi.into_dyn()),
        ("psi_hat".to_owned(), psi_hat.into_dyn()),
    ]);
    update(case, &theta, &grads, &mut values, arithmetic)?;
    Ok(values)
}

/// Clipping, AdamW and the average.
fn update(
    case: &Case,
    theta: &BTreeMap<String, ArrayD<f64>>,
    grads: &BTreeMap<String, ArrayD<f64>>,
    values: &mut Values,
    arithmetic: &Arithmetic<'_>,
) -> Result<()> {
    let clipped = optim::clip_by_global_norm(grads, MAX_NORM).map_err(Error::reference)?;
    values.insert(
        "gradient norm".to_owned(),
        scalar(arithmetic.round_one(clipped.norm)),
    );
    let decay = ema::ema_decay(HALF_LIFE, Some(RAMP), IMAGES, BATCH as f64);
    for (name, theta) in theta {
        let state = Moments {
            steps: STEPS_BEFORE,
            m: case.get(&format!("m {name}"))?.clone(),
            v: case.get(&format!("v {name}"))?.clone(),
        };
        let grad = arithmetic.round(clipped.grads[name].clone());
        let (theta, state) = ADAMW.step(theta, &grad, &state).map_err(Error::reference)?;
        let theta = arithmetic.round(theta);
        let average = ema::ema_update(case.get(&format!("average {name}"))?, &theta, decay)
            .map_err(Error::reference)?;
        values.insert(
            format!("gradient of {name}"),
            arithmetic.round(grads[name].clone()),
        );
        values.insert(format!("m of {name}"), arithmetic.round(state.m));
        values.insert(format!("v of {name}"), arithmetic.round(state.v));
        values.insert(format!("average of {name}"), arithmetic.round(average));
        values.insert(format!("theta of {name}"), theta);
    }
    Ok(())
}

/// The step in the training system, by the very functions its trainer calls.
fn candle_step(case: &Case, place: &Place) -> Result<Values> {
    let (theta, phi) = (
        Params::new(&place.device, place.dtype, 0),
        Params::new(&place.device, place.dtype, 0),
    );
    let network = denoiser()?.gpu(theta.builder())?;
    gpu_encoder(&encoder(), phi.builder())?;
    let psi = gpu_encoder(&encoder(), phi.frozen())?;
    load(&theta, &part(case, "theta"), place)?;
    load(&phi, &part(case, "phi"), place)?;
    let t = case.get_number("t")?;
    let objective = Objective {
        schedule: GpuSchedule::VP_LINEAR,
        parametrisation: GpuParametrisation::Edm,
        noise: NoiseCondition::LogSigma,
        weight: GpuWeight::EDM,
        sigma_data: SIGMA_DATA,
    };
    let term = terms::Structure {
        options: gpu_options(&OPTIONS)?,
        eta: Eta::INVERSE_TIME,
        eta_t_min: T_MIN,
    };
    let batch = Batch {
        x0: place.tensor(case.get("x0")?)?,
        eps: place.tensor(case.get("eps")?)?,
        t: vec![t; BATCH],
        labels: Some(labels(case)?),
    };
    let view = View {
        denoiser: &network,
        encoder: Some(&psi),
        moves: Moves::Denoiser,
    };
    let pass = Pass::new(view, &objective, &batch);
    let summands: [_; 2] = [(1.0, &terms::Denoising as _), (LAMBDA, &term as _)];
    let Losses { each, total } = losses(&summands, &pass, &mut Tape::off())?;
    let mut grads = total.backward()?;
    let mut values = Values::from([
        ("denoising loss".to_owned(), Place::array(&each[0])?),
        ("structural loss".to_owned(), Place::array(&each[1])?),
        (
            "x_hat".to_owned(),
            Place::array(&pass.prediction()?.answer.x_hat)?,
        ),
        ("psi".to_owned(), Place::array(pass.psi()?)?),
        ("psi_hat".to_owned(), Place::array(pass.psi_hat()?)?),
    ]);
    for (name, var) in theta.vars() {
        let grad = grads
            .get(&var)
            .ok_or_else(|| Error::Gpu(format!("`{name}` receives no gradient")))?;
        values.insert(format!("gradient of {name}"), Place::array(grad)?);
    }
    if let Some((name, _)) = phi.vars().iter().find(|(_, var)| grads.get(var).is_some()) {
        return Err(Error::Gpu(format!(
            "the frozen `{name}` receives a gradient"
        )));
    }
    values.insert(
        "gradient norm".to_owned(),
        scalar(clip_grad_norm_later(&theta, &mut grads, MAX_NORM)?.wait()?[0]),
    );

    // Moments are f32 at least.
    let wide = Place {
        dtype: if place.dtype == DType::F64 {
            DType::F64
        } else {
            DType::F32
        },
        ..place.clone()
    };
    let mut optimiser = gpu_adamw(&ADAMW);
    let mut moments = BTreeMap::new();
    for (name, _) in theta.vars() {
        for moment in ["m", "v"] {
            moments.insert(
                format!("{moment}.{name}"),
                wide.tensor(case.get(&format!("{moment} {name}"))?)?,
            );
        }
    }
    optimiser.load_state(STEPS_BEFORE as usize, moments)?;
    let averages = Params::new(&place.device, place.dtype, 0);
    denoiser()?.gpu(averages.builder())?;
    load(&averages, &part(case, "average"), place)?;
    let mut ema = Ema::new(&averages, HALF_LIFE, RAMP)?;
    optimiser.step_and_average(&theta, &grads, 1.0, &mut ema, [IMAGES, BATCH as f64])?;
    for (name, tensor) in theta.tensors() {
        values.insert(format!("theta of {name}"), Place::array(&tensor)?);
    }
    for (name, tensor) in ema.params().tensors() {
        values.insert(format!("average of {name}"), Place::array(&tensor)?);
    }
    for (key, tensor) in optimiser.state() {
        let (moment, name) = key.split_at(2);
        values.insert(
            format!("{} of {name}", &moment[..1]),
            Place::array(&tensor)?,
        );
    }
    Ok(values)
}
