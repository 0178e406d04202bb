// Decoding from pages in bf16 on tensor cores, of what tensor.cu is made of.

#define CHUNK 128  // positions of a block of decoding, 32 a warp

// Decoding: a block takes up to 16 pairs of a row and a head of the group, all of rows whose sequences have the chunk's pages in common, so
// that a shared prompt is read once for them. The four warps share the positions; their results are folded at the end, in order. Each pair
// leaves its top, sum and output, unnormalized, in part [row, head, chunks, dv + 2]. A row's bits do not depend on the rows beside it.
// Grid: (items, kv heads).
struct Item {
  int first, count, chunk, pages;  // rows, and the row whose table lists all pages of the chunk that any of them sees
};
template <int DK, int DV>
static __device__ void tensor_decode(const bf16 *q, const bf16 *k, const bf16 *v, const u32 *tables, int width, const u32 *lens, const int *items, float *part, int heads, int kv_heads, float scale, int chunks, unsigned char *shared) {
  Item item = ((const Item *)items)[blockIdx.x];
  // A recorded step has as many items as it could ever need.
  if (item.count == 0) return;
  int kv = blockIdx.y, group = heads / kv_heads, pairs = item.count * group, start = item.chunk * CHUNK;
  const u32 *table = tables + (u64)item.pages * width;
  int there = min(CHUNK, (int)lens[item.pages] - start);
  bf16 *sq = (bf16 *)shared, *sk = sq + 16 * (DK + 8), *sv = sk + CHUNK * (DK + 8);
  float *so = (float *)sk, *tops = so + 4 * 16 * DV, *sums = tops + 64;
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
  auto where = [&](int row) { return table[(start + row) / 32] * 32 + row % 32; };
  bring<DK, 16>(sq, q, 1, 0, pairs, [&](int m) { return (item.first + m / group) * heads + kv * group + m % group; });
  bring<DK, CHUNK>(sk, k, kv_heads, kv, there, where);
  bring<DV, CHUNK>(sv, v, kv_heads, kv, there, where);
  copies_end();
  copies_wait<0>();
  __syncthreads();
  float p[4][4], o[DV / 8][4], top[2] = {-INF, -INF}, sum[2] = {0.0f, 0.0f};
  zero<32>(p);
  zero<DV>(o);
  by_rows<DK, 32>(p, sq, sk + warp * 32 * (DK + 8));
  float by = scale * LOG2E;
#pragma unroll
  for (int e = 0; e < 4; e++) {
    int m = g + e / 2 * 8, see = m < pairs ? (int)lens[item.first + m / group] : 0;
#pragma unroll
    for (int n = 0; n < 4; n++) {
      p[n][e] = start + warp * 32 + 8 * n + 2 * t + e % 2 < see ? p[n][e] * by : -INF;
      top[e / 2] = fmaxf(top[e / 2], p[n][e]);
    }
  }
#pragma unroll
  for (int r = 0; r < 2; r++) top[r] = quad_max(top[r]);
#pragma unroll
  for (int n = 0; n < 4; n++)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      p[n][e] = top[e / 2] == -INF ? 0.0f : power_of_two(p[n][e] - top[e / 2]);
      sum[e / 2] += p[n][e];
    }
  by_columns<DV, 32>(o, p, sv + warp * 32 * (DV + 8));
  // Keys and values have been used: their room takes the warps' results.
  __syncthreads();
#pragma unroll
  for (int r = 0; r < 2; r++) {
    sum[r] = quad_sum(sum[r]);
    int m = g + 8 * r;
    if (t == 0) {
      tops[warp * 16 + m] = top[r];
      sums[warp * 16 + m] = sum[r];
    }
#pragma unroll
    for (int n = 0; n < DV / 8; n++) {
      so[(warp * 16 + m) * DV + 8 * n + 2 * t] = o[n][2 * r];
      so[(warp * 16 + m) * DV + 8 * n + 2 * t + 1] = o[n][2 * r + 1];
    }
  }
  __syncthreads();
  for (int m = warp; m < pairs; m += 4) {
    float most = fmaxf(fmaxf(tops[m], tops[16 + m]), fmaxf(tops[32 + m], tops[48 + m])), share[4], total = 0.0f;
#pragma unroll
    for (int w = 0; w < 4; w++) {
      share[w] = power_of_two(tops[w * 16 + m] - most);
      total = fmaf(sums[w * 16 + m], share[w], total);
    }
    u64 row = (u64)(item.first + m / group) * heads + kv * group + m % group;
    float *to = part + (row * chunks + item.chunk) * (DV + 2);
    if (lane == 0) {
      to[0] = most * LN2;
      to[1] = total;
    }
    for (int d = lane; d < DV; d += WARP) {
      float x = 0.0f;
#pragma unroll
      for (int w = 0; w < 4; w++) x = fmaf(so[(w * 16 + m) * DV + d], share[w], x);
      to[2 + d] = x;
    }
  }
}

