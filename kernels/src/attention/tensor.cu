// Attention in bf16 on tensor cores, for the head sizes that models have; cuda.cu has the plain tiles for all others.
//
// A warp owns 16 rows of a product and keeps its sums in registers in mma's layout (tensor.cuh): lane l has rows l/4 and l/4 + 8, columns
// 2(l%4) and one more of every eight. Scores, rounded to bf16, are the left operand of the next product as they lie. Rows in shared memory
// are 16 bytes longer than their values, so that eight of them fall into different banks. The next tile is fetched while one is used.

#define KEYS 64     // positions of a tile in forward and dq
#define BLOCK_Q 64  // query rows of a block: 16 a warp
#define BLOCK_K 64  // key rows of a block in dk and dv
#define TILE_Q 32   // query rows of a tile there
#define LOG2E 1.44269504f
#define LN2 0.693147182f

// sums (16 × N) += a (16 rows of D) · b (N rows of D)ᵀ
template <int D, int N>
static __device__ __forceinline__ void by_rows(float (*sums)[4], const bf16 *a, const bf16 *b) {
  int lane = threadIdx.x % WARP;
#pragma unroll
  for (int k = 0; k < D / 16; k++) {
    u32 left[4], right[4];
    load_matrices(left, a + lane % 16 * (D + 8) + k * 16 + lane / 16 * 8);
#pragma unroll
    for (int n = 0; n < N / 16; n++) {
      load_matrices(right, b + (n * 16 + lane / 16 * 8 + lane % 8) * (D + 8) + k * 16 + lane / 8 % 2 * 8);
      mma(sums[2 * n], left, right);
      mma(sums[2 * n + 1], left, right + 2);
    }
  }
}

// sums (16 × D) += p (16 × N, in mma's layout) · b (N rows of D)
template <int D, int N>
static __device__ __forceinline__ void by_columns(float (*sums)[4], const float (*p)[4], const bf16 *b) {
  int lane = threadIdx.x % WARP;
#pragma unroll
  for (int k = 0; k < N / 16; k++) {
    u32 left[4] = {pair(p[2 * k][0], p[2 * k][1]), pair(p[2 * k][2], p[2 * k][3]), pair(p[2 * k + 1][0], p[2 * k + 1][1]),
                   pair(p[2 * k + 1][2], p[2 * k + 1][3])};
    u32 right[4];
#pragma unroll
    for (int n = 0; n < D / 16; n++) {
      load_matrices_transposed(right, b + (k * 16 + lane % 16) * (D + 8) + n * 16 + lane / 16 * 8);
      mma(sums[2 * n], left, right);
      mma(sums[2 * n + 1], left, right + 2);
    }
  }
}

template <int N>
static __device__ __forceinline__ void zero(float (*sums)[4]) {
#pragma unroll
  for (int n = 0; n < N / 8; n++) sums[n][0] = sums[n][1] = sums[n][2] = sums[n][3] = 0.0f;
}

// The first `count` of N rows of D values to shared memory, in the background, zeros behind them; `where` gives the row of each.
template <int D, int N, class Where>
static __device__ __forceinline__ void bring(bf16 *to, const bf16 *from, int heads, int head, int count, Where where) {
#pragma unroll
  for (int i = threadIdx.x; i < N * (D / 8); i += 4 * WARP) {
    int row = i / (D / 8), part = i % (D / 8) * 8;
    bool there = row < count;
    const bf16 *at = there ? from + ((u64)where(row) * heads + head) * D + part : from;
    copy_16(to + row * (D + 8) + part, at, there);
  }
}

// A row's share of a result, from mma's layout, to out[place(row)] for rows `first + l/4` and 8 more, below `count`.
template <int D, class Place>
static __device__ __forceinline__ void put_rows(bf16 *out, float (*sums)[4], int first, int count, float low, float high, Place place) {
  int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    int i = first + g + 8 * half;
    if (i >= count) continue;
    bf16 *to = out + place(i) * D + 2 * t;
    float by = half ? high : low;
#pragma unroll
    for (int n = 0; n < D / 8; n++) *(u32 *)(to + 8 * n) = pair(sums[n][2 * half] * by, sums[n][2 * half + 1] * by);
  }
}

static __device__ __forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(EVERYONE, x, 1);
  return x + __shfl_xor_sync(EVERYONE, x, 2);
}
static __device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(EVERYONE, x, 1));
  return fmaxf(x, __shfl_xor_sync(EVERYONE, x, 2));
}

