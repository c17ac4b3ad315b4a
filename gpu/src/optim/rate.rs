//! The learning rate's factor: a linear warm-up, then the configured decay.

use crate::config::Decay;

/// Factor of the learning rate during a linear warm-up: (step + 1)/warm_up, at most 1.
///
/// `step` counts from 0; `warm_up = 0` means none. The first step already moves.
pub fn warm_up(step: usize, warm_up: usize) -> f64 {
    if step >= warm_up {
        1.0
    } else {
        (step + 1) as f64 / warm_up as f64
    }
}

/// Factor of the learning rate at update `number` of `total`, both counted from 0: up to 1 over the first ⌈warmup · total⌉, then the
/// decay over the rest. `[eq:learning-rate]`
pub fn rate(number: usize, total: usize, warmup: f64, decay: Decay) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 ≤ warmup < 1"
    )]
    let rising = (warmup * total as f64).ceil() as usize;
    if number < rising {
        return warm_up(number, rising);
    }
    let left = 1.0 - (number - rising) as f64 / (total - rising).max(1) as f64;
    match decay {
        Decay::None => 1.0,
        Decay::Linear => left,
        Decay::Cosine => 0.5 * (1.0 - (std::f64::consts::PI * left).cos()),
    }
}
