//! The theory of SADM as code that can be doubted: laws of x_0 whose posteriors are finite sums, and the
//! paper's statements and errata as executable claims over them.
//!
//! | part | what |
//! |---|---|
//! | [`laws`] | laws of x_0 with exact posterior, score and relation density |
//! | [`statements`] | theorems, bounds and errata: source, instance, evidence; one registry |
//! | [`transport`] | optimal assignment with a dual certificate |
//! | [`rounding`] | numbers that carry a bound on their own rounding error |
//! | [`interval`], [`branch_and_bound`] | enclosures over whole boxes, and proofs made of them |
//!
//! Every number that enters a claim carries its bound, so an equality or an inequality is judged with the
//! allowance that its own evaluation earned, and a refutation is by more than that.

pub mod branch_and_bound;
pub mod interval;
pub mod laws;
pub mod rounding;
pub mod statements;
pub mod transport;
