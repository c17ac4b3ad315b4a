// Biases, and sums over all rows of a matrix or all pixels of a plane: parts first, then the parts in their order.
#include "common.cuh"

// y[…, c, …] = x[…, c, …] + bias[c], each channel c with `pixels` neighbouring elements; y may be x.
template <class T>
__device__ void add_bias(const T *x, const T *bias, T *y, size_t channels, size_t pixels, size_t count) {
    const size_t i = own_element();
    if (i < count) store(y[i], wide(x[i]) + wide(bias[i / pixels % channels]));
}

// The sum of `rows` neighbouring rows of `width`, of each column; a thread for each.
template <class T>
__device__ void column_sums(const T *x, Wide<T> *parts, size_t width, size_t all_rows, size_t rows, size_t count) {
    const size_t i = own_element();
    if (i >= count) return;
    const size_t first = i / width * rows, last = first + rows < all_rows ? first + rows : all_rows;
    Wide<T> sum = 0;
    for (size_t row = first; row < last; row++) sum += wide(x[row * width + i % width]);
    parts[i] = sum;
}

// The sum of each plane of `pixels` neighbouring elements; a block for each.
template <class T>
__device__ void plane_sums(const T *x, Wide<T> *parts, size_t pixels) {
    Wide<T> sum = 0;
    for (size_t i = threadIdx.x; i < pixels; i += blockDim.x) sum += wide(x[blockIdx.x * pixels + i]);
    sum = block_sum(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// The sums of `parts` neighbouring rows of `width`; a thread for each.
template <class T>
__device__ void totals(const Wide<T> *of, T *to, size_t parts, size_t width, size_t count) {
    const size_t i = own_element();
    if (i >= count) return;
    const size_t first = i / width * parts * width + i % width;
    Wide<T> sum = 0;
    for (size_t part = 0; part < parts; part++) sum += of[first + part * width];
    store(to[i], sum);
}

#define KERNELS(name, T)                                                                                                   \
    extern "C" __global__ void sadm_add_bias_##name(const T *x, const T *bias, T *y, size_t channels, size_t pixels,       \
                                                    size_t count) {                                                        \
        add_bias(x, bias, y, channels, pixels, count);                                                                     \
    }                                                                                                                      \
    extern "C" __global__ void sadm_add_bias_to_##name(T *y, const T *bias, size_t channels, size_t pixels, size_t count) { \
        add_bias(y, bias, y, channels, pixels, count);                                                                     \
    }                                                                                                                      \
    extern "C" __global__ void sadm_column_sums_##name(const T *x, Wide<T> *parts, size_t width, size_t all_rows,          \
                                                       size_t rows, size_t count) {                                        \
        column_sums(x, parts, width, all_rows, rows, count);                                                               \
    }                                                                                                                      \
    extern "C" __global__ void sadm_plane_sums_##name(const T *x, Wide<T> *parts, size_t pixels) {                         \
        plane_sums(x, parts, pixels);                                                                                      \
    }                                                                                                                      \
    extern "C" __global__ void sadm_totals_##name(const Wide<T> *of, T *to, size_t parts, size_t width, size_t count) {    \
        totals(of, to, parts, width, count);                                                                               \
    }
FOR_EACH_TYPE(KERNELS)
