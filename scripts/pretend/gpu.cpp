// A GPU that is not there: CUDA's driver, cuBLAS, cuRAND and cuDNN as far as sadm calls them, on the CPU. It runs candle's
// kernels and our own, compiled for the host (build.sh), one thread after the other, and does what it is told at once, but for copies
// with pinned memory: no speed is like a GPU's. What it shows is whether the right functions are called with the right sizes and
// numbers, and whether somebody waits for what is not there yet.
#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device.h"

#undef blockIdx
#undef gridDim
#undef threadIdx
#undef blockDim

using Status = int;
using Address = unsigned long long;
using Handle = void *;

namespace {
constexpr Status WRONG = 1;  // CUDA_ERROR_INVALID_VALUE

Status refuse(const char *what) {
    fprintf(stderr, "the pretended GPU: %s\n", what);
    return WRONG;
}
}  // namespace

// ---- Kernels: threads of a block take turns, each with a stack of its own once it has to wait.

extern "C" void pretend_switch(void **leave, void *enter);
__asm__(
    ".text\n.globl pretend_switch\n.type pretend_switch, @function\npretend_switch:\n"
    "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
    "  mov %rsp, (%rdi)\n  mov %rsi, %rsp\n"
    "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n  ret\n");

namespace pretend {
Index block, of_grid, in_block, of_block;

namespace {
constexpr size_t STACK = 64 << 10;
constexpr unsigned WARP = 32;
enum class State { Runs, Done, AtBarrier, AtExchange };

struct Fiber {
    std::unique_ptr<char[]> stack{new char[STACK]};
    void *at;
    State state;
    Index thread;
    unsigned number;
    unsigned turn;

    Fiber();
};

struct Kernel {
    std::string name;
    Call call;
    unsigned long launches;
};

std::map<std::string, Kernel> &kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

Fiber *current;
void *scheduler;
Call running;
void **with;
// What the threads of a warp leave for each other, in two places in turns: a thread may be one exchange ahead.
char left[2][1024][16];

void leave(State state) {
    current->state = state;
    pretend_switch(&current->at, scheduler);
}

void live() {
    for (;;) {
        running(with);
        leave(State::Done);
    }
}

void enter(Fiber &fiber) {
    current = &fiber;
    in_block = fiber.thread;
    fiber.state = State::Runs;
    pretend_switch(&scheduler, fiber.at);
}

Fiber::Fiber() {
    // As if it had just called pretend_switch: six registers, and where to go on.
    auto top = reinterpret_cast<uintptr_t>(stack.get() + STACK) & ~uintptr_t{15};
    auto **place = reinterpret_cast<void **>(top - 8);
    *--place = reinterpret_cast<void *>(&live);
    at = place - 6;
}

// Each warp runs as far as it can alone, in one block the first warp first and in the next the last one: who does not wait for
// another warp where he must finds nothing there, or finds it written over.
bool run_block() {
    static std::vector<std::unique_ptr<Fiber>> idle;
    static bool backwards = false;
    backwards = !backwards;
    const unsigned count = of_block.x * of_block.y * of_block.z, warps = (count + WARP - 1) / WARP;
    std::vector<std::vector<std::unique_ptr<Fiber>>> of_warp(warps);

    auto go_on = [&](std::vector<std::unique_ptr<Fiber>> &warp) {
        for (auto &fiber : warp) {
            enter(*fiber);
            if (fiber->state == State::Done) idle.push_back(std::move(fiber));
        }
        warp.erase(std::remove(warp.begin(), warp.end(), nullptr), warp.end());
    };
    // Exchange after exchange, until all of its threads are done or at a barrier; says whether that happens.
    auto as_far_as_it_can = [&](std::vector<std::unique_ptr<Fiber>> &warp) {
        auto exchanges = [](auto &fiber) { return fiber->state == State::AtExchange; };
        while (std::any_of(warp.begin(), warp.end(), exchanges)) {
            if (!std::all_of(warp.begin(), warp.end(), exchanges)) return false;
            go_on(warp);
        }
        return true;
    };
    auto start = [&](unsigned i, std::vector<std::unique_ptr<Fiber>> &warp) {
        if (idle.empty()) idle.push_back(std::make_unique<Fiber>());
        Fiber &fiber = *idle.back();
        fiber.thread = {i % of_block.x, i / of_block.x % of_block.y, i / (of_block.x * of_block.y)};
        fiber.number = i;
        fiber.turn = 0;
        enter(fiber);
        if (fiber.state == State::Done) return;
        warp.push_back(std::move(idle.back()));
        idle.pop_back();
    };
    for (bool first = true, some = true; some; first = false) {
        some = false;
        for (unsigned k = 0; k < warps; k++) {
            const unsigned w = backwards ? warps - 1 - k : k;
            auto &warp = of_warp[w];
            if (first)
                for (unsigned i = w * WARP; i < std::min(count, (w + 1) * WARP); i++) start(i, warp);
            else
                go_on(warp);  // past the barrier that all have reached
            if (!as_far_as_it_can(warp)) return false;
            some |= !warp.empty();
        }
    }
    return true;
}
}  // namespace

void barrier() { leave(State::AtBarrier); }
unsigned lane() { return current->number; }

void exchange(void *value, size_t size, unsigned from) {
    auto &place = left[current->turn++ % 2];
    memcpy(place[current->number], value, size);
    leave(State::AtExchange);
    memcpy(value, place[from], size);
}

void add(const char *name, Call call) { kernels()[name] = {name, call, 0}; }
}  // namespace pretend