// Decoding in the order of forward, so that a row has the bits that it has in a packed batch: a block takes up to 64 pairs of a row and a
// head of the group, of neighbours whose tables agree as far as each sees, and all positions. Grid: (items, kv heads).
template <int DK, int DV>
static __device__ void tensor_decode_whole(const bf16 *q, const bf16 *k, const bf16 *v, const u32 *tables, int width, const u32 *lens, const int *items, bf16 *out, int heads, int kv_heads, float scale, unsigned char *shared) {
  Item item = ((const Item *)items)[blockIdx.x];
  if (item.count == 0) return;
  int kv = blockIdx.y, group = heads / kv_heads, pairs = item.count * group, to = (int)lens[item.pages];
  const u32 *table = tables + (u64)item.pages * width;
  int warp = threadIdx.x / WARP, g = threadIdx.x % WARP / 4, last[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    int m = warp * 16 + g + 8 * r;
    last[r] = m < pairs ? (int)lens[item.first + m / group] - 1 : to;
  }
  Walked<DV> w;
  auto place = [&](int m) { return (u64)(item.first + m / group) * heads + kv * group + m % group; };
  walk<DK, DV>(w, q, k, v, 1, 0, kv_heads, kv, pairs, to, last, -1, scale, shared, place, [&](int position) { return table[position / 32] * 32 + position % 32; });
  put_rows<DV>(out, w.o, warp * 16, pairs, 1.0f / w.sum[0], 1.0f / w.sum[1], place);
}

extern "C" __global__ void tensor_decode_64_64(const bf16 *q, const bf16 *k, const bf16 *v, const u32 *tables, int width, const u32 *lens, const int *items, float *part, int heads, int kv_heads, float scale, int chunks) {
  DYNAMIC_SHARED(shared);
  tensor_decode<64, 64>(q, k, v, tables, width, lens, items, part, heads, kv_heads, scale, chunks, shared);
}
extern "C" __global__ void tensor_decode_128_128(const bf16 *q, const bf16 *k, const bf16 *v, const u32 *tables, int width, const u32 *lens, const int *items, float *part, int heads, int kv_heads, float scale, int chunks) {
  DYNAMIC_SHARED(shared);
  tensor_decode<128, 128>(q, k, v, tables, width, lens, items, part, heads, kv_heads, scale, chunks, shared);
}
extern "C" __global__ void tensor_decode_192_128(const bf16 *q, const bf16 *k, const bf16 *v, const u32 *tables, int width, const u32 *lens, const int *items, float *part, int heads, int kv_heads, float scale, int chunks) {
  DYNAMIC_SHARED(shared);
  tensor_decode<192, 128>(q, k, v, tables, width, lens, items, part, heads, kv_heads, scale, chunks, shared);
}
extern "C" __global__ void tensor_decode_whole_64_64(const bf16 *q, const bf16 *k, const bf16 *v, const u32 *tables, int width, const u32 *lens, const int *items, bf16 *out, int heads, int kv_heads, float scale) {
  DYNAMIC_SHARED(shared);
  tensor_decode_whole<64, 64>(q, k, v, tables, width, lens, items, out, heads, kv_heads, scale, shared);
}
extern "C" __global__ void tensor_decode_whole_128_128(const bf16 *q, const bf16 *k, const bf16 *v, const u32 *tables, int width, const u32 *lens, const int *items, bf16 *out, int heads, int kv_heads, float scale) {
  DYNAMIC_SHARED(shared);
  tensor_decode_whole<128, 128>(q, k, v, tables, width, lens, items, out, heads, kv_heads, scale, shared);
}
extern "C" __global__ void tensor_decode_whole_192_128(const bf16 *q, const bf16 *k, const bf16 *v, const u32 *tables, int width, const u32 *lens, const int *items, bf16 *out, int heads, int kv_heads, float scale) {
  DYNAMIC_SHARED(shared);
  tensor_decode_whole<192, 128>(q, k, v, tables, width, lens, items, out, heads, kv_heads, scale, shared);
}
