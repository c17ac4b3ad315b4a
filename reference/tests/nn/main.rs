//! Properties of layers, networks and optimiser.

mod bounds;
mod draw;
mod layers;
mod network;
mod optim;
