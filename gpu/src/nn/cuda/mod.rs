//! Own kernels for GPUs (`gpu/kernels`): the fused operations as they are on the CPU, each in one or two
//! launches; linear layers with cuBLAS.
//!
//! f64 and f32 are computed as they are, bf16 and f16 in f32 and rounded once. Sums are added in an order that does not change from
//! call to call. Before their first use on a GPU the kernels are compared with the CPU; where they fail, and where
//! `SADM_KERNELS=off` says so, candle's operations are used instead.

mod activation;
mod affine;
mod clip;
#[cfg(feature = "cudnn")]
pub(crate) mod cudnn;
mod launch;
mod norm;
mod self_test;
mod softmax;
mod sums;
mod update;

pub(crate) use activation::{activation, activation_gradient, gated_sum, gated_sum_gradients};
pub(crate) use affine::{linear, linear_gradients, with_bias};
pub(crate) use clip::{norm_and_factor, scaled};
pub(crate) use norm::{group_norm, group_norm_gradients, layer_norm, layer_norm_gradients};
pub(crate) use softmax::{softmax, softmax_gradient};
pub(crate) use update::{Scalars, adamw};

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::cuda_backend::DeviceId;
use candle_core::{CudaDevice, DType, Device, Tensor};

use super::Layers;
use super::failures::Failures;

/// The variable that switches the kernels off: `off`.
const SWITCH: &str = "SADM_KERNELS";

thread_local! {
    /// State of the kernels on each GPU that was asked about.
    static KNOWN: RefCell<HashMap<DeviceId, Known>> = RefCell::default();
}

/// State of the kernels on a GPU.
#[derive(Clone, Default)]
struct Known {
    off: bool,
    failures: Failures,
}

/// Of a normalisation's gradients those that are wanted of x, γ, β.
pub(crate) fn wanted(
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

/// Whether tensors of one type on one GPU have kernels here.
pub(crate) fn serve<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> bool {
    let mut tensors = tensors.into_iter();
    let Some(first) = tensors.next() else {
        return false;
    };
    let Device::Cuda(device) = first.device() else {
        return false;
    };
    if !launch::is_known(first.dtype()) || !tensors.all(|other| other.dtype() == first.dtype()) {
        return false;
    }
    let known = known(device);
    !known.off && known.failures.of(first.dtype()).is_none()
}

/// Backend of the layers on a GPU.
pub(crate) fn on(device: &CudaDevice) -> Layers {
    let known = known(device);
    match known.failures.summary() {
        _ if known.off => Layers::Composed,
        None => Layers::Own,
        Some(summary) => Layers::OwnAreWrong(summary.into()),
    }
}

/// State of a GPU; the first question tests the kernels there.
fn known(device: &CudaDevice) -> Known {
    let id = device.id();
    if let Some(known) = KNOWN.with_borrow(|all| all.get(&id).cloned()) {
        return known;
    }
    let keep = |known: Known| {
        KNOWN.with_borrow_mut(|all| all.insert(id, known.clone()));
        known
    };
    let off = std::env::var_os(SWITCH).is_some_and(|switch| switch == "off");
    // The test needs the kernels.
    let known = keep(Known {
        off,
        ..Known::default()
    });
    if off {
        return known;
    }
    let gpu = Device::Cuda(device.clone());
    keep(Known {
        off,
        failures: Failures::of_each(&TYPES, |dtype| self_test::failure(&gpu, dtype)),
    })
}

/// The types of elements that the kernels know.
const TYPES: [DType; 4] = [DType::F64, DType::F32, DType::BF16, DType::F16];
