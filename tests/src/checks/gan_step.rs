//! Whole updates of both players of a GAN with noise before its discriminator: noising, networks, losses, the penalty with its second
//! derivative, all gradients, clipping and AdamW.

use candle_core::Tensor;
use ndarray::{Array1, ArrayD, Axis, Ix2};
use proptest::prelude::*;
use sadm_gpu::{
    diffusion_gan::{
        Diffusion, Discriminator, Game, GanLoss as GpuGanLoss, Judgement, Penalty, Seen,
    },
    network::{
        LevelEmbedding as GpuEmbedding, MlpDiscriminator as GpuDiscriminator,
        MlpGenerator as GpuGenerator, WAVES,
    },
    optim::clip_grad_norm_later,
    params::Params,
};
use sadm_reference::{
    diffusion_gan::{GanLoss, diffuse, diffuse_vjp, r1},
    network::{
        LevelEmbedding, MlpDiscriminator, MlpGenerator, Parameters,
        graph::{Graph, Value},
    },
    nn,
};

use super::{
    diffusion_gan::{Laid, grown, laid, plug_in_case},
    networks::{load, parameters, spread},
    step::{Arithmetic, Fast, MAX_NORM, Player, part},
};
use crate::{
    case::Case,
    check::{Check, Computed, Cost, Exact, Quantity, scalar},
    engine::Place,
    error::{Error, Result},
    generators::{round_f32, seeded_normal},
};

const ROWS: usize = 3;
const LATENT: usize = 2;
const DIM: usize = 2;
const WIDTH: usize = 4;
/// γ/2 is the penalty's factor.
const GAMMA: f64 = 3.0;

const GENERATOR: MlpGenerator = MlpGenerator {
    latent: LATENT,
    width: WIDTH,
    dim: DIM,
};

/// What D is told of t, one for each loss in their order.
const EMBEDDINGS: [(LevelEmbedding, GpuEmbedding); 3] = [
    (LevelEmbedding::Waves(WAVES), GpuEmbedding::Waves),
    (LevelEmbedding::None, GpuEmbedding::None),
    (LevelEmbedding::Published, GpuEmbedding::Published),
];

fn discriminator(case: &Case) -> Result<(MlpDiscriminator, GpuEmbedding)> {
    let (embedding, of_gpu) = EMBEDDINGS[case.get_count("embedding")?];
    let network = MlpDiscriminator {
        dim: DIM,
        width: WIDTH,
        embedding,
    };
    Ok((network, of_gpu))
}

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    let losses = GanLoss::ALL.into_iter().zip(GpuGanLoss::ALL);
    let both = losses.flat_map(|losses| [true, false].map(|d| check(losses, d)));
    both.collect()
}

fn check((loss, of_gpu): (GanLoss, GpuGanLoss), judges: bool) -> Box<dyn Check> {
    let player = if judges { "discriminator" } else { "generator" };
    let play = move |case: &Case, a: &Arithmetic<'_>| {
        if judges {
            judge(loss, case, a)
        } else {
            generate(loss, case, a)
        }
    };
    Quantity::new(
        format!("step.gan.{player}.{loss}"),
        "losses, gradients of a player and their norm, clipped, parameters and moments after AdamW",
        "Diffusion-GAN (arXiv:2206.02262), Alg. 1; sadm_gpu::diffusion_gan [eq:gan-discriminator] [eq:gan-generator] [eq:r1]",
    )
    .cost(Cost::Heavy)
    .draws(move || draws(loss, judges))
    .reference(move |case| play(case, &Arithmetic::Exact))
    .bound(move |case, rule| {
        spread(play(case, &Arithmetic::Exact)?, rule, |rounding| {
            // z, noise and data are numbers of f32 on both sides; what is made of them is rounded.
            play(case, &Arithmetic::Rounded(rounding))
        })
    })
    .candle(move |case, place| {
        if judges {
            gpu_judge(of_gpu, case, place, &judged)
        } else {
            gpu_generate(of_gpu, case, place, &Diffusion::diffuse)
        }
    })
    .boxed()
}

