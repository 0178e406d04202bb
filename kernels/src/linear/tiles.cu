// Our own products: C (M×N) = A·B (+ C), where the order of the sum over k depends on nothing but k. An element is one chain of
// m16n8k16 (f32: of fused multiply-adds), k ascending from 0, whatever the tile around it: a row's bits do not depend on how many rows
// there are, nor a whole launch's on the card's size. No split over k.
//
// Grouped, rows starts[g]..starts[g+1] meet operands of their own, whose addresses are in a table: a block finds its group from
// `starts`, which the device made, so that no launch waits for the host. `starts` has [G + 1] first rows, then for tiles of SMALL and of
// LARGE rows the number of tiles before each group.
//
// `flags`: 1 rows may be read 16 bytes at once, 2 results may be written in pairs, 4 add to what is there.

#define LARGE 128
#define SMALL 32
#define DEPTH 32   // of k, a step
#define STAGES 4   // steps in shared memory: three on their way while one is used
#define WIDE 1
#define PAIRS 2
#define ADD 4

// The rows of the tile-th tile, and whose they are. False beyond the last.
static __device__ bool group_of(const u32 *starts, int groups, int size, int tile, int *group, int *first, int *end) {
  const u32 *before = starts + (groups + 1) * (size == SMALL ? 1 : 2);
  if ((u32)tile >= before[groups]) return false;
  int low = 0, high = groups;  // before[low] <= tile < before[high]
  while (high - low > 1) {
    int middle = (low + high) / 2;
    if (before[middle] <= (u32)tile) low = middle;
    else high = middle;
  }
  *group = low;
  *first = starts[low] + (tile - before[low]) * size;
  *end = starts[low + 1];
  return true;
}

// Panels of eight tiles of rows, n within a panel: what runs at once shares both operands in the second cache.
static __device__ void place(int block, int tall, int broad, int *y, int *x) {
  int panel = block / (8 * broad), rows = min(8, tall - panel * 8), within = block - panel * 8 * broad;
  *y = panel * 8 + within % rows;
  *x = within / rows;
}

// ROWS × COLS values to shared memory, rows 8 values longer there; zeros beyond `rows` and `cols`.
template <int ROWS, int COLS, int THREADS>
static __device__ __forceinline__ void tile_in(bf16 *to, const bf16 *from, int stride, int rows, int cols, int flags) {
#pragma unroll
  for (int i = threadIdx.x; i < ROWS * COLS / 8; i += THREADS) {
    int r = i / (COLS / 8), c = i % (COLS / 8) * 8;
    bf16 *at = to + r * (COLS + 8) + c;
    if (flags & WIDE) {
      bool there = r < rows && c < cols;
      copy_16(at, there ? from + (u64)r * stride + c : from, there);
    } else {
      for (int j = 0; j < 8; j++) at[j] = r < rows && c + j < cols ? from[(u64)r * stride + c + j] : (bf16)0;
    }
  }
}

// Two neighbours of a row of C.
static __device__ __forceinline__ void put(float *y, bf16 *half, u64 at, bool second, float low, float high, int flags) {
  if (flags & ADD) {
    low += half ? widen(half[at]) : y[at];
    if (second) high += half ? widen(half[at + 1]) : y[at + 1];
  }
  if (second && (flags & PAIRS)) {
    if (half) {
      *(u32 *)(half + at) = pair(low, high);
    } else {
      float2 both = {low, high};
      *(float2 *)(y + at) = both;
    }
    return;
  }
  if (half) half[at] = narrow(low);
  else y[at] = low;
  if (!second) return;
  if (half) half[at + 1] = narrow(high);
  else y[at + 1] = high;
}

