// Reductions over gradients, in the CPU's order.

// Blocks of 4096 values; lane l of sixteen takes l, l + 16, …; two such blocks a warp.
extern "C" __global__ void squares(const float *g, double *sums, u64 count, int blocks) {
  int warp = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
  int block = 2 * warp + lane / 16;
  double sum = 0.0;
  if (block < blocks) {
    u64 start = (u64)block * 4096, end = start + 4096 < count ? start + 4096 : count;
    for (u64 i = start + lane % 16; i < end; i += 16) sum = fma((double)g[i], (double)g[i], sum);
  }
  for (int d = 8; d > 0; d /= 2) sum += __shfl_xor_sync(EVERYONE, sum, d);
  if (block < blocks && lane % 16 == 0) sums[block] = sum;
}

// The least index of a NaN or an infinity, where `found` begins as the greatest number.
static __device__ __forceinline__ bool is_finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }
static __device__ __forceinline__ bool is_finite(bf16 x) { return (x & 0x7f80u) != 0x7f80u; }
template <class T>
static __device__ void not_finite(const T *g, u64 *found, u64 count) {
  for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (u64)gridDim.x * blockDim.x)
    if (!is_finite(g[i])) {
      atomicMin(found, i);
      return;
    }
}
extern "C" __global__ void not_finite_f32(const float *g, u64 *found, u64 count) { not_finite(g, found, count); }
extern "C" __global__ void not_finite_bf16(const bf16 *g, u64 *found, u64 count) { not_finite(g, found, count); }
