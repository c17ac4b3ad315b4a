//! One point of a sweep over samplers.

use serde::Serialize;

/// One sampler at one number of evaluations.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// The sampler.
    pub sampler: &'static str,
    /// Its steps.
    pub steps: usize,
    /// Evaluations of the denoiser.
    pub nfe: usize,
    /// Fréchet distance to the real images in the encoder's features.
    pub fd_encoder: Option<f64>,
    /// Fréchet distance in pixels.
    pub fd_pixels: f64,
    /// Root mean square pixel difference from the fine solution on the same noise; none for a sampler that draws
    /// noise of its own.
    pub distance: Option<f64>,
    /// Mean curvature of the polygons, 1 − chord/arc.
    pub curvature: f64,
    /// Mean deviation V from a straight line at constant speed.
    pub deviation: f64,
}
