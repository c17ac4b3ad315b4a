//! The scalable interpolant transformer as it was published.

use candle_core::Tensor;

use super::architecture::{configured, given};
use super::dit::{DEFAULTS, Dit, DitConfig, INPUTS, SMALL, sketch, smaller};
use super::{Architecture, Condition, Mode, Network};
use crate::Result;

/// The published transformer of velocities in the registry.
pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "sit",
    defaults: DEFAULTS,
    small: SMALL,
    depths: |dimensions| {
        let config: DitConfig = given(dimensions)?;
        Ok(vec![("model.sit.depth", config.depth)])
    },
    build: |dimensions, domain, at| {
        let config = DitConfig::of(dimensions, domain)?;
        Ok(Box::new(Sit::of(Dit::new(&config, &at)?, &config)))
    },
    published: |config, at| {
        let config = configured(config)?;
        Ok(Box::new(Sit::of(Dit::new(&config, &at)?, &config)))
    },
    sizes: &[(
        "sit-xl-2",
        "input_size = 32
patch_size = 2
in_channels = 4
hidden_size = 1152
depth = 28
num_heads = 16
num_classes = 1000
learn_sigma = true",
    )],
    inputs: INPUTS,
    sketch: |dimensions, s, x, classes| {
        let config = given::<DitConfig>(dimensions);
        config.map_or(x, |config| sketch(s, &config, x, classes))
    },
    smaller: |dimensions, _| [Vec::new(), smaller("sit", dimensions)],
};

/// The transformer of velocities: a [`Dit`] of which only the first half of the channels is the output.
///
/// # Source
/// Ma et al. 2024 (arXiv:2401.08740): its files have the names and shapes of DiT's, half of whose last layer goes unused.
#[derive(Debug, Clone)]
struct Sit {
    inner: Dit,
    channels: usize,
}

impl Sit {
    fn of(inner: Dit, config: &DitConfig) -> Self {
        let channels = config.in_channels;
        Self { inner, channels }
    }
}

impl Network for Sit {
    fn forward(&self, x: &Tensor, at: &Condition<'_>, mode: Mode<'_>) -> Result<Tensor> {
        Ok((self.inner.forward(x, at, mode)?).narrow(1, 0, self.channels)?)
    }
}
