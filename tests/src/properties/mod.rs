//! Property suites: the registry on the CPU, and the reference's gradients against candle's
//! automatic differentiation of naive code.

mod autograd;
mod registry;
