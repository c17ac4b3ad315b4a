//! The section `[model]`: which network is trained, and the dimensions of each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Table;

use crate::memory::layers::Images;
use crate::memory::sketch::Sketch;
use crate::network::{ARCHITECTURES, Architecture, architecture};
use crate::{Error, Result};

/// The denoiser's network.
///
/// Every network has a section of its own name, whichever is trained. What follows the data (channels of the images,
/// their side, the number of classes) is no key of any.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The name of the network that is trained, one of [`ARCHITECTURES`].
    pub kind: String,
    /// The dimensions of each network, by its name.
    #[serde(flatten)]
    pub networks: BTreeMap<String, Table>,
}

impl Default for ModelConfig {
    fn default() -> Self {
        let section = |network: &Architecture| {
            let defaults = network.defaults.parse().ok()?;
            Some((network.name.to_owned(), defaults))
        };
        Self {
            kind: ARCHITECTURES[0].name.to_owned(),
            networks: ARCHITECTURES.iter().filter_map(section).collect(),
        }
    }
}

impl ModelConfig {
    /// The network that is trained, and its dimensions.
    ///
    /// # Errors
    /// A name or a section that does not exist.
    pub fn network(&self) -> Result<(&'static Architecture, &Table)> {
        let network = architecture(&self.kind)?;
        let dimensions = self.networks.get(&self.kind);
        let dimensions = dimensions.ok_or_else(|| {
            let known: Vec<&str> = self.networks.keys().map(String::as_str).collect();
            Error::unknown_name("section of model", &self.kind, &known)
        })?;
        Ok((network, dimensions))
    }

    /// The network as sizes, of images, classes and augmentation labels; images as they are if it does not exist.
    pub(crate) fn sketch(
        &self,
        s: &mut Sketch,
        x: Images,
        (classes, augment): (usize, usize),
    ) -> Images {
        let network = self.network();
        network.map_or(x, |(network, dimensions)| {
            let mut dimensions = dimensions.clone();
            if network.inputs.augment.is_some() {
                // At most nine.
                let labels = i64::try_from(augment).unwrap_or_default();
                dimensions.insert("augment_dim".to_owned(), labels.into());
            }
            (network.sketch)(&dimensions, s, x, classes as f64)
        })
    }

    /// Settings that make the layer of this name smaller, and settings that make the whole network smaller.
    pub(crate) fn smaller(&self, layer: &str) -> [Vec<String>; 2] {
        let network = self.network();
        network.map_or_else(
            |_| Default::default(),
            |(network, dimensions)| (network.smaller)(dimensions, layer),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_has_a_section_that_it_reads() {
        let model = ModelConfig::default();
        assert_eq!(model.networks.len(), ARCHITECTURES.len());
        for network in ARCHITECTURES {
            let small = network.small.iter().map(|text| text.parse::<Table>());
            let small = small.map(|table| table.expect("TOML"));
            let given = [model.networks[network.name].clone()]
                .into_iter()
                .chain(small);
            for dimensions in given {
                let depths = (network.depths)(&dimensions).expect("its own keys");
                assert!(depths.iter().all(|(key, _)| key.contains(network.name)));
                assert!(dimensions.keys().eq(model.networks[network.name].keys()));
            }
        }
    }
}
