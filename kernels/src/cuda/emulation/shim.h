// The device, played by the CPU: enough of CUDA C++ to compile the ops' sources with g++ and to run them thread by thread.
//
// Threads of a block are fibers with stacks of their own; one runs until it waits for others (a barrier, an exchange within a warp) or
// ends. Which runs next is ascending, descending or shuffled, as the launch says: a result that needs a barrier that is not there differs
// in some order. What cannot be on a card is an error here: a barrier that part of the threads have left, lanes of a warp in different
// exchanges. Shared memory begins as NaN. Global memory ends at a guard page (emulation/mod.rs). Background copies happen when they
// are waited for, as late as they may.
#define EMULATED 1
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static __attribute__((section("emulated_shared"), aligned(16)))
#define DYNAMIC_SHARED(name) unsigned char *name = emulation::shared

struct uint3_ { unsigned x, y, z; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };

extern "C" {
uint3_ threadIdx, blockIdx, blockDim, gridDim;
extern char __start_emulated_shared[] __attribute__((weak));
extern char __stop_emulated_shared[] __attribute__((weak));
void emulation_switch(void **save, void *to);
}

asm(R"(
.text
.hidden emulation_switch
.globl emulation_switch
.type emulation_switch,@function
emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

namespace emulation {

enum State { READY, AT_BLOCK, AT_WARP, DONE };
enum { MOST = 1024, STACK = 128 * 1024, SHARED = 232448, SLOT = 64, QUEUE = 256 };

struct Copy { void *to; const void *from; int bytes, group; };

struct Fiber {
  void *sp;
  State state;
  unsigned turn;  // exchanges so far
  int groups, queued;
  Copy queue[QUEUE];
};

struct Warp {
  int arrived, kind;
  char slots[2][32][SLOT];
};

static Fiber fibers[MOST];
static Warp warps[MOST / 32];
static char *stacks;
static unsigned char *shared;
static void *scheduler;
static int current, threads;
static void (*entry_call)(void **);
static void **entry_args;
static char fault[256];
static uint64_t state;

static uint64_t next() {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static void yield() { emulation_switch(&fibers[current].sp, scheduler); }

static void fail(const char *what) {
  if (!fault[0])
    snprintf(fault, sizeof fault, "block (%u, %u, %u), thread %d: %s", blockIdx.x, blockIdx.y, blockIdx.z, current, what);
  for (;;) yield();  // never resumed
}

static void entry() {
  entry_call(entry_args);
  fibers[current].state = DONE;
  for (;;) yield();
}

// Gives `mine` to the warp and returns all lanes' values once every lane has come to an exchange of this kind.
static char (*exchange(const void *mine, size_t size, int kind))[SLOT] {
  Fiber &f = fibers[current];
  Warp &w = warps[current / 32];
  unsigned side = f.turn++ % 2;
  if (w.arrived == 0) w.kind = kind;
  if (w.kind != kind) fail("lanes of a warp are in different exchanges");
  memcpy(w.slots[side][current % 32], mine, size);
  if (++w.arrived == 32) {
    w.arrived = 0;
    for (int l = 0; l < 32; l++) fibers[current / 32 * 32 + l].state = READY;
  } else {
    f.state = AT_WARP;
    yield();
  }
  return w.slots[side];
}

// One block. False when the threads wait for one another.
static bool run_block(unsigned order) {
  memset(shared, 0xff, SHARED);
  if (__start_emulated_shared) memset(__start_emulated_shared, 0xff, __stop_emulated_shared - __start_emulated_shared);
  for (int i = 0; i < threads; i++) {
    Fiber &f = fibers[i];
    f.state = READY;
    f.turn = 0;
    f.groups = f.queued = 0;
    void **top = (void **)(stacks + (size_t)(i + 1) * STACK);
    top[-1] = nullptr;
    top[-2] = (void *)entry;
    f.sp = top - 8;
  }
  for (int w = 0; w < threads / 32; w++) warps[w].arrived = 0;
  static int turn[MOST];
  for (int i = 0; i < threads; i++) turn[i] = order == 1 ? threads - 1 - i : i;
  for (;;) {
    if (order > 1)
      for (int i = threads - 1; i > 0; i--) {
        int j = next() % (i + 1), t = turn[i];
        turn[i] = turn[j];
        turn[j] = t;
      }
    bool ran = false;
    for (int i = 0; i < threads; i++) {
      int t = turn[i];
      if (fibers[t].state != READY) continue;
      ran = true;
      current = t;
      threadIdx.x = t;
      emulation_switch(&scheduler, fibers[t].sp);
      if (fault[0]) return false;
    }
    int done = 0, waiting = 0;
    for (int i = 0; i < threads; i++) done += fibers[i].state == DONE, waiting += fibers[i].state == AT_BLOCK;
    if (done == threads) return true;
    if (waiting == threads) {
      for (int i = 0; i < threads; i++) fibers[i].state = READY;
    } else if (!ran) {
      snprintf(fault, sizeof fault, "block (%u, %u, %u): %d of %d threads have ended, %d are at a barrier, the others in an exchange",
               blockIdx.x, blockIdx.y, blockIdx.z, done, threads, waiting);
      return false;
    }
  }
}

// All blocks of a launch. Returns what went wrong, or null.
static const char *run(void (*call)(void **), void **args, const unsigned *blocks, unsigned count, uint64_t order) {
  fault[0] = 0;
  if (count == 0 || count > MOST || count % 32) return "the block is not a number of whole warps, 32 at most";
  if (!stacks) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    stacks = (char *)mmap(nullptr, (size_t)MOST * STACK, PROT_READ | PROT_WRITE, flags, -1, 0);
    shared = (unsigned char *)aligned_alloc(128, SHARED);
    if (stacks == (char *)MAP_FAILED || !shared) return "no memory for the emulation";
  }
  entry_call = call;
  entry_args = args;
  threads = count;
  state = order * 0x9e3779b97f4a7c15ull | 1;
  blockDim = {count, 1, 1};
  gridDim = {blocks[0], blocks[1], blocks[2]};
  threadIdx = {0, 0, 0};
  uint64_t all = (uint64_t)blocks[0] * blocks[1] * blocks[2];
  // Shuffled: a stride that meets every block once.
  uint64_t step = 1, first = 0;
  if (order > 1 && all > 1) {
    first = next() % all;
    for (step = next() % all | 1;; step = step % all + 1) {
      uint64_t a = step, b = all;
      while (b) { uint64_t r = a % b; a = b; b = r; }
      if (a == 1) break;
    }
  }
  for (uint64_t i = 0; i < all; i++) {
    uint64_t b = order == 1 ? all - 1 - i : (first + i * step) % all;
    blockIdx = {(unsigned)(b % blocks[0]), (unsigned)(b / blocks[0] % blocks[1]), (unsigned)(b / blocks[0] / blocks[1])};
    if (!run_block(order > 1 ? 2 : (unsigned)order)) return fault;
  }
  return nullptr;
}

// Calls a kernel with its arguments from an array of pointers, as cuLaunchKernel takes them.
template <class... A, size_t... I>
static void spread(void (*kernel)(A...), void **args, std::integer_sequence<size_t, I...>) {
  kernel(*(std::remove_const_t<A> *)args[I]...);
}
template <class... A>
static void call(void (*kernel)(A...), void **args) {
  spread(kernel, args, std::make_integer_sequence<size_t, sizeof...(A)>());
}

}  // namespace emulation

static inline void __syncthreads() {
  emulation::fibers[emulation::current].state = emulation::AT_BLOCK;
  emulation::yield();
}
static inline void __syncwarp(unsigned = 0xffffffffu) { emulation::exchange("", 1, 1); }

template <class T>
static inline T __shfl_sync(unsigned, T x, int from) {
  T r;
  memcpy(&r, emulation::exchange(&x, sizeof x, 2)[from & 31], sizeof r);
  return r;
}
template <class T>
static inline T __shfl_xor_sync(unsigned, T x, int mask) {
  int from = (emulation::current & 31) ^ mask;
  T r;
  memcpy(&r, emulation::exchange(&x, sizeof x, 3)[from], sizeof r);
  return r;
}
template <class T>
static inline T __shfl_up_sync(unsigned, T x, int by) {
  int lane = emulation::current & 31;
  T r;
  memcpy(&r, emulation::exchange(&x, sizeof x, 4)[lane >= by ? lane - by : lane], sizeof r);
  return r;
}
static inline unsigned __ballot_sync(unsigned, int x) {
  auto all = emulation::exchange(&x, sizeof x, 5);
  unsigned bits = 0;
  for (int l = 0; l < 32; l++) {
    int y;
    memcpy(&y, all[l], sizeof y);
    bits |= (unsigned)(y != 0) << l;
  }
  return bits;
}
static inline unsigned __float_as_uint(float x) { unsigned u; memcpy(&u, &x, 4); return u; }
static inline float __uint_as_float(unsigned u) { float x; memcpy(&x, &u, 4); return x; }
static inline long long __double_as_longlong(double x) { long long u; memcpy(&u, &x, 8); return u; }
static inline double __longlong_as_double(long long u) { double x; memcpy(&x, &u, 8); return x; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline unsigned atomicAdd(unsigned *p, unsigned x) { unsigned old = *p; *p += x; return old; }
static inline unsigned long long atomicAdd(unsigned long long *p, unsigned long long x) { auto old = *p; *p += x; return old; }
static inline int atomicMin(int *p, int x) { int old = *p; if (x < old) *p = x; return old; }
static inline int atomicAdd(int *p, int x) { int old = *p; *p += x; return old; }
static inline unsigned atomicMin(unsigned *p, unsigned x) { unsigned old = *p; if (x < old) *p = x; return old; }
static inline unsigned long long atomicMin(unsigned long long *p, unsigned long long x) { auto old = *p; if (x < old) *p = x; return old; }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }

// --- tensor.cuh, in C++ ---

static inline float emulated_half(unsigned word, int high) { return __uint_as_float(high ? word & 0xffff0000u : word << 16); }

static inline void mma(float d[4], const unsigned a[4], const unsigned b[2]) {
  unsigned mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  auto all = emulation::exchange(mine, sizeof mine, 6);
  unsigned words[32][6];
  for (int l = 0; l < 32; l++) memcpy(words[l], all[l], sizeof mine);
  int lane = emulation::current & 31, g = lane / 4, t = lane % 4;
  for (int i = 0; i < 4; i++) {
    int row = g + i / 2 * 8, column = 2 * t + i % 2;
    float sum = d[i];
    for (int k = 0; k < 16; k++) {
      float x = emulated_half(words[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2], k % 2);
      float y = emulated_half(words[column * 4 + k % 8 / 2][4 + k / 8], k % 2);
      sum = fmaf(x, y, sum);
    }
    d[i] = sum;
  }
}
static inline void emulated_matrices(unsigned r[4], const unsigned short *row, bool transposed) {
  if ((uintptr_t)row % 16) emulation::fail("ldmatrix of a row that is not aligned to 16 bytes");
  auto all = emulation::exchange(row, 16, transposed ? 8 : 7);
  int lane = emulation::current & 31;
  for (int m = 0; m < 4; m++) {
    unsigned short two[2];
    for (int i = 0; i < 2; i++) {
      int y = transposed ? 2 * (lane % 4) + i : lane / 4, x = transposed ? lane / 4 : 2 * (lane % 4) + i;
      memcpy(&two[i], all[m * 8 + y] + 2 * x, 2);
    }
    r[m] = two[0] | (unsigned)two[1] << 16;
  }
}
static inline void load_matrices(unsigned r[4], const unsigned short *row) { emulated_matrices(r, row, false); }
static inline void load_matrices_transposed(unsigned r[4], const unsigned short *row) { emulated_matrices(r, row, true); }
static inline void copy_16(void *to, const void *from, bool there) {
  emulation::Fiber &f = emulation::fibers[emulation::current];
  if (((uintptr_t)to | (uintptr_t)from) % 16) emulation::fail("a background copy that is not aligned to 16 bytes");
  if (f.queued == emulation::QUEUE) emulation::fail("too many background copies at once");
  f.queue[f.queued++] = {to, there ? from : nullptr, 16, f.groups};
}
static inline void copies_end() { emulation::fibers[emulation::current].groups++; }
template <int N>
static inline void copies_wait() {
  emulation::Fiber &f = emulation::fibers[emulation::current];
  int kept = 0;
  for (int i = 0; i < f.queued; i++) {
    emulation::Copy c = f.queue[i];
    if (c.group >= f.groups - N) f.queue[kept++] = c;
    else if (c.from) memcpy(c.to, c.from, c.bytes);
    else memset(c.to, 0, c.bytes);
  }
  f.queued = kept;
}
static inline unsigned emulated_narrow(float x) {
  unsigned u = __float_as_uint(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return ((u + 0x7fffu + ((u >> 16) & 1u)) >> 16) & 0xffffu;
}
static inline unsigned pair(float low, float high) { return emulated_narrow(low) | emulated_narrow(high) << 16; }
static inline float power_of_two(float x) {
  float r = exp2f(x);
  return r < 1.17549435e-38f ? 0.0f : r;
}
