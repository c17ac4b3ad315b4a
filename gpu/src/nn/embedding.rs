//! Tables of vectors, and features of the noise level.

use candle_core::{DType, Device, Result, Tensor};

use crate::Error;

/// Rows of a table.
///
/// # Shapes
/// `table: [K, D]`, N indices → `[N, D]`; ∂L/∂table gets each output row's gradient added to the
/// row it came from.
///
/// # Errors
/// An index that is not below K.
pub fn embedding(table: &Tensor, indices: &[u32]) -> Result<Tensor> {
    let (rows, _) = table.dims2()?;
    if let Some(index) = indices.iter().find(|&&index| index as usize >= rows) {
        let must = format!("be below the table's {rows} rows");
        return Err(Error::invalid("embedding index", must, index).into());
    }
    let indices = Tensor::from_slice(indices, indices.len(), table.device())?;
    table.index_select(&indices, 0)
}

/// Sinusoidal features of the noise input n = c_noise.
///
/// # Formula `[eq:time-features]`
/// ```text
/// [cos(n f_0) … cos(n f_{h−1}), sin(n f_0) … sin(n f_{h−1})],   f_k = ½ · 64^{k/(h−1)},   h = dim/2
/// ```
/// computed in f64 and rounded once. f runs from ½ to 32, so that n ∈ [−2, 2] (σ from e⁻⁸ to e⁸)
/// meets both a slow and a fast wave.
///
/// # Shapes
/// `noise: [N]` → `[N, dim]`.
///
/// # Errors
/// `dim` odd or zero.
pub fn time_features(noise: &[f64], dim: usize, device: &Device, dtype: DType) -> Result<Tensor> {
    if dim == 0 || !dim.is_multiple_of(2) {
        return Err(Error::invalid("number of time features", "be even and positive", dim).into());
    }
    let half = dim / 2;
    let frequency = |k: usize| 0.5 * 64_f64.powf(k as f64 / (half - 1).max(1) as f64);
    let features: Vec<f64> = noise
        .iter()
        .flat_map(|&n| {
            let cosines = (0..half).map(move |k| (n * frequency(k)).cos());
            cosines.chain((0..half).map(move |k| (n * frequency(k)).sin()))
        })
        .collect();
    from_f64(features, (noise.len(), dim), device, dtype)
}

/// Sinusoidal features of the number t of a step, which need not be whole.
///
/// # Formula `[eq:step-features]`
/// ```text
/// [cos(t ω_0) … cos(t ω_{h−1}), sin(t ω_0) … sin(t ω_{h−1})],   ω_k = 10000^{−k/h},   h = dim/2
/// ```
/// computed in f64 and rounded once.
///
/// # Shapes
/// `steps: [N]` → `[N, dim]`.
///
/// # Errors
/// `dim` odd or zero.
pub fn step_features(steps: &[f64], dim: usize, device: &Device, dtype: DType) -> Result<Tensor> {
    if dim == 0 || !dim.is_multiple_of(2) {
        return Err(Error::invalid("number of step features", "be even and positive", dim).into());
    }
    let half = dim / 2;
    let slowing = -(10_000_f64.ln()) / half as f64;
    let mut features = Vec::with_capacity(steps.len() * dim);
    for &t in steps {
        let phases = (0..half).map(|k| t * (slowing * k as f64).exp());
        features.extend(phases.clone().map(f64::cos));
        features.extend(phases.map(f64::sin));
    }
    from_f64(features, (steps.len(), dim), device, dtype)
}

/// The positional embedding of n = c_noise, whose last wave is ten thousand times as long as the first.
///
/// # Formula `[eq:positional-features]`
/// ```text
/// [cos(n ω_0) … cos(n ω_{h−1}), sin(n ω_0) … sin(n ω_{h−1})],   ω_k = 10000^{−k/(h−1)},   h = dim/2
/// ```
/// computed in f64 and rounded once.
///
/// # Shapes
/// `noise: [N]` → `[N, dim]`.
///
/// # Errors
/// `dim` odd or below 4.
///
/// # Source
/// Song et al. 2021 (arXiv:2011.13456), after Vaswani et al. 2017 (arXiv:1706.03762), §3.5.
pub fn positional_features(
    noise: &[f64],
    dim: usize,
    device: &Device,
    dtype: DType,
) -> Result<Tensor> {
    if dim < 4 || !dim.is_multiple_of(2) {
        let must = "be even and at least 4";
        return Err(Error::invalid("number of positional features", must, dim).into());
    }
    let steps = (dim / 2 - 1) as f64;
    let omega: Vec<f64> = (0..dim / 2)
        .map(|k| (-(k as f64) / steps * 10_000_f64.ln()).exp())
        .collect();
    from_f64(waves(noise, &omega), (noise.len(), dim), device, dtype)
}

/// Random Fourier features of n = c_noise.
///
/// # Formula `[eq:fourier-features]`
/// ```text
/// [cos(2π n f_0) … cos(2π n f_{h−1}), sin(2π n f_0) … sin(2π n f_{h−1})]
/// ```
/// computed in f64 and rounded once.
///
/// # Shapes
/// `noise: [N]`, `frequencies: [h]` → `[N, 2h]`.
///
/// # Source
/// Tancik et al. 2020 (arXiv:2006.10739), Eq. 5.
pub fn fourier_features(
    noise: &[f64],
    frequencies: &Tensor,
    device: &Device,
    dtype: DType,
) -> Result<Tensor> {
    let frequencies = frequencies.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let turns = |f: &f64| std::f64::consts::TAU * f;
    let omega: Vec<f64> = frequencies.iter().map(turns).collect();
    let shape = (noise.len(), 2 * omega.len());
    from_f64(waves(noise, &omega), shape, device, dtype)
}

/// The cosines of each number times the frequencies, and the sines behind them.
fn waves(noise: &[f64], omega: &[f64]) -> Vec<f64> {
    let mut features = Vec::with_capacity(2 * noise.len() * omega.len());
    for n in noise {
        features.extend(omega.iter().map(|omega| (n * omega).cos()));
        features.extend(omega.iter().map(|omega| (n * omega).sin()));
    }
    features
}

/// A tensor of host numbers, rounded once to `dtype`.
pub(crate) fn from_f64(
    values: Vec<f64>,
    shape: impl Into<candle_core::Shape>,
    device: &Device,
    dtype: DType,
) -> Result<Tensor> {
    Tensor::from_vec(values, shape, &Device::Cpu)?
        .to_dtype(dtype)?
        .to_device(device)
}
