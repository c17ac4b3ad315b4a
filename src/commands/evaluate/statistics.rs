//! Stored statistics, as pytorch-fid and ADM write them.

use std::path::Path;

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};
use ndarray::{Array1, Array2, ArrayD};
use sadm_gpu::evaluation::moments::FeatureStatistics;
use sadm_reference::metrics::FeatureView;

use super::Divisor;
use super::features::Extracted;
use super::input::Stored;
use super::matrix::blocks;
use crate::npz::{self, Array};
use crate::progress::say;

/// Mean and covariance: `mu` and `sigma` of the features, and `mu_s` and `sigma_s` of spatial ones where there are any, the
/// four arrays of ADM's files.
///
/// # Errors
/// A name that does not end in .npz; fewer than two samples; a folder that cannot be written to.
pub fn save(path: &Path, set: &Extracted, divisor: Divisor) -> Result<()> {
    if path.extension().is_none_or(|ending| ending != "npz") {
        bail!(
            "--save-statistics must end in .npz, got `{}`",
            path.display()
        );
    }
    let kinds = [
        (Stored::Pooled, Some(&set.features)),
        (Stored::Spatial, set.spatial.as_ref()),
    ];
    let mut arrays = Vec::new();
    for (kind, features) in kinds {
        if let Some(features) = features {
            let [mean, covariance] = moments(features.view(), divisor)?;
            let [mu, sigma] = kind.names();
            arrays.extend([(mu, mean), (sigma, covariance)]);
        }
    }
    let named: Vec<_> = arrays
        .iter()
        .map(|(name, array)| (*name, Array::Reals(array)))
        .collect();
    npz::write_npz(path, &named)?;
    let names: Vec<_> = arrays.iter().map(|(name, _)| *name).collect();
    say(&format!(
        "{} (covariance over {}) of {} samples, {} features: {}",
        names.join(", "),
        divisor.name(),
        set.features.view().nrows(),
        set.features.view().ncols(),
        path.display()
    ));
    Ok(())
}

/// μ and Σ, streamed.
fn moments(features: FeatureView<'_>, divisor: Divisor) -> Result<[ArrayD<f64>; 2]> {
    let d = features.ncols();
    let mut statistics = FeatureStatistics::new(d);
    for rows in blocks(features) {
        let values: Vec<f64> = rows.iter().copied().collect();
        statistics.push(&Tensor::from_vec(values, rows.dim(), &Device::Cpu)?)?;
    }
    let (mean, mut covariance) = statistics.moments()?;
    if divisor == Divisor::N {
        let n = features.nrows() as f64;
        for c in &mut covariance {
            *c *= (n - 1.0) / n;
        }
    }
    Ok([
        Array1::from(mean).into_dyn(),
        Array2::from_shape_vec((d, d), covariance)?.into_dyn(),
    ])
}
