// What every source may use: types, loads and stores of f32 and bf16, e^x and ln x with the CPU's bits, sums over a block.
// No header of a toolkit is included: NVRTC compiles this alone, and g++ compiles it behind emulation/shim.h.

typedef unsigned short bf16;  // by its bits
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifndef EMULATED
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

#define WARP 32
#define EVERYONE 0xffffffffu
#define INF __uint_as_float(0x7f800000u)

static __device__ __forceinline__ float widen(bf16 x) { return __uint_as_float((u32)x << 16); }

// To nearest even; a NaN stays one.
static __device__ __forceinline__ bf16 narrow(float x) {
  u32 u = __float_as_uint(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return (bf16)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

static __device__ __forceinline__ float load(const float *p) { return *p; }
static __device__ __forceinline__ float load(const bf16 *p) { return widen(*p); }
static __device__ __forceinline__ void store(float *p, float x) { *p = x; }
static __device__ __forceinline__ void store(bf16 *p, float x) { *p = narrow(x); }

// Four values side by side: 16 or 8 bytes at once. `p` is aligned to that.
static __device__ __forceinline__ float4 load4(const float *p) { return *(const float4 *)p; }
static __device__ __forceinline__ float4 load4(const bf16 *p) {
  uint2 v = *(const uint2 *)p;
  float4 r;
  r.x = __uint_as_float(v.x << 16);
  r.y = __uint_as_float(v.x & 0xffff0000u);
  r.z = __uint_as_float(v.y << 16);
  r.w = __uint_as_float(v.y & 0xffff0000u);
  return r;
}
static __device__ __forceinline__ void store4(float *p, float4 v) { *(float4 *)p = v; }
static __device__ __forceinline__ void store4(bf16 *p, float4 v) {
  uint2 r;
  r.x = (u32)narrow(v.x) | ((u32)narrow(v.y) << 16);
  r.y = (u32)narrow(v.z) | ((u32)narrow(v.w) << 16);
  *(uint2 *)p = r;
}

// e^x as kernels/src/lanes/exp.rs computes it, operation by operation.
static __device__ __forceinline__ float exponential(float x) {
  if (x != x) return x;
  x = fminf(89.0f, fmaxf(-104.0f, x));
  const float big = 12582912.0f;
  float n = fmaf(x, 1.44269502f, big) - big;
  float r = fmaf(n, -0.69314575f, x);
  r = fmaf(n, -1.4286068e-6f, r);
  float q = 0.0013814382f;
  q = fmaf(q, r, 0.008368835f);
  q = fmaf(q, r, 0.0416684f);
  q = fmaf(q, r, 0.1666652f);
  q = fmaf(q, r, 0.49999994f);
  float y = 1.0f + fmaf(r * r, q, r);
  // 2^n in two steps, so that results beyond the normal range come out right.
  int i = (int)n, half = i / 2;
  return y * __uint_as_float((u32)(half + 127) << 23) * __uint_as_float((u32)(i - half + 127) << 23);
}

// ln x of a normal x > 0, as above.
static __device__ float logarithm(float x) {
  if (!(x >= 1.17549435e-38f && x <= 3.40282347e38f)) return x == 0.0f ? -INF : (x == INF ? x : INF - INF);
  u32 bits = __float_as_uint(x);
  int k = (int)(bits >> 23) - 127;
  double m = (double)__uint_as_float((bits & 0x007fffffu) | 0x3f800000u);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    k += 1;
  }
  double s = (m - 1.0) / (m + 1.0), square = s * s, sum = 0.0;
  for (int odd = 21; odd >= 1; odd -= 2) sum = sum * square + 1.0 / (double)odd;
  return (float)(2.0 * s * sum + (double)k * 0.6931471805599453);
}

static __device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

static __device__ __forceinline__ float warp_sum(float x) {
  for (int d = WARP / 2; d > 0; d /= 2) x += __shfl_xor_sync(EVERYONE, x, d);
  return x;
}
static __device__ __forceinline__ double warp_sum(double x) {
  for (int d = WARP / 2; d > 0; d /= 2) x += __shfl_xor_sync(EVERYONE, x, d);
  return x;
}
static __device__ __forceinline__ float warp_max(float x) {
  for (int d = WARP / 2; d > 0; d /= 2) x = fmaxf(x, __shfl_xor_sync(EVERYONE, x, d));
  return x;
}

// Sums over all threads of a block, the same bits in each thread. `room` is shared, a value a warp (32 at most).
static __device__ float block_sum(float x, float *room) {
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  x = warp_sum(x);
  __syncthreads();
  if (lane == 0) room[warp] = x;
  __syncthreads();
  return warp_sum(lane < warps ? room[lane] : 0.0f);
}
static __device__ double block_sum(double x, double *room) {
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  x = warp_sum(x);
  __syncthreads();
  if (lane == 0) room[warp] = x;
  __syncthreads();
  return warp_sum(lane < warps ? room[lane] : 0.0);
}
static __device__ float block_max(float x, float *room) {
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  x = warp_max(x);
  __syncthreads();
  if (lane == 0) room[warp] = x;
  __syncthreads();
  return warp_max(lane < warps ? room[lane] : -INF);
}