/// Parameters of both networks with their moments, z, real points, and a plug-in; with offsets such that no unit is near its kink.
fn draws(loss: GanLoss, judges: bool) -> BoxedStrategy<Case> {
    let embedding = GanLoss::ALL.iter().position(|known| *known == loss);
    let embedding = embedding.expect("a known loss");
    (plug_in_case(), any::<u32>())
        .prop_map(move |(rule, seed)| {
            let seed = u64::from(seed);
            let mut case = rule
                .count("embedding", embedding)
                .tensor("z", seeded_normal(seed ^ 1, &[ROWS, LATENT]))
                .tensor("x", seeded_normal(seed ^ 2, &[ROWS, DIM]))
                .tensor("x'", seeded_normal(seed ^ 3, &[ROWS, DIM]));
            let (network, _) = discriminator(&case).expect("an embedding");
            let of_d = network.parameter_shapes().expect("a network");
            let of_g = GENERATOR.parameter_shapes().expect("a network");
            let mut g = parameters(seed ^ 0x9e, &of_g);
            settle(&mut g, &[case.tensors["z"].clone()], None);
            case = with_player(case, "g", &g, seed);
            let seen = seen_by_d(&case, judges).expect("the plug-in's levels");
            let mut d = parameters(seed ^ 0xd1, &of_d);
            let rows: Vec<ArrayD<f64>> = seen.iter().map(|seen| seen.y.clone()).collect();
            settle(&mut d, &rows, Some(()));
            with_player(case, "d", &d, seed ^ 0xd)
        })
        .boxed()
}

/// A player's parameters and moments as after some steps.
fn with_player(mut case: Case, player: &str, parameters: &Parameters, seed: u64) -> Case {
    for (i, (name, value)) in parameters.iter().enumerate() {
        let normal =
            |k: u64| seeded_normal(seed.wrapping_add(7919 * (2 * i as u64 + k)), value.shape());
        case = case
            .tensor(&format!("m {player} {name}"), normal(0) / 16.0)
            .tensor(
                &format!("v {player} {name}"),
                normal(1).mapv(|z| 0.25 + (z / 4.0).abs()),
            )
            .tensor(&format!("{player} {name}"), value.clone());
    }
    case
}

/// Moves offsets of hidden units, and of the logits, to where every value is as far as can be from its kink: 0, or ±1 of the hinge.
fn settle(parameters: &mut Parameters, inputs: &[ArrayD<f64>], logits: Option<()>) {
    let views: Vec<_> = inputs.iter().map(|rows| rows.view()).collect();
    let mut h = ndarray::concatenate(Axis(0), &views).expect("rows of one length");
    let layers: &[&str] = if logits.is_some() {
        &["0", "1", "2"]
    } else {
        &["0", "1"]
    };
    for name in layers {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let none = ArrayD::zeros(parameters[&bias].raw_dim());
        let plain = nn::linear(&h, &parameters[&weight], &none).expect("shapes that fit");
        let plain = plain.into_dimensionality::<Ix2>().expect("rows");
        let kinks: &[f64] = if *name == "2" { &[-1.0, 1.0] } else { &[0.0] };
        let offsets = parameters.get_mut(&bias).expect("an offset");
        for (unit, offset) in offsets.iter_mut().enumerate() {
            let distance = |by: f64| {
                let of = |h: &f64| {
                    kinks
                        .iter()
                        .map(|kink| (h + by - kink).abs())
                        .fold(4.0, f64::min)
                };
                plain
                    .column(unit)
                    .iter()
                    .map(of)
                    .fold(f64::INFINITY, f64::min)
            };
            let candidates = (-32..=32).map(|k| f64::from(k) / 16.0);
            let best = candidates.max_by(|a, b| distance(*a).total_cmp(&distance(*b)));
            *offset = best.map_or(0.0, round_f32);
        }
        let moved = nn::linear(&h, &parameters[&weight], &parameters[&bias]);
        h = nn::leaky_relu(&moved.expect("shapes that fit"));
    }
}

/// What D sees: y, t, ᾱ_t, and what multiplies an image there.
struct InFront {
    y: ArrayD<f64>,
    t: Vec<usize>,
    left: Array1<f64>,
    bars: Vec<f64>,
}

/// Real and generated points before D, or generated ones alone, noised by the plug-in's draws in their order.
fn seen_by_d(case: &Case, judges: bool) -> Result<Vec<InFront>> {
    let fake = {
        let g = part(case, "g");
        let mut graph = Graph::new(&g);
        let z = graph.input(case.get("z")?.clone());
        let x = GENERATOR.build(&mut graph, z).map_err(Error::reference)?;
        graph.value(x).clone()
    };
    let mut seen = Vec::new();
    if judges {
        seen.push(in_front(case, case.get("x")?, 0)?);
        seen.push(in_front(case, &fake, 1)?);
    } else {
        seen.push(in_front(case, &fake, 0)?);
    }
    Ok(seen)
}

