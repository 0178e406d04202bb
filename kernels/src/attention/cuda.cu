// Causal attention over packed segments, and over the paged cache: plain tiles in f32 (tensor.cu has those in bf16).
//
// A block takes 16 query rows, four a warp, and walks over positions in tiles of 32: a lane is a position when scores are made, a channel
// when outputs are. Softmax is folded tile by tile as on the CPU; scores over d ascending. Rows do not depend on their neighbours.

#define ROWS 4
#define WARPS 4
#define QUERIES (ROWS * WARPS)
#define TILE 32
#define MOST 8  // channels of a lane: heads of up to 256 values

// Where the key and value of a position lie: by a segment's path, or by a sequence's pages.
struct Path {
  const u32 *rows;
  __device__ __forceinline__ u64 row(int position) const { return rows[position]; }
};
struct Pages {
  const u32 *table;
  __device__ __forceinline__ u64 row(int position) const { return (u64)table[position / 32] * 32 + position % 32; }
};

struct Rows {
  int see[ROWS];  // positions that each row sees; 0: no row
  float top[ROWS], sum[ROWS], acc[ROWS][MOST];
};

// Values of `count` (≤ 32) positions from `start` on, a warp a position, into rows of `width + 1`.
template <class T, class Keys>
static __device__ __forceinline__ void fetch(const Keys &keys, const T *from, int heads, int head, int width, int start, int count, float *to) {
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  for (int j = warp; j < TILE; j += warps) {
    const T *row = j < count ? from + (keys.row(start + j) * heads + head) * width : nullptr;
    for (int d = lane; d < width; d += WARP) to[j * (width + 1) + d] = row ? load(row + d) : 0.0f;
  }
}

// Σ_d a[d]·b[d], d ascending.
static __device__ __forceinline__ float dot(const float *a, const float *b, int n) {
  float sum = 0.0f;
  for (int d = 0; d < n; d++) sum = fmaf(a[d], b[d], sum);
  return sum;
}

// Folds positions from..to into the warp's rows. `q` holds the block's scaled queries [QUERIES][dk].
template <class T, class Keys>
static __device__ void fold(const Keys &keys, const T *k, const T *v, int heads, int head, int dk, int dv, int from, int to, const float *q, float *sk, float *sv, Rows &rows) {
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  for (int start = from; start < to; start += TILE) {
    int count = min(TILE, to - start);
    __syncthreads();
    fetch(keys, k, heads, head, dk, start, count, sk);
    fetch(keys, v, heads, head, dv, start, count, sv);
    __syncthreads();
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      if (rows.see[r] <= start) continue;
      float score = start + lane < rows.see[r] && lane < count ? dot(q + (warp * ROWS + r) * dk, sk + lane * (dk + 1), dk) : -INF;
      float top = fmaxf(rows.top[r], warp_max(score)), again = exponential(rows.top[r] - top), p = exponential(score - top);
      rows.sum[r] = fmaf(rows.sum[r], again, warp_sum(p));
      rows.top[r] = top;
#pragma unroll
      for (int i = 0; i < MOST; i++) rows.acc[r][i] *= again;
      int seen = min(count, rows.see[r] - start);
      for (int j = 0; j < seen; j++) {
        float pj = __shfl_sync(EVERYONE, p, j);
#pragma unroll
        for (int i = 0; i < MOST; i++)
          if (i * WARP + lane < dv) rows.acc[r][i] = fmaf(pj, sv[j * (dv + 1) + i * WARP + lane], rows.acc[r][i]);
      }
    }
  }
}

static __device__ __forceinline__ void begin(Rows &rows) {
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    rows.top[r] = -INF;
    rows.sum[r] = 0.0f;
#pragma unroll
    for (int i = 0; i < MOST; i++) rows.acc[r][i] = 0.0f;
  }
}

// Segments are four numbers each: first query row, query rows, first entry of its path, positions.
struct Segment {
  int first, count, path, positions;
};

