//! Errata of SADM: the claim as printed, a witness that refutes it, and what holds instead.

mod diagonal;
mod game;
mod inverse_time;
mod update_order;
mod variants;

pub use diagonal::DiagonalIncluded;
pub use game::UnboundedRelation;
pub use inverse_time::InverseTimeWeight;
pub use update_order::UpdateOrder;
pub use variants::Variants;