// What a warp has of 16 rows while it walks over positions: the greatest exponent so far, the sum, and the output, unnormalized.
template <int DV>
struct Walked {
  float o[DV / 8][4], top[2], sum[2];
};

// Up to 64 query rows, 16 a warp, over positions 0..to in tiles of 64; `query` and `key` give a row of q and a position's row of k and v.
// `last` has the last position that the lane's two rows see, `least` the least of the warp's rows. Where a row sees nothing of a tile, its
// bits stay: what a row gets does not depend on the rows beside it, and is the same in a packed batch and in pages.
template <int DK, int DV, class Query, class Key>
static __device__ __forceinline__ void walk(Walked<DV> &w, const bf16 *q, const bf16 *k, const bf16 *v, int heads, int head, int kv_heads, int kv, int rows, int to, const int (&last)[2], int least, float scale, unsigned char *shared, Query query, Key key) {
  bf16 *sq = (bf16 *)shared, *sk = sq + BLOCK_Q * (DK + 8), *sv = sk + 2 * KEYS * (DK + 8);
  int warp = threadIdx.x / WARP, t = threadIdx.x % 4, count = (to + KEYS - 1) / KEYS;
  auto fetch_tile = [&](int i) {
    int start = i * KEYS, some = min(KEYS, to - start);
    auto where = [&](int row) { return key(start + row); };
    bring<DK, KEYS>(sk + i % 2 * KEYS * (DK + 8), k, kv_heads, kv, some, where);
    bring<DV, KEYS>(sv + i % 2 * KEYS * (DV + 8), v, kv_heads, kv, some, where);
  };
  bring<DK, BLOCK_Q>(sq, q, heads, head, rows, query);
  fetch_tile(0);
  copies_end();
  w.top[0] = w.top[1] = -INF;
  w.sum[0] = w.sum[1] = 0.0f;
  zero<DV>(w.o);
  float by = scale * LOG2E;
  for (int i = 0; i < count; i++) {
    if (i + 1 < count) fetch_tile(i + 1);
    copies_end();
    copies_wait<1>();
    __syncthreads();
    // A warp without rows helps to fetch.
    if (warp * 16 < rows) {
      float p[KEYS / 8][4];
      zero<KEYS>(p);
      by_rows<DK, KEYS>(p, sq + warp * 16 * (DK + 8), sk + i % 2 * KEYS * (DK + 8));
      float most[2] = {w.top[0], w.top[1]};
      bool edge = (i + 1) * KEYS - 1 > least;
#pragma unroll
      for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          float x = p[n][e] * by;
          if (edge && i * KEYS + 8 * n + 2 * t + e % 2 > last[e / 2]) x = -INF;
          p[n][e] = x;
          most[e / 2] = fmaxf(most[e / 2], x);
        }
#pragma unroll
      for (int r = 0; r < 2; r++) {
        most[r] = quad_max(most[r]);
        float again = power_of_two(w.top[r] - most[r]);
        w.top[r] = most[r];
        w.sum[r] *= again;
#pragma unroll
        for (int n = 0; n < DV / 8; n++) w.o[n][2 * r] *= again, w.o[n][2 * r + 1] *= again;
      }
#pragma unroll
      for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          p[n][e] = power_of_two(p[n][e] - w.top[e / 2]);
          w.sum[e / 2] += p[n][e];
        }
      by_columns<DV, KEYS>(w.o, p, sv + i % 2 * KEYS * (DV + 8));
    }
    __syncthreads();
  }
  w.sum[0] = quad_sum(w.sum[0]);
  w.sum[1] = quad_sum(w.sum[1]);
}

