//! The networks of the training system, mirrored in f64: same architecture, same parameter names.
//!
//! Parameters are a plain map from name to array and inputs are plain arrays, so that a caller can perturb them:
//! the spread of a network under roundings of its parameters and input is how a whole network is held against its
//! fast twin.

use crate::UnknownName;
use crate::nn::{self, NnError};
use ndarray::{ArrayD, IxDyn};
use std::collections::BTreeMap;

mod adm;
pub mod autoencoder;
mod blocks;
mod dit;
mod dit_small;
pub mod edm;
mod encoder;
pub mod graph;
mod mlp;
mod sit;
mod unet;

pub use adm::Adm;
pub use dit::Dit;
pub use dit_small::DitSmall;
pub use encoder::{Encoder, Head};
pub use mlp::{Judged, LevelEmbedding, MlpDiscriminator, MlpGenerator};
pub use unet::UNet;

use graph::{Graph, Rounding, Value};
use serde::de::DeserializeOwned;
use toml::Table;

/// The images and classes that a network is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain {
    /// Channels of an image.
    pub channels: usize,
    /// Side of a square image.
    pub size: usize,
    /// Number of classes; `None` for an unconditional network.
    pub classes: Option<usize>,
    /// Number of augmentation labels, 0 where no image is augmented. A network that knows none refuses those that it is given.
    pub augment: usize,
}

/// A denoiser by name.
#[derive(Debug, Clone, Copy)]
pub struct Architecture {
    /// The name in configurations.
    pub name: &'static str,
    /// The denoiser of these dimensions, for these images and classes.
    build: fn(&Table, Domain) -> Result<Box<dyn Denoiser>, NetworkError>,
    /// The denoiser of a whole configuration, in which images and classes are numbers like the others.
    published: fn(&Table) -> Result<Box<dyn Denoiser>, NetworkError>,
}

/// Every denoiser.
pub const ARCHITECTURES: &[Architecture] = &[
    unet::ARCHITECTURE,
    dit_small::ARCHITECTURE,
    dit::ARCHITECTURE,
    sit::ARCHITECTURE,
    edm::SONG_UNET,
    edm::DHARIWAL_UNET,
    adm::ARCHITECTURE,
];

/// The denoiser `name` of these dimensions, which are those of its section in a configuration.
///
/// # Errors
/// [`NetworkError::Name`] or [`NetworkError::Dimensions`]; what cannot be built is refused when it is used.
pub fn build(
    name: &str,
    dimensions: &Table,
    domain: Domain,
) -> Result<Box<dyn Denoiser>, NetworkError> {
    (architecture(name)?.build)(dimensions, domain)
}

/// The denoiser `name` of a whole configuration, whose keys are those of the publication.
///
/// # Errors
/// As [`build`].
pub fn published(name: &str, config: &Table) -> Result<Box<dyn Denoiser>, NetworkError> {
    (architecture(name)?.published)(config)
}

fn architecture(name: &str) -> Result<&'static Architecture, NetworkError> {
    let found = ARCHITECTURES.iter().find(|known| known.name == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = ARCHITECTURES.iter().map(|known| known.name).collect();
        NetworkError::Name(UnknownName {
            what: "network",
            known: known.join(", "),
            got: name.to_owned(),
        })
    })
}

/// Dimensions as a network has them.
fn given<T: DeserializeOwned>(dimensions: &Table) -> Result<T, NetworkError> {
    let parsed = dimensions.clone().try_into();
    parsed.map_err(|error| NetworkError::Dimensions(error.to_string()))
}

/// A denoiser whose published configuration has images and classes beside its dimensions.
trait Published: Denoiser + DeserializeOwned + 'static {
    /// The same for these images and classes.
    fn within(self, domain: Domain) -> Self;
}

/// The denoiser of these dimensions, for images and classes.
fn within<T: Published>(
    dimensions: &Table,
    domain: Domain,
) -> Result<Box<dyn Denoiser>, NetworkError> {
    Ok(Box::new(given::<T>(dimensions)?.within(domain)))
}

/// The denoiser of a whole configuration.
fn whole<T: Published>(config: &Table) -> Result<Box<dyn Denoiser>, NetworkError> {
    Ok(Box::new(given::<T>(config)?))
}

/// Parameters by name.
pub type Parameters = BTreeMap<String, ArrayD<f64>>;

