//! `sadm network shapes`: the tensors of a network, without them.

use std::collections::BTreeMap;

use anyhow::Result;
use sadm::gpu::digest::sha256;
use sadm::gpu::network::{Architecture, published};
use sadm::gpu::params::{Outlined, Params};
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
    let (mut all, mut trained) = (0_u128, 0_u128);
    let (mut lines, mut told) = (Vec::new(), Vec::new());
    for (name, outlined) in &shapes {
        let sides: Vec<String> = outlined.shape.iter().map(ToString::to_string).collect();
        let count: u128 = outlined.shape.iter().map(|&side| side as u128).product();
        let kind = if outlined.trained {
            ""
        } else {
            "\tnot trained"
        };
        let line = format!("{name}\t{}", sides.join(","));
        told.push(format!("{line}\t{count}{kind}"));
        lines.push(line);
        all += count;
        trained += if outlined.trained { count } else { 0 };
    }
    // Of names and shapes: one that others can compute from a file's header.
    let digest = sha256(lines.join("\n").as_bytes());
    told.extend([
        format!("tensors {}", shapes.len()),
        format!("numbers {all}"),
        format!("trained {trained}"),
        format!("fingerprint {}\n", &digest[..16]),
    ]);
    Ok(told.join("\n"))
}
