// Around the expert products: routing (a warp a token), and rows to and from the experts (a block a row).

#define EXPERTS 512
#define GROUPS 64

// The best of values[0..n] that is not taken yet, the first of equals: a lane looks at every 32nd. Among values that are no numbers some
// place below n, be it another for each lane.
static __device__ int best_of(const float *values, int n) {
  int lane = threadIdx.x % WARP, at = n;
  float best = -INF;
  for (int i = lane; i < n; i += WARP)
    if (at == n || values[i] > best) best = values[i], at = i;
  for (int d = WARP / 2; d > 0; d /= 2) {
    float other = __shfl_xor_sync(EVERYONE, best, d);
    int where = __shfl_xor_sync(EVERYONE, at, d);
    if (where < n && (at == n || other > best || (other == best && where < at))) best = other, at = where;
  }
  return at;
}

extern "C" __global__ void moe_route(const float *logits, const float *bias, u32 *experts, float *weights, float *scores, int count, int top_k, int groups, int top_groups, int softmax, int normalize, float scale) {
  __shared__ float choice[EXPERTS];
  __shared__ float group[GROUPS];
  __shared__ int open[GROUPS];
  u64 token = blockIdx.x;
  int lane = threadIdx.x, size = count / groups;
  logits += token * count;
  scores += token * count;
  float top = -INF, sum = 0.0f;
  if (softmax) {
    for (int e = lane; e < count; e += WARP) top = fmaxf(top, logits[e]);
    top = warp_max(top);
    for (int e = lane; e < count; e += WARP) sum += exponential(logits[e] - top);
    sum = warp_sum(sum);
  }
  for (int e = lane; e < count; e += WARP) {
    float s = softmax ? exponential(logits[e] - top) / sum : sigmoid(logits[e]);
    scores[e] = s;
    choice[e] = bias ? s + bias[e] : s;
  }
  __syncwarp();
  // A group by the sum of its two best (sigmoid) or its best (softmax).
  for (int g = lane; g < groups; g += WARP) {
    float first = -INF, second = -INF;
    for (int e = g * size; e < (g + 1) * size; e++) {
      float x = choice[e];
      if (x > first) second = first, first = x;
      else if (x > second) second = x;
    }
    group[g] = softmax || size == 1 ? first : first + second;
    open[g] = 0;
  }
  __syncwarp();
  for (int i = 0; i < top_groups; i++) {
    int g = best_of(group, groups);
    __syncwarp();
    if (lane == 0) {
      open[g] = 1;
      group[g] = -INF;
    }
    __syncwarp();
  }
  for (int e = lane; e < count; e += WARP)
    if (!open[e / size]) choice[e] = -INF;
  __syncwarp();
  float total = 0.0f;
  for (int j = 0; j < top_k; j++) {
    int e = best_of(choice, count);
    float s = scores[e];
    total += s;
    __syncwarp();
    if (lane == 0) {
      choice[e] = -INF;
      experts[token * top_k + j] = e;
      weights[token * top_k + j] = s;
    }
    __syncwarp();
  }
  float by = normalize ? total + 1e-20f : 1.0f;
  for (int j = lane; j < top_k; j += WARP) weights[token * top_k + j] = weights[token * top_k + j] / by * scale;
}

extern "C" __global__ void moe_route_backward(const float *dweights, const u32 *experts, const float *scores, float *dlogits, int count, int top_k, int softmax, int normalize, float scale) {
  u64 token = blockIdx.x;
  dweights += token * top_k;
  experts += token * top_k;
  scores += token * count;
  dlogits += token * count;
  float sum = 0.0f, inner = 0.0f, mean = 0.0f;
  for (int j = 0; j < top_k; j++) {
    sum += scores[experts[j]];
    inner += dweights[j] * scores[experts[j]];
  }
  sum += 1e-20f;
  if (softmax)
    for (int j = 0; j < top_k; j++) mean += (normalize ? (dweights[j] - inner / sum) * (scale / sum) : dweights[j] * scale) * scores[experts[j]];
  for (int e = threadIdx.x; e < count; e += blockDim.x) {
    float d = 0.0f, s = scores[e];
    for (int j = 0; j < top_k; j++)
      if (experts[j] == (u32)e) d = normalize ? (dweights[j] - inner / sum) * (scale / sum) : dweights[j] * scale;
    dlogits[e] = softmax ? s * (d - mean) : d * (s * (1.0f - s));
  }
}

// The plan: slots sorted by (expert, token), by counting. A block an expert, and nothing is added atomically: one order, always.

extern "C" __global__ void moe_count(const u32 *experts, u32 *counts, u64 slots) {
  __shared__ double room[32];
  u32 found = 0;
  for (u64 i = threadIdx.x; i < slots; i += blockDim.x) found += experts[i] == blockIdx.x;
  double all = block_sum((double)found, room);
  if (threadIdx.x == 0) counts[blockIdx.x] = (u32)all;
}

