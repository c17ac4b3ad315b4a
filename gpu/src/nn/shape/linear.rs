//! The sizes of an affine map, and its bias where it has none.

use candle_core::{Layout, Result, Shape, Tensor};

use crate::error::Error;

/// The bias, or zeros for each of the weight's outputs.
pub(crate) fn bias_or_zeros(bias: Option<&Tensor>, weight: &Tensor) -> Result<Tensor> {
    match bias {
        Some(bias) => Ok(bias.clone()),
        None => Tensor::zeros(weight.dim(0)?, weight.dtype(), weight.device()),
    }
}

/// Rows, inputs and outputs of one affine map, checked.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) rows: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

impl Sizes {
    pub(crate) fn new(x: &[usize], weight: &[usize], bias: &[usize]) -> Result<Self> {
        let &[outputs, inputs] = weight else {
            return Err(Error::shape("linear weight", "[out, in]", weight).into());
        };
        if inputs == 0 || outputs == 0 {
            return Err(Error::shape("linear weight", "[out, in] with no zero", weight).into());
        }
        if x.last() != Some(&inputs) {
            return Err(Error::shape("linear input", format!("[…, {inputs}]"), x).into());
        }
        if bias != [outputs] {
            return Err(Error::shape("linear bias", format!("[{outputs}]"), bias).into());
        }
        let rows = x[..x.len() - 1].iter().product();
        Ok(Self {
            rows,
            inputs,
            outputs,
        })
    }

    /// That of the map of `x`.
    pub(crate) fn shape(&self, x: &Layout) -> Shape {
        let mut dims = x.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = self.outputs;
        }
        Shape::from(dims)
    }
}
