//! `sadm network shapes`: the tensors of a network, without them.

use std::collections::BTreeMap;

use anyhow::Result;
use sadm::gpu::network::{Architecture, published};
use sadm::gpu::params::{Outlined, Params};
use sadm::gpu::weights::fingerprint;
use toml::Table;

/// Shapes of everything that a network of this configuration stores.
pub fn of(network: &Architecture, config: &Table) -> Result<BTreeMap<String, Outlined>> {
    let params = Params::outline();
    published(network.name, config, params.builder())?;
    Ok(params.shapes())
}

/// One line for each tensor: name, sides, numbers; then their sum, and the fingerprint of names and shapes.
pub fn table(network: &Architecture, config: &Table) -> Result<String> {
    let shapes = of(network, config)?;
    let (mut text, mut all, mut trained) = (String::new(), 0_u128, 0_u128);
    for (name, outlined) in &shapes {
        let sides: Vec<String> = outlined.shape.iter().map(ToString::to_string).collect();
        let count: u128 = outlined.shape.iter().map(|&side| side as u128).product();
        let kind = if outlined.trained { "" } else { "\tnot trained" };
        text += &format!("{name}\t{}\t{count}{kind}\n", sides.join(","));
        all += count;
        trained += if outlined.trained { count } else { 0 };
    }
    let lines = shapes.iter().map(|(name, outlined)| (name.as_str(), &outlined.shape[..]));
    text += &format!("tensors {}\nnumbers {all}\ntrained {trained}\n", shapes.len());
    text += &format!("fingerprint {}\n", fingerprint(lines));
    Ok(text)
}
