//! What discriminator and generator descend.

use crate::error::{Error, Result};
use crate::forward::loss_dtype;
use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};

/// A game's loss, as a function of logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GanLoss {
    /// The non-saturating logistic loss.
    Logistic,
    /// The hinge.
    Hinge,
    /// Least squares; the logit is D − ½ for the labels 1 and 0.
    LeastSquares,
}

impl GanLoss {
    /// Every loss.
    pub const ALL: [Self; 3] = [Self::Logistic, Self::Hinge, Self::LeastSquares];

    /// What an image with the logit l adds to D's loss if it is real; of a generated one the argument is −l.
    fn side(self, l: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Logistic => softplus(&l.neg()?)?,
            Self::Hinge => (1.0 - l)?.relu()?,
            Self::LeastSquares => ((l - 0.5)?.sqr()? * 0.5)?,
        })
    }

    /// L_D. `[eq:gan-discriminator]`
    ///
    /// # Shapes
    /// Logits of real images `[N]`, of generated ones `[M]` → a number, in f32 or f64.
    ///
    /// # Errors
    /// No logits.
    pub fn discriminator(self, real: &Tensor, fake: &Tensor) -> Result<Tensor> {
        let [real, fake] = [wide(real)?, wide(fake)?.neg()?];
        Ok((mean(&self.side(&real)?)? + mean(&self.side(&fake)?)?)?)
    }

    /// L_G. `[eq:gan-generator]`
    ///
    /// # Shapes
    /// Logits of generated images `[M]` → a number, in f32 or f64.
    ///
    /// # Errors
    /// No logits.
    pub fn generator(self, fake: &Tensor) -> Result<Tensor> {
        let fake = wide(fake)?;
        match self {
            Self::Hinge => Ok(mean(&fake)?.neg()?),
            Self::Logistic | Self::LeastSquares => mean(&self.side(&fake)?),
        }
    }
}

/// What a penalty on slopes asks of a discriminator.
pub trait Discriminator {
    /// Logits of noised images at their levels.
    ///
    /// # Shapes
    /// `[B, …]`, t `[B]` → `[B]`.
    ///
    /// # Errors
    /// Other shapes.
    fn logits(&self, y: &Tensor, t: &[usize]) -> Result<Tensor>;

    /// ⟨∇_y l_i, v_i⟩ as a function of the parameters: its gradient in them is the second derivative.
    ///
    /// # Shapes
    /// y, v `[B, …]`, t `[B]` → `[B]`.
    ///
    /// # Errors
    /// Other shapes; a network that has none: it is refused, never 0.
    fn along(&self, y: &Tensor, t: &[usize], v: &Tensor) -> Result<Tensor>;
}

/// The mean of w_i ‖∇_y l_i‖², with its exact gradient in the parameters. `[eq:r1]`
///
/// # Formula
/// ```text
/// v_i = ∇_y l_i, held fixed;   (1/N) Σ w_i (2 ⟨∇_y l_i, v_i⟩ − ‖v_i‖²)
/// ```
/// has the value of R1 and, because ∂‖∇l‖² = 2 ⟨∂∇l, ∇l⟩, its gradient. candle cuts gradients off their graph, so that R1 written down as the square
/// of one would have a wrong gradient.
///
/// `weights`: ᾱ_t of each image for the slope in the image before the noise, as published; 1 for that in y.
///
/// # Errors
/// A discriminator without second derivatives; another number of weights.
pub fn r1(
    discriminator: &dyn Discriminator,
    y: &Tensor,
    t: &[usize],
    weights: &[f64],
) -> Result<Tensor> {
    let at = Var::from_tensor(&y.detach())?;
    let gradients = discriminator
        .logits(at.as_tensor(), t)?
        .sum_all()?
        .backward()?;
    let v = gradients.get(&at).ok_or_else(|| {
        Error::invalid(
            "logits of the discriminator",
            "depend on its images for R1",
            "none",
        )
    })?;
    let v = v.detach();
    let along = wide(&discriminator.along(&at.as_detached_tensor(), t, &v)?)?;
    let squares = wide(&v)?.sqr()?.flatten_from(1)?.sum(1)?;
    let weights = Tensor::new(weights, y.device())?.to_dtype(along.dtype())?;
    mean(&(((along * 2.0)? - squares)? * weights)?)
}

/// The mean of (l(y) − l(y + σn))²/σ², which needs no second derivative. `[eq:r1-approximate]`
///
/// # Shapes
/// y, noise `[B, …]`, t `[B]` → a number.
///
/// # Errors
/// Other shapes; a σ that is not above 0.
pub fn r1_approximate(
    discriminator: &dyn Discriminator,
    y: &Tensor,
    t: &[usize],
    noise: &Tensor,
    sigma: f64,
) -> Result<Tensor> {
    if !(sigma.is_finite() && sigma > 0.0) {
        return Err(Error::invalid(
            "σ of the approximate R1",
            "be finite and > 0",
            sigma,
        ));
    }
    let there = discriminator.logits(&(y + (noise * sigma)?)?, t)?;
    let difference = (wide(&discriminator.logits(y, t)?)? - wide(&there)?)?;
    mean(&(difference / sigma)?.sqr()?)
}

/// ln(1 + eˣ), with the gradient 1/(1 + e^{−x}) everywhere: composed of relu and |x| it would be wrong at 0, where those have none.
fn softplus(x: &Tensor) -> Result<Tensor> {
    let fixed = x.detach();
    let small = fixed.abs()?.neg()?.exp()?;
    let value = (fixed.relu()? + (&small + 1.0)?.log()?)?;
    let above = fixed.ge(0.0)?;
    let slope = (above.where_cond(&small.ones_like()?, &small)? / (small + 1.0)?)?;
    Ok((value + ((x - fixed)? * slope)?)?)
}

fn wide(logits: &Tensor) -> Result<Tensor> {
    if logits.elem_count() == 0 {
        return Err(Error::invalid("number of logits", "be at least 1", 0));
    }
    Ok(logits.to_dtype(loss_dtype(logits.dtype()))?)
}

fn mean(x: &Tensor) -> Result<Tensor> {
    Ok((x.sum_all()? / x.elem_count() as f64)?)
}
