// Layer and group normalisation with their gradients (`eq:layer-norm`, `eq:group-norm`): one block for each row or group.
#include "common.cuh"

// Mean and 1/√(variance + eps) of n elements.
template <class T>
struct Moments {
    Wide<T> mean, scale;

    __device__ Moments(const T *x, size_t n, double eps) {
        using W = Wide<T>;
        W sum = 0, squares = 0;
        for (size_t i = threadIdx.x; i < n; i += blockDim.x) sum += wide(x[i]);
        mean = block_sum(sum) / static_cast<W>(n);
        for (size_t i = threadIdx.x; i < n; i += blockDim.x) {
            const W centred = wide(x[i]) - mean;
            squares += centred * centred;
        }
        scale = 1 / root(block_sum(squares) / static_cast<W>(n) + static_cast<W>(eps));
    }

    __device__ Wide<T> of(T x) const { return (wide(x) - mean) * scale; }
};

// ---- Rows of `width` elements; `shared` neighbouring rows have one γ and β.

template <class T>
__device__ void layer_norm(const T *x, const T *gamma, const T *beta, T *y, size_t width, size_t shared, double eps) {
    const size_t row = blockIdx.x, start = row * width, affine = row / shared * width;
    const Moments<T> moments(x + start, width, eps);
    for (size_t c = threadIdx.x; c < width; c += blockDim.x)
        store(y[start + c], wide(gamma[affine + c]) * moments.of(x[start + c]) + wide(beta[affine + c]));
}

// ∂L/∂x; leaves mean and scale of each row.
template <class T>
__device__ void layer_norm_dx(const T *x, const T *gamma, const T *dy, T *dx, Wide<T> *stats, size_t width, size_t shared,
                              double eps) {
    using W = Wide<T>;
    const size_t row = blockIdx.x, start = row * width, affine = row / shared * width;
    const Moments<T> moments(x + start, width, eps);
    W h = 0, hx = 0;
    for (size_t c = threadIdx.x; c < width; c += blockDim.x) {
        const W own = wide(gamma[affine + c]) * wide(dy[start + c]);
        h += own;
        hx += own * moments.of(x[start + c]);
    }
    h = block_sum(h) / static_cast<W>(width);
    hx = block_sum(hx) / static_cast<W>(width);
    for (size_t c = threadIdx.x; c < width; c += blockDim.x) {
        const W own = wide(gamma[affine + c]) * wide(dy[start + c]);
        store(dx[start + c], moments.scale * (own - h - moments.of(x[start + c]) * hx));
    }
    if (threadIdx.x == 0) {
        stats[2 * row] = moments.mean;
        stats[2 * row + 1] = moments.scale;
    }
}

// The parts of ∂L/∂γ and, behind all of them, of ∂L/∂β that `rows` neighbouring rows add to a column; a thread for each.
template <class T>
__device__ void layer_norm_affine(const T *x, const T *dy, const Wide<T> *stats, Wide<T> *parts, size_t width, size_t all_rows,
                                  size_t rows, size_t count) {
    using W = Wide<T>;
    const size_t i = own_element();
    if (i >= count) return;
    const size_t column = i % width, first = i / width * rows;
    const size_t last = first + rows < all_rows ? first + rows : all_rows;
    W gamma = 0, beta = 0;
    for (size_t row = first; row < last; row++) {
        const W g = wide(dy[row * width + column]);
        gamma += g * ((wide(x[row * width + column]) - stats[2 * row]) * stats[2 * row + 1]);
        beta += g;
    }
    parts[i] = gamma;
    parts[count + i] = beta;
}

// ---- Groups of `channels` planes of `pixels` elements; `groups` of them are a sample.

struct Group {
    // Where its elements, its γ and β, and its channels among those of all samples begin.
    size_t start, affine, channel;

    __device__ Group(size_t channels, size_t pixels, size_t groups, bool per_sample) {
        const size_t own = blockIdx.x;
        start = own * channels * pixels;
        channel = own * channels;
        affine = (per_sample ? own : own % groups) * channels;
    }
};

template <class T>
__device__ void group_norm(const T *x, const T *gamma, const T *beta, T *y, size_t channels, size_t pixels, size_t groups,
                           bool per_sample, bool with_silu, double eps) {
    const Group group(channels, pixels, groups, per_sample);
    const Moments<T> moments(x + group.start, channels * pixels, eps);
    for (size_t i = threadIdx.x; i < channels * pixels; i += blockDim.x) {
        const size_t c = group.affine + i / pixels;
        const Wide<T> affine = wide(gamma[c]) * moments.of(x[group.start + i]) + wide(beta[c]);
        store(y[group.start + i], with_silu ? silu(affine) : affine);
    }
}

