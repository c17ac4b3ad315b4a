//! The scalable interpolant transformer as it was published.

use super::dit::Dit;
use super::{Architecture, given};

/// The published transformer of velocities: [`Dit`]'s parameters and names; a half of variances is predicted and left out.
///
/// # Source
/// Ma et al. 2024 (arXiv:2401.08740); names and sizes as in willisma/SiT.
pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "sit",
    build: |dimensions, domain| {
        let dit = given::<Dit>(dimensions)?.of(domain);
        Ok(Box::new(Dit {
            first_half: true,
            ..dit
        }))
    },
    published: |config| {
        let dit = given::<Dit>(config)?;
        Ok(Box::new(Dit {
            first_half: true,
            ..dit
        }))
    },
};
