//! What the players of SADM descend.

use crate::run::phases::Phase;
use crate::train::term::Summand;
use crate::train::terms::{Denoising, Structure};

/// Loss of θ in a phase (SADM Eq. 6 and 10) `[eq:minimax]`: L + λS.
pub fn of_theta<'a>(
    denoising: &'a Denoising,
    structure: &'a Structure,
    weight: f64,
    phase: Phase,
) -> Vec<Summand<'a>> {
    let mut terms: Vec<Summand<'a>> = vec![(1.0, denoising)];
    if phase.has_structure() {
        terms.push((weight, structure));
    }
    terms
}

/// Loss of φ (SADM Eq. 9) `[eq:minimax]`: −S.
pub fn of_phi(structure: &Structure) -> Vec<Summand<'_>> {
    vec![(-1.0, structure)]
}