fn in_front(case: &Case, x: &ArrayD<f64>, index: u64) -> Result<InFront> {
    let Laid { eps, t, bars, .. } = laid(case, x.shape(), index)?;
    let y = diffuse(x, &eps, &t, &bars, case.get_number("scale")?).map_err(Error::reference)?;
    let left = t.iter().map(|t| bars[*t]).collect();
    Ok(InFront { y, t, left, bars })
}

fn graph<'a>(parameters: &'a Parameters, a: &'a Arithmetic<'_>) -> Graph<'a> {
    match a {
        Arithmetic::Exact => Graph::new(parameters),
        Arithmetic::Rounded(f) => Graph::rounded(parameters, f),
    }
}

fn row_of(x: &ArrayD<f64>) -> Array1<f64> {
    x.iter().copied().collect()
}

fn column_of(x: Array1<f64>) -> ArrayD<f64> {
    x.insert_axis(Axis(1)).into_dyn()
}

/// Adds the gradients in the parameters of ⟨g, node⟩.
fn pull(
    graph: &Graph<'_>,
    node: Value,
    g: &ArrayD<f64>,
    sum: &mut Parameters,
    a: &Arithmetic<'_>,
) -> Result<()> {
    let gradients = graph.backward(node, g).map_err(Error::reference)?;
    for (name, &at) in graph.parameters() {
        let more = gradients.of(graph, at);
        let entry = sum.entry(name.clone());
        let entry = entry.or_insert_with(|| ArrayD::zeros(more.raw_dim()));
        *entry = a.round(&*entry + &more);
    }
    Ok(())
}

/// D's update in the reference.
fn judge(loss: GanLoss, case: &Case, a: &Arithmetic<'_>) -> Result<Exact> {
    let (network, _) = discriminator(case)?;
    let mut player = Player::of(case, "d");
    let parameters = player.parameters.clone();
    let mut graph = graph(&parameters, a);
    let mut build = |front: &InFront| {
        let y = graph.input(a.round(front.y.clone()));
        network
            .build(&mut graph, y, &front.t)
            .map_err(Error::reference)
    };
    let seen = seen_by_d(case, true)?;
    let (real, fake) = (build(&seen[0])?, build(&seen[1])?);
    let of = |node: Value| row_of(graph.value(node));
    let (l_real, l_fake) = (of(real.logits), of(fake.logits));
    let game = loss
        .discriminator(&l_real, &l_fake)
        .map_err(Error::reference)?;
    // ᾱ ‖∇_y l‖² is the square of √ᾱ ∇_y l.
    let roots = seen[0].left.mapv(f64::sqrt).insert_axis(Axis(1));
    let slopes = graph.value(real.slopes).clone();
    let slopes = slopes
        .into_dimensionality::<Ix2>()
        .map_err(Error::reference)?;
    let (penalty, of_slopes) = r1(&(&slopes * &roots)).map_err(Error::reference)?;
    let of_slopes = (of_slopes * &roots * (0.5 * GAMMA)).into_dyn();
    let mut grads = Parameters::new();
    for (node, g) in [
        (real.logits, column_of(game.grad_real)),
        (fake.logits, column_of(game.grad_fake)),
        (real.slopes, of_slopes),
    ] {
        pull(&graph, node, &a.round(g), &mut grads, a)?;
    }
    let mut values = Exact::from([
        ("loss".to_owned(), scalar(a.round_one(game.loss))),
        ("penalty".to_owned(), scalar(a.round_one(penalty))),
        ("logits of real".to_owned(), l_real.into_dyn()),
    ]);
    player.step(0, &grads, &mut values, a)?;
    player.report("d", &mut values);
    Ok(values)
}

