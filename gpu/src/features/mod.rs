//! Feature spaces Ψ: the encoder that is trained here, and published networks.
//!
//! | module | holds |
//! |---|---|
//! | [`Encoder`] | the encoder of a run |
//! | [`Inception`] | the network of FID, sFID and the inception score |
//! | [`layers`] | folded convolutions and poolings |
//! | [`mod@resize`] | the published tools' ways to bring an image to 299×299 |

mod encoder;
pub mod inception;
pub mod layers;
pub mod resize;

pub use encoder::{Encoder, EncoderConfig};
pub use inception::{Features, Inception, POOLED, SPATIAL};
pub use resize::Resize;
