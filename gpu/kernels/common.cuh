// What every kernel needs: half precision is computed in f32 and rounded once, a block adds in an order of its own.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// The type that elements of T are computed in.
template <class T>
struct Arithmetic {
    using Type = float;
};
template <>
struct Arithmetic<double> {
    using Type = double;
};
template <class T>
using Wide = typename Arithmetic<T>::Type;

__device__ inline double wide(double x) { return x; }
__device__ inline float wide(float x) { return x; }
__device__ inline float wide(__half x) { return __half2float(x); }
__device__ inline float wide(__nv_bfloat16 x) { return __bfloat162float(x); }

__device__ inline void store(double &to, double x) { to = x; }
__device__ inline void store(float &to, float x) { to = x; }
__device__ inline void store(__half &to, float x) { to = __float2half_rn(x); }
__device__ inline void store(__nv_bfloat16 &to, float x) { to = __float2bfloat16_rn(x); }

// CUDA's own of each precision, none of its fast ones.
__device__ inline double root(double x) { return sqrt(x); }
__device__ inline float root(float x) { return sqrtf(x); }
__device__ inline double exponential(double x) { return exp(x); }
__device__ inline float exponential(float x) { return expf(x); }

// The element that belongs to this thread.
__device__ inline size_t own_element() { return static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

// op over the values of a block's threads, for all of them; whole warps only.
template <class W, class Op>
__device__ W over_block(W x, W neutral, Op op) {
    __shared__ W of_warp[32];
    const unsigned lane = threadIdx.x % 32, warps = blockDim.x / 32;
    for (int mask = 16; mask > 0; mask /= 2) x = op(x, __shfl_xor_sync(0xffffffffu, x, mask));
    if (lane == 0) of_warp[threadIdx.x / 32] = x;
    __syncthreads();
    x = lane < warps ? of_warp[lane] : neutral;
    for (int mask = 16; mask > 0; mask /= 2) x = op(x, __shfl_xor_sync(0xffffffffu, x, mask));
    // Before the next call writes.
    __syncthreads();
    return x;
}

template <class W>
struct Add {
    __device__ W operator()(W a, W b) const { return a + b; }
};
// NaN wins.
template <class W>
struct Larger {
    __device__ W operator()(W a, W b) const { return a > b || a != a ? a : b; }
};

template <class W>
__device__ W block_sum(W x) {
    return over_block(x, W(0), Add<W>());
}

// σ(x) and 1 − σ(x), neither of them a difference.
template <class W>
struct Sigmoid {
    W value, complement;

    __device__ explicit Sigmoid(W x) {
        const W e = exponential(x < 0 ? x : -x);
        const W near = 1 / (1 + e), far = e / (1 + e);
        value = x < 0 ? far : near;
        complement = x < 0 ? near : far;
    }
};
template <class W>
__device__ W silu(W x) {
    return x * Sigmoid<W>(x).value;
}
template <class W>
__device__ W silu_slope(W x) {
    const Sigmoid<W> s(x);
    return s.value * (1 + x * s.complement);
}

// Calls m(suffix of the name, type) for every type of element.
#define FOR_EACH_TYPE(m) \
    m(f64, double) m(f32, float) m(bf16, __nv_bfloat16) m(f16, __half)
