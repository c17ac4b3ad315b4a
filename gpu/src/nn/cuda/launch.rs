//! Launching of kernels on tensors of a GPU.

use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaView, DeviceRepr, LaunchConfig, ValidAsZeroBits,
};
use candle_core::op::BackpropOp;
use candle_core::{
    CudaDevice, CudaStorage, DType, Device, Error, Layout, Result, Shape, Storage, StorageRef,
    Tensor, WithDType,
};
use half::{bf16, f16};

/// The kernels as nvcc left them, a constant for each file.
pub(crate) mod ptx {
    include!(concat!(env!("OUT_DIR"), "/ptx.rs"));
}

/// A type of elements that the kernels know.
pub(crate) trait Element: CudaDType + WithDType + DeviceRepr + ValidAsZeroBits {
    /// As the kernels' names end.
    const NAME: &'static str;
    /// What it is computed in.
    type Wide: Element;
}

macro_rules! elements {
    ($($element:ty, $wide:ty, $name:literal;)*) => {
        $(impl Element for $element {
            const NAME: &'static str = $name;
            type Wide = $wide;
        })*
    };
}
elements! {
    f64, f64, "f64";
    f32, f32, "f32";
    bf16, f32, "bf16";
    f16, f32, "f16";
}

pub(crate) fn is_known(dtype: DType) -> bool {
    matches!(dtype, DType::F64 | DType::F32 | DType::BF16 | DType::F16)
}

/// Runs `$run::<T>(…)` with the element type of `$dtype`.
macro_rules! by_element {
    ($dtype:expr, $run:ident($($argument:expr),* $(,)?)) => {
        match $dtype {
            candle_core::DType::F64 => $run::<f64>($($argument),*),
            candle_core::DType::F32 => $run::<f32>($($argument),*),
            candle_core::DType::BF16 => $run::<half::bf16>($($argument),*),
            candle_core::DType::F16 => $run::<half::f16>($($argument),*),
            other => Err(candle_core::Error::UnsupportedDTypeForOp(other, "kernel").bt()),
        }
    };
}
pub(crate) use by_element;

/// Threads of a block that takes one element each.
pub(crate) const THREADS: u32 = 256;

/// Threads of a block for a row of `len` elements: whole warps, no more than there is work for.
pub(crate) fn threads_for(len: usize) -> u32 {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    len.min(THREADS).next_multiple_of(32).max(32)
}

/// The grid of `blocks` blocks; nothing where there are none.
pub(crate) fn grid(blocks: usize, threads: u32) -> Result<Option<LaunchConfig>> {
    let Ok(count) = u32::try_from(blocks) else {
        return Err(Error::Msg(format!("{blocks} blocks are more than a GPU takes")).bt());
    };
    Ok((count > 0).then_some(LaunchConfig {
        grid_dim: (count, 1, 1),
        block_dim: (threads, 1, 1),
        shared_mem_bytes: 0,
    }))
}

/// Starts the kernel `sadm_NAME_TYPE` of a file on a device, in a grid, with its arguments in their order.
macro_rules! launch {
    ($device:expr, $file:ident, $name:expr, $element:ty, $blocks:expr, $threads:expr; $($argument:expr),* $(,)?) => {
        if let Some(grid) = $crate::nn::cuda::launch::grid($blocks, $threads)? {
            let name = format!("sadm_{}_{}", $name, <$element as $crate::nn::cuda::launch::Element>::NAME);
            let ptx = $crate::nn::cuda::launch::ptx::$file;
            let kernel = $device.get_or_load_custom_func(&name, concat!("sadm ", stringify!($file)), ptx)?;
            let mut launch = kernel.builder();
            $(candle_core::cuda_backend::cudarc::driver::PushKernelArg::arg(&mut launch, $argument);)*
            #[expect(unsafe_code, reason = "the arguments are those of the kernel, whose sizes are the tensors', checked before")]
            let outcome = unsafe { launch.launch(grid) };
            candle_core::cuda_backend::WrapErr::w(outcome)?;
        }
    };
}
pub(crate) use launch;

/// Memory on a GPU that a kernel is about to write, all of it.
pub(crate) fn room<T: Element>(device: &CudaDevice, len: usize) -> Result<CudaSlice<T>> {
    #[expect(
        unsafe_code,
        reason = "the memory is not set; a kernel writes every element of it before anybody reads"
    )]
    unsafe {
        device.alloc::<T>(len)
    }
}

/// The elements of a contiguous storage.
pub(crate) fn view<'a, T: Element>(
    storage: &'a CudaStorage,
    layout: &Layout,
) -> Result<CudaView<'a, T>> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        let op = "kernel";
        return Err(Error::RequiresContiguous { op }.bt());
    };
    Ok(storage.as_cuda_slice::<T>()?.slice(start..end))
}

/// A tensor that is being read.
pub(crate) struct Read<'a> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
}

impl<'a> Read<'a> {
    /// The tensor must be contiguous.
    pub(crate) fn new(x: &'a Tensor) -> Self {
        let (storage, layout) = x.storage_and_layout();
        Self { storage, layout }
    }

    fn storage(&self) -> Result<&CudaStorage> {
        match &*self.storage {
            Storage::Cuda(storage) => Ok(storage),
            _ => Err(Error::Msg("a kernel got a tensor that is not on a GPU".into()).bt()),
        }
    }

    /// Its elements.
    pub(crate) fn view<T: Element>(&self) -> Result<CudaView<'_, T>> {
        view(self.storage()?, self.layout)
    }
}

/// The GPU on which a tensor is.
pub(crate) fn gpu(x: &Tensor) -> Result<CudaDevice> {
    match x.device() {
        Device::Cuda(device) => Ok(device.clone()),
        _ => Err(Error::Msg("a kernel got a tensor that is not on a GPU".into()).bt()),
    }
}

/// What a kernel wrote, as a constant.
pub(crate) fn tensor<T: Element>(
    values: CudaSlice<T>,
    shape: impl Into<Shape>,
    device: &CudaDevice,
) -> Tensor {
    let storage = CudaStorage::wrap_cuda_slice(values, device.clone());
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}