namespace {
// PRETEND_COUNT=1: says at the end how often the GPU was waited for and how many kernels it ran; PRETEND_COUNT=kernels: also which.
unsigned long waits = 0, launches = 0;
void tell() {
    if (!strcmp(getenv("PRETEND_COUNT"), "kernels"))
        for (auto &[name, kernel] : pretend::kernels())
            if (kernel.launches) fprintf(stderr, "%8lu %s\n", kernel.launches, name.c_str());
    fprintf(stderr, "the pretended GPU: %lu waits for all of its work, %lu launches\n", waits, launches);
}
void count(unsigned long &what) {
    static const bool asked = getenv("PRETEND_COUNT") && !atexit(tell);
    if (asked) what++;
}
// PRETEND_WRONG=WHAT: something is off, which a test must find.
bool is_wrong(const char *what) {
    static const char *wrong = getenv("PRETEND_WRONG");
    return wrong && !strcmp(wrong, what);
}
}  // namespace

extern "C" {

Status cuModuleLoadData(Handle *module, const void *) {
    *module = module;
    return 0;
}
Status cuModuleUnload(Handle) { return 0; }
Status cuModuleGetFunction(Handle *function, Handle, const char *name) {
    auto found = pretend::kernels().find(name);
    if (found == pretend::kernels().end()) {
        fprintf(stderr, "the pretended GPU: no kernel is called %s\n", name);
        return 500;  // CUDA_ERROR_NOT_FOUND
    }
    *function = &found->second;
    return 0;
}
Status cuLaunchKernel(Handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, Handle, void **arguments, void **) {
    static std::mutex one_at_a_time;
    const std::lock_guard<std::mutex> held(one_at_a_time);
    if (shared) return refuse("dynamic shared memory is not pretended");
    if (bx * by * bz == 0 || bx * by * bz > 1024 || gx * gy * gz == 0) return refuse("no such grid");
    auto &kernel = *static_cast<pretend::Kernel *>(function);
    count(launches);
    kernel.launches++;
    if (is_wrong("kernels") && kernel.name == "sadm_totals_bf16") return 0;
    pretend::running = kernel.call;
    pretend::with = arguments;
    pretend::of_grid = {gx, gy, gz};
    pretend::of_block = {bx, by, bz};
    for (unsigned z = 0; z < gz; z++)
        for (unsigned y = 0; y < gy; y++)
            for (unsigned x = 0; x < gx; x++) {
                pretend::block = {x, y, z};
                if (!pretend::run_block()) return refuse((kernel.name + " waits for ever").c_str());
            }
    return 0;
}
Status cuFuncSetAttribute(Handle, int, int) { return 0; }

// ---- The driver: memory between two guards, everything else at once.

Status cuInit(unsigned) { return 0; }
Status cuDriverGetVersion(int *version) { return *version = 13000, 0; }
Status cuDeviceGetCount(int *count) { return *count = 1, 0; }
Status cuDeviceGet(int *device, int ordinal) { return *device = ordinal, ordinal == 0 ? 0 : 101; }
Status cuDeviceGetName(char *name, int size, int) { return snprintf(name, static_cast<size_t>(size), "pretended"), 0; }
Status cuDeviceTotalMem_v2(size_t *bytes, int) { return *bytes = size_t{1} << 34, 0; }
Status cuDeviceGetAttribute(int *value, int attribute, int) {
    switch (attribute) {
        case 75: return *value = 9, 0;   // compute capability
        case 76: return *value = 0, 0;
        case 115: return *value = 1, 0;  // pools of memory
        default: return *value = 16, 0;
    }
}
Status cuDevicePrimaryCtxRetain(Handle *context, int) { return *context = reinterpret_cast<Handle>(1), 0; }
Status cuDevicePrimaryCtxRelease_v2(int) { return 0; }
Status cuCtxSetCurrent(Handle) { return 0; }
Status cuCtxGetCurrent(Handle *context) { return *context = reinterpret_cast<Handle>(1), 0; }
Status cuStreamCreate(Handle *stream, unsigned) { return *stream = reinterpret_cast<Handle>(2), 0; }
Status cuStreamDestroy_v2(Handle) { return 0; }
Status cuStreamWaitEvent(Handle, Handle, unsigned) { return 0; }
Status cuStreamIsCapturing(Handle, int *captures) { return *captures = 0, 0; }

constexpr uint64_t GUARD = 0x5adacade5adacade;
struct Head {
    uint64_t size, guard;
};

Status cuMemAlloc_v2(Address *address, size_t size) {
    auto *head = static_cast<Head *>(malloc(sizeof(Head) + size + sizeof GUARD));
    if (!head) return 2;  // CUDA_ERROR_OUT_OF_MEMORY
    *head = {size, GUARD};
    memset(head + 1, 0xff, size);  // NaN, in every float: what was not written must not be read
    memcpy(reinterpret_cast<char *>(head + 1) + size, &GUARD, sizeof GUARD);
    *address = reinterpret_cast<Address>(head + 1);
    return 0;
}
Status cuMemAllocAsync(Address *address, size_t size, Handle) { return cuMemAlloc_v2(address, size); }
Status cuMemFree_v2(Address address) {
    auto *head = reinterpret_cast<Head *>(address) - 1;
    if (head->guard != GUARD || memcmp(reinterpret_cast<char *>(address) + head->size, &GUARD, sizeof GUARD)) {
        refuse("somebody wrote beyond a tensor");
        abort();
    }
    head->guard = 0;
    free(head);
    return 0;
}
Status cuMemFreeAsync(Address address, Handle) { return cuMemFree_v2(address); }
Status cuMemGetInfo_v2(size_t *left, size_t *all) { return *left = *all = size_t{1} << 34, 0; }
Status cuMemsetD8Async(Address to, unsigned char value, size_t size, Handle) {
    return memset(reinterpret_cast<void *>(to), value, size), 0;
}
Status cuMemcpyDtoDAsync_v2(Address to, Address from, size_t size, Handle) {
    return memcpy(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), size), 0;
}

