//! Convolutions on a GPU through cuDNN, with both gradients.
//!
//! Of cuDNN's algorithms only those are used that add the products of the plain sum, in an order that does not change from
//! call to call: so the bound of the plain sum holds, and a run can be repeated. In f32 they multiply in full precision
//! unless TF32 was asked for. Before the first use on a GPU a convolution of small whole numbers is compared with its exact
//! result.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_int;
use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::cuda::{CudaDType, gemm_reduced_precision_f32};
use candle_core::cuda_backend::DeviceId;
use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp2, DType, Device, Error, Layout, Result, Shape,
    Tensor, Var, WithDType,
};
use cudarc::cudnn::sys::{
    cudnnConvolutionBwdDataAlgo_t, cudnnConvolutionBwdFilterAlgo_t, cudnnConvolutionFwdAlgo_t,
    cudnnConvolutionMode_t, cudnnMathType_t, cudnnTensorFormat_t,
};
use cudarc::cudnn::{
    ConvBackwardData, ConvBackwardFilter, ConvForward, Cudnn, CudnnDataType, CudnnError,
};
use cudarc::driver::{CudaSlice, DeviceRepr, ValidAsZeroBits};
use half::{bf16, f16};

use crate::nn::failures::Failures;
use crate::nn::shape::conv2d::Geometry;
use crate::nn::{Convolutions, composed};

thread_local! {
    /// State of cuDNN on each GPU. A handle belongs to its thread.
    static KNOWN: RefCell<HashMap<DeviceId, State>> = RefCell::default();
}

/// State of cuDNN on a GPU: a handle, where there is one, and the types in which its convolutions failed their test.
#[derive(Clone)]
struct State {
    handle: Option<Arc<Cudnn>>,
    failures: Failures,
}

/// The types of elements that are convolved by cuDNN.
const TYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

/// See [`conv2d_strided`](crate::nn::conv2d_strided), without a bias; nothing where cuDNN cannot do it.
pub(crate) fn conv2d(x: &Tensor, weight: &Tensor, geometry: &Geometry) -> Result<Option<Tensor>> {
    let Device::Cuda(device) = x.device() else {
        return Ok(None);
    };
    if !TYPES.contains(&x.dtype()) {
        return Ok(None);
    }
    let state = state(device);
    if state.handle.is_none() || state.failures.of(x.dtype()).is_some() {
        return Ok(None);
    }
    own(x, weight, geometry).map(Some)
}

fn own(x: &Tensor, weight: &Tensor, geometry: &Geometry) -> Result<Tensor> {
    let op = Convolution(*geometry);
    x.contiguous()?
        .apply_op2(&weight.contiguous()?, Forward(op))
}

/// Backend of convolutions on a GPU.
pub(crate) fn on(device: &CudaDevice) -> Convolutions {
    let state = state(device);
    match (state.handle, state.failures.summary()) {
        (None, _) => Convolutions::Composed,
        (Some(_), None) => Convolutions::Cudnn,
        (Some(_), Some(summary)) => Convolutions::CudnnIsWrong(summary.into()),
    }
}

fn state(device: &CudaDevice) -> State {
    let id = device.id();
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&id).cloned()) {
        return known;
    }
    let keep = |state: State| {
        KNOWN.with_borrow_mut(|known| known.insert(id, state.clone()));
        state
    };
    // The test needs the handle.
    let state = keep(State {
        handle: Cudnn::new(device.cuda_stream()).ok(),
        failures: Failures::default(),
    });
    if state.handle.is_none() {
        return state;
    }
    let gpu = Device::Cuda(device.clone());
    keep(State {
        failures: Failures::of_each(&TYPES, |dtype| failure(&gpu, dtype)),
        ..state
    })
}

