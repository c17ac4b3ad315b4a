//! Mode of a forward pass: evaluation, or training with its random numbers.

use candle_core::Tensor;

use crate::nn::masked;
use crate::random::Streams;
use crate::{Error, Result};

/// Whether a pass trains a network.
#[derive(Debug, Clone, Copy)]
pub enum Mode<'a> {
    /// Nothing is random: samples, evaluation, the denoiser seen by a frozen view.
    Evaluate,
    /// Dropout is on.
    Train {
        /// The streams that dropout is drawn from.
        dropout: &'a Streams,
        /// Number of the update: another draw for each, the same one when a run is resumed.
        step: u64,
    },
}

impl<'a> Mode<'a> {
    /// Training with these streams at the draw of this number; evaluation without any.
    pub fn of(drawn: Option<&'a (Streams, u64)>) -> Self {
        drawn.map_or(Self::Evaluate, |(dropout, step)| Self::Train {
            dropout,
            step: *step,
        })
    }

    /// What [`of`](Self::of) makes it from.
    pub(crate) fn drawn(self) -> Option<(Streams, u64)> {
        match self {
            Self::Evaluate => None,
            Self::Train { dropout, step } => Some((*dropout, step)),
        }
    }
}

impl Mode<'_> {
    /// Dropout: in training each element is kept with probability 1 − `rate` and divided by it, or set to 0; in evaluation `x` itself.
    ///
    /// The draw is a function of the stream, the step and the name of the `layer` alone, so that it resumes bit for bit.
    ///
    /// # Errors
    /// A rate outside [0, 1).
    ///
    /// # Source
    /// Srivastava et al. 2014 (JMLR 15), scaled in training instead of in evaluation.
    pub fn dropout(self, x: &Tensor, rate: f64, layer: &str) -> Result<Tensor> {
        checked_rate(rate)?;
        if rate <= 0.0 || matches!(self, Self::Evaluate) {
            return Ok(x.clone());
        }
        let kept = self.kept(x.elem_count(), rate, layer)?;
        masked(x, kept, (1.0 - rate).recip())
    }

    /// Which of `count` things are kept in training, each with probability 1 − `rate`; in evaluation all.
    ///
    /// # Errors
    /// A rate outside [0, 1).
    pub fn kept(self, count: usize, rate: f64, what: &str) -> Result<Vec<bool>> {
        checked_rate(rate)?;
        let Self::Train { dropout, step } = self else {
            return Ok(vec![true; count]);
        };
        if rate <= 0.0 {
            return Ok(vec![true; count]);
        }
        let coins = dropout.uniform(&format!("dropout {what}"), step, count);
        Ok(coins.into_iter().map(|coin| coin >= rate).collect())
    }
}

fn checked_rate(rate: f64) -> Result<()> {
    if (0.0..1.0).contains(&rate) {
        return Ok(());
    }
    let must = "be at least 0 and below 1";
    Err(Error::invalid("network.dropout", must, rate))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor, Var};

    use super::Mode;
    use crate::Result;
    use crate::random::Streams;

    fn ones() -> Result<Tensor> {
        Ok(Tensor::ones((50, 80), DType::F32, &Device::Cpu)?)
    }

    fn numbers(x: &Tensor) -> Result<Vec<f32>> {
        Ok(x.flatten_all()?.to_vec1()?)
    }

    #[test]
    fn dropout_keeps_the_mean_and_is_the_same_for_the_same_step_and_layer() -> Result<()> {
        let (x, streams) = (ones()?, Streams::new(3));
        let drawn = |step, layer| {
            let dropout = &streams;
            numbers(&Mode::Train { dropout, step }.dropout(&x, 0.2, layer)?)
        };
        let y = drawn(7, "down.0")?;
        assert!(y.iter().all(|&y| y.abs() <= 0.0 || (y - 1.25).abs() < 1e-6));
        // Binomial(4000, 0.8): a standard deviation of 25 elements; five of them.
        let kept = y.iter().filter(|&&y| y > 0.0).count();
        assert!((3075..=3325).contains(&kept), "{kept}");
        assert_eq!(y, drawn(7, "down.0")?);
        assert_ne!(y, drawn(8, "down.0")?);
        assert_ne!(y, drawn(7, "down.1")?);
        Ok(())
    }

    #[test]
    fn gradients_pass_where_elements_were_kept() -> Result<()> {
        let (x, streams) = (Var::from_tensor(&ones()?)?, Streams::new(3));
        let mode = Mode::Train {
            dropout: &streams,
            step: 0,
        };
        let y = mode.dropout(x.as_tensor(), 0.5, "a")?;
        let grads = y.sum_all()?.backward()?;
        let grad = grads.get(&x).map(numbers).transpose()?;
        assert_eq!(grad, Some(numbers(&y)?));
        Ok(())
    }

    #[test]
    fn nothing_is_dropped_in_evaluation_or_at_rate_0_and_bad_rates_are_refused() -> Result<()> {
        let (x, streams) = (ones()?, Streams::new(3));
        let mode = Mode::Train {
            dropout: &streams,
            step: 0,
        };
        assert_eq!(Mode::Evaluate.dropout(&x, 0.5, "a")?.id(), x.id());
        assert_eq!(mode.dropout(&x, 0.0, "a")?.id(), x.id());
        for rate in [-0.1, 1.0, f64::NAN] {
            assert!(mode.dropout(&x, rate, "a").is_err(), "{rate}");
            assert!(Mode::Evaluate.dropout(&x, rate, "a").is_err(), "{rate}");
        }
        Ok(())
    }
}