// ---- Copies between the GPU and the CPU. Those with pinned memory are under way until somebody waits for them: what was
// to arrive is NaN until then, and what was to be sent must still be there. All others wait for all that the GPU was given.

}  // extern "C"

namespace {
struct Copy {
    uint64_t number;
    char *host;
    std::vector<char> bytes;  // as they are on the GPU's side
    bool arrives;
};
struct Event {
    uint64_t after;
};
std::mutex of_copies;
std::map<char *, size_t> pinned;
std::deque<Copy> under_way;
uint64_t copies = 0;

bool is_pinned(const char *host) {
    auto next = pinned.upper_bound(const_cast<char *>(host));
    return next != pinned.begin() && host < std::prev(next)->first + std::prev(next)->second;
}
void stop(const char *why) {
    refuse(why);
    abort();
}
void deliver(uint64_t last) {
    while (!under_way.empty() && under_way.front().number <= last) {
        auto &copy = under_way.front();
        if (copy.arrives)
            memcpy(copy.host, copy.bytes.data(), copy.bytes.size());
        else if (memcmp(copy.host, copy.bytes.data(), copy.bytes.size()))
            stop("pinned memory was written while the GPU read it");
        under_way.pop_front();
    }
}
void wait_for_all() {
    count(waits);
    deliver(copies);
}
}  // namespace