/// Which of cuDNN's convolution and its gradients is not that of the CPU in elements of a type, in whole numbers that all
/// types hold.
fn failure(gpu: &Device, dtype: DType) -> Result<Option<String>> {
    let of = |shape: (usize, usize, usize, usize), factor: usize, modulus: usize| {
        let len = shape.0 * shape.1 * shape.2 * shape.3;
        let values = (0..len).map(|i| (i * factor % modulus) as f32 - (modulus / 2) as f32);
        Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu)
    };
    let (x, weight) = (of((2, 3, 5, 4), 5, 7)?, of((4, 3, 3, 2), 3, 5)?);
    let geometry = Geometry::new(x.dims(), weight.dims(), &[4], 1, (1, 0))?;
    let dy = of((2, 4, 5, 3), 7, 5)?;

    let [own_x, own_weight] = [Var::from_tensor(&x)?, Var::from_tensor(&weight)?];
    let y = composed::conv2d_strided(&own_x, &own_weight, None, 1, (1, 0))?;
    let grads = (&y * &dy)?.sum_all()?.backward()?;
    let of = |var: &Var| grads.get(var).cloned().ok_or_else(|| missing("a gradient"));
    let want = [
        ("the convolution", y),
        ("the image's gradient", of(&own_x)?),
        ("the weight's gradient", of(&own_weight)?),
    ];

    let [x, weight, dy] = [&x, &weight, &dy].map(|t| t.to_dtype(dtype)?.to_device(gpu));
    let (x, weight, dy) = (x?, weight?, dy?);
    let op = Convolution(geometry);
    let got = [
        own(&x, &weight, &geometry)?,
        weight.apply_op2_no_bwd(&dy, &DataGradient(op))?,
        x.apply_op2_no_bwd(&dy, &FilterGradient(op))?,
    ];
    for (got, (what, want)) in got.iter().zip(&want) {
        let got = got.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let [got, want] = [&got, want].map(|t| t.flatten_all()?.to_vec1::<f32>());
        // Whole numbers up to 2⁸: every order of every sum is exact, and so the comparison may be.
        if got? != want? {
            return Ok(Some(format!("{what} is another")));
        }
    }
    Ok(None)
}

fn missing(what: &str) -> Error {
    Error::Msg(format!("{what} is missing")).bt()
}

/// One convolution, without its bias.
#[derive(Clone, Copy)]
struct Convolution(Geometry);

/// y of x and w.
struct Forward(Convolution);
/// ∂L/∂x of w and ∂L/∂y.
struct DataGradient(Convolution);
/// ∂L/∂w of x and ∂L/∂y.
struct FilterGradient(Convolution);

/// Which of the three is asked for.
#[derive(Clone, Copy)]
enum Wanted {
    Dx,
    Dw,
    Y,
}

impl Convolution {
    /// Of x, w and y.
    fn sizes(&self) -> [[usize; 4]; 3] {
        let g = &self.0;
        let (height, width) = g.out();
        [
            [g.batch, g.channels, g.side.0, g.side.1],
            [g.outputs, g.channels, g.kernel.0, g.kernel.1],
            [g.batch, g.outputs, height, width],
        ]
    }

    /// One of the three from the other two, given in the order x, w, ∂L/∂y.
    fn run(
        &self,
        wanted: Wanted,
        inputs: [(&CudaStorage, &Layout); 2],
    ) -> Result<(CudaStorage, Shape)> {
        match inputs[0].0.dtype() {
            DType::F32 => self.launch::<f32>(wanted, inputs, 1.0, 0.0),
            DType::BF16 => self.launch::<bf16>(wanted, inputs, bf16::ONE, bf16::ZERO),
            DType::F16 => self.launch::<f16>(wanted, inputs, f16::ONE, f16::ZERO),
            other => Err(Error::UnsupportedDTypeForOp(other, "conv2d").bt()),
        }
    }

