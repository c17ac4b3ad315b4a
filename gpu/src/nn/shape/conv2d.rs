//! The sizes of a convolution.

use candle_core::Result;

use crate::error::Error;

/// The sizes of one convolution, checked.
#[derive(Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) side: (usize, usize),
    pub(crate) outputs: usize,
    pub(crate) kernel: (usize, usize),
    pub(crate) stride: usize,
    pub(crate) padding: (usize, usize),
}

impl Geometry {
    pub(crate) fn new(
        x: &[usize],
        weight: &[usize],
        bias: &[usize],
        stride: usize,
        padding: (usize, usize),
    ) -> Result<Self> {
        let &[batch, channels, height, width] = x else {
            return Err(Error::shape("conv2d input", "[N, C, H, W]", x).into());
        };
        let &[outputs, inner, kh, kw] = weight else {
            return Err(Error::shape("conv2d weight", "[O, C, kh, kw]", weight).into());
        };
        if inner != channels || channels == 0 || outputs == 0 {
            let must = format!("[O, {channels}, kh, kw] with no zero for input {x:?}");
            return Err(Error::shape("conv2d weight", must, weight).into());
        }
        if bias != [outputs] {
            return Err(Error::shape("conv2d bias", format!("[{outputs}]"), bias).into());
        }
        if stride == 0 {
            return Err(Error::invalid("conv2d stride", "be at least 1", stride).into());
        }
        let fits = |side: usize, kernel: usize, padding: usize| {
            side > 0 && kernel > padding && side + 2 * padding >= kernel
        };
        if !(fits(height, kh, padding.0) && fits(width, kw, padding.1)) {
            let must =
                format!("be larger than padding {padding:?} and fit into the padded image {x:?}");
            return Err(Error::invalid("conv2d kernel", must, format!("{kh}×{kw}")).into());
        }
        Ok(Self {
            batch,
            channels,
            side: (height, width),
            outputs,
            kernel: (kh, kw),
            stride,
            padding,
        })
    }

    /// Sides of the padded image.
    #[inline(always)]
    pub(crate) fn padded(&self) -> (usize, usize) {
        (
            self.side.0 + 2 * self.padding.0,
            self.side.1 + 2 * self.padding.1,
        )
    }
    /// Sides of the output.
    #[inline(always)]
    pub(crate) fn out(&self) -> (usize, usize) {
        let (height, width) = self.padded();
        (
            (height - self.kernel.0) / self.stride + 1,
            (width - self.kernel.1) / self.stride + 1,
        )
    }
    /// Pixels of one output image.
    #[inline(always)]
    pub(crate) fn pixels(&self) -> usize {
        self.out().0 * self.out().1
    }
    /// Elements of one input image.
    #[inline(always)]
    pub(crate) fn image(&self) -> usize {
        self.channels * self.side.0 * self.side.1
    }
    /// Elements of one output image.
    #[inline(always)]
    pub(crate) fn out_image(&self) -> usize {
        self.outputs * self.pixels()
    }
    /// Elements of one patch: the rows of the patch matrix.
    #[inline(always)]
    pub(crate) fn patch(&self) -> usize {
        self.channels * self.kernel.0 * self.kernel.1
    }
    /// Whether every output pixel depends on one input pixel, at the same place.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.taps() == 1 && self.stride == 1 && self.padding == (0, 0)
    }
    /// Places of the kernel.
    #[inline(always)]
    pub(crate) fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }
    /// Contiguous elements of a padded image, channels last, under one row of the kernel.
    pub(crate) fn kernel_row(&self) -> usize {
        self.kernel.1 * self.channels
    }
    /// The convolution that maps ∂L/∂y to ∂L/∂x.
    pub(crate) fn transposed(&self) -> Self {
        Self {
            channels: self.outputs,
            side: self.out(),
            outputs: self.channels,
            padding: (
                self.kernel.0 - 1 - self.padding.0,
                self.kernel.1 - 1 - self.padding.1,
            ),
            ..*self
        }
    }
}