extern "C" {

Status cuCtxSynchronize() {
    const std::lock_guard<std::mutex> held(of_copies);
    return wait_for_all(), 0;
}
Status cuStreamSynchronize(Handle) { return cuCtxSynchronize(); }
Status cuEventCreate(Handle *event, unsigned) { return *event = new Event{0}, 0; }
Status cuEventDestroy_v2(Handle event) { return delete static_cast<Event *>(event), 0; }
Status cuEventRecord(Handle event, Handle) {
    const std::lock_guard<std::mutex> held(of_copies);
    return static_cast<Event *>(event)->after = copies, 0;
}
Status cuEventSynchronize(Handle event) {
    const std::lock_guard<std::mutex> held(of_copies);
    return deliver(static_cast<Event *>(event)->after), 0;
}
Status cuEventQuery(Handle event) {
    const std::lock_guard<std::mutex> held(of_copies);
    const bool open = !under_way.empty() && under_way.front().number <= static_cast<Event *>(event)->after;
    return open ? 600 : 0;  // CUDA_ERROR_NOT_READY
}
Status cuMemHostAlloc(void **address, size_t size, unsigned) {
    const std::lock_guard<std::mutex> held(of_copies);
    *address = malloc(size);
    pinned[static_cast<char *>(*address)] = size;
    return 0;
}
Status cuMemFreeHost(void *address) {
    const std::lock_guard<std::mutex> held(of_copies);
    for (auto &copy : under_way)
        if (copy.host == address) stop("pinned memory was freed while the GPU was at it");
    pinned.erase(static_cast<char *>(address));
    return free(address), 0;
}
Status cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t size, Handle) {
    const std::lock_guard<std::mutex> held(of_copies);
    auto *host = static_cast<char *>(const_cast<void *>(from));
    if (is_pinned(host))
        under_way.push_back({++copies, host, {host, host + size}, false});
    else if (size > 64 << 10)  // the driver takes a copy of less
        wait_for_all();
    return memcpy(reinterpret_cast<void *>(to), from, size), 0;
}
Status cuMemcpyDtoHAsync_v2(void *to, Address from, size_t size, Handle) {
    const std::lock_guard<std::mutex> held(of_copies);
    auto *host = static_cast<char *>(to), *there = reinterpret_cast<char *>(from);
    if (!is_pinned(host)) return wait_for_all(), memcpy(to, there, size), 0;
    under_way.push_back({++copies, host, {there, there + size}, true});
    return memset(to, 0xff, size), 0;
}

// ---- cuRAND: only there. sadm draws on the CPU.

Status curandCreateGenerator(Handle *generator, int) { return *generator = reinterpret_cast<Handle>(4), 0; }
Status curandSetPseudoRandomGeneratorSeed(Handle, unsigned long long) { return 0; }
Status curandSetStream(Handle, Handle) { return 0; }
Status curandDestroyGenerator(Handle) { return 0; }

