//! Arrays that know how far a lower-precision computation of them can be off: running error analysis.

use ndarray::{ArrayD, ArrayView2, Axis, IxDyn, Slice, Zip, concatenate};

/// Allowed error of an elementary function (exp, ln, tanh, …), in units of roundoff of its result.
///
/// An assumption about other people's libraries, not a theorem: glibc, the Rust `libm`, CUDA's `libdevice`
/// and their vectorised forms document at most 2 ulp, that is 4 units, for the functions used here.
pub const FUNCTION_ULPS: f64 = 4.0;

/// Unit roundoff of the reference itself. Every bound pays for it too, since `value` is computed in `f64`.
const OWN: f64 = Precision::F64.unit;

/// A floating-point format, as far as rounding errors need it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Precision {
    /// Unit roundoff u: `fl(x) = x (1 + δ)`, `|δ| ≤ u`.
    pub unit: f64,
    /// An underflow errs by no more: the smallest normal number, since it may be flushed to zero.
    pub tiny: f64,
    /// Largest number; beyond it is an overflow.
    pub largest: f64,
}

impl Precision {
    /// IEEE binary64: u = 2⁻⁵³.
    pub const F64: Self = Self {
        unit: f64::EPSILON / 2.0,
        tiny: f64::MIN_POSITIVE,
        largest: f64::MAX,
    };
    /// IEEE binary32: u = 2⁻²⁴.
    pub const F32: Self = Self {
        unit: f32::EPSILON as f64 / 2.0,
        tiny: f32::MIN_POSITIVE as f64,
        largest: f32::MAX as f64,
    };
    /// What tensor cores round the factors of an `f32` product to: u = 2⁻¹¹. They accumulate in `f32`, so
    /// a product is `a.stored_as(TF32).matmul(&b.stored_as(TF32), F32)`.
    pub const TF32: Self = Self {
        unit: 1.0 / 2048.0,
        ..Self::F32
    };
    /// bfloat16: u = 2⁻⁸, the exponent range of `f32`.
    pub const BF16: Self = Self {
        unit: 1.0 / 256.0,
        tiny: f32::MIN_POSITIVE as f64,
        largest: (2.0 - 1.0 / 128.0) * (1_u128 << 127) as f64,
    };
}

impl Precision {
    /// `error`, or ∞ where a number of this size overflows.
    fn finite(self, size: f64, error: f64) -> f64 {
        if size > self.largest {
            f64::INFINITY
        } else {
            error
        }
    }
}

/// A quantity and a bound for the rounding error of any computation of it.
///
/// # Meaning
/// Whatever the order of its sums, with or without fused multiply-add, a computation in the precisions that
/// were named along the way lies elementwise within `error` of `value`. An infinite `error` says that
/// nothing can be promised (a divisor that may vanish, a number that
/// may overflow); a check must count it as vacuous.
///
/// # Rules
/// One rounding of `x` costs `u |x|`; a sum of n terms in any order `(n − 1) u Σ|x|` and an inner product
/// `n u Σ|x y|`, for every n (Jeannerod & Rump 2013, doi:10.1137/120894488). Inherited errors are
/// propagated with their second-order terms. The rounding of `value` itself, in `f64`, is paid for as well.
/// Every result may underflow, `fl(x ∘ y) = (x ∘ y)(1 + δ) + η` with `|η| ≤ tiny`, also one whose `value` has
/// underflowed to zero already: another order of the same operations may not have. Only what is zero for
/// exact reasons (`x − x`, `0 · y`, `sin 0`) is taken to be computed exactly.
///
/// # Panics
/// Like the operators of `ndarray`, the methods panic on shapes that do not fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracked {
    /// The quantity, computed in `f64`.
    pub value: ArrayD<f64>,
    /// Bound for the distance of any computation from `value`; same shape, ≥ 0, perhaps infinite.
    pub error: ArrayD<f64>,
}

/// One element: value and error bound.
type Item = (f64, f64);

