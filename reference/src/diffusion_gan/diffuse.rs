//! The noising of what the discriminator sees, and its way back to the generator.

use ndarray::{Array1, ArrayD, ArrayRefD, Axis};

use super::DiffusionGanError;

/// Images noised to their levels. `[eq:gan-diffuse]`
///
/// # Formula
/// ```text
/// y_i = √ᾱ_{t_i} x_i + √(1 − ᾱ_{t_i}) s ε_i
/// ```
/// # Shapes and range
/// x, noise `[B, …]`, t `[B]` from 0 to T, `alpha_bars` ᾱ_0 = 1, …, ᾱ_T, `scale` s ≥ 0 → `[B, …]`. At t = 0 the image itself.
///
/// Where each channel has a level of its own, `[B, C, H, W]` is handed over as `[B·C, H, W]`.
/// # Errors
/// Other shapes, a t beyond T, an s below 0.
/// # Source
/// Diffusion-GAN (arXiv:2206.02262), Eq. 1 and 2, the noise's scale σ written s.
pub fn diffuse(
    x: &ArrayRefD<f64>,
    noise: &ArrayRefD<f64>,
    t: &[usize],
    alpha_bars: &[f64],
    scale: f64,
) -> Result<ArrayD<f64>, DiffusionGanError> {
    if noise.shape() != x.shape() {
        return Err(DiffusionGanError::Shape {
            samples: x.shape().to_vec(),
            got: noise.shape().to_vec(),
        });
    }
    super::within("noise scale", scale, "at least 0", scale >= 0.0)?;
    let [kept, added] = factors(x, t, alpha_bars, scale)?;
    let mut y = x.to_owned();
    let rows = y.outer_iter_mut().zip(noise.outer_iter());
    for ((mut y, noise), (kept, added)) in rows.zip(kept.iter().zip(&added)) {
        y.zip_mut_with(&noise, |y, noise| *y = kept * *y + added * noise);
    }
    Ok(y)
}

/// The gradient of ⟨g, [`diffuse`]⟩ in x: what of the discriminator's gradient reaches the generator.
///
/// # Formula
/// ```text
/// ∂/∂x_i = √ᾱ_{t_i} g_i
/// ```
/// # Shapes
/// g `[B, …]`, t `[B]` → `[B, …]`.
/// # Errors
/// As [`diffuse`].
pub fn diffuse_vjp(
    g: &ArrayRefD<f64>,
    t: &[usize],
    alpha_bars: &[f64],
) -> Result<ArrayD<f64>, DiffusionGanError> {
    let [kept, _] = factors(g, t, alpha_bars, 0.0)?;
    let mut gradient = g.to_owned();
    for (mut row, kept) in gradient.outer_iter_mut().zip(&kept) {
        row.mapv_inplace(|g| kept * g);
    }
    Ok(gradient)
}

/// √ᾱ_t and s √(1 − ᾱ_t) of each sample.
fn factors(
    x: &ArrayRefD<f64>,
    t: &[usize],
    alpha_bars: &[f64],
    scale: f64,
) -> Result<[Array1<f64>; 2], DiffusionGanError> {
    let samples = if x.ndim() == 0 { 0 } else { x.len_of(Axis(0)) };
    if t.len() != samples {
        return Err(DiffusionGanError::Count {
            samples,
            got: t.len(),
        });
    }
    let of = |&t: &usize| {
        let left = alpha_bars.get(t).copied();
        let left = left.ok_or(DiffusionGanError::Time {
            steps: alpha_bars.len().saturating_sub(1),
            got: t,
        })?;
        super::within(
            "alpha_bar",
            left,
            "from 0 to 1",
            (0.0..=1.0).contains(&left),
        )
    };
    let left: Array1<f64> = t.iter().map(of).collect::<Result<_, _>>()?;
    Ok([
        left.mapv(f64::sqrt),
        left.mapv(|left| scale * (1.0 - left).sqrt()),
    ])
}