/// G's update in the reference: through D, through the noise, into the generator.
fn generate(loss: GanLoss, case: &Case, a: &Arithmetic<'_>) -> Result<Exact> {
    let (network, _) = discriminator(case)?;
    let mut player = Player::of(case, "g");
    let parameters = player.parameters.clone();
    let mut of_g = graph(&parameters, a);
    let z = of_g.input(case.get("z")?.clone());
    let x = GENERATOR.build(&mut of_g, z).map_err(Error::reference)?;
    let front = in_front(case, of_g.value(x), 0)?;
    let of_d_parameters = part(case, "d");
    let mut of_d = graph(&of_d_parameters, a);
    let y = of_d.input(a.round(front.y));
    let judged = network
        .build(&mut of_d, y, &front.t)
        .map_err(Error::reference)?;
    let logits = row_of(of_d.value(judged.logits));
    let (value, of_logits) = loss.generator(&logits).map_err(Error::reference)?;
    let of_logits = a.round(column_of(of_logits));
    let of_y = of_d
        .backward(judged.logits, &of_logits)
        .map_err(Error::reference)?;
    let of_y = of_y.of(&of_d, y);
    let of_x = diffuse_vjp(&of_y, &front.t, &front.bars).map_err(Error::reference)?;
    let mut grads = Parameters::new();
    pull(&of_g, x, &a.round(of_x), &mut grads, a)?;
    let mut values = Exact::from([
        ("loss".to_owned(), scalar(a.round_one(value))),
        ("points".to_owned(), of_g.value(x).clone()),
    ]);
    player.step(0, &grads, &mut values, a)?;
    player.report("g", &mut values);
    Ok(values)
}

fn game(loss: GpuGanLoss) -> Game {
    Game {
        loss,
        penalty: Penalty::R1,
        gamma: GAMMA,
        every: 1,
        ..Game::default()
    }
}

/// Clips and steps a player, with what is to be compared.
fn update(
    player: &mut Fast,
    mut grads: candle_core::backprop::GradStore,
    values: &mut Computed,
) -> Result<()> {
    for (name, var) in player.params.vars() {
        let grad = grads.get(&var);
        let grad = grad.ok_or_else(|| Error::Gpu(format!("`{name}` receives no gradient")))?;
        values.insert(format!("gradient of {name}"), Place::array(grad)?);
    }
    let norm = clip_grad_norm_later(&player.params, &mut grads, MAX_NORM)?.wait()?[0];
    values.insert("gradient norm".to_owned(), scalar(norm));
    player.optimiser.step(&player.params, &grads, 1.0)?;
    player.report(values)
}

/// The other player, which stands still.
fn still(
    case: &Case,
    name: &str,
    place: &Place,
    build: impl FnOnce(&Params) -> Result<()>,
) -> Result<Params> {
    let params = Params::new(&place.device, place.dtype, 0);
    build(&params)?;
    load(&params, &part(case, name), place)?;
    Ok(params)
}

fn left(diffusion: &Diffusion, t: &[usize]) -> Vec<f64> {
    let of = |t: &usize| diffusion.alpha_bar(*t).unwrap_or(f64::NAN);
    t.iter().map(of).collect()
}