/// `inherited` plus `units` roundings of a result near `value`, which may underflow.
fn after_rounding(value: f64, inherited: f64, units: f64, p: Precision) -> f64 {
    let size = value.abs() + inherited;
    p.finite(
        size,
        inherited + units * (p.unit * size + OWN * value.abs()) + p.tiny,
    )
}

/// Whether a number is 0 in every precision.
fn is_zero((value, error): Item) -> bool {
    value == 0.0 && error == 0.0
}

/// A bound that could not be computed (0 · ∞) promises nothing.
fn settled(error: f64) -> f64 {
    if error.is_nan() { f64::INFINITY } else { error }
}

/// The common shape of two operands after broadcasting.
fn common_shape(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let padded = |s: &[usize], i: usize| {
        if i + s.len() < rank {
            1
        } else {
            s[i + s.len() - rank]
        }
    };
    (0..rank)
        .map(|i| match (padded(a, i), padded(b, i)) {
            (1, n) => n,
            (n, m) => {
                assert!(m == 1 || m == n, "shapes {a:?} and {b:?} do not broadcast");
                n
            }
        })
        .collect()
}

impl Tracked {
    /// A value that is the same number in every precision, such as an input tensor.
    pub fn exact(value: ArrayD<f64>) -> Self {
        let error = ArrayD::zeros(value.raw_dim());
        Self { value, error }
    }

    /// A value rounded once to precision `p`, such as a constant computed on the host.
    pub fn rounded(value: ArrayD<f64>, p: Precision) -> Self {
        Self::exact(value).stored_as(p)
    }

    /// A scalar (shape `[]`) rounded once to precision `p`.
    pub fn scalar(value: f64, p: Precision) -> Self {
        Self::rounded(ArrayD::from_elem(IxDyn(&[]), value), p)
    }

    /// The shape of the value.
    pub fn shape(&self) -> &[usize] {
        self.value.shape()
    }

    /// One more rounding, to the format in which a tensor is stored.
    #[must_use]
    pub fn stored_as(&self, p: Precision) -> Self {
        self.map(|(v, e)| {
            // No arithmetic of ours is involved: `value` is not rounded again.
            let size = v.abs() + e;
            let rounding = if size == 0.0 {
                0.0
            } else {
                p.unit * size + p.tiny
            };
            (v, p.finite(size, e + rounding))
        })
    }

    /// The same value with `extra` more error.
    #[must_use]
    pub fn widened(&self, extra: &ArrayD<f64>) -> Self {
        let mut out = self.clone();
        Zip::from(&mut out.error)
            .and_broadcast(extra)
            .for_each(|e, &x| *e = settled(*e + x));
        out
    }

    /// A bound for computations that may follow either of two algorithms: this value, and room for both.
    ///
    /// Two values further apart than their bounds are not the same quantity: nothing is allowed there.
    #[must_use]
    pub fn either(&self, other: &Self) -> Self {
        self.zip(other, |(a, ea), (b, eb)| {
            let apart = (a - b).abs();
            let error = if apart > ea + eb {
                0.0
            } else {
                ea.max(apart + eb)
            };
            (a, error)
        })
    }

    /// The same guarantee around `value`, the reference's own result by another route.
    ///
    /// A `value` outside the bound is no rounding of the same quantity. Nothing is allowed there, so that a
    /// wrong reference fails its checks instead of widening them.
    ///
    /// # Panics
    /// If the shape differs.
    #[must_use]
    pub fn recentred(&self, value: ArrayD<f64>) -> Self {
        assert_eq!(value.shape(), self.shape(), "recentred keeps the shape");
        let mut error = self.error.clone();
        Zip::from(&mut error)
            .and(&self.value)
            .and(&value)
            .for_each(|e, &old, &new| {
                let apart = (new - old).abs();
                *e = if apart > *e { 0.0 } else { settled(*e + apart) };
            });
        Self { value, error }
    }