// Grid: (tiles of 16 query rows, heads); a tile is a segment and its first query.
template <class T>
static __device__ void forward(const T *q, const T *k, const T *v, const int *segments, const int *tiles, const u32 *paths, T *out, float *lse, int heads, int kv_heads, int dk, int dv, float scale, unsigned char *shared) {
  Segment s = ((const Segment *)segments)[tiles[2 * blockIdx.x]];
  int first = tiles[2 * blockIdx.x + 1], h = blockIdx.y, kv = h / (heads / kv_heads), before = s.positions - s.count;
  float *sq = (float *)shared, *sk = sq + QUERIES * dk, *sv = sk + TILE * (dk + 1);
  for (int i = threadIdx.x; i < QUERIES * dk; i += blockDim.x) {
    int query = first + i / dk;
    sq[i] = query < s.count ? load(q + ((u64)(s.first + query) * heads + h) * dk + i % dk) * scale : 0.0f;
  }
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  Rows rows;
  begin(rows);
  for (int r = 0; r < ROWS; r++) {
    int query = first + warp * ROWS + r;
    rows.see[r] = query < s.count ? before + query + 1 : 0;
  }
  Path keys = {paths + s.path};
  fold(keys, k, v, kv_heads, kv, dk, dv, 0, before + min(first + QUERIES, s.count), sq, sk, sv, rows);
  for (int r = 0; r < ROWS; r++) {
    if (!rows.see[r]) continue;
    u64 at = (u64)(s.first + first + warp * ROWS + r) * heads + h;
    float by = 1.0f / rows.sum[r];
    if (lane == 0) lse[at] = rows.top[r] + logarithm(rows.sum[r]);
#pragma unroll
    for (int i = 0; i < MOST; i++)
      if (i * WARP + lane < dv) store(out + at * dv + i * WARP + lane, rows.acc[r][i] * by);
  }
}

extern "C" __global__ void attention_forward_f32(const float *q, const float *k, const float *v, const int *segments, const int *tiles, const u32 *paths, float *out, float *lse, int heads, int kv_heads, int dk, int dv, float scale) {
  DYNAMIC_SHARED(shared);
  forward(q, k, v, segments, tiles, paths, out, lse, heads, kv_heads, dk, dv, scale, shared);
}
extern "C" __global__ void attention_forward_bf16(const bf16 *q, const bf16 *k, const bf16 *v, const int *segments, const int *tiles, const u32 *paths, bf16 *out, float *lse, int heads, int kv_heads, int dk, int dv, float scale) {
  DYNAMIC_SHARED(shared);
  forward(q, k, v, segments, tiles, paths, out, lse, heads, kv_heads, dk, dv, scale, shared);
}

// --- decoding ---