// ---- cuBLAS: products of column-major matrices, summed in the given order.

Status cublasCreate_v2(Handle *handle) { return *handle = reinterpret_cast<Handle>(5), 0; }
Status cublasDestroy_v2(Handle) { return 0; }
Status cublasSetStream_v2(Handle, Handle) { return 0; }
}

namespace {
double wide(double x) { return x; }
float wide(float x) { return x; }
float wide(__half x) { return __half2float(x); }
float wide(__nv_bfloat16 x) { return __bfloat162float(x); }
void set(double &to, double x) { to = x; }
void set(float &to, float x) { to = x; }
void set(__half &to, float x) { to = __float2half(x); }
void set(__nv_bfloat16 &to, float x) { to = __float2bfloat16(x); }
// To the 11 bits of TF32.
float tf32(float x) {
    auto bits = same_bits<uint32_t>(x);
    bits += 0xfff + (bits >> 13 & 1);
    return same_bits<float>(bits & ~uint32_t{0x1fff});
}
double tf32(double x) { return x; }

struct Matrix {
    const void *at;
    int turned, pitch;
    long long stride;
};

template <class T>
void multiply(const Matrix &a, const Matrix &b, void *c, int pitch, long long stride, int m, int n, int k, int batch, bool reduced) {
    for (int i = 0; i < batch; i++) {
        const T *left = static_cast<const T *>(a.at) + i * a.stride, *right = static_cast<const T *>(b.at) + i * b.stride;
        T *to = static_cast<T *>(c) + i * stride;
        for (int column = 0; column < n; column++)
            for (int row = 0; row < m; row++) {
                decltype(wide(T())) sum = 0;
                for (int p = 0; p < k; p++) {
                    auto x = wide(a.turned ? left[p + static_cast<long>(row) * a.pitch] : left[row + static_cast<long>(p) * a.pitch]);
                    auto y = wide(b.turned ? right[column + static_cast<long>(p) * b.pitch]
                                           : right[p + static_cast<long>(column) * b.pitch]);
                    sum += reduced ? tf32(x) * tf32(y) : x * y;
                }
                set(to[row + static_cast<long>(column) * pitch], sum);
            }
    }
}
}  // namespace