    /// Largest `|computed − value| / error` `[eq:check-ratio]`; 0 where both agree exactly, infinite on NaN or a wrong
    /// shape.
    ///
    /// At most 1 means that the computation keeps the bound.
    pub fn worst_ratio(&self, computed: &ArrayD<f64>) -> f64 {
        if computed.shape() != self.shape() {
            return f64::INFINITY;
        }
        let mut worst = 0.0_f64;
        Zip::from(&self.value)
            .and(&self.error)
            .and(computed)
            .for_each(|&v, &e, &c| {
                // Equal infinities agree; where nothing is promised an overflow breaks no promise, only NaN does.
                let same = c.partial_cmp(&v) == Some(std::cmp::Ordering::Equal);
                let free = e == f64::INFINITY && !c.is_nan();
                let ratio = if same || free { 0.0 } else { (c - v).abs() / e };
                worst = worst.max(if ratio.is_nan() { f64::INFINITY } else { ratio });
            });
        worst
    }

    /// Elementwise rule on (value, error).
    fn map(&self, rule: impl Fn(Item) -> Item) -> Self {
        let mut out = self.clone();
        Zip::from(&mut out.value)
            .and(&mut out.error)
            .for_each(|v, e| {
                let (value, error) = rule((*v, *e));
                (*v, *e) = (value, settled(error));
            });
        out
    }

    /// Elementwise rule on two operands, broadcast to their common shape.
    fn zip(&self, other: &Self, rule: impl Fn(Item, Item) -> Item) -> Self {
        let shape = common_shape(self.shape(), other.shape());
        let fitted = |x: &Self| {
            if x.shape() == shape {
                x.clone()
            } else {
                x.broadcast_to(&shape)
            }
        };
        let mut out = fitted(self);
        let repeated = (other.shape() != shape).then(|| fitted(other));
        let b = repeated.as_ref().unwrap_or(other);
        Zip::from(&mut out.value)
            .and(&mut out.error)
            .and(&b.value)
            .and(&b.error)
            .for_each(|v, e, &bv, &be| {
                let (value, error) = rule((*v, *e), (bv, be));
                (*v, *e) = (value, settled(error));
            });
        out
    }

    /// A function with `units` roundings whose inherited error is `spread(value, error)`.
    pub(crate) fn function(
        &self,
        p: Precision,
        units: f64,
        f: impl Fn(f64) -> f64,
        spread: impl Fn(f64, f64) -> f64,
    ) -> Self {
        self.map(|(v, e)| {
            let y = f(v);
            if y == 0.0 && is_zero((v, e)) {
                return (y, 0.0);
            }
            let inherited = if e == 0.0 { 0.0 } else { spread(v, e) };
            (y, after_rounding(y, inherited, units, p))
        })
    }

    // Arithmetic: one rounding each.

    /// `a + b`, broadcasting.
    #[must_use]
    pub fn add(&self, other: &Self, p: Precision) -> Self {
        self.zip(other, |(a, ea), (b, eb)| {
            let (v, inherited) = (a + b, ea + eb);
            let exact = is_zero((a, ea)) || is_zero((b, eb)) || is_zero((v, inherited));
            let error = if exact {
                inherited
            } else {
                after_rounding(v, inherited, 1.0, p)
            };
            (v, error)
        })
    }

    /// `a − b`, broadcasting.
    #[must_use]
    pub fn sub(&self, other: &Self, p: Precision) -> Self {
        self.add(&other.neg(), p)
    }

    /// `a · b`, broadcasting. `[eq:tracked-product]`
    #[must_use]
    pub fn mul(&self, other: &Self, p: Precision) -> Self {
        self.zip(other, |(a, ea), (b, eb)| {
            let v = a * b;
            // 0 · ∞ is NaN: nothing is promised.
            let inherited = a.abs() * eb + ea * (b.abs() + eb);
            let exact = inherited == 0.0 && (is_zero((a, ea)) || is_zero((b, eb)));
            let error = if exact {
                0.0
            } else {
                after_rounding(v, inherited, 1.0, p)
            };
            (v, error)
        })
    }