// Grid: (query · kv head, chunks of `chunk` positions, runs of 16 heads of the group). Each leaves its top, sum and output, unnormalized,
// in part [query, head, chunks, dv + 2]. Chunks are cut by position alone, so a row's bits depend on nothing else.
template <class T>
static __device__ void decode(const T *q, const T *k, const T *v, const u32 *tables, int width, const u32 *lens, float *part, int heads, int kv_heads, int dk, int dv, float scale, int chunk, unsigned char *shared) {
  int b = blockIdx.x / kv_heads, kv = blockIdx.x % kv_heads, group = heads / kv_heads, chunks = gridDim.y;
  int len = lens[b], from = blockIdx.y * chunk, to = min(len, from + chunk), start = blockIdx.z * QUERIES;
  if (from >= len) return;
  float *sq = (float *)shared, *sk = sq + QUERIES * dk, *sv = sk + TILE * (dk + 1);
  for (int i = threadIdx.x; i < QUERIES * dk; i += blockDim.x) {
    int h = start + i / dk;
    sq[i] = h < group ? load(q + ((u64)b * heads + kv * group + h) * dk + i % dk) * scale : 0.0f;
  }
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  Rows rows;
  begin(rows);
  for (int r = 0; r < ROWS; r++) rows.see[r] = start + r * WARPS + warp < group ? len : 0;
  // Rows go round the warps, so that a small group keeps all of them busy.
  Pages keys = {tables + (u64)b * width};
  for (int at = from; at < to; at += TILE) {
    int count = min(TILE, to - at);
    __syncthreads();
    fetch(keys, k, kv_heads, kv, dk, at, count, sk);
    fetch(keys, v, kv_heads, kv, dv, at, count, sv);
    __syncthreads();
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      if (!rows.see[r]) continue;
      float score = lane < count ? dot(sq + (r * WARPS + warp) * dk, sk + lane * (dk + 1), dk) : -INF;
      float top = fmaxf(rows.top[r], warp_max(score)), again = exponential(rows.top[r] - top), p = exponential(score - top);
      rows.sum[r] = fmaf(rows.sum[r], again, warp_sum(p));
      rows.top[r] = top;
#pragma unroll
      for (int i = 0; i < MOST; i++) rows.acc[r][i] *= again;
      for (int j = 0; j < count; j++) {
        float pj = __shfl_sync(EVERYONE, p, j);
#pragma unroll
        for (int i = 0; i < MOST; i++)
          if (i * WARP + lane < dv) rows.acc[r][i] = fmaf(pj, sv[j * (dv + 1) + i * WARP + lane], rows.acc[r][i]);
      }
    }
  }
  for (int r = 0; r < ROWS; r++) {
    if (!rows.see[r]) continue;
    u64 row = (u64)b * heads + kv * group + start + r * WARPS + warp;
    float *to = part + (row * chunks + blockIdx.y) * (dv + 2);
    if (lane == 0) {
      to[0] = rows.top[r];
      to[1] = rows.sum[r];
    }
#pragma unroll
    for (int i = 0; i < MOST; i++)
      if (i * WARP + lane < dv) to[2 + i * WARP + lane] = rows.acc[r][i];
  }
}
extern "C" __global__ void attention_decode_f32(const float *q, const float *k, const float *v, const u32 *tables, int width, const u32 *lens, float *part, int heads, int kv_heads, int dk, int dv, float scale, int chunk) {
  DYNAMIC_SHARED(shared);
  decode(q, k, v, tables, width, lens, part, heads, kv_heads, dk, dv, scale, chunk, shared);
}
extern "C" __global__ void attention_decode_bf16(const bf16 *q, const bf16 *k, const bf16 *v, const u32 *tables, int width, const u32 *lens, float *part, int heads, int kv_heads, int dk, int dv, float scale, int chunk) {
  DYNAMIC_SHARED(shared);
  decode(q, k, v, tables, width, lens, part, heads, kv_heads, dk, dv, scale, chunk, shared);
}

// The chunks of a row, in order, into one. A warp a row (query · head).
template <class T>
static __device__ void gather(const float *part, const u32 *lens, T *out, int rows, int heads, int dv, int chunks, int chunk) {
  int row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
  if (row >= rows) return;
  int count = ((int)lens[row / heads] + chunk - 1) / chunk;
  part += (u64)row * chunks * (dv + 2);
  float top = -INF, sum = 0.0f;
  for (int i = 0; i < count; i++) top = fmaxf(top, part[i * (dv + 2)]);
  for (int i = 0; i < count; i++) sum = fmaf(part[i * (dv + 2) + 1], exponential(part[i * (dv + 2)] - top), sum);
  float by = 1.0f / sum;
  for (int d = lane; d < dv; d += WARP) {
    float x = 0.0f;
    for (int i = 0; i < count; i++) x = fmaf(part[i * (dv + 2) + 2 + d], exponential(part[i * (dv + 2)] - top), x);
    store(out + (u64)row * dv + d, x * by);
  }
}
extern "C" __global__ void attention_gather_f32(const float *part, const u32 *lens, float *out, int rows, int heads, int dv, int chunks, int chunk) { gather(part, lens, out, rows, heads, dv, chunks, chunk); }
extern "C" __global__ void attention_gather_bf16(const float *part, const u32 *lens, bf16 *out, int rows, int heads, int dv, int chunks, int chunk) { gather(part, lens, out, rows, heads, dv, chunks, chunk); }

// Rows of `width` values to the places of a cache; a block a row.
template <class T>
static __device__ void put(const T *rows, const u32 *places, T *cache, int width) {
  const T *from = rows + (u64)blockIdx.x * width;
  T *to = cache + (u64)places[blockIdx.x] * width;
  for (int i = threadIdx.x; i < width; i += blockDim.x) to[i] = from[i];
}
extern "C" __global__ void cache_put_f32(const float *rows, const u32 *places, float *cache, int width) { put(rows, places, cache, width); }
extern "C" __global__ void cache_put_bf16(const bf16 *rows, const u32 *places, bf16 *cache, int width) { put(rows, places, cache, width); }