extern "C" {
Status cublasGemmStridedBatchedEx(Handle, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int ka, int lda,
                                  long long sa, const void *b, int kb, int ldb, long long sb, const void *beta, void *c, int kc,
                                  int ldc, long long sc, int batch, int compute, int) {
    constexpr int IN_F32 = 68, IN_TF32 = 77;
    if (ka != kb || ka != kc) return refuse("cuBLAS: mixed types");
    if (compute != IN_F32 && compute != IN_TF32) return refuse("cuBLAS: not in f32");
    if (*static_cast<const float *>(alpha) != 1 || *static_cast<const float *>(beta) != 0) return refuse("cuBLAS: scaled");
    const Matrix left{a, ta, lda, sa}, right{b, tb, ldb, sb};
    switch (ka) {
        case 0: return multiply<float>(left, right, c, ldc, sc, m, n, k, batch, compute == IN_TF32), 0;
        case 2: return multiply<__half>(left, right, c, ldc, sc, m, n, k, batch, false), 0;
        case 14: return multiply<__nv_bfloat16>(left, right, c, ldc, sc, m, n, k, batch, false), 0;
        default: return refuse("cuBLAS: no such type");
    }
}
Status cublasDgemmStridedBatched(Handle, int ta, int tb, int m, int n, int k, const double *alpha, const double *a, int lda,
                                 long long sa, const double *b, int ldb, long long sb, const double *beta, double *c, int ldc,
                                 long long sc, int batch) {
    if (*alpha != 1 || *beta != 0) return refuse("cuBLAS: scaled");
    return multiply<double>({a, ta, lda, sa}, {b, tb, ldb, sb}, c, ldc, sc, m, n, k, batch, false), 0;
}

// ---- cuDNN: convolutions and their gradients, by their definitions.

struct Sizes {
    int type, of[4];
};
struct Shifts {
    int pad[2], stride[2], compute, math;
};

Status cudnnCreate(Handle *handle) { return *handle = reinterpret_cast<Handle>(6), 0; }
Status cudnnDestroy(Handle) { return 0; }
Status cudnnSetStream(Handle, Handle) { return 0; }
Status cudnnCreateTensorDescriptor(Sizes **sizes) { return *sizes = new Sizes(), 0; }
Status cudnnDestroyTensorDescriptor(Sizes *sizes) { return delete sizes, 0; }
Status cudnnSetTensor4dDescriptor(Sizes *to, int format, int type, int n, int c, int h, int w) {
    return *to = {type, {n, c, h, w}}, format == 0 ? 0 : refuse("cuDNN: not NCHW");
}
Status cudnnCreateFilterDescriptor(Sizes **sizes) { return *sizes = new Sizes(), 0; }
Status cudnnDestroyFilterDescriptor(Sizes *sizes) { return delete sizes, 0; }
Status cudnnSetFilter4dDescriptor(Sizes *to, int type, int format, int o, int c, int h, int w) {
    return *to = {type, {o, c, h, w}}, format == 0 ? 0 : refuse("cuDNN: not NCHW");
}
Status cudnnCreateConvolutionDescriptor(Shifts **shifts) { return *shifts = new Shifts(), 0; }
Status cudnnDestroyConvolutionDescriptor(Shifts *shifts) { return delete shifts, 0; }
Status cudnnSetConvolution2dDescriptor(Shifts *to, int ph, int pw, int sh, int sw, int dh, int dw, int mode, int compute) {
    *to = {{ph, pw}, {sh, sw}, compute, 0};
    return dh == 1 && dw == 1 && mode == 1 ? 0 : refuse("cuDNN: dilated or mirrored");
}
Status cudnnSetConvolutionMathType(Shifts *to, int math) { return to->math = math, 0; }
Status cudnnGetConvolutionForwardWorkspaceSize(Handle, Sizes *, Sizes *, Shifts *, Sizes *, int algorithm, size_t *bytes) {
    return *bytes = 64, algorithm == 1 ? 0 : WRONG;
}
Status cudnnGetConvolutionBackwardDataWorkspaceSize(Handle, Sizes *, Sizes *, Shifts *, Sizes *, int algorithm, size_t *bytes) {
    return *bytes = 0, algorithm == 1 ? 0 : WRONG;
}
Status cudnnGetConvolutionBackwardFilterWorkspaceSize(Handle, Sizes *, Sizes *, Shifts *, Sizes *, int algorithm, size_t *bytes) {
    return *bytes = 128, algorithm == 1 ? 0 : WRONG;
}
}