    /// `a / b`, broadcasting; infinite error where b may vanish.
    #[must_use]
    pub fn div(&self, other: &Self, p: Precision) -> Self {
        self.zip(other, |(a, ea), (b, eb)| {
            let v = a / b;
            let nearest = b.abs() - eb;
            if nearest.is_nan() || nearest <= 0.0 {
                return (v, f64::INFINITY);
            }
            if is_zero((a, ea)) {
                return (v, 0.0);
            }
            (v, after_rounding(v, (ea + v.abs() * eb) / nearest, 1.0, p))
        })
    }

    /// `c · a` for a constant c, which is itself rounded to `p` unless it is a power of two.
    #[must_use]
    pub fn scale(&self, c: f64, p: Precision) -> Self {
        let power_of_two = c.is_normal() && c.to_bits().trailing_zeros() >= 52;
        if power_of_two || c == 0.0 {
            return self.map(|(v, e)| {
                let exact = c == 0.0 || is_zero((v, e));
                let underflow = if exact { 0.0 } else { p.tiny };
                (c * v, c.abs() * e + underflow)
            });
        }
        self.mul(&Self::scalar(c, p), p)
    }

    /// `a + c` for a constant c, which is itself rounded to `p`.
    #[must_use]
    pub fn add_scalar(&self, c: f64, p: Precision) -> Self {
        self.add(&Self::scalar(c, p), p)
    }

    /// `−a`, exact.
    #[must_use]
    pub fn neg(&self) -> Self {
        self.map(|(v, e)| (-v, e))
    }

    /// `|a|`, exact.
    #[must_use]
    pub fn abs(&self) -> Self {
        self.map(|(v, e)| (v.abs(), e))
    }

    /// `a²`.
    #[must_use]
    pub fn square(&self, p: Precision) -> Self {
        self.function(p, 1.0, |v| v * v, |v, e| (2.0 * v.abs() + e) * e)
    }

    /// `1/a`; infinite error where a may vanish.
    #[must_use]
    pub fn recip(&self, p: Precision) -> Self {
        Self::exact(ArrayD::ones(self.value.raw_dim())).div(self, p)
    }

    /// `√a`; infinite error where a may be negative (the square root of which is NaN).
    #[must_use]
    pub fn sqrt(&self, p: Precision) -> Self {
        self.function(p, 1.0, f64::sqrt, |v, e| {
            if v > e {
                e / (v.sqrt() + (v - e).sqrt())
            } else {
                f64::INFINITY
            }
        })
    }

    /// `√a` where every computation of a is ≥ 0, such as a sum of squares: finite also near 0.
    #[must_use]
    pub fn sqrt_of_nonnegative(&self, p: Precision) -> Self {
        self.function(p, 1.0, f64::sqrt, |v, e| {
            let below = if v > e {
                e / (v.sqrt() + (v - e).sqrt())
            } else {
                v.sqrt()
            };
            below.max(e / ((v + e).sqrt() + v.sqrt()))
        })
    }

    // Elementary functions: `FUNCTION_ULPS` units each.

    /// `eᵃ`; `e⁰ = 1` is taken to be exact.
    #[must_use]
    pub fn exp(&self, p: Precision) -> Self {
        self.map(|(v, e)| {
            if v == 0.0 && e == 0.0 {
                return (1.0, 0.0);
            }
            let y = v.exp();
            // Where eᵛ has underflowed, the difference of two exponentials is the larger one.
            let inherited = if y < f64::MIN_POSITIVE {
                (v + e).exp()
            } else {
                y * e.exp_m1()
            };
            (y, after_rounding(y, inherited, FUNCTION_ULPS, p))
        })
    }

    /// `eᵃ − 1`.
    #[must_use]
    pub fn expm1(&self, p: Precision) -> Self {
        self.function(p, FUNCTION_ULPS, f64::exp_m1, |v, e| v.exp() * e.exp_m1())
    }