// ∂L/∂x, and what each sample adds to ∂L/∂γ and, behind all of them, to ∂L/∂β.
template <class T>
__device__ void group_norm_gradients(const T *x, const T *gamma, const T *beta, const T *dy, T *dx, Wide<T> *parts,
                                     size_t channels, size_t pixels, size_t groups, bool per_sample, bool with_silu, double eps,
                                     size_t count) {
    using W = Wide<T>;
    const Group group(channels, pixels, groups, per_sample);
    const Moments<T> moments(x + group.start, channels * pixels, eps);
    // ∂L/∂(affine) of an element of channel c.
    const auto gradient = [&](size_t i, W of_gamma, W of_beta) {
        const W g = wide(dy[i]);
        return with_silu ? g * silu_slope(of_gamma * moments.of(x[i]) + of_beta) : g;
    };
    W h = 0, hx = 0;
    for (size_t c = 0; c < channels; c++) {
        const W of_gamma = wide(gamma[group.affine + c]), of_beta = wide(beta[group.affine + c]);
        W sum = 0, with_x = 0;
        for (size_t pixel = threadIdx.x; pixel < pixels; pixel += blockDim.x) {
            const size_t i = group.start + c * pixels + pixel;
            const W g = gradient(i, of_gamma, of_beta);
            sum += g;
            with_x += g * moments.of(x[i]);
        }
        sum = block_sum(sum);
        with_x = block_sum(with_x);
        h += of_gamma * sum;
        hx += of_gamma * with_x;
        if (threadIdx.x == 0) {
            parts[group.channel + c] = with_x;
            parts[count + group.channel + c] = sum;
        }
    }
    h /= static_cast<W>(channels * pixels);
    hx /= static_cast<W>(channels * pixels);
    for (size_t i = threadIdx.x; i < channels * pixels; i += blockDim.x) {
        const size_t c = group.affine + i / pixels, at = group.start + i;
        const W of_gamma = wide(gamma[c]);
        const W own = of_gamma * gradient(at, of_gamma, wide(beta[c]));
        store(dx[at], moments.scale * (own - h - moments.of(x[at]) * hx));
    }
}

#define KERNELS(name, T)                                                                                                       \
    extern "C" __global__ void sadm_layer_norm_##name(const T *x, const T *gamma, const T *beta, T *y, size_t width,           \
                                                      size_t shared, double eps) {                                             \
        layer_norm(x, gamma, beta, y, width, shared, eps);                                                                     \
    }                                                                                                                          \
    extern "C" __global__ void sadm_layer_norm_dx_##name(const T *x, const T *gamma, const T *dy, T *dx, Wide<T> *stats,       \
                                                         size_t width, size_t shared, double eps) {                            \
        layer_norm_dx(x, gamma, dy, dx, stats, width, shared, eps);                                                            \
    }                                                                                                                          \
    extern "C" __global__ void sadm_layer_norm_affine_##name(const T *x, const T *dy, const Wide<T> *stats, Wide<T> *parts,    \
                                                             size_t width, size_t all_rows, size_t rows, size_t count) {       \
        layer_norm_affine(x, dy, stats, parts, width, all_rows, rows, count);                                                  \
    }                                                                                                                          \
    extern "C" __global__ void sadm_group_norm_##name(const T *x, const T *gamma, const T *beta, T *y, size_t channels,        \
                                                      size_t pixels, size_t groups, int per_sample, int with_silu,             \
                                                      double eps) {                                                            \
        group_norm(x, gamma, beta, y, channels, pixels, groups, per_sample, with_silu, eps);                                   \
    }                                                                                                                          \
    extern "C" __global__ void sadm_group_norm_gradients_##name(                                                               \
        const T *x, const T *gamma, const T *beta, const T *dy, T *dx, Wide<T> *parts, size_t channels, size_t pixels,         \
        size_t groups, int per_sample, int with_silu, double eps, size_t count) {                                              \
        group_norm_gradients(x, gamma, beta, dy, dx, parts, channels, pixels, groups, per_sample, with_silu, eps, count);      \
    }
FOR_EACH_TYPE(KERNELS)