/// D's part of a step of the game, of what it sees and ᾱ_t.
pub(crate) type Judging<'a> = &'a (
        dyn Fn(&Game, &dyn Discriminator, [Seen<'_>; 2], &[f64]) -> sadm_gpu::Result<Judgement>
            + Sync
    );

/// As the training system has it.
fn judged(
    game: &Game,
    discriminator: &dyn Discriminator,
    seen: [Seen<'_>; 2],
    weights: &[f64],
) -> sadm_gpu::Result<Judgement> {
    let none = || unreachable!("R1 asks for no noise");
    game.discriminator(discriminator, seen, 0, weights, none)
}

/// D's update in the training system.
pub(crate) fn gpu_judge(
    loss: GpuGanLoss,
    case: &Case,
    place: &Place,
    judging: Judging<'_>,
) -> Result<Computed> {
    let (_, embedding) = discriminator(case)?;
    let build = |p: &Params| GpuDiscriminator::new(DIM, WIDTH, embedding, &p.builder());
    let mut d = Fast::of(case, "d", place, |p| Ok(build(p).map(drop)?))?;
    let make = |p: &Params| GpuGenerator::new(LATENT, WIDTH, DIM, &p.builder());
    let g = still(case, "g", place, |p| Ok(make(p).map(drop)?))?;
    let fake = make(&g)?.forward(&place.tensor(case.get("z")?)?)?;
    let mut diffusion = grown(case, place)?;
    let [real, fake] = diffusion.diffuse_both(&place.tensor(case.get("x")?)?, &fake)?;
    let seen = [&real, &fake].map(|(y, t)| Seen { y, t });
    let network = build(&d.params)?;
    let weights = left(&diffusion, &real.1);
    let judged = judging(&game(loss), &network, seen, &weights)?;
    let grads = judged.total.backward()?;
    if g.vars().iter().any(|(_, var)| grads.get(var).is_some()) {
        return Err(Error::Gpu(
            "the generator receives a gradient in D's step".to_owned(),
        ));
    }
    let penalty = judged
        .penalty
        .ok_or_else(|| Error::Gpu("no penalty".to_owned()))?;
    let mut values = Computed::from([
        ("loss".to_owned(), Place::array(&judged.loss)?),
        ("penalty".to_owned(), Place::array(&penalty)?),
        ("logits of real".to_owned(), Place::array(&judged.real)?),
    ]);
    update(&mut d, grads, &mut values)?;
    Ok(values)
}

/// The noise before D in G's step.
pub(crate) type Noising<'a> =
    &'a (dyn Fn(&mut Diffusion, &Tensor) -> sadm_gpu::Result<(Tensor, Vec<usize>)> + Sync);

/// G's update in the training system.
pub(crate) fn gpu_generate(
    loss: GpuGanLoss,
    case: &Case,
    place: &Place,
    noising: Noising<'_>,
) -> Result<Computed> {
    let (_, embedding) = discriminator(case)?;
    let build = |p: &Params| GpuDiscriminator::new(DIM, WIDTH, embedding, &p.frozen());
    let d = still(case, "d", place, |p| {
        Ok(GpuDiscriminator::new(DIM, WIDTH, embedding, &p.builder()).map(drop)?)
    })?;
    let make = |p: &Params| GpuGenerator::new(LATENT, WIDTH, DIM, &p.builder());
    let mut g = Fast::of(case, "g", place, |p| Ok(make(p).map(drop)?))?;
    let points = make(&g.params)?.forward(&place.tensor(case.get("z")?)?)?;
    let (y, t) = noising(&mut grown(case, place)?, &points)?;
    let network = build(&d)?;
    let loss = game(loss).generator(&network, Seen { y: &y, t: &t })?;
    let mut values = Computed::from([
        ("loss".to_owned(), Place::array(&loss)?),
        ("points".to_owned(), Place::array(&points)?),
    ]);
    update(&mut g, loss.backward()?, &mut values)?;
    Ok(values)
}

/// Of the reference's second derivatives: the penalty's gradient in every parameter is that of differences.
#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_penalty_has_the_gradient_of_differences() {
        for (embedding, _) in EMBEDDINGS {
            let network = MlpDiscriminator {
                dim: DIM,
                width: WIDTH,
                embedding,
            };
            let shapes = network.parameter_shapes().expect("a network");
            let d = parameters(11, &shapes);
            let (y, t) = (seeded_normal(5, &[ROWS, DIM]), [1, 7, 3]);
            let value = |d: &Parameters| {
                let mut graph = Graph::new(d);
                let at = graph.input(y.clone());
                let judged = network.build(&mut graph, at, &t).expect("shapes that fit");
                let slopes = graph.value(judged.slopes).clone();
                let slopes = slopes.into_dimensionality::<Ix2>().expect("rows");
                let (penalty, g) = r1(&slopes).expect("rows");
                let mut grads = Parameters::new();
                pull(
                    &graph,
                    judged.slopes,
                    &g.into_dyn(),
                    &mut grads,
                    &Arithmetic::Exact,
                )
                .expect("rows");
                // The slopes themselves are those of the logits.
                let of_logits = graph.backward(judged.logits, &ArrayD::ones(vec![ROWS, 1]));
                let of_logits = of_logits.expect("rows").of(&graph, at);
                for (a, b) in of_logits.iter().zip(&slopes) {
                    assert!((a - b).abs() < 1e-14, "{a} {b}");
                }
                (penalty, grads)
            };
            let (_, grads) = value(&d);
            let mut moved = BTreeMap::new();
            for (name, gradient) in &grads {
                for i in 0..gradient.len() {
                    let at = |by: f64| {
                        let mut d = d.clone();
                        let x = d.get_mut(name).expect("its name");
                        x.as_slice_mut().expect("contiguous")[i] += by;
                        value(&d).0
                    };
                    let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
                    let by_hand = gradient.as_slice().expect("contiguous")[i];
                    assert!(
                        (difference - by_hand).abs() < 1e-8,
                        "{name} {i}: {difference} {by_hand}"
                    );
                    *moved.entry(name.clone()).or_insert(0.0) += by_hand.abs();
                }
            }
            assert!(moved["0.weight"] > 0.1 && moved["2.weight"] > 0.1);
        }
    }
}
