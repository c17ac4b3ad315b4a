//! Arithmetic that the fused CPU operations share: one float trait, sums in a fixed order, exp.

use std::cell::RefCell;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Range, Sub};
use std::thread::LocalKey;

use candle_core::{CpuStorage, DType};
use half::{bf16, f16};
use pulp::Simd;

/// Independent partial sums of a reduction: enough for four AVX2 registers, and the same number on
/// every machine, so that a sum does not depend on the processor.
const LANES: usize = 32;
/// Partial sums that are kept together.
const GROUP: usize = 8;

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
    /// a b + c, rounded once where the processor can.
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
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

/// eˣ for x ≤ 0 in f32, free of branches so that a loop over it becomes vector code.
///
/// # Formula
/// ```text
/// eˣ = 2ⁿ eʳ,  n = round(x / ln 2),  r = x − n ln 2 ∈ [−ln 2 / 2, ln 2 / 2]
/// ```
/// with eʳ by its Taylor polynomial of degree 7, whose remainder r⁸/8! · eʳ is below 0.09 u. ln 2 is
/// split as 355/512 plus a rest: n has at most 8 bits and 355 has 9, so `n · 355/512` is exact.
/// Adding 1.5·2²³ rounds to an integer and leaves n in the low bits of the sum. 2ⁿ is applied as two
/// factors, which reaches the subnormal numbers.
///
/// # Error
/// ≤ 2 ulp (tested over the whole range); x < −104 gives 0, NaN gives NaN.
#[inline(always)]
fn exp_nonpositive(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4; // ln 2 − 355/512
    let x = if x < -104.0 { -104.0 } else { x }; // not `max`, which would swallow NaN
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut tail = 1.0 / 5040.0;
    tail = tail * r + 1.0 / 720.0;
    tail = tail * r + 1.0 / 120.0;
    tail = tail * r + 1.0 / 24.0;
    tail = tail * r + 1.0 / 6.0;
    tail = tail * r + 0.5;
    let e_r = 1.0 + (r + r * r * tail);
    let n = shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .cast_signed();
    let half = n >> 1;
    e_r * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// 2ᵏ for −126 ≤ k ≤ 127.
#[inline(always)]
fn power_of_two(k: i32) -> f32 {
    f32::from_bits(k.wrapping_add(127).cast_unsigned() << 23)
}

/// The logistic function and its complement, `(σ(x), 1 − σ(x))`, each to full relative accuracy.
#[inline(always)]
pub(super) fn sigmoid<R: Real>(x: R) -> (R, R) {
    let one = R::of(1.0);
    let z = (-x.abs()).exp_nonpositive();
    let large = one / (one + z);
    let small = z * large;
    if x >= R::default() {
        (large, small)
    } else {
        (small, large)
    }
}

/// Partial sums in groups of [`GROUP`], which the compiler keeps in registers; as one array they stay in memory, and are
/// added to an element at a time.
type Lanes<S> = [[S; GROUP]; LANES / GROUP];

/// `Σ f(x_i)` in a fixed order of [`LANES`] partial sums.
#[inline(always)]
pub(super) fn sum<R: Real>(x: &[R], f: impl Fn(R) -> R) -> R {
    sum_in_lanes(x, f)
}

/// `Σ x_i` in the order of [`sum`].
#[inline(always)]
pub(super) fn plain_sum<R: Real>(x: &[R]) -> R {
    // Adding 0 is not nothing (it is −0 that would be): of sums of what is loaded the compiler makes halves of vectors.
    sum(x, |x| x + R::default())
}

/// [`sum`] of terms of any type.
#[inline(always)]
fn sum_in_lanes<R: Real, S: Real>(x: &[R], f: impl Fn(R) -> S) -> S {
    let mut lanes = Lanes::<S>::default();
    let (body, rest) = x.as_chunks::<LANES>();
    for x in body {
        for (lanes, x) in lanes.iter_mut().zip(x.as_chunks::<GROUP>().0) {
            for (lane, &x) in lanes.iter_mut().zip(x) {
                *lane += f(x);
            }
        }
    }
    let mut lanes = flat(lanes);
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += f(x);
    }
    total(lanes)
}

/// `Σ f(x_i, y_i)` in the order of [`sum`].
#[inline(always)]
pub(super) fn sum2<R: Real>(x: &[R], y: &[R], f: impl Fn(R, R) -> R) -> R {
    sum2_in_lanes(x, y, f)
}