// Grid: (tiles of 64 query rows, heads), four warps.
template <int DK, int DV>
static __device__ void tensor_forward(const bf16 *q, const bf16 *k, const bf16 *v, const int *segments, const int *tiles, const u32 *paths, bf16 *out, float *lse, int heads, int kv_heads, float scale, unsigned char *shared) {
  Segment s = ((const Segment *)segments)[tiles[2 * blockIdx.x]];
  int first = tiles[2 * blockIdx.x + 1], h = blockIdx.y, kv = h / (heads / kv_heads), before = s.positions - s.count;
  const u32 *path = paths + s.path;
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4, rows = min(BLOCK_Q, s.count - first);
  int least = before + first + warp * 16, last[2] = {least + g, least + g + 8};
  Walked<DV> w;
  auto query = [&](int row) { return s.first + first + row; };
  walk<DK, DV>(w, q, k, v, heads, h, kv_heads, kv, rows, before + first + rows, last, least, scale, shared, query, [&](int position) { return path[position]; });
  put_rows<DV>(out, w.o, warp * 16, rows, 1.0f / w.sum[0], 1.0f / w.sum[1], [&](int row) { return (u64)query(row) * heads + h; });
#pragma unroll
  for (int r = 0; r < 2; r++) {
    int row = warp * 16 + g + 8 * r;
    if (t == 0 && row < rows) lse[(u64)query(row) * heads + h] = w.top[r] * LN2 + logarithm(w.sum[r]);
  }
}

// dq, in the order of forward: P again from lse, dS = P·(dout·vᵀ − dot), dq = scale · dS·k.
template <int DK, int DV>
static __device__ void tensor_backward_q(const bf16 *q, const bf16 *k, const bf16 *v, const float *lse, const float *dots, const bf16 *dout, const int *segments, const int *tiles, const u32 *paths, bf16 *dq, int heads, int kv_heads, float scale, unsigned char *shared) {
  Segment s = ((const Segment *)segments)[tiles[2 * blockIdx.x]];
  int first = tiles[2 * blockIdx.x + 1], h = blockIdx.y, kv = h / (heads / kv_heads), before = s.positions - s.count;
  const u32 *path = paths + s.path;
  bf16 *sq = (bf16 *)shared, *so = sq + BLOCK_Q * (DK + 8), *sk = so + BLOCK_Q * (DV + 8), *sv = sk + 2 * KEYS * (DK + 8);
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
  int to = before + min(first + BLOCK_Q, s.count), count = (to + KEYS - 1) / KEYS;
  auto fetch_tile = [&](int i) {
    int start = i * KEYS, some = min(KEYS, to - start);
    auto where = [&](int row) { return path[start + row]; };
    bring<DK, KEYS>(sk + i % 2 * KEYS * (DK + 8), k, kv_heads, kv, some, where);
    bring<DV, KEYS>(sv + i % 2 * KEYS * (DV + 8), v, kv_heads, kv, some, where);
  };
  auto own_row = [&](int row) { return s.first + first + row; };
  bring<DK, BLOCK_Q>(sq, q, heads, h, s.count - first, own_row);
  bring<DV, BLOCK_Q>(so, dout, heads, h, s.count - first, own_row);
  fetch_tile(0);
  copies_end();
  float less[2], total[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    int row = first + warp * 16 + g + 8 * r;
    u64 at = (u64)(s.first + row) * heads + h;
    total[r] = row < s.count ? lse[at] * LOG2E : INF;
    less[r] = row < s.count ? dots[at] : 0.0f;
  }
  float o[DK / 8][4];
  zero<DK>(o);
  float by = scale * LOG2E;
  int own = before + first + warp * 16 + g;
  for (int i = 0; i < count; i++) {
    if (i + 1 < count) fetch_tile(i + 1);
    copies_end();
    copies_wait<1>();
    __syncthreads();
    float p[KEYS / 8][4], d[KEYS / 8][4];
    zero<KEYS>(p);
    zero<KEYS>(d);
    by_rows<DK, KEYS>(p, sq + warp * 16 * (DK + 8), sk + i % 2 * KEYS * (DK + 8));
    by_rows<DV, KEYS>(d, so + warp * 16 * (DV + 8), sv + i % 2 * KEYS * (DV + 8));
    bool edge = (i + 1) * KEYS - 1 > before + first + warp * 16;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        float x = power_of_two(fmaf(p[n][e], by, -total[e / 2]));
        if (edge && i * KEYS + 8 * n + 2 * t + e % 2 > own + e / 2 * 8) x = 0.0f;
        p[n][e] = x * (d[n][e] - less[e / 2]);
      }
    by_columns<DK, KEYS>(o, p, sk + i % 2 * KEYS * (DK + 8));
    __syncthreads();
  }
  put_rows<DK>(dq, o, first + warp * 16, s.count, scale, scale, [&](int row) { return (u64)(s.first + row) * heads + h; });
}

