//! Vectors for labels and for noise levels.

use super::{NnError, ranked, require, require_shape};
use ndarray::{Array2, ArrayD, Ix2};

/// Rows of a table.
///
/// # Shapes
/// `table: [V, D]`, `index: [N]`, each below V → `[N, D]`.
///
/// # Errors
/// [`NnError`] if `table` is not a matrix or an index is out of range.
pub fn embedding(table: &ArrayD<f64>, index: &[u32]) -> Result<ArrayD<f64>, NnError> {
    let table = ranked::<Ix2>("embedding", "table", "[V, D]", table)?;
    let rows = rows(index, table.nrows())?;
    Ok(table.select(ndarray::Axis(0), &rows).into_dyn())
}

/// Gradient of `⟨grad, embedding(table)⟩`: each row of `grad` added to the row of the table it came from.
///
/// # Shapes
/// `table: [V, D]`, `index: [N]`, `grad: [N, D]` → `[V, D]`.
///
/// # Errors
/// [`NnError`] naming the argument that does not fit.
pub fn embedding_vjp(
    table: &ArrayD<f64>,
    index: &[u32],
    grad: &ArrayD<f64>,
) -> Result<ArrayD<f64>, NnError> {
    let table = ranked::<Ix2>("embedding", "table", "[V, D]", table)?;
    require_shape("embedding", "grad", grad, &[index.len(), table.ncols()])?;
    let grad = ranked::<Ix2>("embedding", "grad", "[N, D]", grad)?;
    let mut d_table = Array2::zeros(table.raw_dim());
    for (row, g) in rows(index, table.nrows())?.into_iter().zip(grad.rows()) {
        let mut target = d_table.row_mut(row);
        target += &g;
    }
    Ok(d_table.into_dyn())
}

fn rows(index: &[u32], limit: usize) -> Result<Vec<usize>, NnError> {
    index
        .iter()
        .map(|&i| {
            let i = i as usize;
            require(
                i < limit,
                "embedding",
                "index",
                || format!("below the {limit} rows of the table"),
                i,
            )?;
            Ok(i)
        })
        .collect()
}

/// Sinusoidal features of a noise level. `[eq:time-features]`
///
/// # Formula
/// ```text
/// f_k = ½ · 64^{k/(h−1)},  k = 0 … h−1,  h = dim/2;   features = [cos(n f_0) … cos(n f_{h−1}), sin(n f_0) … sin(n f_{h−1})]
/// ```
/// Frequencies from ½ to 32 resolve `n = ln(σ)/4`, which spans about [−2, 2]; for `h = 1` the one frequency is ½.
///
/// # Shapes
/// `c_noise: [N]` → `[N, dim]`, `dim` even and at least 2.
///
/// # Errors
/// [`NnError::Value`] if `dim` is odd or zero.
pub fn time_features(c_noise: &[f64], dim: usize) -> Result<ArrayD<f64>, NnError> {
    let must = || "even and at least 2".to_owned();
    require(
        dim >= 2 && dim.is_multiple_of(2),
        "time_features",
        "dim",
        must,
        dim,
    )?;
    let half = dim / 2;
    let frequency = |k: usize| 0.5 * 64_f64.powf(k as f64 / (half.max(2) - 1) as f64);
    Ok(Array2::from_shape_fn((c_noise.len(), dim), |(n, i)| {
        let phase = c_noise[n] * frequency(i % half);
        if i < half { phase.cos() } else { phase.sin() }
    })
    .into_dyn())
}

/// Sinusoidal features of the number of a step, as the published transformers take it. `[eq:step-features]`
///
/// # Formula
/// ```text
/// ω_k = 10000^{−k/h},  k = 0 … h−1,  h = dim/2;   features = [cos(t ω_0) … cos(t ω_{h−1}), sin(t ω_0) … sin(t ω_{h−1})]
/// ```
/// t need not be whole.
///
/// # Shapes
/// `t: [N]` → `[N, dim]`, `dim` even and at least 2.
///
/// # Errors
/// [`NnError::Value`] if `dim` is odd or zero.
///
/// # Source
/// Peebles and Xie 2023 (arXiv:2212.09748), after Vaswani et al. 2017 (arXiv:1706.03762), §3.5.
pub fn step_features(t: &[f64], dim: usize) -> Result<ArrayD<f64>, NnError> {
    let must = || "even and at least 2".to_owned();
    let even = dim >= 2 && dim.is_multiple_of(2);
    require(even, "step_features", "dim", must, dim)?;
    let half = dim / 2;
    Ok(Array2::from_shape_fn((t.len(), dim), |(n, i)| {
        let phase = t[n] * 10_000_f64.powf(-((i % half) as f64) / half as f64);
        if i < half { phase.cos() } else { phase.sin() }
    })
    .into_dyn())
}
