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

/// A key of a network's section with its value, for a message.
pub(super) fn setting(name: &str, dimensions: &Table, key: &str) -> String {
    let value = dimensions.get(key).map(ToString::to_string);
    format!("model.{name}.{key} = {}", value.unwrap_or_default())
}
