//! Property suites: the registry on the processor, and the reference's gradients against candle's
//! automatic differentiation of naive code.

mod autograd;
mod registry;
