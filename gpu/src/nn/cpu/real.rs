//! The two float types that the fused CPU operations compute in.

use std::cell::RefCell;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Range, Sub};
use std::thread::LocalKey;

use candle_core::{CpuStorage, DType};
use half::{bf16, f16};
use pulp::Simd;

use super::exponential::exp_nonpositive;

/// The arithmetic type of a fused operation: `f64` natively, `f32` for f32, bf16 and f16 tensors.
pub(crate) trait Real:
    Copy
    + Default
    + PartialOrd
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    /// The type's own storage type.
    const DTYPE: DType;
    /// As many numbers as one register holds.
    type Vector<S: Simd>: Copy + Send + Sync;

    /// Numbers in a vector.
    fn lanes<S: Simd>() -> usize;
    /// The vectors that a slice begins with, wherever it begins.
    fn vectors<S: Simd>(x: &[Self]) -> (&[Self::Vector<S>], &[Self]);
    /// [`vectors`](Self::vectors), to write.
    fn vectors_mut<S: Simd>(x: &mut [Self]) -> (&mut [Self::Vector<S>], &mut [Self]);
    /// A vector of one number.
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;
    /// a + b.
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a − b.
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a b.
    fn times<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a b + c, rounded once where the CPU can.
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    /// max(x, 0); NaN stays.
    fn relu<S: Simd>(simd: S, x: Self::Vector<S>) -> Self::Vector<S>;
    /// The transpose of a square.
    #[inline(always)]
    fn turned(rows: [[Self; 4]; 4]) -> [[Self; 4]; 4] {
        turned_by_moves(rows)
    }

    /// This thread's unused buffers.
    fn pool() -> &'static LocalKey<RefCell<Vec<Vec<Self>>>>;
    /// The nearest number to `x`.
    fn of(x: f64) -> Self;
    /// The number itself.
    fn wide(self) -> f64;
    /// √x.
    fn sqrt(self) -> Self;
    /// |x|.
    fn abs(self) -> Self;
    /// Whether it is no number.
    fn is_nan(self) -> bool;
    /// eˣ for x ≤ 0 (or NaN); relative error at most 2 ulp.
    fn exp_nonpositive(self) -> Self;
    /// The elements of `storage` if they are of this type.
    fn slice(storage: &CpuStorage) -> Option<&[Self]>;
    /// [`slice`](Self::slice), to write.
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
    /// The bf16 or f16 elements of `storage` in `range`, widened; `None` for another type.
    fn widened(storage: &CpuStorage, range: Range<usize>) -> Option<Vec<Self>>;
    /// `values` rounded once to `dtype`.
    fn store(values: Vec<Self>, dtype: DType) -> CpuStorage;
}

impl Real for f64 {
    const DTYPE: DType = DType::F64;
    type Vector<S: Simd> = S::f64s;

    fn pool() -> &'static LocalKey<RefCell<Vec<Vec<Self>>>> {
        thread_local! {
            static POOL: RefCell<Vec<Vec<f64>>> = const { RefCell::new(Vec::new()) };
        }
        &POOL
    }
    #[inline(always)]
    fn lanes<S: Simd>() -> usize {
        S::F64_LANES
    }
    #[inline(always)]
    fn vectors<S: Simd>(x: &[Self]) -> (&[Self::Vector<S>], &[Self]) {
        S::as_simd_f64s(x)
    }
    #[inline(always)]
    fn vectors_mut<S: Simd>(x: &mut [Self]) -> (&mut [Self::Vector<S>], &mut [Self]) {
        S::as_mut_simd_f64s(x)
    }
    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S> {
        simd.splat_f64s(x)
    }
    #[inline(always)]
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S> {
        simd.mul_add_e_f64s(a, b, c)
    }
    #[inline(always)]
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S> {
        simd.add_f64s(a, b)
    }
    #[inline(always)]
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S> {
        simd.sub_f64s(a, b)
    }
    #[inline(always)]
    fn times<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S> {
        simd.mul_f64s(a, b)
    }
    #[inline(always)]
    fn relu<S: Simd>(simd: S, x: Self::Vector<S>) -> Self::Vector<S> {
        let zero = simd.splat_f64s(0.0);
        simd.select_f64s(simd.less_than_f64s(x, zero), zero, x)
    }

    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        f64::abs(self)
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
    #[inline(always)]
    fn exp_nonpositive(self) -> Self {
        self.exp()
    }
    fn slice(storage: &CpuStorage) -> Option<&[Self]> {
        match storage {
            CpuStorage::F64(values) => Some(values),
            _ => None,
        }
    }
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::F64(values) => Some(values),
            _ => None,
        }
    }
    fn widened(_: &CpuStorage, _: Range<usize>) -> Option<Vec<Self>> {
        None
    }
    fn store(values: Vec<Self>, _: DType) -> CpuStorage {
        CpuStorage::F64(values)
    }
}

