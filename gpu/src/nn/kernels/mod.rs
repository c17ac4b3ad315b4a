//! Own kernels for cards (`gpu/kernels`): the fused operations as they are on the processor, each in one or two
//! launches; linear layers with cuBLAS.
//!
//! f64 and f32 are computed as they are, bf16 and f16 in f32 and rounded once. Sums are added in an order that does not change from
//! call to call. Before their first use on a card the kernels are compared with the processor; where they fail, and where
//! `SADM_KERNELS=off` says so, candle's operations are used instead.

mod activation;
mod affine;
mod clip;
mod launch;
mod norm;
mod softmax;
mod sums;
mod test;
mod update;

pub(super) use activation::{activation, activation_gradient, gated_sum, gated_sum_gradients};
pub(super) use affine::{linear, linear_gradients, with_bias};
pub(crate) use clip::{norm_and_factor, scaled};
pub(super) use norm::{group_norm, group_norm_gradients, layer_norm, layer_norm_gradients};
pub(super) use softmax::{softmax, softmax_gradient};
pub(crate) use update::{Scalars, adamw};

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::cuda_backend::DeviceId;
use candle_core::{CudaDevice, Device, Tensor};

use super::Layers;

/// The variable that switches the kernels off: `off`.
const SWITCH: &str = "SADM_KERNELS";

thread_local! {
    /// Who makes the layers on each card that was asked about.
    static KNOWN: RefCell<HashMap<DeviceId, Layers>> = RefCell::default();
}

/// Of a normalisation's gradients those that are wanted of x, γ, β.
pub(super) fn wanted(
    [x, gamma, beta]: [&Tensor; 3],
    dx: Tensor,
    affine: Option<[Tensor; 2]>,
) -> (Option<Tensor>, Option<Tensor>, Option<Tensor>) {
    let (dgamma, dbeta) = affine.map(|[dgamma, dbeta]| (dgamma, dbeta)).unzip();
    (
        x.track_op().then_some(dx),
        dgamma.filter(|_| gamma.track_op()),
        dbeta.filter(|_| beta.track_op()),
    )
}

/// Whether tensors of one type on one card have kernels here.
pub(crate) fn serve<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> bool {
    let mut tensors = tensors.into_iter();
    let Some(first) = tensors.next() else {
        return false;
    };
    let Device::Cuda(device) = first.device() else {
        return false;
    };
    launch::is_known(first.dtype())
        && tensors.all(|other| other.dtype() == first.dtype())
        && on(device) == Layers::Own
}

/// Who makes the layers on a card; the first question tests the kernels there.
pub(super) fn on(device: &CudaDevice) -> Layers {
    let id = device.id();
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&id).copied()) {
        return known;
    }
    let know = |layers| {
        KNOWN.with_borrow_mut(|known| known.insert(id, layers));
        layers
    };
    if std::env::var_os(SWITCH).is_some_and(|switch| switch == "off") {
        return know(Layers::Composed);
    }
    // The test needs them.
    know(Layers::Own);
    if test::is_right(&Device::Cuda(device.clone())).unwrap_or(false) {
        Layers::Own
    } else {
        know(Layers::OwnAreWrong)
    }
}
