// Softmax of scale · x over rows, scale > 0, and its gradient (`eq:softmax`): one block for each row.
#include "common.cuh"

// Largest element of a row, and Σ e^(scale (x − largest)).
template <class T>
struct Exponentials {
    Wide<T> scale, largest, sum;

    __device__ Exponentials(const T *x, size_t width, double by) : scale(static_cast<Wide<T>>(by)) {
        using W = Wide<T>;
        largest = wide(x[threadIdx.x < width ? threadIdx.x : 0]);
        for (size_t i = threadIdx.x; i < width; i += blockDim.x) largest = Larger<W>()(largest, wide(x[i]));
        largest = over_block(largest, largest, Larger<W>());
        sum = 0;
        for (size_t i = threadIdx.x; i < width; i += blockDim.x) sum += of(x[i]);
        sum = block_sum(sum);
    }

    __device__ Wide<T> of(T x) const { return exponential((wide(x) - largest) * scale); }
};

template <class T>
__device__ void softmax(const T *x, T *y, size_t width, double scale) {
    const size_t start = blockIdx.x * width;
    const Exponentials<T> row(x + start, width, scale);
    for (size_t i = threadIdx.x; i < width; i += blockDim.x) store(y[start + i], row.of(x[start + i]) / row.sum);
}

// Of x, not of a y that was rounded.
template <class T>
__device__ void softmax_dx(const T *x, const T *dy, T *dx, size_t width, double scale) {
    const size_t start = blockIdx.x * width;
    const Exponentials<T> row(x + start, width, scale);
    Wide<T> mean = 0;
    for (size_t i = threadIdx.x; i < width; i += blockDim.x) mean += row.of(x[start + i]) / row.sum * wide(dy[start + i]);
    mean = block_sum(mean);
    for (size_t i = threadIdx.x; i < width; i += blockDim.x)
        store(dx[start + i], row.scale * (row.of(x[start + i]) / row.sum * (wide(dy[start + i]) - mean)));
}

#define KERNELS(name, T)                                                                                              \
    extern "C" __global__ void sadm_softmax_##name(const T *x, T *y, size_t width, double scale) {                    \
        softmax(x, y, width, scale);                                                                                  \
    }                                                                                                                 \
    extern "C" __global__ void sadm_softmax_dx_##name(const T *x, const T *dy, T *dx, size_t width, double scale) {   \
        softmax_dx(x, dy, dx, width, scale);                                                                          \
    }
FOR_EACH_TYPE(KERNELS)