/// [`sum2`] of terms of any type.
#[inline(always)]
fn sum2_in_lanes<R: Real, S: Real>(x: &[R], y: &[R], f: impl Fn(R, R) -> S) -> S {
    let mut lanes = Lanes::<S>::default();
    let (body_x, rest_x) = x.as_chunks::<LANES>();
    let (body_y, rest_y) = y.as_chunks::<LANES>();
    for (x, y) in body_x.iter().zip(body_y) {
        let groups = x.as_chunks::<GROUP>().0.iter().zip(y.as_chunks().0);
        for (lanes, (x, y)) in lanes.iter_mut().zip(groups) {
            let y: &[R; GROUP] = y;
            for (lane, (&x, &y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
                *lane += f(x, y);
            }
        }
    }
    let mut lanes = flat(lanes);
    for (lane, (&x, &y)) in lanes.iter_mut().zip(rest_x.iter().zip(rest_y)) {
        *lane += f(x, y);
    }
    total(lanes)
}

/// `Σ f(x_i)` in f64, in the order of [`sum`].
#[inline(always)]
pub(super) fn sum_wide<R: Real>(x: &[R], f: impl Fn(f64) -> f64) -> f64 {
    sum_in_lanes(x, |x| f(x.wide()))
}

/// `Σ f(x_i, y_i)` in f64, in the order of [`sum`].
#[inline(always)]
pub(super) fn sum2_wide<R: Real>(x: &[R], y: &[R], f: impl Fn(f64, f64) -> f64) -> f64 {
    sum2_in_lanes(x, y, |x, y| f(x.wide(), y.wide()))
}

/// The groups, one after the other.
#[inline(always)]
fn flat<S: Real>(lanes: Lanes<S>) -> [S; LANES] {
    let mut all = [S::default(); LANES];
    for (all, lanes) in all.as_chunks_mut().0.iter_mut().zip(lanes) {
        *all = lanes;
    }
    all
}

/// Pairwise total of the partial sums.
#[inline(always)]
fn total<R: Real>(mut lanes: [R; LANES]) -> R {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The largest element, −∞ for none; NaN elements are passed over (the sums that follow keep them).
#[inline(always)]
pub(super) fn maximum<R: Real>(x: &[R]) -> R {
    let mut lanes = [[R::of(f64::NEG_INFINITY); GROUP]; LANES / GROUP];
    let (body, rest) = x.as_chunks::<LANES>();
    for x in body {
        for (lanes, x) in lanes.iter_mut().zip(x.as_chunks::<GROUP>().0) {
            for (lane, &x) in lanes.iter_mut().zip(x) {
                *lane = larger(x, *lane);
            }
        }
    }
    let mut lanes = flat(lanes);
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = larger(x, *lane);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = larger(lanes[i + width], lanes[i]);
        }
        width /= 2;
    }
    lanes[0]
}

/// The larger of two numbers; the second if either is NaN.
#[inline(always)]
fn larger<R: Real>(x: R, y: R) -> R {
    if x > y { x } else { y }
}

/// Mean and `1/√(variance + eps)` of `x`, the variance by a second pass over the deviations.
#[inline(always)]
pub(super) fn moments<R: Real>(x: &[R], eps: f64) -> (R, R) {
    let count = R::of(x.len() as f64);
    let mean = plain_sum(x) / count;
    let variance = sum(x, |x| (x - mean) * (x - mean)) / count;
    (mean, R::of(1.0) / (variance + R::of(eps)).sqrt())
}

/// Runs `f` compiled for AVX-512 or AVX2 where the processor has it; its results do not depend on that,
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

#[cfg(test)]
mod tests {
    use super::{Real, maximum, plain_sum, sigmoid, sum, sum2};

    /// Distance in units of the last place of `want`, subnormal spacing at the bottom.
    fn ulps(got: f32, want: f64) -> f64 {
        let exponent = want.abs().log2().floor().max(-126.0);
        (f64::from(got) - want).abs() / (exponent - 23.0).exp2()
    }

    #[test]
    fn exp_stays_within_two_ulp_on_its_whole_range() {
        let mut worst: f64 = 0.0;
        // Every 97th float of [−104, −2⁻³⁰]: all exponents, all phases of the reduction.
        for bits in ((-9.313_226e-10_f32).to_bits()..=(-104.0_f32).to_bits()).step_by(97) {
            let x = f32::from_bits(bits);
            worst = worst.max(ulps(x.exp_nonpositive(), f64::from(x).exp()));
        }
        assert!(worst <= 2.0, "worst error {worst} ulp");
        assert!(
            worst > 0.5,
            "the measure of the error is broken: {worst} ulp"
        );
    }

    #[test]
    fn exp_at_its_ends() {
        assert_eq!(0.0_f32.exp_nonpositive().to_bits(), 1.0_f32.to_bits());
        assert_eq!((-0.0_f32).exp_nonpositive().to_bits(), 1.0_f32.to_bits());
        assert_eq!((-1e30_f32).exp_nonpositive().to_bits(), 0);
        assert_eq!(f32::NEG_INFINITY.exp_nonpositive().to_bits(), 0);
        assert!(f32::NAN.exp_nonpositive().is_nan());
    }

    #[test]
    fn sigmoid_keeps_relative_accuracy_in_both_tails() {
        for x in [-80.0_f32, -20.0, -1.5, -1e-3, 0.0, 0.7, 3.0, 30.0, 80.0] {
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            let complement = 1.0 / (1.0 + f64::from(x).exp());
            let (s, c) = sigmoid(x);
            // exp 2 ulp, then an addition, a division and a product at ½ ulp each, doubled at a
            // binade boundary.
            assert!(ulps(s, exact) <= 7.0, "sigmoid({x}) = {s}, want {exact}");
            assert!(
                ulps(c, complement) <= 7.0,
                "1 − sigmoid({x}) = {c}, want {complement}"
            );
        }
        assert!(sigmoid(f32::NAN).0.is_nan());
    }

    #[test]
    fn sums_and_maxima_take_every_element_once() {
        for n in [0_u16, 1, 15, 16, 17, 31, 32, 100] {
            let x: Vec<f64> = (1..=n).map(f64::from).collect();
            let n = f64::from(n);
            assert!((plain_sum(&x) - n * (n + 1.0) / 2.0).abs() < 0.5);
            let squares = n * (n + 1.0) * (2.0 * n + 1.0) / 6.0;
            assert!((sum(&x, |x| x * x) - squares).abs() < 0.5);
            assert!((sum2(&x, &x, |x, y| x * y) - squares).abs() < 0.5);
            let largest = if x.is_empty() { f64::NEG_INFINITY } else { n };
            assert!(maximum(&x).total_cmp(&largest).is_eq());
        }
    }
}
