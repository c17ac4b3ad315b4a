//! The layers against central differences, against each other's path, and at their edges.

mod candle_traps;
mod layers;
mod networks;
mod params;
mod presets;
mod support;
