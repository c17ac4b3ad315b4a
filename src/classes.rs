//! Classes of samples.

use anyhow::Result;
use sadm_gpu::random::Streams;

/// A class for each of `count` samples, independent and equally likely.
///
/// # Errors
/// More classes than a u32 counts.
pub fn at_random(count: usize, classes: usize, seed: u64) -> Result<Vec<u32>> {
    let drawn = Streams::new(seed).uniform("classes", 0, count);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "in [0, classes)"
    )]
    let drawn = drawn.into_iter().map(|u| (u * classes as f64) as usize);
    drawn.map(|class| Ok(u32::try_from(class)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_classes_are_independent_and_equally_likely() -> Result<()> {
        let labels = at_random(10_000, 10, 1)?;
        let count = |class: u32| labels.iter().filter(|l| **l == class).count() as f64;
        let squares: f64 = (0..10)
            .map(|class| (count(class) - 1000.0).powi(2) / 1000.0)
            .sum();
        // χ² with 9 degrees of freedom: equal shares would give 0, and 27.9 is the 99.9 % quantile.
        assert!((1.0..27.9).contains(&squares), "{squares}");
        let repeated = labels.windows(2).filter(|pair| pair[0] == pair[1]).count() as f64;
        assert!((repeated - 999.9).abs() < 4.0 * 30.0, "{repeated}");
        assert_eq!(at_random(10_000, 10, 1)?, labels);
        assert_ne!(at_random(10_000, 10, 2)?, labels);
        assert_eq!(at_random(3, 1, 1)?, [0, 0, 0]);
        Ok(())
    }
}