// dk and dv of a run of up to 64 key rows (a warp has 16), over visits, heads of the group and tiles of 32 queries, in that order:
// Pᵀ = e^(k·qᵀ − lse), dv += Pᵀ·dout, dSᵀ = Pᵀ·(v·doutᵀ − dot), dk += dSᵀ·q. Grid: (runs, kv heads), four warps.
template <int DK, int DV>
static __device__ void tensor_backward_kv(const bf16 *q, const bf16 *k, const bf16 *v, const float *lse, const float *dots, const bf16 *dout, const int *segments, const int *runs, const int *visits, bf16 *gk, bf16 *gv, int heads, int kv_heads, float scale, unsigned char *shared) {
  Run run = ((const Run *)runs)[blockIdx.x];
  int kv = blockIdx.y, group = heads / kv_heads;
  bf16 *sk = (bf16 *)shared, *sv = sk + BLOCK_K * (DK + 8), *sq = sv + BLOCK_K * (DV + 8), *so = sq + 2 * TILE_Q * (DK + 8);
  float *totals = (float *)(so + 2 * TILE_Q * (DV + 8)), *lesses = totals + 2 * TILE_Q;
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
  auto own_row = [&](int row) { return run.row + row; };
  bring<DK, BLOCK_K>(sk, k, kv_heads, kv, run.count, own_row);
  bring<DV, BLOCK_K>(sv, v, kv_heads, kv, run.count, own_row);
  float ok[DK / 8][4], ov[DV / 8][4];
  zero<DK>(ok);
  zero<DV>(ov);
  float by = scale * LOG2E;
  for (int visit = run.first; visit < run.first + run.visits; visit++) {
    Segment s = ((const Segment *)segments)[visits[2 * visit]];
    int position = visits[2 * visit + 1], before = s.positions - s.count, begin = max(0, position - before);
    // Tiles of all heads of the group in one row, so that the next head's first is fetched during the last of this one.
    int each = (s.count - begin + TILE_Q - 1) / TILE_Q, count = each * group;
    auto fetch_tile = [&](int i) {
      int h = kv * group + i / each, start = begin + i % each * TILE_Q, some = min(TILE_Q, s.count - start);
      auto where = [&](int row) { return s.first + start + row; };
      bring<DK, TILE_Q>(sq + i % 2 * TILE_Q * (DK + 8), q, heads, h, some, where);
      bring<DV, TILE_Q>(so + i % 2 * TILE_Q * (DV + 8), dout, heads, h, some, where);
      if (threadIdx.x < TILE_Q) {
        u64 at = (u64)(s.first + start + threadIdx.x) * heads + h;
        bool there = (int)threadIdx.x < some;
        totals[i % 2 * TILE_Q + threadIdx.x] = there ? lse[at] * LOG2E : INF;
        lesses[i % 2 * TILE_Q + threadIdx.x] = there ? dots[at] : 0.0f;
      }
    };
    if (count > 0) fetch_tile(0);
    copies_end();
    for (int i = 0; i < count; i++) {
      if (i + 1 < count) fetch_tile(i + 1);
      copies_end();
      copies_wait<1>();
      __syncthreads();
      const bf16 *tq = sq + i % 2 * TILE_Q * (DK + 8), *to = so + i % 2 * TILE_Q * (DV + 8);
      const float *total = totals + i % 2 * TILE_Q, *less = lesses + i % 2 * TILE_Q;
      float p[TILE_Q / 8][4], d[TILE_Q / 8][4];
      zero<TILE_Q>(p);
      zero<TILE_Q>(d);
      by_rows<DK, TILE_Q>(p, sk + warp * 16 * (DK + 8), tq);
      by_rows<DV, TILE_Q>(d, sv + warp * 16 * (DV + 8), to);
      int query = before + begin + i % each * TILE_Q, key = position + warp * 16 + g;
#pragma unroll
      for (int n = 0; n < TILE_Q / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          int column = 8 * n + 2 * t + e % 2;
          float x = power_of_two(fmaf(p[n][e], by, -total[column]));
          if (key + e / 2 * 8 > query + column) x = 0.0f;
          p[n][e] = x;
          d[n][e] = x * (d[n][e] - less[column]);
        }
      by_columns<DV, TILE_Q>(ov, p, to);
      by_columns<DK, TILE_Q>(ok, d, tq);
      __syncthreads();
    }
  }
  // With no visit, the copies of k and v are still on their way.
  copies_wait<0>();
  auto place = [&](int row) { return (u64)(run.row + row) * kv_heads + kv; };
  put_rows<DK>(gk, ok, warp * 16, run.count, scale, scale, place);
  put_rows<DV>(gv, ov, warp * 16, run.count, 1.0f, 1.0f, place);
}

