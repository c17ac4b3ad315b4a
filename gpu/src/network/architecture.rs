//! What a configuration, a run, the memory estimate and the cross-check know of a network.

use toml::Table;

use super::Network;
use crate::memory::layers::Images;
use crate::memory::sketch::Sketch;
use crate::params::Builder;
use crate::{Error, Result};

/// The images and classes that a network is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain {
    /// Channels of an image.
    pub channels: usize,
    /// Side of a square image.
    pub size: usize,
    /// Number of classes; `None` for an unconditional network.
    pub classes: Option<usize>,
    /// Number of augmentation labels; 0 where no image is augmented.
    pub augment: usize,
}

/// Names of the tensors with which a network is asked, beside the image `x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inputs {
    /// One number for each image: its noise condition.
    pub noise: &'static str,
    /// The class of each image.
    pub labels: &'static str,
    /// How each image was augmented; `None` of a network that knows no augmentation.
    pub augment: Option<&'static str>,
}

impl Inputs {
    /// The names of networks of this project.
    pub(super) const OURS: Self = Self {
        noise: "noise",
        labels: "labels",
        augment: None,
    };
}

/// A network by name.
///
/// Another one is a file with such a constant, a line in [`ARCHITECTURES`](super::ARCHITECTURES) and the same two in `sadm-reference`.
#[derive(Debug, Clone, Copy)]
pub struct Architecture {
    /// The name in configurations, and of its section in `[model]`.
    pub name: &'static str,
    /// Every key of that section with its default, as TOML.
    pub defaults: &'static str,
    /// Small dimensions that reach every branch between them, as TOML: what the cross-check builds on both sides.
    pub small: &'static [&'static str],
    /// The numbers of layers that follow each other, with the keys that set them; an error if keys or types are others.
    pub(crate) depths: fn(&Table) -> Result<Vec<(&'static str, usize)>, toml::de::Error>,
    /// The network, on the builder's parameters.
    pub(super) build: fn(&Table, Domain, Builder) -> Result<Box<dyn Network>>,
    /// The network of a whole configuration, with the keys of the publication: images and classes are numbers like the others.
    pub(super) published: fn(&Table, Builder) -> Result<Box<dyn Network>>,
    /// Whole configurations with names of their own, as TOML.
    pub sizes: &'static [(&'static str, &'static str)],
    /// What the tensors are called with which others ask it.
    pub inputs: Inputs,
    /// The network as sizes, of images and a number of classes.
    pub(crate) sketch: fn(&Table, &mut Sketch, Images, f64) -> Images,
    /// Settings that make the layer of this name smaller, and settings that make the whole network smaller.
    pub(crate) smaller: fn(&Table, &str) -> [Vec<String>; 2],
}

/// Dimensions as a network has them.
pub(super) fn given<T: serde::de::DeserializeOwned>(
    dimensions: &Table,
) -> Result<T, toml::de::Error> {
    dimensions.clone().try_into()
}

/// [`given`] where the configuration was checked before.
pub(super) fn checked<T: serde::de::DeserializeOwned>(dimensions: &Table) -> Result<T> {
    given(dimensions).map_err(|e| Error::invalid("network.*", "be known keys and numbers", e))
}

/// [`given`] of a whole configuration from outside.
pub(super) fn configured<T: serde::de::DeserializeOwned>(config: &Table) -> Result<T> {
    let wrong = |e: toml::de::Error| {
        let reason = e.to_string();
        let reason: Vec<&str> = reason.split_whitespace().collect();
        Error::invalid(
            "the configuration",
            "have known keys and fitting values",
            reason.join(" "),
        )
    };
    given(config).map_err(wrong)
}

/// A network's published configuration, with images and classes beside the dimensions.
pub(super) trait Published: serde::de::DeserializeOwned {
    /// Refuses what no images and classes make right.
    fn check_dimensions(&self) -> Result<()>;

    /// The numbers of layers that follow each other, with the keys that set them.
    fn depths(&self) -> Vec<(&'static str, usize)>;

    /// The same for these images and classes.
    fn within(self, domain: Domain) -> Self;

    /// The network, on the builder's parameters.
    fn network(&self, at: &Builder) -> Result<Box<dyn Network>>;
}

/// [`Architecture::depths`] of a published configuration.
pub(super) fn depths<T: Published>(
    dimensions: &Table,
) -> Result<Vec<(&'static str, usize)>, toml::de::Error> {
    let config: T = given(dimensions)?;
    (config.check_dimensions()).map_err(serde::de::Error::custom)?;
    Ok(config.depths())
}

/// [`Architecture::build`] of a published configuration.
pub(super) fn within<T: Published>(
    dimensions: &Table,
    domain: Domain,
    at: Builder,
) -> Result<Box<dyn Network>> {
    checked::<T>(dimensions)?.within(domain).network(&at)
}

/// [`Architecture::published`] of a published configuration.
pub(super) fn of_all<T: Published>(config: &Table, at: Builder) -> Result<Box<dyn Network>> {
    configured::<T>(config)?.network(&at)
}

/// A key of a network's section with its value, for a message.
pub(super) fn setting(name: &str, dimensions: &Table, key: &str) -> String {
    let value = dimensions.get(key).map(ToString::to_string);
    format!("model.{name}.{key} = {}", value.unwrap_or_default())
}
