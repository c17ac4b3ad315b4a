//! The encoder as sizes, layer by layer as [`features`](crate::features) makes it.

use super::layers::Images;
use super::sketch::{ENCODER, Id, Sketch};
use crate::features::EncoderConfig;

/// A number of things as a size.
fn real(n: usize) -> f64 {
    n as f64
}

/// The features of an [`Encoder`](crate::features::Encoder) of images: `[B, d]`.
pub(super) fn encoder(s: &mut Sketch, config: &EncoderConfig, x: Images) -> Id {
    let at = |name: String| format!("{ENCODER}.{name}");
    let widths: Vec<f64> = config.widths.iter().map(|&n| real(n)).collect();
    let (Some(&first), Some(&last)) = (widths.first(), widths.last()) else {
        return x.id;
    };
    s.at(at("conv_in".to_owned()));
    let id = s.narrowed(x.id);
    let mut h = s.conv(Images { id, ..x }, first, 3.0);
    for (i, &width) in widths.iter().enumerate() {
        s.at(at(format!("norm.{i}")));
        if i > 0 {
            h = s.resampled(h, 0.5);
        }
        h = s.group_norm(h);
        s.at(at(format!("conv.{i}")));
        h = s.conv(h, width, 3.0);
    }
    s.at(at("norm_out".to_owned()));
    let h = s.group_norm(h);
    s.at(at("features".to_owned()));
    let dim = real(config.dim);
    let summed = s.operation(h.batch * last, &[h.id], [0.0; 2]);
    let pooled = s.function(summed);
    let features = s.linear(pooled, h.batch, last, dim);
    s.widened(features)
}

/// The logits of features.
pub(super) fn classifier(s: &mut Sketch, config: &EncoderConfig, features: Id, batch: f64) -> Id {
    s.at(format!("{ENCODER}.classifier"));
    // It computes in the type of its parameters.
    let width = std::mem::replace(&mut s.width, super::sketch::WIDE);
    let logits = s.linear(features, batch, real(config.dim), real(config.classes));
    s.width = width;
    logits
}