namespace {
// Calls f with the places of x, w and y for every product in the sum.
template <class F>
void products(const Sizes &x, const Sizes &w, const Sizes &y, const Shifts &by, F f) {
    for (int n = 0; n < y.of[0]; n++)
        for (int o = 0; o < y.of[1]; o++)
            for (int i = 0; i < y.of[2]; i++)
                for (int j = 0; j < y.of[3]; j++)
                    for (int c = 0; c < x.of[1]; c++)
                        for (int k = 0; k < w.of[2]; k++)
                            for (int l = 0; l < w.of[3]; l++) {
                                const int row = i * by.stride[0] + k - by.pad[0], column = j * by.stride[1] + l - by.pad[1];
                                if (row < 0 || row >= x.of[2] || column < 0 || column >= x.of[3]) continue;
                                f(((n * x.of[1] + c) * x.of[2] + row) * x.of[3] + column,
                                  ((o * x.of[1] + c) * w.of[2] + k) * w.of[3] + l, ((n * y.of[1] + o) * y.of[2] + i) * y.of[3] + j);
                            }
}

enum Wanted { X, W, Y };

template <class T>
Status convolve(Wanted wanted, const Sizes &x, const Sizes &w, const Sizes &y, const Shifts &by, const void *first,
                const void *second, void *to, bool reduced) {
    const Sizes &of = wanted == X ? x : wanted == W ? w : y;
    std::vector<float> sums(static_cast<size_t>(of.of[0]) * of.of[1] * of.of[2] * of.of[3]);
    const T *a = static_cast<const T *>(first), *b = static_cast<const T *>(second);
    products(x, w, y, by, [&](int ix, int iw, int iy) {
        const int left = wanted == X ? iw : ix, right = wanted == Y ? iw : iy, sum = wanted == X ? ix : wanted == W ? iw : iy;
        const float p = wide(a[left]), q = wide(b[right]);
        sums[static_cast<size_t>(sum)] += reduced ? tf32(p) * tf32(q) : p * q;
    });
    if (is_wrong("cudnn") && !sums.empty()) sums.back() += 1;
    for (size_t i = 0; i < sums.size(); i++) set(static_cast<T *>(to)[i], sums[i]);
    return 0;
}

Status convolution(Wanted wanted, const Sizes *x, const Sizes *w, const Sizes *y, const Shifts *by, const void *first,
                   const void *second, void *to, const void *alpha, const void *beta, int algorithm, size_t room, size_t needed) {
    constexpr int FLOAT = 0, HALF = 2, BF16 = 9, DEFAULT = 0, TENSOR = 1, FMA = 3;
    if (x->type != w->type || x->type != y->type || by->compute != FLOAT) return refuse("cuDNN: types");
    if (*static_cast<const float *>(alpha) != 1 || *static_cast<const float *>(beta) != 0) return refuse("cuDNN: scaled");
    if (algorithm != 1 || room < needed) return refuse("cuDNN: algorithm or its room");
    if (x->of[0] != y->of[0] || x->of[1] != w->of[1] || w->of[0] != y->of[1]) return refuse("cuDNN: sizes");
    for (int i = 0; i < 2; i++)
        if ((x->of[2 + i] + 2 * by->pad[i] - w->of[2 + i]) / by->stride[i] + 1 != y->of[2 + i]) return refuse("cuDNN: sides");
    if (x->type == FLOAT ? by->math != FMA && by->math != DEFAULT : by->math != TENSOR) return refuse("cuDNN: kind of arithmetic");
    switch (x->type) {
        case FLOAT: return convolve<float>(wanted, *x, *w, *y, *by, first, second, to, by->math == DEFAULT);
        case HALF: return convolve<__half>(wanted, *x, *w, *y, *by, first, second, to, false);
        case BF16: return convolve<__nv_bfloat16>(wanted, *x, *w, *y, *by, first, second, to, false);
        default: return refuse("cuDNN: no such type");
    }
}
}  // namespace

extern "C" {
Status cudnnConvolutionForward(Handle, const void *alpha, Sizes *x_sizes, const void *x, Sizes *w_sizes, const void *w, Shifts *by,
                               int algorithm, void *, size_t room, const void *beta, Sizes *y_sizes, void *y) {
    return convolution(Y, x_sizes, w_sizes, y_sizes, by, x, w, y, alpha, beta, algorithm, room, 64);
}
Status cudnnConvolutionBackwardData(Handle, const void *alpha, Sizes *w_sizes, const void *w, Sizes *y_sizes, const void *dy,
                                    Shifts *by, int algorithm, void *, size_t room, const void *beta, Sizes *x_sizes, void *dx) {
    return convolution(X, x_sizes, w_sizes, y_sizes, by, w, dy, dx, alpha, beta, algorithm, room, 0);
}
Status cudnnConvolutionBackwardFilter(Handle, const void *alpha, Sizes *x_sizes, const void *x, Sizes *y_sizes, const void *dy,
                                      Shifts *by, int algorithm, void *, size_t room, const void *beta, Sizes *w_sizes, void *dw) {
    return convolution(W, x_sizes, w_sizes, y_sizes, by, x, dy, dw, alpha, beta, algorithm, room, 128);
}
}