impl Real for f32 {
    const DTYPE: DType = DType::F32;
    type Vector<S: Simd> = S::f32s;

    /// By shuffles: of the plain form the compiler makes sixteen moves of one number.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn turned(rows: [[Self; 4]; 4]) -> [[Self; 4]; 4] {
        use pulp::core_arch::x86::Sse;
        use std::arch::x86_64::__m128;
        let Some(sse) = Sse::try_new() else {
            return turned_by_moves(rows);
        };
        let [a, b, c, d] = rows;
        let (a, b): (__m128, __m128) = (pulp::cast(a), pulp::cast(b));
        let (c, d): (__m128, __m128) = (pulp::cast(c), pulp::cast(d));
        let (ab, cd) = (sse._mm_unpacklo_ps(a, b), sse._mm_unpacklo_ps(c, d));
        let (ab_high, cd_high) = (sse._mm_unpackhi_ps(a, b), sse._mm_unpackhi_ps(c, d));
        [
            pulp::cast(sse._mm_movelh_ps(ab, cd)),
            pulp::cast(sse._mm_movehl_ps(cd, ab)),
            pulp::cast(sse._mm_movelh_ps(ab_high, cd_high)),
            pulp::cast(sse._mm_movehl_ps(cd_high, ab_high)),
        ]
    }

    fn pool() -> &'static LocalKey<RefCell<Vec<Vec<Self>>>> {
        thread_local! {
            static POOL: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
        }
        &POOL
    }
    #[inline(always)]
    fn lanes<S: Simd>() -> usize {
        S::F32_LANES
    }
    #[inline(always)]
    fn vectors<S: Simd>(x: &[Self]) -> (&[Self::Vector<S>], &[Self]) {
        S::as_simd_f32s(x)
    }
    #[inline(always)]
    fn vectors_mut<S: Simd>(x: &mut [Self]) -> (&mut [Self::Vector<S>], &mut [Self]) {
        S::as_mut_simd_f32s(x)
    }
    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S> {
        simd.splat_f32s(x)
    }
    #[inline(always)]
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S> {
        simd.mul_add_e_f32s(a, b, c)
    }
    #[inline(always)]
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S> {
        simd.add_f32s(a, b)
    }
    #[inline(always)]
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S> {
        simd.sub_f32s(a, b)
    }
    #[inline(always)]
    fn times<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S> {
        simd.mul_f32s(a, b)
    }
    #[inline(always)]
    fn relu<S: Simd>(simd: S, x: Self::Vector<S>) -> Self::Vector<S> {
        let zero = simd.splat_f32s(0.0);
        simd.select_f32s(simd.less_than_f32s(x, zero), zero, x)
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "rounding is the purpose")]
    fn of(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        f32::abs(self)
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        f32::is_nan(self)
    }
    #[inline(always)]
    fn exp_nonpositive(self) -> Self {
        exp_nonpositive(self)
    }
    fn slice(storage: &CpuStorage) -> Option<&[Self]> {
        match storage {
            CpuStorage::F32(values) => Some(values),
            _ => None,
        }
    }
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::F32(values) => Some(values),
            _ => None,
        }
    }
    fn widened(storage: &CpuStorage, range: Range<usize>) -> Option<Vec<Self>> {
        match storage {
            CpuStorage::BF16(values) => Some(values[range].iter().map(|x| x.to_f32()).collect()),
            CpuStorage::F16(values) => Some(values[range].iter().map(|x| x.to_f32()).collect()),
            _ => None,
        }
    }
    fn store(values: Vec<Self>, dtype: DType) -> CpuStorage {
        match dtype {
            DType::BF16 => CpuStorage::BF16(values.into_iter().map(bf16::from_f32).collect()),
            DType::F16 => CpuStorage::F16(values.into_iter().map(f16::from_f32).collect()),
            _ => CpuStorage::F32(values),
        }
    }
}

#[inline(always)]
fn turned_by_moves<R: Copy>([a, b, c, d]: [[R; 4]; 4]) -> [[R; 4]; 4] {
    [
        [a[0], b[0], c[0], d[0]],
        [a[1], b[1], c[1], d[1]],
        [a[2], b[2], c[2], d[2]],
        [a[3], b[3], c[3], d[3]],
    ]
}

/// Runs `f` compiled for AVX-512 or AVX2 where the CPU has it; its results do not depend on that,
/// since multiplications and additions are never contracted and every sum has a fixed order.
#[inline(always)]
pub(crate) fn vectorised<T>(f: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V4::try_new() {
        return simd.vectorize(f);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(f);
    }
    f()
}
