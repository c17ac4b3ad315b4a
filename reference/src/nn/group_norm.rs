//! Group normalisation of images.

use super::normalise::{normalise, normalise_vjp};
use super::{NnError, require, require_shape, reshaped};
use ndarray::{Array1, Array2, ArrayD};

const LAYER: &str = "group_norm";

/// The ε of every group norm in this project.
pub const GROUP_NORM_EPS: f64 = 1e-5;

/// Gradients of [`group_norm`].
#[derive(Debug, Clone, PartialEq)]
pub struct GroupNormGrad {
    /// With respect to the input, `[B, C, …]`.
    pub x: ArrayD<f64>,
    /// With respect to the gain, `[C]`.
    pub gamma: ArrayD<f64>,
    /// With respect to the offset, `[C]`.
    pub beta: ArrayD<f64>,
}

/// Normalises each of `groups` blocks of neighbouring channels over channels and pixels, then scales each channel. `[eq:group-norm]`
///
/// # Formula
/// ```text
/// y = γ_c (x − μ)/√(var + ε) + β_c,   μ, var (divisor n) over one sample and one group
/// ```
/// # Shapes
/// `x: [B, C, …]`, `gamma, beta: [C]` → `[B, C, …]`; `groups` divides C.
///
/// # Errors
/// [`NnError`] naming the argument that does not fit.
///
/// # Source
/// Wu and He 2018 (arXiv:1803.08494), Eq. 1–6.
pub fn group_norm(
    x: &ArrayD<f64>,
    groups: usize,
    gamma: &ArrayD<f64>,
    beta: &ArrayD<f64>,
    eps: f64,
) -> Result<ArrayD<f64>, NnError> {
    let layout = Layout::new(x, groups, gamma)?;
    require_shape(LAYER, "beta", beta, &[layout.channels])?;
    let mut y = layout.sets(x)?;
    for (set, mut row) in y.rows_mut().into_iter().enumerate() {
        let normalised = normalise(row.view(), eps).value;
        row.assign(&Array1::from_shape_fn(normalised.len(), |i| {
            let c = layout.channel(set, i);
            gamma[[c]] * normalised[i] + beta[[c]]
        }));
    }
    reshaped(&y.into_dyn(), x.raw_dim())
}

/// Gradients of `⟨grad, group_norm(x)⟩`.
///
/// # Formula
/// ```text
/// ∂β_c = Σ g,   ∂γ_c = Σ g x̂,   ∂x = r (h − mean(h) − x̂ mean(h x̂)),   h = γ_c g,  r = 1/√(var + ε)
/// ```
/// # Shapes
/// As [`group_norm`]; `grad` as `x`.
///
/// # Errors
/// [`NnError`] naming the argument that does not fit.
pub fn group_norm_vjp(
    x: &ArrayD<f64>,
    groups: usize,
    gamma: &ArrayD<f64>,
    grad: &ArrayD<f64>,
    eps: f64,
) -> Result<GroupNormGrad, NnError> {
    let layout = Layout::new(x, groups, gamma)?;
    require_shape(LAYER, "grad", grad, x.shape())?;
    let (sets, g) = (layout.sets(x)?, layout.sets(grad)?);
    let mut d_x = Array2::zeros(sets.raw_dim());
    let mut d_gamma = Array1::zeros(layout.channels);
    let mut d_beta = Array1::zeros(layout.channels);
    for (set, row) in sets.rows().into_iter().enumerate() {
        let normalised = normalise(row, eps);
        let mut h = Array1::zeros(row.len());
        for i in 0..row.len() {
            let c = layout.channel(set, i);
            d_beta[c] += g[[set, i]];
            d_gamma[c] += g[[set, i]] * normalised.value[i];
            h[i] = gamma[[c]] * g[[set, i]];
        }
        d_x.row_mut(set)
            .assign(&normalise_vjp(&normalised, h.view()));
    }
    Ok(GroupNormGrad {
        x: reshaped(&d_x.into_dyn(), x.raw_dim())?,
        gamma: d_gamma.into_dyn(),
        beta: d_beta.into_dyn(),
    })
}

/// `[B, C, …]` as `B·groups` sets of `C/groups · pixels` numbers.
struct Layout {
    batch: usize,
    channels: usize,
    groups: usize,
    pixels: usize,
}

impl Layout {
    fn new(x: &ArrayD<f64>, groups: usize, gamma: &ArrayD<f64>) -> Result<Self, NnError> {
        let &[batch, channels, ref spatial @ ..] = x.shape() else {
            return Err(NnError::Shape {
                layer: LAYER,
                argument: "x",
                must: "[B, C, …]".to_owned(),
                got: x.shape().to_vec(),
            });
        };
        require(
            groups > 0 && channels.is_multiple_of(groups),
            LAYER,
            "groups",
            || format!("a divisor of the {channels} channels"),
            groups,
        )?;
        require_shape(LAYER, "gamma", gamma, &[channels])?;
        Ok(Self {
            batch,
            channels,
            groups,
            pixels: spatial.iter().product(),
        })
    }

    fn sets(&self, x: &ArrayD<f64>) -> Result<Array2<f64>, NnError> {
        reshaped(
            x,
            (
                self.batch * self.groups,
                self.channels / self.groups * self.pixels,
            ),
        )
    }

    /// The channel of element `i` of a set.
    fn channel(&self, set: usize, i: usize) -> usize {
        set % self.groups * (self.channels / self.groups) + i / self.pixels
    }
}
