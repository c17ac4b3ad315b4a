// Activations and gated sums with their gradients (`eq:silu`, `eq:gelu`, `eq:gated-sum`): one thread for each element.
#include "common.cuh"

// gelu(x) = x σ(2u), 2u = scale · (x + cubic · x³).
template <class W>
struct Gelu {
    static constexpr double SCALE = 2 * 0.7978845608028654, CUBIC = 0.044715;
    W x, slope;
    Sigmoid<W> s;

    __device__ explicit Gelu(W x)
        : x(x), slope(W(SCALE) * (1 + W(3 * CUBIC) * x * x)), s(W(SCALE) * (x + W(CUBIC) * x * x * x)) {}
    __device__ W value() const { return x * s.value; }
    __device__ W derivative() const { return s.value + x * (s.value * s.complement * slope); }
};

// y[n,t,d] = x[n,t,d] + gate[n,d] h[n,t,d]; a sample has `sample` elements, in rows of `width`.
template <class T>
__device__ void gated_sum(const T *x, const T *gate, const T *h, T *y, size_t sample, size_t width, size_t count) {
    const size_t i = own_element();
    if (i < count) store(y[i], wide(x[i]) + wide(gate[i / sample * width + i % width]) * wide(h[i]));
}

template <class T>
__device__ void gated_sum_dh(const T *gate, const T *dy, T *dh, size_t sample, size_t width, size_t count) {
    const size_t i = own_element();
    if (i < count) store(dh[i], wide(gate[i / sample * width + i % width]) * wide(dy[i]));
}

// One thread for each element of the gate.
template <class T>
__device__ void gated_sum_dgate(const T *h, const T *dy, T *dgate, size_t sample, size_t width, size_t count) {
    const size_t i = own_element();
    if (i >= count) return;
    const size_t first = i / width * sample + i % width;
    Wide<T> sum = 0;
    for (size_t at = 0; at < sample; at += width) sum += wide(h[first + at]) * wide(dy[first + at]);
    store(dgate[i], sum);
}

#define KERNELS(name, T)                                                                                                      \
    extern "C" __global__ void sadm_silu_##name(const T *x, T *y, size_t count) {                                             \
        const size_t i = own_element();                                                                                       \
        if (i < count) store(y[i], silu(wide(x[i])));                                                                         \
    }                                                                                                                         \
    extern "C" __global__ void sadm_silu_dx_##name(const T *x, const T *dy, T *dx, size_t count) {                            \
        const size_t i = own_element();                                                                                       \
        if (i < count) store(dx[i], wide(dy[i]) * silu_slope(wide(x[i])));                                                    \
    }                                                                                                                         \
    extern "C" __global__ void sadm_gelu_##name(const T *x, T *y, size_t count) {                                             \
        const size_t i = own_element();                                                                                       \
        if (i < count) store(y[i], Gelu<Wide<T>>(wide(x[i])).value());                                                        \
    }                                                                                                                         \
    extern "C" __global__ void sadm_gelu_dx_##name(const T *x, const T *dy, T *dx, size_t count) {                            \
        const size_t i = own_element();                                                                                       \
        if (i < count) store(dx[i], wide(dy[i]) * Gelu<Wide<T>>(wide(x[i])).derivative());                                    \
    }                                                                                                                         \
    extern "C" __global__ void sadm_gated_sum_##name(const T *x, const T *gate, const T *h, T *y, size_t sample,              \
                                                     size_t width, size_t count) {                                            \
        gated_sum(x, gate, h, y, sample, width, count);                                                                       \
    }                                                                                                                         \
    extern "C" __global__ void sadm_gated_sum_dh_##name(const T *gate, const T *dy, T *dh, size_t sample, size_t width,       \
                                                        size_t count) {                                                       \
        gated_sum_dh(gate, dy, dh, sample, width, count);                                                                     \
    }                                                                                                                         \
    extern "C" __global__ void sadm_gated_sum_dgate_##name(const T *h, const T *dy, T *dgate, size_t sample, size_t width,    \
                                                           size_t count) {                                                    \
        gated_sum_dgate(h, dy, dgate, sample, width, count);                                                                  \
    }
FOR_EACH_TYPE(KERNELS)
