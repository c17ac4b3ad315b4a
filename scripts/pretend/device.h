// What a kernel of candle's finds on the pretended GPU: CUDA's built-in variables, barriers, shuffles and functions, for a
// C++ compiler of the host. Included before each kernel file; `gpu.cpp` runs what it registers.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>

#include "cuda_fp16.h"
#include "cuda_bf16.h"
#include "cuda_fp8.h"

// From here on a kernel is a function of the host.
#undef __device__
#undef __global__
#undef __forceinline__
#undef __shared__
#undef __host__
#undef __restrict__
#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __restrict__
// One block runs at a time.
#define __shared__ static
#define __CUDA_ARCH__ 800
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0

namespace pretend {
struct Index {
    unsigned x, y, z;
};
extern Index block, of_grid, in_block, of_block;
// Waits for all threads of the block.
void barrier();
// Leaves `size` bytes for the others of the warp, waits for them, and takes those of the thread `from`.
void exchange(void *value, size_t size, unsigned from);
unsigned lane();

using Call = void (*)(void **);
void add(const char *name, Call call);

template <class... A, size_t... I>
void apply(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<A> *>(arguments[I])...);
}
template <class... A>
void apply(void (*kernel)(A...), void **arguments) {
    apply(kernel, arguments, std::index_sequence_for<A...>());
}
}  // namespace pretend

#define blockIdx pretend::block
#define gridDim pretend::of_grid
#define threadIdx pretend::in_block
#define blockDim pretend::of_block

inline void __syncthreads() { pretend::barrier(); }
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask, int = 32) {
    pretend::exchange(&value, sizeof value, pretend::lane() ^ static_cast<unsigned>(mask));
    return value;
}

// Threads run in turns, so that nothing comes between.
template <class T, class U>
T atomicAdd(T *at, U value) {
    T old = *at;
    *at = old + static_cast<T>(value);
    return old;
}
template <class T, class U>
T atomicMax(T *at, U value) {
    T old = *at;
    *at = std::max<T>(old, value);
    return old;
}
template <class T, class U>
T atomicMin(T *at, U value) {
    T old = *at;
    *at = std::min<T>(old, value);
    return old;
}
template <class T, class U, class V>
T atomicCAS(T *at, U compared, V value) {
    T old = *at;
    if (old == static_cast<T>(compared)) *at = static_cast<T>(value);
    return old;
}

template <class To, class From>
To same_bits(From from) {
    To to;
    static_assert(sizeof to == sizeof from, "");
    memcpy(&to, &from, sizeof to);
    return to;
}
inline float __int_as_float(int x) { return same_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return same_bits<float>(x); }
inline int __float_as_int(float x) { return same_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return same_bits<unsigned>(x); }
inline double __longlong_as_double(long long x) { return same_bits<double>(x); }
inline long long __double_as_longlong(double x) { return same_bits<long long>(x); }

using std::isnan;
using std::max;
using std::min;
using std::signbit;
template <class A, class B>
auto min(A a, B b) {
    using C = std::common_type_t<A, B>;
    return std::min<C>(a, b);
}
template <class A, class B>
auto max(A a, B b) {
    using C = std::common_type_t<A, B>;
    return std::max<C>(a, b);
}
inline double normcdf(double x) { return 0.5 * erfc(-x * M_SQRT1_2); }
inline float normcdff(float x) { return static_cast<float>(normcdf(x)); }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }

// Of half precision the toolkit has arithmetic for the host, but not these.
#define OF_HALVES(name, f)                                                                        \
    inline __half name(__half x) { return __float2half(f(__half2float(x))); }                      \
    inline __nv_bfloat16 name(__nv_bfloat16 x) { return __float2bfloat16(f(__bfloat162float(x))); }
OF_HALVES(hsqrt, sqrtf)
OF_HALVES(hcos, cosf)
OF_HALVES(hsin, sinf)
OF_HALVES(hlog, logf)
OF_HALVES(hexp, expf)
#undef OF_HALVES
