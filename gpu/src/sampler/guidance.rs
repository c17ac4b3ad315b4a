//! Guidance of the denoiser.

use crate::error::{Error, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Classifier-free guidance.
///
/// # Formula
/// ```text
/// x̂ = x̂_u + g (x̂_c − x̂_u)
/// ```
/// g = 0 is unconditional, g = 1 conditional, beyond it an extrapolation.
/// # Source
/// Ho and Salimans (arXiv:2207.12598).
pub fn guided(unconditional: &Tensor, conditional: &Tensor, g: f64) -> Result<Tensor> {
    Ok((unconditional + ((conditional - unconditional)? * g)?)?)
}

/// Channels that guidance moves; the others stay the conditional ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuidedChannels {
    /// All of them.
    #[default]
    All,
    /// The first three, of however many: how the published DiT samples latents of four.
    FirstThree,
}

impl FromStr for GuidedChannels {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "all" => Ok(Self::All),
            "first-three" => Ok(Self::FirstThree),
            _ => Err(Error::unknown_name(
                "guided channels",
                text,
                &["all", "first-three"],
            )),
        }
    }
}

impl GuidedChannels {
    /// [`guided`] in these channels.
    ///
    /// # Errors
    /// candle's.
    pub fn guided(self, unconditional: &Tensor, conditional: &Tensor, g: f64) -> Result<Tensor> {
        const THREE: usize = 3;
        let channels = conditional.dim(1)?;
        if self == Self::All || channels <= THREE {
            return guided(unconditional, conditional, g);
        }
        let first = |x: &Tensor| x.narrow(1, 0, THREE);
        let moved = guided(&first(unconditional)?, &first(conditional)?, g)?;
        let rest = conditional.narrow(1, THREE, channels - THREE)?;
        Ok(Tensor::cat(&[&moved, &rest], 1)?)
    }

    /// As [`GuidedChannels::guided`] for answers with more behind the `channels` of an image: the rest stays the conditional one.
    ///
    /// # Errors
    /// candle's.
    pub fn moved(
        self,
        unconditional: &Tensor,
        conditional: &Tensor,
        g: f64,
        channels: usize,
    ) -> Result<Tensor> {
        let all = conditional.dim(1)?;
        if all <= channels {
            return self.guided(unconditional, conditional, g);
        }
        let image = |x: &Tensor| x.narrow(1, 0, channels);
        let moved = self.guided(&image(unconditional)?, &image(conditional)?, g)?;
        let rest = conditional.narrow(1, channels, all - channels)?;
        Ok(Tensor::cat(&[&moved, &rest], 1)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn three_channels_move_and_the_fourth_is_the_conditional_one() -> Result<()> {
        let of =
            |first: f64| Tensor::arange(first, first + 4.0, &Device::Cpu)?.reshape((1, 4, 1, 1));
        let (free, with) = (of(0.0)?, (of(0.0)?.sqr()? + 1.0)?);
        let numbers = |x: Tensor| Ok::<_, Error>(x.flatten_all()?.to_vec1::<f64>()?);
        let all = numbers(GuidedChannels::All.guided(&free, &with, 2.0)?)?;
        assert_eq!(all, [2.0, 3.0, 8.0, 17.0]);
        let three = numbers(GuidedChannels::FirstThree.guided(&free, &with, 2.0)?)?;
        assert_eq!(three, [2.0, 3.0, 8.0, 10.0]);
        // Behind two or four channels of an image the rest are its variances.
        let behind =
            |choice: GuidedChannels, channels| numbers(choice.moved(&free, &with, 2.0, channels)?);
        assert_eq!(behind(GuidedChannels::All, 2)?, [2.0, 3.0, 5.0, 10.0]);
        assert_eq!(
            behind(GuidedChannels::FirstThree, 2)?,
            [2.0, 3.0, 5.0, 10.0]
        );
        assert_eq!(behind(GuidedChannels::FirstThree, 4)?, three);
        assert_eq!(behind(GuidedChannels::All, 4)?, all);
        let (free, with) = (free.narrow(1, 0, 2)?, with.narrow(1, 0, 2)?);
        let two = numbers(GuidedChannels::FirstThree.guided(&free, &with, 2.0)?)?;
        assert_eq!(two, all[..2]);
        Ok(())
    }
}
