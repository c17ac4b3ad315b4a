//! Sizes and constants of the layers, which every way to compute them shares.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod conv2d;
pub(crate) mod fir;
pub(crate) mod gated_sum;
pub(crate) mod group_norm;
pub(crate) mod layer_norm;
pub(crate) mod linear;
pub(crate) mod resample;
