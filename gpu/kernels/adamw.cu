// AdamW's step and the average that follows it, of one parameter in one pass; one thread for each element.
#include "common.cuh"

// A step from x towards y: x + step·(y − x), or y − rest·(y − x) beyond the middle, so that both ends are exact.
template <class W>
__device__ W towards(W x, W y, double step, double rest) {
    const W way = y - x;
    return step < 0.5 ? x + way * W(step) : y - way * W(rest);
}

// θ ← keep·θ − rate·m / (root·√v + eps), after m and v; then θ̄, unless it is null.
template <class W>
__device__ void adamw(W *theta, W *m, W *v, W *average, const W *grad, double first, double first_rest, double second,
                      double second_rest, double keep, double rate, double factor, double eps, double step, double rest,
                      size_t count) {
    const size_t i = own_element();
    if (i >= count) return;
    const W g = grad[i];
    const W new_m = towards(m[i], g, first, first_rest), new_v = towards(v[i], g * g, second, second_rest);
    const W new_theta = W(keep) * theta[i] - W(rate) * new_m / (root(new_v) * W(factor) + W(eps));
    m[i] = new_m;
    v[i] = new_v;
    theta[i] = new_theta;
    if (average) average[i] = towards(average[i], new_theta, step, rest);
}

#define KERNELS(name, T)                                                                                                    \
    extern "C" __global__ void sadm_adamw_##name(T *theta, T *m, T *v, T *average, const T *grad, double first,             \
                                                 double first_rest, double second, double second_rest, double keep,         \
                                                 double rate, double factor, double eps, double step, double rest,          \
                                                 size_t count) {                                                            \
        adamw(theta, m, v, average, grad, first, first_rest, second, second_rest, keep, rate, factor, eps, step, rest,      \
              count);                                                                                                       \
    }
KERNELS(f64, double)
KERNELS(f32, float)