// Pages of a list, one after the other: a block a page, `width` words each.
extern "C" __global__ void cache_pages(const u64 *cache, const u32 *pages, u64 *to, int width) {
  const u64 *from = cache + (u64)pages[blockIdx.x] * width;
  to += (u64)blockIdx.x * width;
  for (int i = threadIdx.x; i < width; i += blockDim.x) to[i] = from[i];
}

// What the latents of a list of pages were expanded to, [page · slot][head][nope + dv], with the rotary keys that all heads share, to
// these pages' keys and values; a block a position, a warp a head. A page that is named twice is written twice, with the same values.
template <class U>
static __device__ void expand(const U *expanded, const U *shared, const u32 *pages, U *k, U *v, int heads, int nope, int rope, int dv) {
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  u64 place = (u64)pages[blockIdx.x / 32] * 32 + blockIdx.x % 32;
  for (int h = warp; h < heads; h += warps) {
    const U *from = expanded + ((u64)blockIdx.x * heads + h) * (nope + dv);
    U *key = k + (place * heads + h) * (nope + rope), *value = v + (place * heads + h) * dv;
    for (int i = lane; i < nope; i += WARP) key[i] = from[i];
    for (int i = lane; i < rope; i += WARP) key[nope + i] = shared[place * rope + i];
    for (int i = lane; i < dv; i += WARP) value[i] = from[nope + i];
  }
}
extern "C" __global__ void cache_expand_f32(const float *expanded, const float *shared, const u32 *pages, float *k, float *v, int heads, int nope, int rope, int dv) { expand(expanded, shared, pages, k, v, heads, nope, rope, dv); }
extern "C" __global__ void cache_expand_bf16(const bf16 *expanded, const bf16 *shared, const u32 *pages, bf16 *k, bf16 *v, int heads, int nope, int rope, int dv) { expand(expanded, shared, pages, k, v, heads, nope, rope, dv); }
extern "C" __global__ void cache_expand_words(const u64 *expanded, const u64 *shared, const u32 *pages, u64 *k, u64 *v, int heads, int nope, int rope, int dv) { expand(expanded, shared, pages, k, v, heads, nope, rope, dv); }

// --- backward ---

// dot[row] = dout·out, a warp a row (token · head).
template <class T>
static __device__ void row_dot(const T *out, const T *dout, float *dots, int rows, int dv) {
  int row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
  if (row >= rows) return;
  float sum = 0.0f;
  for (int d = lane; d < dv; d += WARP) sum = fmaf(load(dout + (u64)row * dv + d), load(out + (u64)row * dv + d), sum);
  sum = warp_sum(sum);
  if (lane == 0) dots[row] = sum;
}
extern "C" __global__ void attention_dots_f32(const float *out, const float *dout, float *dots, int rows, int dv) { row_dot(out, dout, dots, rows, dv); }
extern "C" __global__ void attention_dots_bf16(const bf16 *out, const bf16 *dout, float *dots, int rows, int dv) { row_dot(out, dout, dots, rows, dv); }