/// Why a network refused its configuration, its parameters or its input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// A parameter is not in the map.
    #[error("parameter `{name}` is missing")]
    Missing {
        /// Its full name.
        name: String,
    },
    /// A parameter has another shape than the architecture needs.
    #[error("parameter `{name}` must have shape {must:?}, got {got:?}")]
    Parameter {
        /// Its full name.
        name: String,
        /// The shape it must have.
        must: Vec<usize>,
        /// The shape it has.
        got: Vec<usize>,
    },
    /// A tensor whose numbers follow from the configuration was given with others.
    #[error(
        "tensor `{name}` must hold what follows from the configuration: it holds other numbers"
    )]
    Constant {
        /// Its full name.
        name: String,
    },
    /// A parameter in the map is not part of the network.
    #[error("parameter `{name}` is not part of the network")]
    Unknown {
        /// Its full name.
        name: String,
    },
    /// A number of the configuration does not fit.
    #[error("{what} must be {must}, got {got}")]
    Config {
        /// Which number.
        what: &'static str,
        /// What it must be.
        must: String,
        /// What it is.
        got: usize,
    },
    /// No network has this name.
    #[error(transparent)]
    Name(UnknownName),
    /// The dimensions do not describe a network of this name.
    #[error("the dimensions of the network cannot be read: {0}")]
    Dimensions(String),
    /// Labels were given to a network without classes.
    #[error("the network has no classes, but labels were given")]
    NoClasses,
    /// Augmentation labels or weights of classes were given to a network that knows none.
    #[error("the network knows no {what}, but {got} a sample were given")]
    Unasked {
        /// Which.
        what: &'static str,
        /// How many.
        got: usize,
    },
    /// A layer refused its arguments.
    #[error(transparent)]
    Layer(#[from] NnError),
}

/// Output and gradients of one forward and backward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    /// The network's output.
    pub output: ArrayD<f64>,
    /// Gradient with respect to the input.
    pub grad_input: ArrayD<f64>,
    /// Gradient with respect to every parameter of the network, by name; zero where the output does not depend on it.
    pub grad_parameters: Parameters,
}

/// Condition of a denoiser: noise level, labels, augmentation labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition<'a> {
    /// Noise level of each sample as the preconditioner states it (c_noise), `[B]`.
    pub noise: &'a [f64],
    /// Class of each sample, `[B]`; the number of classes itself means "no class". Without labels, all are "no class".
    pub labels: Option<&'a [u32]>,
    /// In place of `labels`: the weight of each of K classes, `[B, K]`; a mixture of classes has several, "no class" has
    /// none. A network that looks its classes up in a table refuses them.
    pub soft_labels: Option<&'a ArrayD<f64>>,
    /// How each sample was augmented, `[B, A]`. A network that knows no augmentation labels refuses them.
    pub augment: Option<&'a ArrayD<f64>>,
}

impl<'a> Condition<'a> {
    /// That of samples which were not augmented.
    pub const fn new(noise: &'a [f64], labels: Option<&'a [u32]>) -> Self {
        Self {
            noise,
            labels,
            soft_labels: None,
            augment: None,
        }
    }
}

/// A network that maps a noisy image batch and its noise levels to an image batch of the same shape.
pub trait Denoiser {
    /// Appends the network to a tape: `x: [B, C, H, W]` → `[B, O, H, W]` with O the [channels of the output](Denoiser::out_channels).
    ///
    /// # Errors
    /// [`NetworkError`] naming what does not fit.
    fn build(
        &self,
        graph: &mut Graph<'_>,
        x: Value,
        condition: Condition<'_>,
    ) -> Result<Value, NetworkError>;

    /// The shape `[C, H, W]` of the smallest image that the network accepts.
    fn smallest_image(&self) -> [usize; 3];

    /// Channels of the output, which may be more than those of the image: a network that predicts variances too.
    fn out_channels(&self) -> usize {
        self.smallest_image()[0]
    }

    /// Names and shapes of all parameters, and of what is stored with them.
    ///
    /// # Errors
    /// [`NetworkError::Config`] if the configuration is impossible.
    fn parameter_shapes(&self) -> Result<BTreeMap<String, Vec<usize>>, NetworkError> {
        let [c, h, w] = self.smallest_image();
        let condition = Condition::new(&[0.0], None);
        recorded_shapes(&[1, c, h, w], |graph, x| self.build(graph, x, condition))
    }

