//! Frozen networks against the published tools' own classes, and weights from files.

mod channels_last;
mod hashed;
mod inception;
mod layers;
mod real;
mod weights;
mod weights_kinds;
