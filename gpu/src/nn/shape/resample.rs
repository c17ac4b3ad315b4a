//! The sides of an image that is halved.

use candle_core::{Result, Tensor};

use crate::error::Error;

/// The sizes `(N, C, H, W)` of an image tensor with even sides.
pub(crate) fn even_sides(x: &Tensor) -> Result<(usize, usize, usize, usize)> {
    let (n, c, height, width) = x.dims4()?;
    if !(height.is_multiple_of(2) && width.is_multiple_of(2)) {
        let got = format!("{height}×{width}");
        return Err(Error::invalid("sides of an image to halve", "be even", got).into());
    }
    Ok((n, c, height, width))
}
