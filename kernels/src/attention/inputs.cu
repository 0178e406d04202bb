// --- from products to pages ---

// x with what is added to it, as it would have been stored in between.
template <class T>
static __device__ __forceinline__ T biased(const T *x, const float *bias, int i) {
  T y = x[i];
  if (bias) store(&y, load(&y) + bias[i]);
  return y;
}

// Products of a row to what decoding reads: each with its bias; q rotated where it is, k rotated and v as it is to the row's place in
// the pages. Blocks [row, part of it]; a thread a pair that is rotated, or a value that is not. The rotation is rope/cuda.cu's.
template <class T>
static __device__ void inputs(T *q, const T *k, const T *v, const float *q_bias, const float *k_bias, const float *v_bias, const u32 *places, const u32 *positions, const float *cosines, const float *sines, T *keys, T *values, int heads, int kv_heads, int dk, int dv, int offset, int half, int interleaved) {
  u64 row = blockIdx.x, place = places[row];
  int i = blockIdx.y * blockDim.x + threadIdx.x, each = dk - half, turned = (heads + kv_heads) * each;
  if (i >= turned) {
    i -= turned;
    int width = kv_heads * dv;
    if (i < width) values[place * width + i] = biased(v + row * width, v_bias, i);
    return;
  }
  int head = i / each, part = i - head * each;
  const T *from;
  T *to;
  const float *bias;
  if (head < heads) {
    from = to = q + (row * heads + head) * dk;
    bias = q_bias ? q_bias + head * dk : 0;
  } else {
    head -= heads;
    from = k + (row * kv_heads + head) * dk;
    to = keys + (place * kv_heads + head) * dk;
    bias = k_bias ? k_bias + head * dk : 0;
  }
  if (part >= half) {
    int d = part - half;
    if (d >= offset) d += 2 * half;
    to[d] = biased(from, bias, d);
    return;
  }
  u64 at = (u64)positions[row] * half + part;
  float c = cosines[at], s = sines[at];
  int first = offset + (interleaved ? 2 * part : part), second = first + (interleaved ? 1 : half);
  T x = biased(from, bias, first), y = biased(from, bias, second);
  float a = load(&x), b = load(&y);
  store(to + first, fmaf(a, c, -(b * s)));
  store(to + second, fmaf(b, c, a * s));
}
extern "C" __global__ void cache_inputs_f32(float *q, const float *k, const float *v, const float *q_bias, const float *k_bias, const float *v_bias, const u32 *places, const u32 *positions, const float *cosines, const float *sines, float *keys, float *values, int heads, int kv_heads, int dk, int dv, int offset, int half, int interleaved) {
  inputs(q, k, v, q_bias, k_bias, v_bias, places, positions, cosines, sines, keys, values, heads, kv_heads, dk, dv, offset, half, interleaved);
}
extern "C" __global__ void cache_inputs_bf16(bf16 *q, const bf16 *k, const bf16 *v, const float *q_bias, const float *k_bias, const float *v_bias, const u32 *places, const u32 *positions, const float *cosines, const float *sines, bf16 *keys, bf16 *values, int heads, int kv_heads, int dk, int dv, int offset, int half, int interleaved) {
  inputs(q, k, v, q_bias, k_bias, v_bias, places, positions, cosines, sines, keys, values, heads, kv_heads, dk, dv, offset, half, interleaved);
}

