//! Copies between a GPU and pinned memory, which the GPU reads and writes by itself.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;

use candle_core::cuda_backend::WrapErr;
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, Shape, Storage, Tensor};
use cudarc::driver::{CudaEvent, DeviceRepr, PinnedHostSlice};

use crate::{Error, Result};

/// Elements from which a tensor is sent from pinned memory: of 64 KiB and less the driver takes a copy by itself.
pub(crate) const MANY: usize = (64 << 10) / size_of::<f32>();

/// Buffers of one length that may be on their way: those of the step that the GPU is at and of the one being prepared, an image
/// batch and its noise each.
const DEPTH: usize = 4;
/// Lengths for which buffers are kept.
const LENGTHS: usize = 16;
/// Numbers that are fetched together, at most.
const NUMBERS: usize = 8;

thread_local! {
    static OF_F32: RefCell<Pool<f32>> = RefCell::default();
    static OF_F64: RefCell<Pool<f64>> = RefCell::default();
}

/// Buffers to be used again, by GPU and length, the one that was used longest ago first.
type Pool<T> = HashMap<(usize, usize), VecDeque<Buffer<T>>>;

/// Pinned memory, and the end of the copy that it last had part in.
///
/// The event is our own: cudarc records that of its pinned memory only where a context has several streams, and candle's has one.
struct Buffer<T> {
    memory: PinnedHostSlice<T>,
    copied: CudaEvent,
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        // Memory must not go while a GPU is at it. Of a GPU that fails here somebody else will hear.
        let _ = self.copied.synchronize();
    }
}

impl<T: DeviceRepr> Buffer<T> {
    fn new(device: &CudaDevice, len: usize) -> Result<Self> {
        let stream = device.cuda_stream();
        let context = stream.context();
        #[expect(
            unsafe_code,
            reason = "the memory is not set; it is written before it is read"
        )]
        let memory = unsafe { context.alloc_pinned_with_flags::<T>(len, 0) }.w()?;
        let copied = context.new_event(None).w()?;
        Ok(Self { memory, copied })
    }
}

/// A buffer that no copy needs any more: one of those given back or, while the GPU still has all of them, a new one.
fn take<T: DeviceRepr>(pool: &mut Pool<T>, device: &CudaDevice, len: usize) -> Result<Buffer<T>> {
    let key = (device.cuda_stream().context().ordinal(), len);
    let ring = pool.entry(key).or_default();
    let enough = ring.len() >= DEPTH;
    let reusable = |buffer: &Buffer<T>| enough || buffer.copied.is_complete();
    if let Some(buffer) = ring.pop_front() {
        if reusable(&buffer) {
            buffer.copied.synchronize().w()?;
            return Ok(buffer);
        }
        ring.push_front(buffer);
    }
    Buffer::new(device, len)
}

fn give_back<T>(pool: &mut Pool<T>, device: &CudaDevice, buffer: Buffer<T>) {
    if pool.len() > LENGTHS {
        pool.clear();
    }
    let key = (
        device.cuda_stream().context().ordinal(),
        buffer.memory.len(),
    );
    pool.entry(key).or_default().push_back(buffer);
}

/// A tensor whose elements are on their way to the GPU.
pub(crate) fn to_device(values: &[f32], shape: &Shape, device: &CudaDevice) -> Result<Tensor> {
    let stream = device.cuda_stream();
    let mut buffer = OF_F32.with_borrow_mut(|pool| take(pool, device, values.len()))?;
    buffer.memory.as_mut_slice().w()?.copy_from_slice(values);
    #[expect(
        unsafe_code,
        reason = "the copy sets all of it, before anything else on the stream"
    )]
    let mut there = unsafe { device.alloc::<f32>(values.len()) }?;
    stream.memcpy_htod(&buffer.memory, &mut there).w()?;
    buffer.copied.record(&stream).w()?;
    OF_F32.with_borrow_mut(|pool| give_back(pool, device, buffer));
    let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(there, device.clone()));
    Ok(Tensor::from_storage(
        storage,
        shape.clone(),
        BackpropOp::none(),
        false,
    ))
}

/// Numbers that are on their way from a GPU.
pub(crate) struct Coming {
    /// There until they have been read.
    buffer: Option<Buffer<f64>>,
    device: CudaDevice,
    count: usize,
}

impl fmt::Debug for Coming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coming")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Coming {
    /// A vector of f64 on a GPU.
    pub(crate) fn of(numbers: &Tensor) -> Result<Self> {
        let count = numbers.dims1()?;
        if count > NUMBERS {
            let must = format!("be at most {NUMBERS}");
            return Err(Error::invalid("numbers fetched together", must, count));
        }
        let (storage, layout) = numbers.storage_and_layout();
        let (Storage::Cuda(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets())
        else {
            return Err(Error::invalid(
                "numbers to be fetched",
                "lie on a GPU in one piece",
                "others",
            ));
        };
        let device = storage.device.clone();
        let stream = device.cuda_stream();
        let mut buffer = OF_F64.with_borrow_mut(|pool| take(pool, &device, NUMBERS))?;
        let there = storage.as_cuda_slice::<f64>()?.slice(start..end);
        stream.memcpy_dtoh(&there, &mut buffer.memory).w()?;
        buffer.copied.record(&stream).w()?;
        let buffer = Some(buffer);
        Ok(Self {
            buffer,
            device,
            count,
        })
    }

    /// Waits for the copy, not for what the GPU was given after it.
    pub(crate) fn wait(&mut self) -> Result<Vec<f64>> {
        let Some(buffer) = self.buffer.take() else {
            return Err(Error::invalid(
                "numbers from a GPU",
                "be read once",
                "twice",
            ));
        };
        buffer.copied.synchronize().w()?;
        let numbers = buffer.memory.as_slice().w()?[..self.count].to_vec();
        OF_F64.with_borrow_mut(|pool| give_back(pool, &self.device, buffer));
        Ok(numbers)
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        // Nobody wants the numbers. Where the pool is gone already, the buffer goes too.
        if let Some(buffer) = self.buffer.take() {
            let _ = OF_F64.try_with(|pool| give_back(&mut pool.borrow_mut(), &self.device, buffer));
        }
    }
}