    /// `ln(1 + a)`; infinite error where a may be ≤ −1.
    #[must_use]
    pub fn ln1p(&self, p: Precision) -> Self {
        self.function(p, FUNCTION_ULPS, f64::ln_1p, |v, e| {
            if 1.0 + v > e {
                -(-e / (1.0 + v)).ln_1p()
            } else {
                f64::INFINITY
            }
        })
    }

    /// `ln a`; infinite error where a may be ≤ 0; `ln 1 = 0` is taken to be exact.
    #[must_use]
    pub fn ln(&self, p: Precision) -> Self {
        self.map(|(v, e)| {
            if is_zero((v - 1.0, e)) {
                return (0.0, 0.0);
            }
            let inherited = match e {
                0.0 => 0.0,
                _ if v > e => -(-e / v).ln_1p(),
                _ => f64::INFINITY,
            };
            let y = v.ln();
            (y, after_rounding(y, inherited, FUNCTION_ULPS, p))
        })
    }

    /// `tanh a`; its slope is largest nearest to 0.
    #[must_use]
    pub fn tanh(&self, p: Precision) -> Self {
        self.function(p, FUNCTION_ULPS, f64::tanh, |v, e| {
            let nearest = (v.abs() - e).max(0.0);
            (e / nearest.cosh().powi(2)).min(2.0)
        })
    }

    /// `1/(1 + e⁻ᵃ)`; its slope is largest nearest to 0. Three roundings beside the exponential.
    #[must_use]
    pub fn sigmoid(&self, p: Precision) -> Self {
        let logistic = |v: f64| 1.0 / (1.0 + (-v).exp());
        self.function(p, FUNCTION_ULPS + 3.0, logistic, |v, e| {
            let nearest = (v.abs() - e).max(0.0);
            (e * logistic(nearest) * logistic(-nearest)).min(1.0)
        })
    }

    /// `sin a`.
    #[must_use]
    pub fn sin(&self, p: Precision) -> Self {
        self.function(p, FUNCTION_ULPS, f64::sin, |_, e| e.min(2.0))
    }

    /// `cos a`.
    #[must_use]
    pub fn cos(&self, p: Precision) -> Self {
        self.function(p, FUNCTION_ULPS, f64::cos, |_, e| e.min(2.0))
    }

    /// `sign a ∈ {−1, 0, 1}` with `sign 0 = 0`; off by up to 2 where a's own sign is in doubt.
    #[must_use]
    pub fn sign(&self) -> Self {
        self.map(|(v, e)| {
            let sign = if v == 0.0 { 0.0 } else { v.signum() };
            let certain = v.abs() > e || e == 0.0;
            (sign, if certain { 0.0 } else { 1.0 + sign.abs() })
        })
    }

    /// `min(max(a, low), high)`, exact.
    #[must_use]
    pub fn clamp(&self, low: f64, high: f64) -> Self {
        self.map(|(v, e)| (v.clamp(low, high), e.min(high - low)))
    }

    /// `max(a, b)`, broadcasting, exact; NaN where one of them is, in the value and in the error.
    #[must_use]
    pub fn maximum(&self, other: &Self) -> Self {
        let larger = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
        self.zip(other, |(a, ea), (b, eb)| (larger(a, b), larger(ea, eb)))
    }

    /// `on_true` where `mask` holds, else `on_false`; the mask is the same in every precision.
    #[must_use]
    pub fn select(mask: &ArrayD<bool>, on_true: &Self, on_false: &Self) -> Self {
        let mut out = on_false.broadcast_to(mask.shape());
        let chosen = on_true.broadcast_to(mask.shape());
        Zip::from(&mut out.value)
            .and(mask)
            .and(&chosen.value)
            .for_each(|v, &m, &t| *v = if m { t } else { *v });
        Zip::from(&mut out.error)
            .and(mask)
            .and(&chosen.error)
            .for_each(|e, &m, &t| *e = if m { t } else { *e });
        out
    }

