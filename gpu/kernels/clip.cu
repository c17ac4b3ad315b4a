// The global norm of gradients, and gradients scaled so that it is at most `max`; summed in f64.
#include "common.cuh"

// Block b leaves Σ x² of its part in sums[b].
template <class T>
__device__ void sum_of_squares(const T *x, double *sums, size_t count) {
    const size_t stride = static_cast<size_t>(gridDim.x) * blockDim.x;
    double sum = 0;
    for (size_t i = own_element(); i < count; i += stride) {
        const double own = wide(x[i]);
        sum += own * own;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// The norm of sums of squares, and min(1, max/norm); one block. NaN stays NaN.
extern "C" __global__ void sadm_norm_f64(const double *sums, double *norm, double *factor, double max, size_t count) {
    double sum = 0;
    for (size_t i = threadIdx.x; i < count; i += blockDim.x) sum += sums[i];
    const double own = root(block_sum(sum));
    if (threadIdx.x == 0) {
        *norm = own;
        *factor = own <= max ? 1 : max / own;
    }
}

#define KERNELS(name, T)                                                                                             \
    extern "C" __global__ void sadm_sum_of_squares_##name(const T *x, double *sums, size_t count) {                  \
        sum_of_squares(x, sums, count);                                                                              \
    }                                                                                                                \
    extern "C" __global__ void sadm_scaled_##name(const T *x, const double *factor, T *y, size_t count) {            \
        const size_t i = own_element();                                                                              \
        if (i < count) store(y[i], wide(x[i]) * static_cast<Wide<T>>(*factor));                                      \
    }
FOR_EACH_TYPE(KERNELS)
