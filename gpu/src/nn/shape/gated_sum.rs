//! The sizes of a gated sum.

use candle_core::Result;

use crate::error::Error;

/// `(N, T, D)`, checked.
pub(crate) fn sizes(x: &[usize], gate: &[usize], h: &[usize]) -> Result<(usize, usize, usize)> {
    let &[batch, tokens, width] = x else {
        return Err(Error::shape("gated_sum input", "[N, T, D]", x).into());
    };
    if h != x {
        return Err(Error::shape("gated_sum branch", format!("{x:?}"), h).into());
    }
    if gate != [batch, width] {
        return Err(Error::shape("gated_sum gate", format!("[{batch}, {width}]"), gate).into());
    }
    Ok((batch, tokens, width))
}