    /// What of the stored tensors the configuration says, by name.
    ///
    /// # Errors
    /// As [`Denoiser::parameter_shapes`].
    fn constants(&self) -> Result<Parameters, NetworkError> {
        let [c, h, w] = self.smallest_image();
        let mut graph = Graph::recording();
        let x = graph.input(ArrayD::zeros(IxDyn(&[1, c, h, w])));
        self.build(&mut graph, x, Condition::new(&[0.0], None))?;
        Ok(graph.constants().clone())
    }

    /// The output for given parameters and input.
    ///
    /// # Errors
    /// [`NetworkError`] naming what does not fit.
    fn forward(
        &self,
        parameters: &Parameters,
        x: &ArrayD<f64>,
        condition: Condition<'_>,
    ) -> Result<ArrayD<f64>, NetworkError> {
        let mut graph = Graph::new(parameters);
        let input = graph.input(x.clone());
        let output = self.build(&mut graph, input, condition)?;
        Ok(graph.value(output).clone())
    }

    /// Output, and gradients of `⟨grad_output, output⟩` with respect to input and parameters.
    ///
    /// # Errors
    /// [`NetworkError`] naming what does not fit.
    fn forward_backward(
        &self,
        parameters: &Parameters,
        x: &ArrayD<f64>,
        condition: Condition<'_>,
        grad_output: &ArrayD<f64>,
    ) -> Result<Pass, NetworkError> {
        pass(
            Graph::new(parameters),
            x,
            |g, x| self.build(g, x, condition),
            grad_output,
        )
    }

    /// As [`Denoiser::forward_backward`] with every intermediate result rounded by `rounding`.
    ///
    /// # Errors
    /// [`NetworkError`] naming what does not fit.
    fn forward_backward_rounded(
        &self,
        parameters: &Parameters,
        x: &ArrayD<f64>,
        condition: Condition<'_>,
        grad_output: &ArrayD<f64>,
        rounding: Rounding<'_>,
    ) -> Result<Pass, NetworkError> {
        let graph = Graph::rounded(parameters, rounding);
        pass(graph, x, |g, x| self.build(g, x, condition), grad_output)
    }
}

/// Refuses a parameter map with a missing, ill-shaped or unknown entry, naming the first.
///
/// # Errors
/// [`NetworkError::Missing`], [`NetworkError::Parameter`] or [`NetworkError::Unknown`].
pub fn check_parameters(
    parameters: &Parameters,
    shapes: &BTreeMap<String, Vec<usize>>,
) -> Result<(), NetworkError> {
    for (name, must) in shapes {
        let value = parameters
            .get(name)
            .ok_or_else(|| NetworkError::Missing { name: name.clone() })?;
        if value.shape() != must {
            return Err(NetworkError::Parameter {
                name: name.clone(),
                must: must.clone(),
                got: value.shape().to_vec(),
            });
        }
    }
    match parameters.keys().find(|name| !shapes.contains_key(*name)) {
        Some(name) => Err(NetworkError::Unknown { name: name.clone() }),
        None => Ok(()),
    }
}

/// One forward and backward pass over a fresh tape.
fn pass<'a>(
    mut graph: Graph<'a>,
    x: &ArrayD<f64>,
    build: impl FnOnce(&mut Graph<'a>, Value) -> Result<Value, NetworkError>,
    grad_output: &ArrayD<f64>,
) -> Result<Pass, NetworkError> {
    let input = graph.input(x.clone());
    let output = build(&mut graph, input)?;
    let grads = graph.backward(output, grad_output)?;
    Ok(Pass {
        output: graph.value(output).clone(),
        grad_input: grads.of(&graph, input),
        grad_parameters: graph
            .parameters()
            .iter()
            .map(|(name, &value)| (name.clone(), grads.of(&graph, value)))
            .collect(),
    })
}

/// Parameter shapes of a network, recorded by building it on a zero input.
fn recorded_shapes<'a>(
    input: &[usize],
    build: impl FnOnce(&mut Graph<'a>, Value) -> Result<Value, NetworkError>,
) -> Result<BTreeMap<String, Vec<usize>>, NetworkError> {
    let mut graph = Graph::recording();
    let x = graph.input(ArrayD::zeros(IxDyn(input)));
    build(&mut graph, x)?;
    Ok(graph
        .parameters()
        .iter()
        .chain(graph.all_fixed())
        .map(|(name, &value)| (name.clone(), graph.shape(value)))
        .collect())
}