// dq, by tiles of query rows as in forward: ds = p·(dout·v − dot), dq = scale · Σ_j ds_j k_j, j ascending.
template <class T>
static __device__ void backward_q(const T *q, const T *k, const T *v, const float *lse, const float *dots, const T *dout, const int *segments, const int *tiles, const u32 *paths, T *dq, int heads, int kv_heads, int dk, int dv, float scale, unsigned char *shared) {
  Segment s = ((const Segment *)segments)[tiles[2 * blockIdx.x]];
  int first = tiles[2 * blockIdx.x + 1], h = blockIdx.y, kv = h / (heads / kv_heads), before = s.positions - s.count;
  float *sq = (float *)shared, *so = sq + QUERIES * dk, *sk = so + QUERIES * dv, *sv = sk + TILE * (dk + 1);
  for (int i = threadIdx.x; i < QUERIES * dk; i += blockDim.x) {
    int query = first + i / dk;
    sq[i] = query < s.count ? load(q + ((u64)(s.first + query) * heads + h) * dk + i % dk) * scale : 0.0f;
  }
  for (int i = threadIdx.x; i < QUERIES * dv; i += blockDim.x) {
    int query = first + i / dv;
    so[i] = query < s.count ? load(dout + ((u64)(s.first + query) * heads + h) * dv + i % dv) : 0.0f;
  }
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  float acc[ROWS][MOST];
#pragma unroll
  for (int r = 0; r < ROWS; r++)
#pragma unroll
    for (int i = 0; i < MOST; i++) acc[r][i] = 0.0f;
  Path keys = {paths + s.path};
  int to = before + min(first + QUERIES, s.count);
  for (int start = 0; start < to; start += TILE) {
    int count = min(TILE, to - start);
    __syncthreads();
    fetch(keys, k, kv_heads, kv, dk, start, count, sk);
    fetch(keys, v, kv_heads, kv, dv, start, count, sv);
    __syncthreads();
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      int query = first + warp * ROWS + r, see = query < s.count ? before + query + 1 : 0;
      if (see <= start) continue;
      u64 at = (u64)(s.first + query) * heads + h;
      float ds = 0.0f;
      if (start + lane < see && lane < count) {
        float p = exponential(dot(sq + (warp * ROWS + r) * dk, sk + lane * (dk + 1), dk) - lse[at]);
        ds = p * (dot(so + (warp * ROWS + r) * dv, sv + lane * (dv + 1), dv) - dots[at]);
      }
      int seen = min(count, see - start);
      for (int j = 0; j < seen; j++) {
        float d = __shfl_sync(EVERYONE, ds, j);
#pragma unroll
        for (int i = 0; i < MOST; i++)
          if (i * WARP + lane < dk) acc[r][i] = fmaf(d, sk[j * (dk + 1) + i * WARP + lane], acc[r][i]);
      }
    }
  }
  for (int r = 0; r < ROWS; r++) {
    int query = first + warp * ROWS + r;
    if (query >= s.count) continue;
    u64 at = (u64)(s.first + query) * heads + h;
#pragma unroll
    for (int i = 0; i < MOST; i++)
      if (i * WARP + lane < dk) store(dq + at * dk + i * WARP + lane, acc[r][i] * scale);
  }
}
extern "C" __global__ void attention_backward_q_f32(const float *q, const float *k, const float *v, const float *lse, const float *dots, const float *dout, const int *segments, const int *tiles, const u32 *paths, float *dq, int heads, int kv_heads, int dk, int dv, float scale) {
  DYNAMIC_SHARED(shared);
  backward_q(q, k, v, lse, dots, dout, segments, tiles, paths, dq, heads, kv_heads, dk, dv, scale, shared);
}
extern "C" __global__ void attention_backward_q_bf16(const bf16 *q, const bf16 *k, const bf16 *v, const float *lse, const float *dots, const bf16 *dout, const int *segments, const int *tiles, const u32 *paths, bf16 *dq, int heads, int kv_heads, int dk, int dv, float scale) {
  DYNAMIC_SHARED(shared);
  backward_q(q, k, v, lse, dots, dout, segments, tiles, paths, dq, heads, kv_heads, dk, dv, scale, shared);
}

