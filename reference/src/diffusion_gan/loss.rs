//! What discriminator and generator descend.

use std::fmt;
use std::str::FromStr;

use super::DiffusionGanError;
use crate::check::first_non_finite;
use crate::choice::{UnknownName, parse};
use ndarray::{Array1, ArrayRef1};

/// A game's loss, as a function of logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GanLoss {
    /// The non-saturating logistic loss: the logit is that of D's probability.
    Logistic,
    /// The hinge.
    Hinge,
    /// Least squares, real images having the label 1 and generated ones 0; the logit is D − ½.
    LeastSquares,
}

/// A loss and its gradient in the logits of real and of generated images.
#[derive(Debug, Clone, PartialEq)]
pub struct GanLossGrad {
    /// The value.
    pub loss: f64,
    /// In the logits of real images; zeros for the generator's loss.
    pub grad_real: Array1<f64>,
    /// In those of generated ones.
    pub grad_fake: Array1<f64>,
}

impl GanLoss {
    /// Every loss.
    pub const ALL: [Self; 3] = [Self::Logistic, Self::Hinge, Self::LeastSquares];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Logistic => "logistic",
            Self::Hinge => "hinge",
            Self::LeastSquares => "least-squares",
        }
    }

    /// Value and slope of what a real image with this logit adds to D's loss.
    fn real(self, l: f64) -> (f64, f64) {
        match self {
            Self::Logistic => descending(l),
            Self::Hinge if l < 1.0 => (1.0 - l, -1.0),
            Self::Hinge => (0.0, 0.0),
            Self::LeastSquares => (0.5 * (l - 0.5).powi(2), l - 0.5),
        }
    }

    /// The same of a generated image.
    fn fake(self, l: f64) -> (f64, f64) {
        match self {
            Self::Logistic => softplus(l),
            Self::Hinge if l > -1.0 => (1.0 + l, 1.0),
            Self::Hinge => (0.0, 0.0),
            Self::LeastSquares => (0.5 * (l + 0.5).powi(2), l + 0.5),
        }
    }

    /// Value and slope of what a generated image adds to G's loss.
    fn generator_of(self, l: f64) -> (f64, f64) {
        match self {
            Self::Logistic => descending(l),
            Self::Hinge => (-l, -1.0),
            Self::LeastSquares => self.real(l),
        }
    }

    /// The discriminator's loss. `[eq:gan-discriminator]`
    ///
    /// # Formula
    /// ```text
    /// L_D = (1/N) Σ f(l_i) + (1/M) Σ f(−l'_j),   l of real, l' of generated images
    /// logistic       f(l) = ln(1 + e^{−l})
    /// hinge          f(l) = max(0, 1 − l)
    /// least squares  f(l) = ½ (l − ½)²
    /// ```
    /// # Shapes
    /// `real [N]`, `fake [M]` → the loss, `[N]`, `[M]`. At a kink of the hinge the slope is 0.
    /// # Errors
    /// No logit on one side, one that is not finite.
    /// # Source
    /// Goodfellow et al. 2014 (arXiv:1406.2661); Lim and Ye 2017 (arXiv:1705.02894); Mao et al. 2017 (arXiv:1611.04076) with D = l + ½.
    pub fn discriminator(
        self,
        real: &ArrayRef1<f64>,
        fake: &ArrayRef1<f64>,
    ) -> Result<GanLossGrad, DiffusionGanError> {
        let (of_real, grad_real) = mean(real, |l| self.real(l))?;
        let (of_fake, grad_fake) = mean(fake, |l| self.fake(l))?;
        Ok(GanLossGrad {
            loss: of_real + of_fake,
            grad_real,
            grad_fake,
        })
    }

    /// The generator's loss and its gradient. `[eq:gan-generator]`
    ///
    /// # Formula
    /// ```text
    /// L_G = (1/M) Σ g(l'_j)
    /// logistic g(l) = ln(1 + e^{−l})     hinge g(l) = −l     least squares g(l) = ½ (l − ½)²
    /// ```
    /// # Shapes
    /// `fake [M]` → the loss, `[M]`.
    /// # Errors
    /// No logit, one that is not finite.
    /// # Source
    /// As [`GanLoss::discriminator`]; the hinge's is that of Miyato et al. 2018 (arXiv:1802.05957), Eq. 17.
    pub fn generator(self, fake: &ArrayRef1<f64>) -> Result<(f64, Array1<f64>), DiffusionGanError> {
        mean(fake, |l| self.generator_of(l))
    }
}

/// The exact penalty on D's slope at real images and its approximation by a difference. `[eq:r1]` `[eq:r1-approximate]`
///
/// # Formula
/// ```text
/// R1 = (1/N) Σ ‖∇_x D(x_i)‖²     approximated: (1/N) Σ (D(x_i) − D(x_i + σ n_i))²/σ²,   n_i ~ N(0, I)
/// ```
/// whose mean over n tends to R1 as σ → 0. This is the value from ∇_x D `[N, …]`, as rows, and its gradient there, 2 ∇_x D/N.
///
/// # Errors
/// No image.
/// # Source
/// Mescheder et al. 2018 (arXiv:1801.04406), Eq. 9, with weight γ/2 there.
pub fn r1(
    slopes: &ndarray::ArrayRef2<f64>,
) -> Result<(f64, ndarray::Array2<f64>), DiffusionGanError> {
    if slopes.nrows() == 0 {
        return Err(DiffusionGanError::NoLogits);
    }
    let count = slopes.nrows() as f64;
    let value = slopes.iter().map(|v| v * v).sum::<f64>() / count;
    Ok((value, slopes.mapv(|v| 2.0 * v / count)))
}

/// The mean of a function and its gradient.
fn mean(
    logits: &ArrayRef1<f64>,
    f: impl Fn(f64) -> (f64, f64),
) -> Result<(f64, Array1<f64>), DiffusionGanError> {
    if logits.is_empty() {
        return Err(DiffusionGanError::NoLogits);
    }
    if let Some(at) = first_non_finite(logits) {
        return Err(DiffusionGanError::Number {
            name: "logit",
            must: "finite",
            got: logits[at[0]],
        });
    }
    let count = logits.len() as f64;
    let value = logits.iter().map(|&l| f(l).0).sum::<f64>() / count;
    Ok((value, logits.mapv(|l| f(l).1 / count)))
}

/// ln(1 + eˣ) and its slope 1/(1 + e^{−x}), of any finite x.
fn softplus(x: f64) -> (f64, f64) {
    let small = (-x.abs()).exp();
    let slope = if x >= 0.0 { 1.0 } else { small } / (1.0 + small);
    (x.max(0.0) + small.ln_1p(), slope)
}

/// ln(1 + e^{−x}) and its slope.
fn descending(x: f64) -> (f64, f64) {
    let (value, slope) = softplus(-x);
    (value, -slope)
}

impl fmt::Display for GanLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for GanLoss {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        parse("loss of the game", &Self::ALL, name)
    }
}
