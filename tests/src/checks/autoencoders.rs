//! Autoencoders: both halves and every gradient, against the spread that rounding makes.

use candle_core::Var;
use ndarray::ArrayD;
use proptest::prelude::*;
use sadm_gpu::{network::autoencoder as gpu, params::Params};
use sadm_reference::network::autoencoder::{self as exact, Half};
use sadm_reference::network::graph::Graph;

use super::networks::{load, parameters, parameters_of, spread};
use crate::{
    case::Case,
    check::{Check, Computed, Cost, Exact, Quantity},
    engine::Place,
    error::{Error, Result},
    generators::seeded_normal,
};

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    let names = gpu::AUTOENCODERS.iter().map(|known| known.name);
    names.map(autoencoder).collect()
}

/// A rectifier that is nearer to its kink than f32 tells apart has either slope: such cases are left out.
const KINK: f64 = 1.0 / 16_384.0;

/// Both halves with the names of their outputs.
const HALVES: [(Half, &str, &str, &str); 2] = [
    (Half::Encode, "x", "moments", "g moments"),
    (Half::Decode, "z", "decoded", "g decoded"),
];

/// The configuration of a case.
fn config(name: &str, case: &Case) -> Result<toml::Table> {
    let small = gpu::family(name)?.small[case.get_count("dimensions")?];
    small.parse().map_err(Error::reference)
}

fn reference(name: &str, case: &Case) -> Result<Box<dyn exact::Autoencoder>> {
    exact::autoencoder(name, &config(name, case)?).map_err(Error::reference)
}

/// Dimensions, parameters, image, latent and gradients of the outputs from a seed.
fn draws(name: &'static str) -> BoxedStrategy<Case> {
    let ways = gpu::family(name).map_or(1_usize, |known| known.small.len());
    (any::<u32>(), 0..ways, 1..=2_usize)
        .prop_map(move |(seed, dimensions, batch)| {
            let seed = u64::from(seed);
            let case = Case::new().count("dimensions", dimensions);
            let drawn = drawn(name, case, seed, batch);
            drawn.expect("small autoencoders are possible")
        })
        .prop_filter("a kink is too near", move |case| {
            nearest_kink(name, case).expect("small autoencoders are possible") > KINK
        })
        .boxed()
}

fn drawn(name: &str, case: Case, seed: u64, batch: usize) -> Result<Case> {
    let built = reference(name, &case)?;
    let shapes = built.parameter_shapes().map_err(Error::reference)?;
    let parameters = parameters(seed, &shapes);
    let [[image, side, _], [latent, ..]] = built.smallest();
    let inputs = [
        ("x", vec![batch, image, 2 * side, 2 * side]),
        ("z", vec![batch, latent, 2, 2]),
    ];
    let mut case = parameters.iter().fold(case, |case, (name, value)| {
        case.tensor(&format!("parameter {name}"), value.clone())
    });
    for (i, (name, shape)) in inputs.iter().enumerate() {
        case = case.tensor(name, seeded_normal(seed ^ (0x5eed + i as u64), shape));
    }
    for (i, (half, input, _, probe)) in HALVES.into_iter().enumerate() {
        let output = built.forward(&parameters, half, case.get(input)?);
        let shape = output.map_err(Error::reference)?.shape().to_vec();
        case = case.tensor(probe, seeded_normal(seed ^ (0x9ead + i as u64), &shape));
    }
    Ok(case)
}

/// The distance of the rectifiers of both halves from their kinks.
fn nearest_kink(name: &str, case: &Case) -> Result<f64> {
    let (built, parameters) = (reference(name, case)?, parameters_of(case));
    let mut nearest = f64::INFINITY;
    for (half, input, ..) in HALVES {
        let mut graph = Graph::new(&parameters);
        let x = graph.input(case.get(input)?.clone());
        (built.build(&mut graph, half, x)).map_err(Error::reference)?;
        nearest = nearest.min(graph.nearest_kink());
    }
    Ok(nearest)
}

fn autoencoder(name: &'static str) -> Box<dyn Check> {
    Quantity::new(
        format!("network.{name}"),
        "moments of images, their deviations, images of latents, and gradients of Σ g·output in the inputs and in every parameter",
        "sadm_reference::network::autoencoder, layer by layer with hand-derived backward",
    )
    .cost(Cost::Heavy)
    .draws(move || draws(name))
    .reference(move |case| of_reference(name, case, None))
    .bound(move |case, rule| {
        let exact = of_reference(name, case, None)?;
        spread(exact, rule, |rounding| {
            of_reference(name, &case.map_tensors(rounding), Some(rounding))
        })
    })
    .candle(move |case, place| of_candle(name, case, place))
    .boxed()
}

fn of_reference(name: &str, case: &Case, rounding: Option<&dyn Fn(f64) -> f64>) -> Result<Exact> {
    let (built, parameters) = (reference(name, case)?, parameters_of(case));
    let mut values = Exact::new();
    for (half, input, output, probe) in HALVES {
        let (x, g) = (case.get(input)?, case.get(probe)?);
        let pass = built.forward_backward(&parameters, half, x, g, rounding);
        let pass = pass.map_err(Error::reference)?;
        if half == Half::Encode {
            let latent = built.latent(&pass.output).map_err(Error::reference)?;
            let round = |x: f64| rounding.map_or(x, |f| f(x));
            values.insert("std".to_owned(), latent.std.mapv(round));
        }
        values.insert(output.to_owned(), pass.output);
        values.insert(format!("grad of {input}"), pass.grad_input);
        let grads = pass.grad_parameters.into_iter();
        values.extend(grads.map(|(name, grad)| (format!("grad of {name}"), grad)));
    }
    Ok(values)
}

fn of_candle(name: &str, case: &Case, place: &Place) -> Result<Computed> {
    let built = gpu::autoencoder(name, &config(name, case)?)?;
    let params = Params::new(&place.device, place.dtype, 0);
    let at = params.builder();
    let halves = [built.encoder(&at)?, built.decoder(&at)?];
    load(&params, &parameters_of(case), place)?;
    let mut values = Computed::new();
    for (half, (which, input, output, probe)) in halves.iter().zip(HALVES) {
        let x = Var::from_tensor(&place.tensor(case.get(input)?)?)?;
        let y = half.forward(x.as_tensor())?;
        if which == Half::Encode {
            let std = built.latent(&y)?.std;
            values.insert("std".to_owned(), Place::array(&std)?);
        }
        values.insert(output.to_owned(), Place::array(&y)?);
        let grads = (y * place.tensor(case.get(probe)?)?)?
            .sum_all()?
            .backward()?;
        let grad = |var: &Var| -> Result<Option<ArrayD<f64>>> {
            grads.get(var).map(Place::array).transpose()
        };
        let missing = || Error::Gpu(format!("`{input}` receives no gradient"));
        values.insert(format!("grad of {input}"), grad(&x)?.ok_or_else(missing)?);
        for (name, var) in params.vars() {
            if let Some(grad) = grad(&var)? {
                values.insert(format!("grad of {name}"), grad);
            }
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_have_the_same_autoencoders() {
        let here: Vec<&str> = gpu::AUTOENCODERS.iter().map(|known| known.name).collect();
        let there: Vec<&str> = exact::AUTOENCODERS.iter().map(|known| known.name).collect();
        assert_eq!(here, there);
    }
}