// A tile of BM × BN by ROWS × COLUMNS warps. A is [m, k], or [k, m] where A_BY_K; B is [k, n], or [n, k] where B_BY_N; `a`, `b` and the
// result begin at the tile's first row and column, of which `m` and `n` are there.
template <int BM, int BN, int ROWS, int COLUMNS, bool A_BY_K, bool B_BY_N>
static __device__ __forceinline__ void tile_product(const bf16 *a, const bf16 *b, float *y, bf16 *half, int m, int n, int k, int a_stride, int b_stride, int y_stride, int flags, unsigned char *shared) {
  constexpr int THREADS = ROWS * COLUMNS * WARP, MT = BM / ROWS / 16, NT = BN / COLUMNS / 8;
  constexpr int A_LINE = (A_BY_K ? BM : DEPTH) + 8, B_LINE = (B_BY_N ? DEPTH : BN) + 8;
  constexpr int A_SIZE = (A_BY_K ? DEPTH : BM) * A_LINE, B_SIZE = (B_BY_N ? BN : DEPTH) * B_LINE;
  bf16 *sa = (bf16 *)shared, *sb = sa + STAGES * A_SIZE;
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  int top = warp / COLUMNS * (BM / ROWS), left = warp % COLUMNS * (BN / COLUMNS);
  int steps = (k + DEPTH - 1) / DEPTH;
  auto fetch = [&](int i) {
    int from = i * DEPTH, some = k - from;
    bf16 *ta = sa + i % STAGES * A_SIZE, *tb = sb + i % STAGES * B_SIZE;
    if (A_BY_K) tile_in<DEPTH, BM, THREADS>(ta, a + (u64)from * a_stride, a_stride, some, m, flags);
    else tile_in<BM, DEPTH, THREADS>(ta, a + from, a_stride, m, some, flags);
    if (B_BY_N) tile_in<BN, DEPTH, THREADS>(tb, b + from, b_stride, n, some, flags);
    else tile_in<DEPTH, BN, THREADS>(tb, b + (u64)from * b_stride, b_stride, some, n, flags);
  };
  float sums[MT][NT][4];
#pragma unroll
  for (int i = 0; i < MT; i++)
#pragma unroll
    for (int j = 0; j < NT; j++) sums[i][j][0] = sums[i][j][1] = sums[i][j][2] = sums[i][j][3] = 0.0f;
#pragma unroll
  for (int i = 0; i < STAGES - 1; i++) {
    if (i < steps) fetch(i);
    copies_end();
  }
  for (int i = 0; i < steps; i++) {
    copies_wait<STAGES - 2>();
    __syncthreads();
    // Into the stage that all have finished with.
    if (i + STAGES - 1 < steps) fetch(i + STAGES - 1);
    copies_end();
    const bf16 *ta = sa + i % STAGES * A_SIZE, *tb = sb + i % STAGES * B_SIZE;
#pragma unroll
    for (int d = 0; d < DEPTH; d += 16) {
      u32 wa[MT][4], wb[NT / 2][4];
#pragma unroll
      for (int j = 0; j < MT; j++) {
        int row = top + 16 * j;
        if (A_BY_K) load_matrices_transposed(wa[j], ta + (d + lane / 16 * 8 + lane % 8) * A_LINE + row + lane / 8 % 2 * 8);
        else load_matrices(wa[j], ta + (row + lane % 16) * A_LINE + d + lane / 16 * 8);
      }
#pragma unroll
      for (int j = 0; j < NT / 2; j++) {
        int column = left + 16 * j;
        if (B_BY_N) load_matrices(wb[j], tb + (column + lane / 16 * 8 + lane % 8) * B_LINE + d + lane / 8 % 2 * 8);
        else load_matrices_transposed(wb[j], tb + (d + lane % 16) * B_LINE + column + lane / 16 * 8);
      }
#pragma unroll
      for (int r = 0; r < MT; r++)
#pragma unroll
        for (int c = 0; c < NT; c++) mma(sums[r][c], wa[r], wb[c / 2] + c % 2 * 2);
    }
  }
  int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int r = 0; r < MT; r++)
#pragma unroll
    for (int c = 0; c < NT; c++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        int row = top + 16 * r + g + 8 * e, column = left + 8 * c + 2 * t;
        if (row < m && column < n)
          put(y, half, (u64)row * y_stride + column, column + 1 < n, sums[r][c][2 * e], sums[r][c][2 * e + 1], flags);
      }
}

