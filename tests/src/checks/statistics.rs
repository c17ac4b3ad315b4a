//! Streaming statistics of features.

use candle_core::{DType, Tensor};
use ndarray::{ArrayD, Axis};
use proptest::prelude::*;
use sadm_gpu::evaluation::moments::FeatureStatistics;
use sadm_reference::{bound, metrics};

use crate::{
    case::Case,
    check::{Check, Quantity, bounds, values},
    engine::Place,
    error::{Error, Result},
    generators::tensor,
};

pub(super) fn checks() -> Vec<Box<dyn Check>> {
    vec![feature_statistics()]
}

/// Rows pushed in batches of `size`.
fn pushed(rows: &[Tensor], size: usize, block: usize) -> Result<FeatureStatistics> {
    let columns = rows.first().map_or(0, |row| row.dims()[1]);
    let mut statistics = FeatureStatistics::with_block(columns, block);
    for batch in rows.chunks(size) {
        statistics.push(&Tensor::cat(batch, 0)?)?;
    }
    Ok(statistics)
}

/// Features leave a network in f32 or f64; narrower types are widened before they are counted.
fn feature_statistics() -> Box<dyn Check> {
    Quantity::new(
        "feature-statistics",
        "mean and covariance over N−1 of features that arrive in batches, in two streams merged, one of them backwards",
        "Chan, Golub and LeVeque 1983, Eq. 2.1; mathematics.md §9",
    )
    .draws(|| {
        (2..=12_usize, 1..=4_usize)
            .prop_flat_map(|(n, d)| {
                (tensor(&[n, d]), 1..n, 1..=4_usize, 1..=5_usize)
            })
            .prop_map(|(x, cut, block, batch)| {
                Case::new()
                    .tensor("x", x)
                    .count("cut", cut)
                    .count("block", block)
                    .count("batch", batch)
            })
            .boxed()
    })
    .reference(|case| {
        let x = case.get2("x")?;
        let moments = metrics::moments("x", x.view()).map_err(Error::reference)?;
        Ok(values([
            ("mean", moments.mean.into_dyn()),
            ("covariance", moments.covariance.into_dyn()),
        ]))
    })
    .bound(|case, rule| {
        let moments = bound::metrics::moments(case.get2("x")?.view(), rule.compute);
        Ok(bounds([
            ("mean", moments.mean),
            ("covariance", moments.covariance),
        ]))
    })
    .candle(|case, place| {
        let x = case.get2("x")?;
        let wide = match place.dtype {
            DType::F64 => place.clone(),
            _ => Place {
                dtype: DType::F32,
                ..place.clone()
            },
        };
        let rows = x
            .axis_iter(Axis(0))
            .map(|row| wide.tensor(&row.insert_axis(Axis(0)).to_owned().into_dyn()))
            .collect::<Result<Vec<_>>>()?;
        let (first, second) = rows.split_at(case.get_count("cut")?);
        let second: Vec<Tensor> = second.iter().rev().cloned().collect();
        let (batch, block) = (case.get_count("batch")?, case.get_count("block")?);
        let mut statistics = pushed(first, batch, block)?;
        statistics.merge(pushed(&second, batch, block)?)?;
        let (mean, covariance) = statistics.moments()?;
        let d = mean.len();
        let shaped = |shape: &[usize], v| {
            ArrayD::from_shape_vec(shape, v).map_err(Error::reference)
        };
        Ok(values([
            ("mean", shaped(&[d], mean)?),
            ("covariance", shaped(&[d, d], covariance)?),
        ]))
    })
    .boxed()
}
