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

/// The positional embedding of a number, whose last wave is ten thousand times as long as the first. `[eq:positional-features]`
///
/// # Formula
/// ```text
/// [cos(n ω_0) … cos(n ω_{h−1}), sin(n ω_0) … sin(n ω_{h−1})],   ω_k = 10000^{−k/(h−1)},   h = dim/2
/// ```
///
/// # Shapes
/// `noise: [N]` → `[N, dim]`, `dim` even and at least 4.
///
/// # Errors
/// [`NnError::Value`] for another `dim`.
///
/// # Source
/// Song et al. 2021 (arXiv:2011.13456), after Vaswani et al. 2017 (arXiv:1706.03762), §3.5.
pub fn positional_features(noise: &[f64], dim: usize) -> Result<ArrayD<f64>, NnError> {
    let must = || "even and at least 4".to_owned();
    let fits = dim >= 4 && dim.is_multiple_of(2);
    require(fits, "positional_features", "dim", must, dim)?;
    let half = dim / 2;
    let omega = |k: usize| 10_000_f64.powf(-(k as f64) / (half - 1) as f64);
    Ok(waves(noise, &(0..half).map(omega).collect::<Vec<_>>()))
}

/// The random Fourier features of a number. `[eq:fourier-features]`
///
/// # Formula
/// ```text
/// [cos(2π n f_0) … cos(2π n f_{h−1}), sin(2π n f_0) … sin(2π n f_{h−1})]
/// ```
/// with frequencies `f` that were drawn once and are not trained.
///
/// # Shapes
/// `noise: [N]`, `frequencies: [h]` → `[N, 2h]`.
///
/// # Source
/// Tancik et al. 2020 (arXiv:2006.10739), Eq. 5.
pub fn fourier_features(noise: &[f64], frequencies: &ArrayD<f64>) -> ArrayD<f64> {
    let turns = |f: &f64| std::f64::consts::TAU * f;
    let omega: Vec<f64> = frequencies.iter().map(turns).collect();
    waves(noise, &omega)
}

/// Cosines, then sines, of each number times each frequency.
fn waves(noise: &[f64], omega: &[f64]) -> ArrayD<f64> {
    let half = omega.len();
    Array2::from_shape_fn((noise.len(), 2 * half), |(n, i)| {
        let phase = noise[n] * omega[i % half];
        if i < half { phase.cos() } else { phase.sin() }
    })
    .into_dyn()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    /// Published values for σ = 80: n = ¼ ln 80 with 128 features, whose halves the network then exchanges.
    #[test]
    fn positional_features_of_a_large_noise_level() {
        let y = positional_features(&[80_f64.ln() / 4.0], 128).expect("even");
        let published = [
            (64, 0.889_160_207_945),
            (65, 0.811_377_616_705),
            (127, 0.000_109_550_666),
            (0, 0.457_596_027_745),
        ];
        for (i, want) in published {
            assert!((y[[0, i]] - want).abs() < 1e-12, "{i}");
        }
        let refused = positional_features(&[0.0], 2).expect_err("one frequency");
        let message = "positional_features: dim must be even and at least 4, got 2";
        assert_eq!(refused.to_string(), message);
    }

    #[test]
    fn fourier_features_are_whole_turns_of_the_frequency() {
        let f = ndarray::arr1(&[0.25, 2.0]).into_dyn();
        let y = fourier_features(&[1.0, 0.125], &f);
        let eighth = TAU / 32.0;
        let want = [[0.0, 1.0, 1.0, 0.0], [eighth.cos(), 0.0, eighth.sin(), 1.0]];
        for (i, row) in want.iter().enumerate() {
            for (j, want) in row.iter().enumerate() {
                assert!((y[[i, j]] - want).abs() < 1e-15, "{i} {j}");
            }
        }
    }
}