// The same in f32: 64 × 64, a thread 4 × 4, k ascending by fused multiply-adds.
#define SIDE 64
#define SHALLOW 16
template <bool A_BY_K, bool B_BY_N>
static __device__ __forceinline__ void tile_product_f32(const float *a, const float *b, float *y, bf16 *half, int m, int n, int k, int a_stride, int b_stride, int y_stride, int flags, float *shared) {
  float *sa = shared, *sb = shared + SHALLOW * (SIDE + 1);
  int top = threadIdx.x / 16, left = threadIdx.x % 16;
  float sums[4][4] = {};
  for (int from = 0; from < k; from += SHALLOW) {
    for (int i = threadIdx.x; i < SIDE * SHALLOW; i += 256) {
      // Neighbours read neighbours.
      int row = A_BY_K ? i % SIDE : i / SHALLOW, d = A_BY_K ? i / SIDE : i % SHALLOW;
      bool there = row < m && from + d < k;
      sa[d * (SIDE + 1) + row] = there ? a[A_BY_K ? (u64)(from + d) * a_stride + row : (u64)row * a_stride + from + d] : 0.0f;
      int column = B_BY_N ? i / SHALLOW : i % SIDE;
      d = B_BY_N ? i % SHALLOW : i / SIDE;
      there = column < n && from + d < k;
      sb[d * (SIDE + 1) + column] = there ? b[B_BY_N ? (u64)column * b_stride + from + d : (u64)(from + d) * b_stride + column] : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int d = 0; d < SHALLOW; d++)
#pragma unroll
      for (int r = 0; r < 4; r++)
#pragma unroll
        for (int c = 0; c < 4; c++) sums[r][c] = fmaf(sa[d * (SIDE + 1) + top + 16 * r], sb[d * (SIDE + 1) + left + 16 * c], sums[r][c]);
    __syncthreads();
  }
#pragma unroll
  for (int r = 0; r < 4; r++)
#pragma unroll
    for (int c = 0; c < 4; c++) {
      int row = top + 16 * r, column = left + 16 * c;
      if (row < m && column < n) put(y, half, (u64)row * y_stride + column, false, sums[r][c], 0.0f, flags);
    }
}

// y = x · Wᵀ (FORWARD) or dx = dy · W: A [M, K], W [N, K] or [K, N].
template <int BM, int BN, int ROWS, int COLUMNS, bool FORWARD>
static __device__ __forceinline__ void rows_times(const bf16 *a, const bf16 *w, const u64 *table, float *y, bf16 *half, const u32 *starts, int groups, int tall, int m, int n, int k, int a_stride, int w_stride, int y_stride, int flags, unsigned char *shared) {
  int tile, x, group, first, end;
  place(blockIdx.x, tall, (n + BN - 1) / BN, &tile, &x);
  first = tile * BM, end = m;
  if (groups) {
    if (!group_of(starts, groups, BM, tile, &group, &first, &end)) return;
    w = (const bf16 *)table[group];
  }
  u64 to = (u64)first * y_stride + x * BN;
  tile_product<BM, BN, ROWS, COLUMNS, false, FORWARD>(a + (u64)first * a_stride, w + (FORWARD ? (u64)x * BN * w_stride : (u64)x * BN), y ? y + to : y, half ? half + to : half, end - first, n - x * BN, k, a_stride, w_stride, y_stride, flags, shared);
}

extern "C" __launch_bounds__(256, 2) __global__ void tiles_forward_large(const bf16 *a, const bf16 *w, const u64 *table, float *y, bf16 *half, const u32 *starts, int groups, int tall, int m, int n, int k, int a_stride, int w_stride, int y_stride, int flags) {
  DYNAMIC_SHARED(shared);
  rows_times<LARGE, 128, 2, 4, true>(a, w, table, y, half, starts, groups, tall, m, n, k, a_stride, w_stride, y_stride, flags, shared);
}
extern "C" __launch_bounds__(128) __global__ void tiles_forward_small(const bf16 *a, const bf16 *w, const u64 *table, float *y, bf16 *half, const u32 *starts, int groups, int tall, int m, int n, int k, int a_stride, int w_stride, int y_stride, int flags) {
  DYNAMIC_SHARED(shared);
  rows_times<SMALL, 64, 2, 2, true>(a, w, table, y, half, starts, groups, tall, m, n, k, a_stride, w_stride, y_stride, flags, shared);
}
extern "C" __launch_bounds__(256, 2) __global__ void tiles_input_large(const bf16 *a, const bf16 *w, const u64 *table, float *y, bf16 *half, const u32 *starts, int groups, int tall, int m, int n, int k, int a_stride, int w_stride, int y_stride, int flags) {
  DYNAMIC_SHARED(shared);
  rows_times<LARGE, 128, 2, 4, false>(a, w, table, y, half, starts, groups, tall, m, n, k, a_stride, w_stride, y_stride, flags, shared);
}
extern "C" __launch_bounds__(128) __global__ void tiles_input_small(const bf16 *a, const bf16 *w, const u64 *table, float *y, bf16 *half, const u32 *starts, int groups, int tall, int m, int n, int k, int a_stride, int w_stride, int y_stride, int flags) {
  DYNAMIC_SHARED(shared);
  rows_times<SMALL, 64, 2, 2, false>(a, w, table, y, half, starts, groups, tall, m, n, k, a_stride, w_stride, y_stride, flags, shared);
}

