//! The networks by name.

use toml::Table;

use super::architecture::{Architecture, Domain};
use super::{Network, adm, dit, dit_small, edm, sit, unet};
use crate::params::Builder;
use crate::{Error, Result};

/// Every network.
pub const ARCHITECTURES: &[Architecture] = &[
    unet::ARCHITECTURE,
    dit_small::ARCHITECTURE,
    dit::ARCHITECTURE,
    sit::ARCHITECTURE,
    edm::SONG_UNET,
    edm::DHARIWAL_UNET,
    adm::ARCHITECTURE,
];

/// The network of this name.
///
/// # Errors
/// [`Error::UnknownName`] with the known ones.
pub fn architecture(name: &str) -> Result<&'static Architecture> {
    let found = ARCHITECTURES.iter().find(|known| known.name == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = ARCHITECTURES.iter().map(|known| known.name).collect();
        Error::unknown_name("network", name, &known)
    })
}

/// The network `name` of these dimensions, which are those of its section in a configuration.
///
/// # Errors
/// [`Error::UnknownName`]; [`Error::Invalid`] for dimensions that cannot be built, and for augmentation labels of a network that knows none.
pub fn build(
    name: &str,
    dimensions: &Table,
    domain: Domain,
    at: Builder,
) -> Result<Box<dyn Network>> {
    let known = architecture(name)?;
    if domain.augment > 0 && known.inputs.augment.is_none() {
        let must = format!("be absent for {name}, which is told of none");
        return Err(Error::invalid("augmentation labels", must, domain.augment));
    }
    let network = (known.build)(dimensions, domain, at);
    network.map_err(|e| e.naming(&format!("model.{name}.")))
}

/// The network of a whole configuration, whose keys are those of the publication.
///
/// # Errors
/// As [`build`].
pub fn published(name: &str, config: &Table, at: Builder) -> Result<Box<dyn Network>> {
    let network = (architecture(name)?.published)(config, at);
    network.map_err(|e| e.naming(""))
}

/// A whole configuration from a JSON object; keys with `null` are left out.
///
/// # Errors
/// [`Error::Invalid`] for a text that is no JSON object, or holds what no configuration does.
pub fn config_of_json(text: &str) -> Result<Table> {
    let wrong = |reason: String| Error::invalid("the configuration", "be a JSON object", reason);
    let mut keys: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
    keys.retain(|_, value| !value.is_null());
    Table::try_from(keys).map_err(|e| wrong(e.to_string()))
}