    // Products of matrices.

    /// `a b`. Shapes: `[m, n] · [n, k]` → `[m, k]`.
    ///
    /// # Panics
    /// If an operand is not a matrix or the inner dimensions differ.
    #[must_use]
    pub fn matmul(&self, other: &Self, p: Precision) -> Self {
        fn matrix(x: &ArrayD<f64>) -> ArrayView2<'_, f64> {
            let matrix = x.view().into_dimensionality();
            matrix.expect("matmul takes matrices")
        }
        let (a, b) = (matrix(&self.value), matrix(&other.value));
        let (ea, eb) = (matrix(&self.error), matrix(&other.error));
        let (size_a, size_b) = (a.mapv(f64::abs), b.mapv(f64::abs));
        let value = a.dot(&b);
        let magnitude = size_a.dot(&size_b);
        let mut error = size_a.dot(&eb) + ea.dot(&(&size_b + &eb));
        let terms = a.ncols() as f64;
        let (largest_a, largest_b) = (size_a + ea, size_b + eb);
        Zip::indexed(&mut error)
            .and(&magnitude)
            .for_each(|(i, j), e, &m| {
                let meets = |k| largest_a[[i, k]] > 0.0 && largest_b[[k, j]] > 0.0;
                // Zero for exact reasons, or because every product has underflowed.
                let exact = m == 0.0 && *e == 0.0 && !(0..a.ncols()).any(meets);
                *e = if exact {
                    0.0
                } else {
                    settled(after_dot(m, *e, terms, p))
                };
            });
        Self {
            value: value.into_dyn(),
            error: error.into_dyn(),
        }
    }

    /// `a b` for each member of a batch. Shapes: `[n, m, k] · [n, k, l]` → `[n, m, l]`.
    ///
    /// # Panics
    /// If an operand has not three axes, or the batches or inner dimensions differ.
    #[must_use]
    pub fn batched_matmul(&self, other: &Self, p: Precision) -> Self {
        let (a, b) = (self.shape(), other.shape());
        assert!(
            a.len() == 3 && b.len() == 3 && a[0] == b[0] && a[2] == b[1],
            "batched_matmul takes [n, m, k] and [n, k, l], got {a:?} and {b:?}"
        );
        let shape = [a[0], a[1], b[2]];
        let mut out = Self::exact(ArrayD::zeros(IxDyn(&shape)));
        for i in 0..a[0] {
            let product = self.index(0, i).matmul(&other.index(0, i), p);
            out.value.index_axis_mut(Axis(0), i).assign(&product.value);
            out.error.index_axis_mut(Axis(0), i).assign(&product.error);
        }
        out
    }

    // Sums.

    /// Sum of all elements, shape `[]`.
    #[must_use]
    pub fn sum_all(&self, p: Precision) -> Self {
        self.reshape(&[self.value.len()]).sum_axis(0, false, p)
    }

    /// Sum over one axis, which is kept with length 1 if `keepdim`.
    #[must_use]
    pub fn sum_axis(&self, axis: usize, keepdim: bool, p: Precision) -> Self {
        let at = Axis(axis);
        let units = self.value.len_of(at).saturating_sub(1) as f64;
        let value = self.value.sum_axis(at);
        let magnitude = self.value.mapv(f64::abs).sum_axis(at);
        let mut error = self.error.sum_axis(at);
        Zip::from(&mut error).and(&magnitude).for_each(|e, &m| {
            let size = m + *e;
            if size != 0.0 {
                let rounding = p.unit * size + OWN * m + p.tiny;
                *e = settled(p.finite(size, *e + units * rounding));
            }
        });
        let out = Self { value, error };
        if keepdim { out.insert_axis(axis) } else { out }
    }

    /// Mean over one axis: the sum, scaled by 1/n.
    #[must_use]
    pub fn mean_axis(&self, axis: usize, keepdim: bool, p: Precision) -> Self {
        let n = self.value.len_of(Axis(axis)) as f64;
        self.sum_axis(axis, keepdim, p).scale(1.0 / n, p)
    }

    /// Largest element along one axis, exact.
    #[must_use]
    pub fn max_axis(&self, axis: usize, keepdim: bool) -> Self {
        let fold = |x: &ArrayD<f64>, start| x.fold_axis(Axis(axis), start, |&a: &f64, &b| a.max(b));
        let out = Self {
            value: fold(&self.value, f64::NEG_INFINITY),
            error: fold(&self.error, 0.0),
        };
        if keepdim { out.insert_axis(axis) } else { out }
    }

    // Rearrangements: exact.

    /// The same elements, in row-major order, in another shape.
    ///
    /// # Panics
    /// If the number of elements differs.
    #[must_use]
    pub fn reshape(&self, shape: &[usize]) -> Self {
        self.both(|x| {
            x.as_standard_layout()
                .into_owned()
                .into_shape_with_order(IxDyn(shape))
                .expect("reshape keeps the number of elements")
        })
    }

    /// Axes in another order: axis `i` of the result is axis `axes[i]` of this.
    #[must_use]
    pub fn permute(&self, axes: &[usize]) -> Self {
        self.both(|x| {
            let moved = x.view().permuted_axes(IxDyn(axes));
            moved.as_standard_layout().into_owned()
        })
    }

    /// Rows and columns exchanged: all axes in reverse order.
    #[must_use]
    pub fn transpose(&self) -> Self {
        self.permute(&(0..self.shape().len()).rev().collect::<Vec<_>>())
    }

    /// `length` elements of one axis, from `start`.
    #[must_use]
    pub fn narrow(&self, axis: usize, start: usize, length: usize) -> Self {
        self.both(|x| {
            x.slice_axis(Axis(axis), Slice::from(start..start + length))
                .to_owned()
        })
    }

    /// One element of one axis, which disappears.
    #[must_use]
    pub fn index(&self, axis: usize, at: usize) -> Self {
        self.both(|x| x.index_axis(Axis(axis), at).to_owned())
    }

    /// A new axis of length 1.
    #[must_use]
    pub fn insert_axis(&self, axis: usize) -> Self {
        self.both(|x| x.clone().insert_axis(Axis(axis)))
    }

    /// Repeated along axes of length 1 and new leading axes.
    ///
    /// # Panics
    /// If the shape does not broadcast to `shape`.
    #[must_use]
    pub fn broadcast_to(&self, shape: &[usize]) -> Self {
        self.both(|x| {
            x.broadcast(IxDyn(shape))
                .expect("the shape broadcasts")
                .to_owned()
        })
    }

    /// Several arrays one after the other along `axis`.
    ///
    /// # Panics
    /// If `parts` is empty or the other axes differ.
    #[must_use]
    pub fn concat(parts: &[&Self], axis: usize) -> Self {
        let join = |pick: fn(&Self) -> &ArrayD<f64>| {
            let views: Vec<_> = parts.iter().map(|t| pick(t).view()).collect();
            concatenate(Axis(axis), &views).expect("the parts fit together")
        };
        Self {
            value: join(|t| &t.value),
            error: join(|t| &t.error),
        }
    }

    /// The same rearrangement of value and error.
    fn both(&self, rearranged: impl Fn(&ArrayD<f64>) -> ArrayD<f64>) -> Self {
        Self {
            value: rearranged(&self.value),
            error: rearranged(&self.error),
        }
    }
}

/// Error of an inner product of `terms` terms whose magnitudes add up to `magnitude`.
pub(super) fn after_dot(magnitude: f64, inherited: f64, terms: f64, p: Precision) -> f64 {
    let size = magnitude + inherited;
    p.finite(
        size,
        inherited + terms * (p.unit * size + OWN * magnitude + p.tiny),
    )
}