// Of every expert: its first row, and the tiles of 32 and of 128 rows before it, each with its total at the end. One warp.
extern "C" __global__ void moe_starts(const u32 *counts, u32 *starts, int count) {
  int lane = threadIdx.x;
  for (int which = 0; which < 3; which++) {
    u32 size = which == 0 ? 1 : which == 1 ? 32 : 128, before = 0, *to = starts + which * (count + 1);
    for (int from = 0; from < count; from += WARP) {
      int e = from + lane;
      u32 own = e < count ? (counts[e] + size - 1) / size : 0, sum = own;
      for (int d = 1; d < WARP; d *= 2) {
        u32 other = __shfl_up_sync(EVERYONE, sum, d);
        if (lane >= d) sum += other;
      }
      if (e < count) to[e] = before + sum - own;
      before += __shfl_sync(EVERYONE, sum, WARP - 1);
    }
    if (lane == 0) to[count] = before;
  }
}

// order[row] = slot and row_of[slot] = row, slots of an expert ascending: a block's threads look at as many slots at once.
extern "C" __global__ void moe_order(const u32 *experts, const u32 *starts, u32 *order, u32 *row_of, u64 slots) {
  __shared__ u32 found[32];
  u32 row = starts[blockIdx.x], end = starts[blockIdx.x + 1];
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  for (u64 from = 0; from < slots && row < end; from += blockDim.x) {
    u64 slot = from + threadIdx.x;
    bool own = slot < slots && experts[slot] == blockIdx.x;
    u32 all = __ballot_sync(EVERYONE, own);
    __syncthreads();
    if (lane == 0) found[warp] = __popc(all);
    __syncthreads();
    u32 before = row + __popc(all & ((1u << lane) - 1));
    for (int w = 0; w < warps; w++) {
      if (w < warp) before += found[w];
      row += found[w];
    }
    if (own) {
      order[before] = (u32)slot;
      row_of[slot] = before;
    }
  }
}

// y[i] = x[order[i] / top_k]
template <class T>
static __device__ void gather(const T *x, const u32 *order, T *y, int c, int top_k) {
  u64 row = blockIdx.x, from = order[row] / top_k;
  for (int j = threadIdx.x; j < c; j += blockDim.x) y[row * c + j] = x[from * c + j];
}
extern "C" __global__ void moe_gather_f32(const float *x, const u32 *order, float *y, int c, int top_k) { gather(x, order, y, c, top_k); }
extern "C" __global__ void moe_gather_bf16(const bf16 *x, const u32 *order, bf16 *y, int c, int top_k) { gather(x, order, y, c, top_k); }

// out[t] += Σ_j weights[t, j] · y[row of (t, j)], j ascending; without weights, their sum.
template <class T>
static __device__ void combine(const T *y, const u32 *row_of, const float *weights, float *out, int c, int top_k) {
  u64 t = blockIdx.x;
  for (int j = threadIdx.x; j < c; j += blockDim.x) {
    float sum = out[t * c + j];
    for (int i = 0; i < top_k; i++) {
      float x = load(y + (u64)row_of[t * top_k + i] * c + j);
      sum = weights ? fmaf(weights[t * top_k + i], x, sum) : sum + x;
    }
    out[t * c + j] = sum;
  }
}
extern "C" __global__ void moe_combine_f32(const float *y, const u32 *row_of, const float *weights, float *out, int c, int top_k) { combine(y, row_of, weights, out, c, top_k); }
extern "C" __global__ void moe_combine_bf16(const bf16 *y, const u32 *row_of, const float *weights, float *out, int c, int top_k) { combine(y, row_of, weights, out, c, top_k); }

// dy[row] = weight · dout[t], dweights[slot] = dout[t] · y[row]
template <class T>
static __device__ void combine_backward(const float *dout, const T *y, const u32 *order, const float *weights, T *dy, float *dweights, int c, int top_k, float *room) {
  u64 row = blockIdx.x, slot = order[row], t = slot / top_k;
  float w = weights[slot], sum = 0.0f;
  for (int j = threadIdx.x; j < c; j += blockDim.x) {
    float d = dout[t * c + j];
    sum = fmaf(d, load(y + row * c + j), sum);
    store(dy + row * c + j, w * d);
  }
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) dweights[slot] = sum;
}
extern "C" __global__ void moe_combine_backward_f32(const float *dout, const float *y, const u32 *order, const float *weights, float *dy, float *dweights, int c, int top_k) {
  __shared__ float room[32];
  combine_backward(dout, y, order, weights, dy, dweights, c, top_k, room);
}
extern "C" __global__ void moe_combine_backward_bf16(const float *dout, const bf16 *y, const u32 *order, const float *weights, bf16 *dy, float *dweights, int c, int top_k) {
  __shared__ float room[32];
  combine_backward(dout, y, order, weights, dy, dweights, c, top_k, room);
}
