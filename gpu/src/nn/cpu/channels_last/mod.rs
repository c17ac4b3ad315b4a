//! Images with their channels last, for networks that are only run, on the CPU.
//!
//! Each image goes through a whole network by itself, on one thread: what is made of it depends neither on its batch nor on the number
//! of threads, and no layer waits for another image's. With the channels last a convolution is one product with the image as it lies
//! (a border of zeros is the only copy), and bias and ReLU are done while a tile of the result is still in registers' reach.
//!
//! | module | holds |
//! |---|---|
//! | [`Map`] | an image between two layers |
//! | [`Frozen`] | a convolution whose weights are laid out once |
//! | `tiles` | its 3 × 3 form by Winograd's tiles |
//! | `windows` | maxima and means of windows |

mod convolution;
mod map;
mod tiles;
mod windows;

pub(crate) use convolution::Frozen;
pub(crate) use map::Map;
pub(crate) use windows::{greatest, mean3};
