//! Properties of layers, networks and optimiser.

mod bounds;
mod draw;
mod frozen;
mod layers;
mod network;
mod optim;
