//! Weights of autoencoders, by the names of every layout.

use std::collections::BTreeMap;

use toml::Table;

use super::autoencoder;
use crate::params::{Params, Tensors};
use crate::weights::layout::{self, Ask, convert};
use crate::weights::{Part, Raw, Weights};
use crate::{Error, Result};

/// What files hold of an autoencoder.
#[derive(Debug, Clone)]
pub struct Given {
    /// The tensors by the names of the network.
    pub tensors: Tensors,
    /// Whether there are an encoder and a decoder.
    pub halves: [bool; 2],
}

/// The tensors of one file, or of one for each half, by the names of the network: those of diffusers, old and new, of CompVis, and the numbers of
/// layers of TAESD's program.
///
/// # Errors
/// [`Error::File`] for a tensor that the autoencoder of this configuration does not have, or has in another shape; a half of which some tensors
/// are missing; files without any half.
pub fn weights(name: &str, config: &Table, files: &[Weights]) -> Result<Given> {
    let built = autoencoder(name, config)?;
    let outline = |decodes: bool| {
        let params = Params::outline();
        let half = if decodes {
            built.decoder(&params.builder())
        } else {
            built.encoder(&params.builder())
        };
        half.map(|_| params.shapes())
    };
    let wanted = [outline(false)?, outline(true)?];
    let shape_of = |name: &str| wanted.iter().find_map(|half| half.get(name));
    let mut tensors = Tensors::new();
    let mut paths = Vec::new();
    for file in files {
        let wrong = |problem: String| Error::file(file.path(), problem);
        paths.push(file.path().display().to_string());
        let part = file.part(None)?;
        for (own, raw) in by_own_names(name, &part).map_err(wrong)? {
            let Some(outlined) = shape_of(&own) else {
                return Err(wrong(format!(
                    "its tensor `{own}` is no part of {name} with this configuration"
                )));
            };
            if raw.shape() != outlined.shape.as_slice() {
                let (must, got) = (&outlined.shape, raw.shape());
                return Err(wrong(format!(
                    "tensor `{own}` must have shape {must:?} by the configuration of {name}, got {got:?}"
                )));
            }
            let tensor = raw.tensor()?;
            let values: Vec<f64> = tensor.flatten_all()?.to_vec1()?;
            if let Some(at) = values.iter().position(|x| !x.is_finite()) {
                let got = values[at];
                return Err(wrong(format!(
                    "tensor `{own}` must be finite, got {got} as element {at}"
                )));
            }
            if tensors.insert(own.clone(), tensor).is_some() {
                return Err(wrong(format!("tensor `{own}` is in another file too")));
            }
        }
    }
    let has = |half: usize| {
        let missing = (wanted[half].keys()).find(|name| !tensors.contains_key(*name));
        let some = wanted[half].keys().any(|name| tensors.contains_key(name));
        match missing {
            None => Ok(true),
            Some(name) if some => Err(Error::file(
                files
                    .first()
                    .map_or(std::path::Path::new(""), Weights::path),
                format!(
                    "there must be a tensor `{name}` of shape {:?}",
                    wanted[half][name].shape
                ),
            )),
            Some(_) => Ok(false),
        }
    };
    let halves = [has(0)?, has(1)?];
    if halves == [false, false] {
        let must = format!("hold an encoder or a decoder of {name}");
        return Err(Error::invalid(
            "the files of weights",
            must,
            paths.join(", "),
        ));
    }
    Ok(Given { tensors, halves })
}

/// The tensors of a file by the network's names.
fn by_own_names(network: &str, part: &Part<'_>) -> Result<BTreeMap<String, Raw>, String> {
    if network == "autoencoder-tiny" {
        let shapes = part.shapes();
        // Both halves count from 0, but the first of the decoder's own file has no parameters.
        let decodes = !shapes.contains_key("0.weight");
        let named = |name: &String| {
            let raw = part.raw(name).map_err(|e| e.to_string())?;
            Ok((tiny_name(name, decodes), raw))
        };
        return shapes.keys().map(named).collect();
    }
    let own = layout::layout("vae-diffusers").map_err(|e| e.to_string())?;
    let mut found = part.recognised().into_iter();
    if let Some(from) = found.find(|one| one.layout.family == own.family && one.missing.is_empty())
    {
        let conversion = convert(part, &from, own, &Ask::default())?;
        let names = conversion.found.shapes.keys();
        return names
            .map(|name| Ok((name.clone(), conversion.tensors.raw(name)?)))
            .collect();
    }
    let names = part.shapes().into_keys();
    let named = |name: String| {
        let raw = part.raw(&name).map_err(|e| e.to_string())?;
        Ok((name, raw))
    };
    names.map(named).collect()
}

/// `encoder.layers.{i}` and `decoder.layers.{i}` of `encoder.{i}`, `decoder.{i + 1}`, or of a bare number in a file of one half.
fn tiny_name(name: &str, decodes: bool) -> String {
    let of = |half: &str, numbered: &str, less: usize| {
        let (number, rest) = numbered.split_once('.')?;
        let number: usize = number.parse().ok()?;
        Some(format!(
            "{half}.layers.{}.{rest}",
            number.checked_sub(less)?
        ))
    };
    let found = if let Some(numbered) = name.strip_prefix("encoder.") {
        of("encoder", numbered, 0)
    } else if let Some(numbered) = name.strip_prefix("decoder.") {
        of("decoder", numbered, 1)
    } else if decodes {
        of("decoder", name, 1)
    } else {
        of("encoder", name, 0)
    };
    found.unwrap_or_else(|| name.to_owned())
}
