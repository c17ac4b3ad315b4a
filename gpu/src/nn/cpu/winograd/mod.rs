//! 3 × 3 convolutions of stride 1 by tiles of 2 × 2 outputs: Winograd's minimal filtering F(2×2, 3×3), 16 products where
//! the sum has 36.
//!
//! # Formula `[eq:winograd]`
//! ```text
//! y = Aᵀ [ Σ_c (G w_c Gᵀ) ∘ (Bᵀ d_c B) ] A      d_c: the 4×4 pixels of channel c under a tile, y: its 2×2 outputs
//!
//!      ⎡1  0 −1  0⎤        ⎡1  0  0⎤
//! Bᵀ = ⎢0  1  1  0⎥   G  = ⎢½  ½  ½⎥   Aᵀ = ⎡1  1  1  0⎤
//!      ⎢0 −1  1  0⎥        ⎢½ −½  ½⎥        ⎣0  1 −1 −1⎦
//!      ⎣0  1  0 −1⎦        ⎣0  0  1⎦
//!
//! ∂L/∂w_c = Gᵀ [ Σ_tiles (A g Aᵀ) ∘ (Bᵀ d_c B) ] G
//! ∂L/∂x   = the same convolution of g with w flipped and transposed
//! ```
//! Each of the 16 places of a transformed tile is one matrix product: tiles × channels times channels × outputs, or, for
//! the weights, outputs × tiles times tiles × channels.
//!
//! # Source
//! Lavin and Gray 2015 (arXiv:1509.09308), §4.1; what it costs in accuracy is `sadm_reference::bound::nn::conv2d_winograd`.

mod convolution;
mod gradient;
mod lines;

pub(crate) use convolution::{TAPS, TILES, Winograd, data_tiles, kernel_panels, multiply_places};
pub(crate) use gradient::weight_gradient;
pub(crate) use lines::{both_ways, output, square};

use super::frame::Frame;
use crate::nn::shape::conv2d::Geometry;

/// Places of a transformed tile.
pub(crate) const PLACES: usize = 16;

/// Channels and outputs come in multiples of this: whole panels on every machine.
const CHANNELS: usize = 32;

/// Whether a convolution is made by tiles. The number of images plays no part, so that what is made of an image does not depend
/// on its batch.
pub(crate) fn serves(geometry: &Geometry) -> bool {
    geometry.kernel == (3, 3)
        && geometry.stride == 1
        && geometry.padding == (1, 1)
        && geometry.channels.is_multiple_of(CHANNELS)
        && geometry.outputs.is_multiple_of(CHANNELS)
        && geometry.side.0 >= 2
        && geometry.side.1 >= 2
}

/// The tiles of an image.
#[derive(Clone, Copy)]
struct Grid {
    rows: usize,
    columns: usize,
}

impl Grid {
    fn of(geometry: &Geometry) -> Self {
        let (height, width) = geometry.side;
        Self {
            rows: height.div_ceil(2),
            columns: width.div_ceil(2),
        }
    }
    /// Tiles of one image.
    fn tiles(self) -> usize {
        self.rows * self.columns
    }
    /// Pixels of a row of tiles.
    fn width(self) -> usize {
        2 * self.columns
    }
    /// Pixels of all tiles.
    fn pixels(self) -> usize {
        4 * self.tiles()
    }
    /// An image with zeros around it, as many as its tiles see.
    fn frame(self, geometry: &Geometry) -> Frame {
        Frame {
            side: geometry.side,
            corner: (1, 1),
            padded: (2 * self.rows + 2, 2 * self.columns + 2),
            channels: geometry.channels,
        }
    }
    /// Where, in a row of images of `rows` of `pitch` elements, pixels `step` apart, each tile begins.
    fn starts(self, images: usize, image: usize, pitch: usize, step: usize) -> Vec<usize> {
        let start = |n: usize, i: usize, j: usize| n * image + 2 * (i * pitch + j * step);
        (0..images)
            .flat_map(|n| (0..self.rows).map(move |i| (n, i)))
            .flat_map(|(n, i)| (0..self.columns).map(move |j| start(n, i, j)))
            .collect()
    }
}