extern "C" __global__ void tensor_forward_64_64(const bf16 *q, const bf16 *k, const bf16 *v, const int *segments, const int *tiles, const u32 *paths, bf16 *out, float *lse, int heads, int kv_heads, float scale) {
  DYNAMIC_SHARED(shared);
  tensor_forward<64, 64>(q, k, v, segments, tiles, paths, out, lse, heads, kv_heads, scale, shared);
}
extern "C" __global__ void tensor_backward_q_64_64(const bf16 *q, const bf16 *k, const bf16 *v, const float *lse, const float *dots, const bf16 *dout, const int *segments, const int *tiles, const u32 *paths, bf16 *dq, int heads, int kv_heads, float scale) {
  DYNAMIC_SHARED(shared);
  tensor_backward_q<64, 64>(q, k, v, lse, dots, dout, segments, tiles, paths, dq, heads, kv_heads, scale, shared);
}
extern "C" __global__ void tensor_backward_kv_64_64(const bf16 *q, const bf16 *k, const bf16 *v, const float *lse, const float *dots, const bf16 *dout, const int *segments, const int *runs, const int *visits, bf16 *gk, bf16 *gv, int heads, int kv_heads, float scale) {
  DYNAMIC_SHARED(shared);
  tensor_backward_kv<64, 64>(q, k, v, lse, dots, dout, segments, runs, visits, gk, gv, heads, kv_heads, scale, shared);
}
extern "C" __global__ void tensor_forward_128_128(const bf16 *q, const bf16 *k, const bf16 *v, const int *segments, const int *tiles, const u32 *paths, bf16 *out, float *lse, int heads, int kv_heads, float scale) {
  DYNAMIC_SHARED(shared);
  tensor_forward<128, 128>(q, k, v, segments, tiles, paths, out, lse, heads, kv_heads, scale, shared);
}
extern "C" __global__ void tensor_backward_q_128_128(const bf16 *q, const bf16 *k, const bf16 *v, const float *lse, const float *dots, const bf16 *dout, const int *segments, const int *tiles, const u32 *paths, bf16 *dq, int heads, int kv_heads, float scale) {
  DYNAMIC_SHARED(shared);
  tensor_backward_q<128, 128>(q, k, v, lse, dots, dout, segments, tiles, paths, dq, heads, kv_heads, scale, shared);
}
extern "C" __global__ void tensor_backward_kv_128_128(const bf16 *q, const bf16 *k, const bf16 *v, const float *lse, const float *dots, const bf16 *dout, const int *segments, const int *runs, const int *visits, bf16 *gk, bf16 *gv, int heads, int kv_heads, float scale) {
  DYNAMIC_SHARED(shared);
  tensor_backward_kv<128, 128>(q, k, v, lse, dots, dout, segments, runs, visits, gk, gv, heads, kv_heads, scale, shared);
}
extern "C" __global__ void tensor_forward_192_128(const bf16 *q, const bf16 *k, const bf16 *v, const int *segments, const int *tiles, const u32 *paths, bf16 *out, float *lse, int heads, int kv_heads, float scale) {
  DYNAMIC_SHARED(shared);
  tensor_forward<192, 128>(q, k, v, segments, tiles, paths, out, lse, heads, kv_heads, scale, shared);
}
extern "C" __global__ void tensor_backward_q_192_128(const bf16 *q, const bf16 *k, const bf16 *v, const float *lse, const float *dots, const bf16 *dout, const int *segments, const int *tiles, const u32 *paths, bf16 *dq, int heads, int kv_heads, float scale) {
  DYNAMIC_SHARED(shared);
  tensor_backward_q<192, 128>(q, k, v, lse, dots, dout, segments, tiles, paths, dq, heads, kv_heads, scale, shared);
}
extern "C" __global__ void tensor_backward_kv_192_128(const bf16 *q, const bf16 *k, const bf16 *v, const float *lse, const float *dots, const bf16 *dout, const int *segments, const int *runs, const int *visits, bf16 *gk, bf16 *gv, int heads, int kv_heads, float scale) {
  DYNAMIC_SHARED(shared);
  tensor_backward_kv<192, 128>(q, k, v, lse, dots, dout, segments, runs, visits, gk, gv, heads, kv_heads, scale, shared);
}
