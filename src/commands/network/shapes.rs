//! `sadm network shapes`: the tensors of a network, without them.

use std::collections::BTreeMap;

use anyhow::Result;
use sadm::gpu::network::autoencoder::autoencoder;
use sadm::gpu::network::{Architecture, published};
use sadm::gpu::params::{Outlined, Params};
use sadm::gpu::weights::layout::{Shapes, fingerprint};
use toml::Table;

use super::Known;

/// Shapes of everything that a network of this configuration stores.
pub fn of(network: &Architecture, config: &Table) -> Result<BTreeMap<String, Outlined>> {
    let params = Params::outline();
    published(network.name, config, params.builder())?;
    Ok(params.shapes())
}

/// As [`of`], of a network of either registry.
fn of_any(network: Known, config: &Table) -> Result<BTreeMap<String, Outlined>> {
    let family = match network {
        Known::Denoiser(network) => return of(network, config),
        Known::Autoencoder(family) => family,
    };
    let (params, built) = (Params::outline(), autoencoder(family.name, config)?);
    built.encoder(&params.builder())?;
    built.decoder(&params.builder())?;
    Ok(params.shapes())
}

/// One line for each tensor: name, sides, numbers; then their sum, and the fingerprint of names and shapes.
pub fn table(network: Known, config: &Table) -> Result<String> {
    let shapes = of_any(network, config)?;
    let (mut all, mut trained) = (0_u128, 0_u128);
    let mut told = Vec::new();
    for (name, outlined) in &shapes {
        let sides: Vec<String> = outlined.shape.iter().map(ToString::to_string).collect();
        let count: u128 = outlined.shape.iter().map(|&side| side as u128).product();
        let kind = if outlined.trained {
            ""
        } else {
            "\tnot trained"
        };
        told.push(format!("{name}\t{}\t{count}{kind}", sides.join(",")));
        all += count;
        trained += if outlined.trained { count } else { 0 };
    }
    let sides = |(name, outlined): (&String, &Outlined)| (name.clone(), outlined.shape.clone());
    let sides: Shapes = shapes.iter().map(sides).collect();
    told.extend([
        format!("tensors {}", shapes.len()),
        format!("numbers {all}"),
        format!("trained {trained}"),
        format!("fingerprint {}\n", fingerprint(&sides)),
    ]);
    Ok(told.join("\n"))
}