    fn launch<T>(
        &self,
        wanted: Wanted,
        inputs: [(&CudaStorage, &Layout); 2],
        one: T,
        zero: T,
    ) -> Result<(CudaStorage, Shape)>
    where
        T: CudaDType + WithDType + CudnnDataType + DeviceRepr + ValidAsZeroBits,
    {
        let device = inputs[0].0.device().clone();
        let cudnn = state(&device).handle.ok_or_else(|| missing("cuDNN"))?;
        let range = |layout: &Layout| match layout.contiguous_offsets() {
            Some((start, end)) => Ok(start..end),
            None => Err(Error::RequiresContiguous { op: "conv2d" }.bt()),
        };
        let [(first, of_first), (second, of_second)] = inputs;
        let first = first.as_cuda_slice::<T>()?.slice(range(of_first)?);
        let second = second.as_cuda_slice::<T>()?.slice(range(of_second)?);

        let sizes = self.sizes();
        let [of_x, of_w, of_y] = sizes;
        let shape = match wanted {
            Wanted::Dx => of_x,
            Wanted::Dw => of_w,
            Wanted::Y => of_y,
        };
        let mut to = device.alloc_zeros::<T>(shape.iter().product())?;

        let [x, w, y] = sizes.map(|size| size.map(number));
        let g = &self.0;
        let pair = |(a, b): (usize, usize)| [number(a), number(b)];
        let cross = cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let format = cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;
        let mut conv = cudnn
            .create_conv2d::<f32>(pair(g.padding), pair((g.stride, g.stride)), [1, 1], cross)
            .map_err(failed)?;
        conv.set_math_type(math::<T>()).map_err(failed)?;
        let x = cudnn.create_4d_tensor::<T>(format, x).map_err(failed)?;
        let w = cudnn.create_4d_filter::<T>(format, w).map_err(failed)?;
        let y = cudnn.create_4d_tensor::<T>(format, y).map_err(failed)?;
        let (conv, x, w, y) = (&conv, &x, &w, &y);
        let room = |bytes: std::result::Result<usize, CudnnError>| -> Result<CudaSlice<u8>> {
            device.alloc_zeros::<u8>(bytes.map_err(failed)?.max(1))
        };
        let scales = (one, zero);
        #[expect(
            unsafe_code,
            reason = "cuDNN is told addresses: those of slices whose lengths are the products of the sizes in the descriptors, \
                      which `Geometry` has checked against the tensors"
        )]
        match wanted {
            Wanted::Y => {
                let algorithm =
                    cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
                let op = ConvForward { conv, x, w, y };
                let mut room = room(op.get_workspace_size(algorithm))?;
                unsafe { op.launch(algorithm, Some(&mut room), scales, &first, &second, &mut to) }
            }
            Wanted::Dx => {
                let algorithm = cudnnConvolutionBwdDataAlgo_t::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
                let op = ConvBackwardData {
                    conv,
                    dx: x,
                    w,
                    dy: y,
                };
                let mut room = room(op.get_workspace_size(algorithm))?;
                unsafe { op.launch(algorithm, Some(&mut room), scales, &mut to, &first, &second) }
            }
            Wanted::Dw => {
                let algorithm =
                    cudnnConvolutionBwdFilterAlgo_t::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;
                let op = ConvBackwardFilter {
                    conv,
                    x,
                    dw: w,
                    dy: y,
                };
                let mut room = room(op.get_workspace_size(algorithm))?;
                unsafe { op.launch(algorithm, Some(&mut room), scales, &first, &mut to, &second) }
            }
        }
        .map_err(failed)?;
        Ok((
            CudaStorage::wrap_cuda_slice(to, device),
            Shape::from(&shape),
        ))
    }
}

/// f32 is multiplied as f32 unless TF32 was asked for.
fn math<T: WithDType>() -> cudnnMathType_t {
    match T::DTYPE {
        DType::F32 if !gemm_reduced_precision_f32() => cudnnMathType_t::CUDNN_FMA_MATH,
        DType::F32 => cudnnMathType_t::CUDNN_DEFAULT_MATH,
        _ => cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
    }
}

/// A size as cuDNN has it; no tensor in memory is longer than it can say.
fn number(size: usize) -> c_int {
    c_int::try_from(size).unwrap_or(c_int::MAX)
}

/// Its text would be asked of the library that may be what is missing.
fn failed(error: CudnnError) -> Error {
    Error::Msg(format!("cuDNN refused a convolution: {:?}", error.0)).bt()
}

/// The operations are GPUs' only.
fn not_here<T>() -> Result<T> {
    Err(Error::Msg("cuDNN's convolution got a tensor that is not on a GPU".into()).bt())
}

macro_rules! on_gpus {
    ($op:ty, $name:literal, $wanted:expr $(, $bwd:item)?) => {
        impl CustomOp2 for $op {
            fn name(&self) -> &'static str {
                $name
            }

            fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
                not_here()
            }

            fn cuda_fwd(
                &self,
                first: &CudaStorage,
                of_first: &Layout,
                second: &CudaStorage,
                of_second: &Layout,
            ) -> Result<(CudaStorage, Shape)> {
                self.0.run($wanted, [(first, of_first), (second, of_second)])
            }

            $($bwd)?
        }
    };
}

on_gpus!(
    Forward,
    "conv2d by cuDNN",
    Wanted::Y,
    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let dx = weight.apply_op2_no_bwd(&dy, &DataGradient(self.0))?;
        let dw = x.apply_op2_no_bwd(&dy, &FilterGradient(self.0))?;
        Ok((Some(dx), Some(dw)))
    }
);
on_gpus!(
    DataGradient,
    "gradient of conv2d's image by cuDNN",
    Wanted::Dx
);
on_gpus!(
    FilterGradient,
    "gradient of conv2d's weight by cuDNN",
    Wanted::Dw
);