fn require_config(
    condition: bool,
    what: &'static str,
    must: &str,
    got: usize,
) -> Result<(), NetworkError> {
    if condition {
        return Ok(());
    }
    Err(NetworkError::Config {
        what,
        must: must.to_owned(),
        got,
    })
}

/// The smallest shape check all networks share: `[B, channels, H, W]`.
fn require_image(graph: &Graph<'_>, x: Value, channels: usize) -> Result<[usize; 4], NetworkError> {
    match graph.value(x).shape() {
        &[b, c, h, w] if c == channels => Ok([b, c, h, w]),
        got => Err(NetworkError::Layer(NnError::Shape {
            layer: "network",
            argument: "x",
            must: format!("[B, {channels}, H, W]"),
            got: got.to_vec(),
        })),
    }
}

/// Refuses what only other networks are told.
fn refuse_unasked(condition: Condition<'_>) -> Result<(), NetworkError> {
    for (what, given) in [
        ("augmentation labels", condition.augment),
        ("weights of classes", condition.soft_labels),
    ] {
        if let Some(given) = given {
            let got = given.shape().get(1).copied().unwrap_or(0);
            return Err(NetworkError::Unasked { what, got });
        }
    }
    Ok(())
}

/// Refuses noise levels, or labels, that are not one for each sample.
fn require_counts(condition: Condition<'_>, batch: usize) -> Result<(), NetworkError> {
    let levels = ("number of noise levels", condition.noise.len());
    let labels = condition
        .labels
        .map(|labels| ("number of labels", labels.len()));
    for (argument, len) in [levels].into_iter().chain(labels) {
        let must = || format!("the batch size {batch}");
        nn::require(len == batch, "network", argument, must, len)?;
    }
    Ok(())
}

/// `silu(time.1(silu(time.0(features))) [+ class.weight[label]])`, the vector that conditions every block.
fn condition_embedding(
    graph: &mut Graph<'_>,
    condition: Condition<'_>,
    batch: usize,
    [time_dim, emb_dim]: [usize; 2],
    classes: Option<usize>,
) -> Result<Value, NetworkError> {
    require_counts(condition, batch)?;
    refuse_unasked(condition)?;
    let features = graph.input(nn::time_features(condition.noise, time_dim)?);
    let hidden = graph.linear(features, "time.0", emb_dim)?;
    let hidden = graph.silu(hidden);
    let mut emb = graph.linear(hidden, "time.1", emb_dim)?;
    match (classes, condition.labels) {
        (None, Some(_)) => return Err(NetworkError::NoClasses),
        (None, None) => {}
        (Some(classes), labels) => {
            let none = u32::try_from(classes).unwrap_or(u32::MAX);
            let labels = labels.map_or_else(|| vec![none; batch], <[u32]>::to_vec);
            let class = graph.embedding("class", classes + 1, emb_dim, labels)?;
            emb = graph.add(emb, class)?;
        }
    }
    Ok(graph.silu(emb))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `silu(W₁ silu(W₀ f + b₀) + b₁ + class)`, with the label's row of the table.
    #[test]
    fn condition_embedding_is_its_formula() {
        let value = |shape: &[usize], step: f64| {
            let mut k = 0.0;
            ArrayD::from_shape_simple_fn(IxDyn(shape), || {
                k += step;
                f64::sin(k)
            })
        };
        let p: Parameters = [
            ("time.0.weight", value(&[3, 4], 0.3)),
            ("time.0.bias", value(&[3], 0.5)),
            ("time.1.weight", value(&[3, 3], 0.7)),
            ("time.1.bias", value(&[3], 0.9)),
            ("class.weight", value(&[3, 3], 1.1)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let condition = Condition::new(&[-0.5, 0.25], Some(&[1, 2]));
        let mut graph = Graph::new(&p);
        let emb = condition_embedding(&mut graph, condition, 2, [4, 3], Some(2)).expect("fits");

        let features = nn::time_features(&[-0.5, 0.25], 4).expect("even");
        let hidden = nn::linear(&features, &p["time.0.weight"], &p["time.0.bias"]).expect("fits");
        let time = nn::linear(&nn::silu(&hidden), &p["time.1.weight"], &p["time.1.bias"]);
        let class = nn::embedding(&p["class.weight"], &[1, 2]).expect("fits");
        let want = nn::silu(&(time.expect("fits") + class));
        assert_eq!(graph.value(emb), &want);
    }
}
