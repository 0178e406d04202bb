// Rotation in place, a thread a pair.

template <class T>
static __device__ void apply(T *x, const u32 *positions, const float *cosines, const float *sines, int rows, int heads, int stride, int offset, int half, int interleaved, int inverse) {
  u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (u64)rows * heads * half) return;
  int pair = i % half;
  u64 slot = i / half;
  u64 at = (u64)positions[slot / heads] * half + pair;
  float c = cosines[at], s = inverse ? -sines[at] : sines[at];
  T *p = x + slot * stride + offset;
  T *first = interleaved ? p + 2 * pair : p + pair, *second = interleaved ? first + 1 : first + half;
  float a = load(first), b = load(second);
  store(first, fmaf(a, c, -(b * s)));
  store(second, fmaf(b, c, a * s));
}
extern "C" __global__ void rope_f32(float *x, const u32 *positions, const float *cosines, const float *sines, int rows, int heads, int stride, int offset, int half, int interleaved, int inverse) {
  apply(x, positions, cosines, sines, rows, heads, stride, offset, half, interleaved, inverse);
}
extern "C" __global__ void rope_bf16(bf16 *x, const u32 *positions, const float *cosines, const float *sines, int rows, int heads, int stride, int offset, int half, int interleaved, int inverse) {
  apply(x, positions, cosines, sines, rows, heads, stride, offset, half, interleaved, inverse);
}
