//! The published networks of EDM, with their names of parameters and dimensions.

mod block;
mod dhariwal_unet;
mod song_unet;

pub use block::{Convolution, Resampling, UNetBlock};
pub(super) use dhariwal_unet::ARCHITECTURE as DHARIWAL_UNET;
pub use dhariwal_unet::DhariwalUNet;
pub(super) use song_unet::ARCHITECTURE as SONG_UNET;
pub use song_unet::{Decoder, Embedding, Encoder, SongUNet};

use super::graph::{Graph, Value};
use super::{Condition, NetworkError, require_config};
use crate::nn;
use ndarray::{ArrayD, IxDyn};

/// One sample's classes as weights, `[B, K]`: of labels 1 at its class and nothing for "no class".
///
/// # Errors
/// [`NetworkError`] for labels of a network without classes, or of another number than samples or classes.
pub(super) fn class_rows(
    condition: Condition<'_>,
    batch: usize,
    classes: usize,
) -> Result<Option<ArrayD<f64>>, NetworkError> {
    if classes == 0 {
        return match (condition.labels, condition.soft_labels) {
            (None, None) => Ok(None),
            _ => Err(NetworkError::NoClasses),
        };
    }
    if let Some(rows) = condition.soft_labels {
        nn::require_shape("network", "weights of classes", rows, &[batch, classes])?;
        return Ok(Some(rows.clone()));
    }
    let mut rows = ArrayD::zeros(IxDyn(&[batch, classes]));
    let Some(labels) = condition.labels else {
        return Ok(Some(rows));
    };
    let must = || format!("the batch size {batch}");
    nn::require(
        labels.len() == batch,
        "network",
        "number of labels",
        must,
        labels.len(),
    )?;
    for (n, &label) in labels.iter().enumerate() {
        let label = label as usize;
        let must = || format!("at most the number of classes {classes}, which means no class");
        nn::require(label <= classes, "network", "label", must, label)?;
        if label < classes {
            rows[[n, label]] = 1.0;
        }
    }
    Ok(Some(rows))
}

/// The augmentation labels, if any; refused where the network knows none.
///
/// # Errors
/// [`NetworkError::Unasked`], or a shape other than `[B, augment_dim]`.
pub(super) fn augment_rows(
    condition: Condition<'_>,
    batch: usize,
    augment_dim: usize,
) -> Result<Option<ArrayD<f64>>, NetworkError> {
    let Some(rows) = condition.augment else {
        return Ok(None);
    };
    if augment_dim == 0 {
        let got = rows.shape().get(1).copied().unwrap_or(0);
        return Err(NetworkError::Unasked {
            what: "augmentation labels",
            got,
        });
    }
    nn::require_shape(
        "network",
        "augmentation labels",
        rows,
        &[batch, augment_dim],
    )?;
    Ok(Some(rows.clone()))
}

/// As many noise levels as samples.
pub(super) fn require_noise(condition: Condition<'_>, batch: usize) -> Result<(), NetworkError> {
    let must = || format!("the batch size {batch}");
    let got = condition.noise.len();
    Ok(nn::require(
        got == batch,
        "network",
        "number of noise levels",
        must,
        got,
    )?)
}

/// The sides of the levels, the finest first: each half of the one before.
pub(super) fn sides(img_resolution: usize, levels: usize) -> Result<Vec<usize>, NetworkError> {
    require_config(levels > 0, "number of levels", "at least 1", levels)?;
    let most = img_resolution.trailing_zeros() as usize + 1;
    let must =
        format!("at most {most}, since images of side {img_resolution} are halved between them");
    require_config(
        img_resolution > 0 && levels <= most,
        "number of levels",
        &must,
        levels,
    )?;
    Ok((0..levels).map(|level| img_resolution >> level).collect())
}

/// `silu(map_layer1(silu(map_layer0(e))))`, or without the last.
fn mapped(graph: &mut Graph<'_>, e: Value, width: usize) -> Result<Value, NetworkError> {
    let e = graph.linear(e, "map_layer0", width)?;
    let e = graph.silu(e);
    graph.linear(e, "map_layer1", width)
}
