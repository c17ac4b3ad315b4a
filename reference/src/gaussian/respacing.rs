//! Which steps of a process are kept.

use super::{GaussianError, refused};

/// The steps that a text keeps of `all` steps, increasing.
///
/// | text | steps |
/// |---|---|
/// | empty | all |
/// | `ddimN` | every k-th from 0, for the least k that leaves N |
/// | `a,b,…` | the process in as many parts, the first longer by one where it does not divide; of each so many steps, evenly from its first to its last, rounded half to even |
///
/// # Errors
/// Text of another form, no stride that leaves N, more steps of a part than it has.
///
/// # Source
/// Song et al. 2021 (arXiv:2010.02502), App. D.3, for `ddimN`; Nichol and Dhariwal 2021 (arXiv:2102.09672), §4.
pub fn respaced_steps(all: usize, text: &str) -> Result<Vec<usize>, GaussianError> {
    if text.is_empty() {
        return Ok((0..all).collect());
    }
    let number = |text: &str| {
        let parsed = text.trim().parse::<usize>();
        parsed.map_err(|_| refused("respacing", "be `ddimN` or whole numbers with commas", text))
    };
    if let Some(count) = text.strip_prefix("ddim") {
        let count = number(count)?;
        let stride = (1..all).find(|stride| all.div_ceil(*stride) == count);
        let must = || format!("leave {count} of {all} steps for some stride");
        let stride = stride.ok_or_else(|| refused("respacing", must(), text))?;
        return Ok((0..all).step_by(stride).collect());
    }
    let counts = text.split(',').map(number).collect::<Result<Vec<_>, _>>()?;
    let (size, longer) = (all / counts.len(), all % counts.len());
    let (mut start, mut steps) = (0, Vec::new());
    for (part, &count) in counts.iter().enumerate() {
        let size = size + usize::from(part < longer);
        if count > size {
            let must = format!("keep at most the {size} steps of a part");
            return Err(refused("respacing", must, count));
        }
        let stride = if count < 2 {
            1.0
        } else {
            (size - 1) as f64 / (count - 1) as f64
        };
        // Added up, not multiplied: what lies between two steps is decided by the rounding of the sum.
        let mut at = 0.0_f64;
        for _ in 0..count {
            steps.push(start + whole(at.round_ties_even()));
            at += stride;
        }
        start += size;
    }
    Ok(steps)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rounded number of a step"
)]
fn whole(x: f64) -> usize {
    x as usize
}