// dk and dv of a run of key rows that every segment which sees them sees side by side (Plan, on the host). Grid: (runs, kv heads); eight
// warps of four keys; a lane is a query when scores are made. Terms: visits (segments ascending), then heads, then queries ascending.
struct Run {
  int row, count, first, visits;
};
template <class T>
static __device__ void backward_kv(const T *q, const T *k, const T *v, const float *lse, const float *dots, const T *dout, const int *segments, const int *runs, const int *visits, T *gk, T *gv, int heads, int kv_heads, int dk, int dv, float scale, unsigned char *shared) {
  Run run = ((const Run *)runs)[blockIdx.x];
  int kv = blockIdx.y, group = heads / kv_heads;
  float *sk = (float *)shared, *sv = sk + TILE * dk, *sq = sv + TILE * dv, *so = sq + TILE * (dk + 1);
  for (int i = threadIdx.x; i < TILE * dk; i += blockDim.x) sk[i] = i / dk < run.count ? load(k + ((u64)(run.row + i / dk) * kv_heads + kv) * dk + i % dk) : 0.0f;
  for (int i = threadIdx.x; i < TILE * dv; i += blockDim.x) sv[i] = i / dv < run.count ? load(v + ((u64)(run.row + i / dv) * kv_heads + kv) * dv + i % dv) : 0.0f;
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  float acck[ROWS][MOST], accv[ROWS][MOST];
#pragma unroll
  for (int r = 0; r < ROWS; r++)
#pragma unroll
    for (int i = 0; i < MOST; i++) acck[r][i] = accv[r][i] = 0.0f;
  for (int visit = run.first; visit < run.first + run.visits; visit++) {
    Segment s = ((const Segment *)segments)[visits[2 * visit]];
    int position = visits[2 * visit + 1], before = s.positions - s.count;
    // Query i stands at before + i: the first that sees the run's first key.
    int begin = max(0, position - before);
    for (int h = kv * group; h < (kv + 1) * group; h++)
      for (int start = begin; start < s.count; start += TILE) {
        int count = min(TILE, s.count - start);
        __syncthreads();
        for (int j = warp; j < TILE; j += blockDim.x / WARP) {
          u64 at = (u64)(s.first + start + j) * heads + h;
          for (int d = lane; d < dk; d += WARP) sq[j * (dk + 1) + d] = j < count ? load(q + at * dk + d) * scale : 0.0f;
          for (int d = lane; d < dv; d += WARP) so[j * (dv + 1) + d] = j < count ? load(dout + at * dv + d) : 0.0f;
        }
        __syncthreads();
        u64 at = (u64)(s.first + start + lane) * heads + h;
        float mine = lane < count ? lse[at] : 0.0f, less = lane < count ? dots[at] : 0.0f;
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
          int key = warp * ROWS + r;
          if (key >= run.count) continue;
          bool sees = lane < count && before + start + lane >= position + key;
          float p = 0.0f, ds = 0.0f;
          if (sees) {
            p = exponential(dot(sq + lane * (dk + 1), sk + key * dk, dk) - mine);
            ds = p * (dot(so + lane * (dv + 1), sv + key * dv, dv) - less);
          }
          for (int j = 0; j < count; j++) {
            float pj = __shfl_sync(EVERYONE, p, j), dj = __shfl_sync(EVERYONE, ds, j);
#pragma unroll
            for (int i = 0; i < MOST; i++) {
              if (i * WARP + lane < dv) accv[r][i] = fmaf(pj, so[j * (dv + 1) + i * WARP + lane], accv[r][i]);
              if (i * WARP + lane < dk) acck[r][i] = fmaf(dj, sq[j * (dk + 1) + i * WARP + lane], acck[r][i]);
            }
          }
        }
      }
  }
  for (int r = 0; r < ROWS; r++) {
    int key = warp * ROWS + r;
    if (key >= run.count) continue;
    u64 at = (u64)(run.row + key) * kv_heads + kv;
#pragma unroll
    for (int i = 0; i < MOST; i++) {
      if (i * WARP + lane < dk) store(gk + at * dk + i * WARP + lane, acck[r][i]);
      if (i * WARP + lane < dv) store(gv + at * dv + i * WARP + lane, accv[r][i]);
    }
  }
}
extern "C" __global__ void attention_backward_kv_f32(const float *q, const float *k, const float *v, const float *lse, const float *dots, const float *dout, const int *segments, const int *runs, const int *visits, float *gk, float *gv, int heads, int kv_heads, int dk, int dv, float scale) {
  DYNAMIC_SHARED(shared);
  backward_kv(q, k, v, lse, dots, dout, segments, runs, visits, gk, gv, heads, kv_heads, dk, dv, scale, shared);
}
extern "C" __global__ void attention_backward_kv_bf16(const bf16 *q, const bf16 *k, const bf16 *v, const float *lse, const float *dots, const bf16 *dout, const int *segments, const int *runs, const int *visits, bf16 *gk, bf16 *gv, int heads, int kv_heads, int dk, int dv, float scale) {
  DYNAMIC_SHARED(shared);
  backward_kv(q, k, v, lse, dots, dout, segments, runs, visits, gk, gv, heads, kv_heads, dk, dv, scale, shared);
}
