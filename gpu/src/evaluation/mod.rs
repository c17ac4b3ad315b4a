//! Frozen networks whose features samples are judged in, with the weights that a user brings.
//!
//! Nothing here is trained: batch norms are folded into the convolutions before them, and nothing has a gradient.
//!
//! | module | holds |
//! |---|---|
//! | [`Weights`] | named tensors of a `.safetensors` or PyTorch file, with its digest |
//! | [`moments`] | mean and covariance of features, batch by batch |
//! | [`Lpips`] | how different two images look |
//! | [`Resnet`] | classifiers of CIFAR-10, as features |

pub(crate) mod field;
mod lpips;
pub mod moments;
mod resnet;

pub use crate::weights::Weights;
pub use lpips::Lpips;
pub use resnet::Resnet;
