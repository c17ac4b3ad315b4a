//! Feature spaces Ψ: the encoder that is trained here, and published networks.

mod encoder;
pub mod inception;
pub mod layers;
pub mod resize;

pub use encoder::{Encoder, EncoderConfig};
pub use inception::{Features, Inception, POOLED, SPATIAL};
pub use resize::Resize;
