//! Errata of SADM: the claim as printed, a witness that refutes it, and what holds instead.

mod diagonal;
mod game;
mod inverse_time;
mod printed_fid;
mod unit_weight;
mod unspecified_weight;
mod update_order;
mod variants;

pub use diagonal::DiagonalIncluded;
pub use game::UnboundedRelation;
pub use inverse_time::InverseTimeWeight;
pub use printed_fid::PrintedFid;
pub use unit_weight::UnitWeight;
pub use unspecified_weight::UnspecifiedWeight;
pub use update_order::UpdateOrder;
pub use variants::Variants;