// dW += dyᵀ · x: dy [rows, N], x [rows, K], dW [N, K]. Grid: (tiles of dW, groups).
extern "C" __launch_bounds__(256, 2) __global__ void tiles_weight(const bf16 *dy, const bf16 *x, float *dw, const u64 *table, const u32 *starts, int rows, int n, int k, int dy_stride, int x_stride, int dw_stride, int flags) {
  DYNAMIC_SHARED(shared);
  int row, column, first = 0, count = rows;
  place(blockIdx.x, (n + LARGE - 1) / LARGE, (k + 127) / 128, &row, &column);
  if (table) {
    first = starts[blockIdx.y], count = starts[blockIdx.y + 1] - first;
    if (count == 0) return;
    dw = (float *)table[blockIdx.y];
  }
  row *= LARGE, column *= 128;
  tile_product<LARGE, 128, 2, 4, true, false>(dy + (u64)first * dy_stride + row, x + (u64)first * x_stride + column, dw + (u64)row * dw_stride + column, (bf16 *)0, n - row, k - column, count, dy_stride, x_stride, dw_stride, flags, shared);
}

template <bool FORWARD>
static __device__ __forceinline__ void rows_times_f32(const float *a, const float *w, const u64 *table, float *y, bf16 *half, const u32 *starts, int groups, int m, int n, int k, int a_stride, int w_stride, int y_stride, int flags, float *shared) {
  // Grouped, tiles are counted by SMALL rows and every second one of a group is done by the block of the one before it.
  int x = blockIdx.x % ((n + SIDE - 1) / SIDE), tile = blockIdx.x / ((n + SIDE - 1) / SIDE), group, first = tile * SIDE, end = m;
  if (groups) {
    if (!group_of(starts, groups, SMALL, tile, &group, &first, &end)) return;
    if ((first - (int)starts[group]) % SIDE) return;
    w = (const float *)table[group];
  }
  u64 to = (u64)first * y_stride + x * SIDE;
  tile_product_f32<false, FORWARD>(a + (u64)first * a_stride, w + (FORWARD ? (u64)x * SIDE * w_stride : (u64)x * SIDE), y ? y + to : y, half ? half + to : half, end - first, n - x * SIDE, k, a_stride, w_stride, y_stride, flags, shared);
}
extern "C" __launch_bounds__(256) __global__ void tiles_forward_f32(const float *a, const float *w, const u64 *table, float *y, bf16 *half, const u32 *starts, int groups, int m, int n, int k, int a_stride, int w_stride, int y_stride, int flags) {
  __shared__ float shared[2 * SHALLOW * (SIDE + 1)];
  rows_times_f32<true>(a, w, table, y, half, starts, groups, m, n, k, a_stride, w_stride, y_stride, flags, shared);
}
extern "C" __launch_bounds__(256) __global__ void tiles_input_f32(const float *a, const float *w, const u64 *table, float *y, bf16 *half, const u32 *starts, int groups, int m, int n, int k, int a_stride, int w_stride, int y_stride, int flags) {
  __shared__ float shared[2 * SHALLOW * (SIDE + 1)];
  rows_times_f32<false>(a, w, table, y, half, starts, groups, m, n, k, a_stride, w_stride, y_stride, flags, shared);
}
extern "C" __launch_bounds__(256) __global__ void tiles_weight_f32(const float *dy, const float *x, float *dw, const u64 *table, const u32 *starts, int rows, int n, int k, int dy_stride, int x_stride, int dw_stride, int flags) {
  __shared__ float shared[2 * SHALLOW * (SIDE + 1)];
  int broad = (k + SIDE - 1) / SIDE, row = blockIdx.x / broad * SIDE, column = blockIdx.x % broad * SIDE, first = 0, count = rows;
  if (table) {
    first = starts[blockIdx.y], count = starts[blockIdx.y + 1] - first;
    if (count == 0) return;
    dw = (float *)table[blockIdx.y];
  }
  tile_product_f32<true, false>(dy + (u64)first * dy_stride + row, x + (u64)first * x_stride + column, dw + (u64)row * dw_stride + column, (bf16 *)0, n - row, k - column, count, dy_stride, x_stride, dw_stride, flags, shared);
}
