// Rows of logits: log-softmax at a target, its slope, the most probable tokens, and the draw of one. A block of 512 threads a row (rows.cuh).

extern "C" __global__ void head_rows(const float *logits, const u32 *targets, const float *by, int v, float *logprobs, float *lse, float *entropy) {
  __shared__ float room[32];
  int row = blockIdx.x;
  const float *z = logits + (u64)row * v;
  Sums s = row_sums(z, by[row], v, entropy != nullptr, room);
  if (threadIdx.x) return;
  float total = s.top + logarithm(s.sum);
  u32 target = targets[row];
  lse[row] = total;
  logprobs[row] = target < (u32)v ? z[target] * by[row] - total : INF - INF;
  if (entropy) entropy[row] = logarithm(s.sum) - s.mixed / s.sum;
}

// d logit = (dlogprob·(1[target] − p) − dentropy·p·(ln p + H)) · by
template <class D>
static __device__ void slopes(const float *logits, const u32 *targets, const float *by, const float *lse, const float *entropy, const float *dlogprob, const float *dentropy, D *dlogits, int v) {
  u64 row = blockIdx.x;
  float factor = by[row], total = lse[row], d = dlogprob[row], de = dentropy ? dentropy[row] : 0.0f, h = dentropy ? entropy[row] : 0.0f;
  int target = targets[row];
  for (int i = threadIdx.x; i < v; i += THREADS) {
    float logp = logits[row * v + i] * factor - total, p = exponential(logp);
    float dz = d * ((i == target ? 1.0f : 0.0f) - p);
    if (dentropy && p > 0.0f) dz = dz - de * p * (logp + h);
    store(dlogits + row * v + i, dz * factor);
  }
}
extern "C" __global__ void head_slopes_f32(const float *logits, const u32 *targets, const float *by, const float *lse, const float *entropy, const float *dlogprob, const float *dentropy, float *dlogits, int v) {
  slopes(logits, targets, by, lse, entropy, dlogprob, dentropy, dlogits, v);
}
extern "C" __global__ void head_slopes_bf16(const float *logits, const u32 *targets, const float *by, const float *lse, const float *entropy, const float *dlogprob, const float *dentropy, bf16 *dlogits, int v) {
  slopes(logits, targets, by, lse, entropy, dlogprob, dentropy, dlogits, v);
}

// --- the most probable tokens ---

// A log-probability as a whole number in the same order.
static __device__ __forceinline__ u32 place_of(float x) {
  u32 bits = __float_as_uint(x);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

// The n most probable tokens of each row, in rising order of id: all above the n-th, and the first of those equal to it.
extern "C" __global__ void most_probable(const float *logits, int v, const float *by, int n, u32 *ids, float *logprobs) {
  __shared__ float room[32];
  __shared__ u32 count[256], above_of[32], ties_of[32], digit_found, ties_left;
  u64 row = blockIdx.x;
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  const int warps = THREADS / WARP;
  const float *z = logits + row * v;
  float factor = by[row];
  Sums s = row_sums(z, factor, v, false, room);
  float total = s.top + logarithm(s.sum);
  // The n-th key, a digit of eight bits at a time, from the highest.
  u32 edge = 0, known = 0;
  if (threadIdx.x == 0) ties_left = n;
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int i = threadIdx.x; i < 256; i += THREADS) count[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < v; i += THREADS) {
      u32 key = place_of(z[i] * factor - total);
      if ((key & known) == edge) atomicAdd(&count[key >> shift & 255], 1u);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      u32 left = ties_left;
      int digit = 255;
      while (digit > 0 && count[digit] < left) left -= count[digit--];
      digit_found = digit;
      ties_left = left;
    }
    __syncthreads();
    edge |= digit_found << shift;
    known |= 255u << shift;
  }
  u32 most_ties = ties_left;
  // Each warp its part of the row: how many lie above there, and how many are equal.
  int share = (v + warps * WARP - 1) / (warps * WARP) * WARP, start = warp * share, end = min(v, start + share);
  u32 above = 0, ties = 0;
  for (int i = start; i < end; i += WARP) {
    u32 key = i + lane < end ? place_of(z[i + lane] * factor - total) : 0u;
    above += __popc(__ballot_sync(EVERYONE, key > edge));
    ties += __popc(__ballot_sync(EVERYONE, i + lane < end && key == edge));
  }
  if (lane == 0) {
    above_of[warp] = above;
    ties_of[warp] = ties;
  }
  __syncthreads();
  above = ties = 0;
  for (int i = 0; i < warp; i++) {
    above += above_of[i];
    ties += ties_of[i];
  }
  u32 lower = (1u << lane) - 1u;
  for (int i = start; i < end; i += WARP) {
    float logprob = i + lane < end ? z[i + lane] * factor - total : -INF;
    u32 key = place_of(logprob);
    u32 higher = __ballot_sync(EVERYONE, i + lane < end && key > edge), equal = __ballot_sync(EVERYONE, i + lane < end && key == edge);
    u32 tie = ties + __popc(equal & lower), at = above + __popc(higher & lower) + (tie < most_ties ? tie : most_ties);
    if ((higher >> lane & 1u) || ((equal >> lane & 1u) && tie < most_ties)) {
      ids[row * n + at] = i + lane;
      logprobs[row * n + at] = logprob;
    }
    above += __popc(higher);
    ties += __popc(equal);
  }
}

// --- drawing ---

// SplitMix64's output function, and the uniform number of a stream at a position: as the host's random streams.
static __device__ __forceinline__ u64 mix(u64 z) {
  z += 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}
static __device__ __forceinline__ double uniform(u64 stream, u32 position) {
  return (double)(mix(stream ^ mix(position)) >> 11) * (1.0 / 9007199254740992.0);
}

// A weight in (0, 1] as a whole number, so that sums have no order: exact above 2^-22, to 2^-45 below.
static __device__ __forceinline__ u64 mass_of(float w) { return (u64)((double)w * 35184372088832.0); }

// The shortest prefix of a row's tokens, in falling order of weight and rising order of id, that holds `most` tokens or reaches `enough`
// mass: all weights above `edge`, and the first `ties` of those equal to it.
struct Prefix {
  u32 edge;
  u64 ties, mass;
};
struct Histogram {
  u32 low[256], high[256];  // halves of a digit's mass
  u32 count[256];
  u64 mass_above;
  u32 count_above, edge;
};

// In halves, with the carry, because shared memory adds 32 bits in one instruction and 64 in a loop of trials, which tokens of one digit lose.
static __device__ __forceinline__ void add_mass(Histogram *h, int digit, u64 mass) {
  u32 low = (u32)mass, before = atomicAdd(&h->low[digit], low), high = (u32)(mass >> 32) + ((u32)(before + low) < low);
  if (high) atomicAdd(&h->high[digit], high);
}
static __device__ __forceinline__ u64 mass_at(const Histogram *h, int digit) { return (u64)h->high[digit] << 32 | h->low[digit]; }

// The mass of a whole row, in each thread.
static __device__ u64 whole_mass(const float *weights, int v, u64 *room) {
  u64 sum = 0;
  for (int i = threadIdx.x; i < v; i += THREADS) sum += mass_of(weights[i]);
  for (int d = WARP / 2; d > 0; d /= 2) sum += __shfl_xor_sync(EVERYONE, sum, d);
  __syncthreads();
  if (threadIdx.x % WARP == 0) room[threadIdx.x / WARP] = sum;
  __syncthreads();
  sum = 0;
  for (int i = 0; i < THREADS / WARP; i++) sum += room[i];
  return sum;
}

// A digit of eight bits at a time, from the highest: the bin in which the prefix ends.
static __device__ Prefix shortest_prefix(const float *weights, int v, u64 most, u64 enough, Histogram *h) {
  u32 edge = 0, known = 0;
  u64 count_above = 0, mass_above = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    __syncthreads();
    for (int i = threadIdx.x; i < 256; i += THREADS) h->low[i] = h->high[i] = h->count[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < v; i += THREADS) {
      u32 bits = __float_as_uint(weights[i]);
      if (bits == 0 || (bits & known) != edge) continue;
      int digit = bits >> shift & 255;
      atomicAdd(&h->count[digit], 1u);
      add_mass(h, digit, mass_of(weights[i]));
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      u64 count = count_above, mass = mass_above;
      int digit = 255, last = 0;
      // The lowest bin with anything in it, where the whole row does not suffice.
      while (last < 255 && !h->count[last]) last++;
      for (; digit > last; digit--) {
        u64 own = mass_at(h, digit);
        if (count + h->count[digit] >= most || mass + own >= enough) break;
        count += h->count[digit];
        mass += own;
      }
      h->edge = digit;
      h->count_above = count;
      h->mass_above = mass;
    }
    __syncthreads();
    edge |= h->edge << shift;
    known |= 255u << shift;
    count_above = h->count_above;
    mass_above = h->mass_above;
  }
  // All in the last bin have the same weight.
  __syncthreads();
  u64 ties = h->count[edge & 255], each = mass_of(__uint_as_float(edge));
  if (most - count_above < ties) ties = most - count_above;
  if (each && enough > mass_above) {
    u64 needed = (enough - mass_above - 1) / each + 1;
    if (needed < ties) ties = needed;
  }
  if (ties == 0) ties = 1;
  Prefix p = {edge, ties, mass_above + ties * each};
  return p;
}

// Which of the tokens `start + lane` count, in rising order of id, given how many ties came before.
static __device__ __forceinline__ bool counts(float w, Prefix p, u64 &ties) {
  u32 bits = __float_as_uint(w);
  bool tie = bits == p.edge;
  u32 all = __ballot_sync(EVERYONE, tie), before = all & ((1u << (threadIdx.x % WARP)) - 1u);
  bool kept = bits > p.edge || (tie && ties + __popc(before) < p.ties);
  ties += __popc(all);
  return kept && w > 0.0f;
}

// What stood before is marked by token: the lower 30 bits count how often it was drawn, then whether it stands anywhere, then whether it must
// not come. The host's operations in the host's order.
#define SEEN (1u << 30)
#define BANNED (1u << 31)
extern "C" __global__ void penalize(const float *logits, const u32 *rows, float *kept, int v, const u32 *starts, const u32 *ids, const u32 *marks, float repetition, float presence, float frequency) {
  const float *from = logits + (u64)(rows ? rows[blockIdx.x] : blockIdx.x) * v;
  float *z = kept + (u64)blockIdx.x * v;
  for (int i = threadIdx.x; i < v; i += blockDim.x) z[i] = from[i];
  __syncthreads();
  for (u32 i = starts[blockIdx.x] + threadIdx.x; i < starts[blockIdx.x + 1]; i += blockDim.x) {
    u32 mark = marks[i];
    float x = z[ids[i]];
    if ((mark & SEEN) && repetition != 1.0f) x = x > 0.0f ? x / repetition : x * repetition;
    u32 times = mark & (SEEN - 1);
    if (times) x -= presence;
    for (u32 t = 0; t < times; t++) x -= frequency;
    z[ids[i]] = mark & BANNED ? -INF : x;
  }
}

// Draws a token of each row of `kept`; its log-probability is of row `rows[row]` of `logits` (no rows: of the same one), which are drawn from
// where `kept` is none. weights: scratch, a row a draw.
// temperature 0: the greatest, the first of equals.
extern "C" __global__ void draw(const float *logits, const u32 *rows, const float *kept, int v, float *weights, float temperature, int top_k, float top_p, float min_p, const u64 *streams, const u32 *positions, u32 *tokens, float *logprobs) {
  __shared__ float room[32];
  __shared__ double masses[32];
  __shared__ u64 ties_of[32];
  __shared__ Histogram histogram;
  __shared__ int chosen;
  u64 row = blockIdx.x;
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  const int warps = THREADS / WARP;
  const float *z = logits + (rows ? rows[row] : row) * v, *q = kept ? kept + row * v : z;
  float *w = weights + row * v;
  float by = temperature == 0.0f ? 1.0f : 1.0f / temperature;
  Sums s = row_sums(z, by, v, false, room);
  float top = s.top;
  if (kept) {
    top = -INF;
    for (int i = threadIdx.x; i < v; i += THREADS) top = fmaxf(top, q[i] * by);
    top = block_max(top, room);
  }
  if (threadIdx.x == 0) chosen = v;
  __syncthreads();
  if (temperature == 0.0f) {
    int best = v;
    for (int i = threadIdx.x; i < v; i += THREADS)
      if (q[i] == top && i < best) best = i;
    for (int d = WARP / 2; d > 0; d /= 2) best = min(best, __shfl_xor_sync(EVERYONE, best, d));
    if (lane == 0) atomicMin(&chosen, best);
    __syncthreads();
  } else {
    for (int i = threadIdx.x; i < v; i += THREADS) w[i] = exponential(q[i] * by - top);
    Prefix p = {0, 0, 0};
    if ((top_k > 0 && top_k < v) || top_p < 1.0f) {
      u64 all = ~0ull, most = top_k > 0 && top_k < v ? (u64)top_k : all, total = 0;
      if (most < all) {
        p = shortest_prefix(w, v, most, all, &histogram);
        total = p.mass;
      } else {
        total = whole_mass(w, v, ties_of);
      }
      if (top_p < 1.0f) p = shortest_prefix(w, v, most, (u64)ceil((double)top_p * (double)total), &histogram);
    }
    __syncthreads();
    // Each warp its part of the row: how much weighs there, and how many ties come before.
    int share = (v + warps * WARP - 1) / (warps * WARP) * WARP, start = warp * share, end = min(v, start + share);
    u64 ties = 0;
    if (p.ties) {
      for (int i = start; i < end; i += WARP) {
        bool tie = i + lane < end && __float_as_uint(w[i + lane]) == p.edge;
        ties += __popc(__ballot_sync(EVERYONE, tie));
      }
      if (lane == 0) ties_of[warp] = ties;
      __syncthreads();
      ties = 0;
      for (int i = 0; i < warp; i++) ties += ties_of[i];
    }
    u64 ties_before = ties;
    double mass = 0.0;
    for (int i = start; i < end; i += WARP) {
      float x = i + lane < end ? w[i + lane] : 0.0f;
      if (counts(x, p, ties) && (double)x >= (double)min_p) mass += x;
    }
    mass = warp_sum(mass);
    if (lane == 0) masses[warp] = mass;
    __syncthreads();
    double total = 0.0, left = 0.0;
    for (int i = 0; i < warps; i++) total += masses[i];
    left = uniform(streams[row], positions[row]) * total;
    int mine = 0;
    while (mine < warps - 1 && left >= masses[mine]) left -= masses[mine++];
    // Rounding left a crumb: the last warp with any mass.
    while (mine > 0 && masses[mine] == 0.0) left = masses[--mine];
    if (warp == mine) {
      ties = ties_before;
      int last = v, found = v;
      // One warp alone waits for each load: the next one is on its way.
      float next = start + lane < end ? w[start + lane] : 0.0f;
      for (int i = start; i < end && found == v; i += WARP) {
        float x = next;
        next = i + WARP + lane < end ? w[i + WARP + lane] : 0.0f;
        bool in = counts(x, p, ties) && (double)x >= (double)min_p;
        double mine_ = in ? (double)x : 0.0, sum = mine_;
        for (int d = 1; d < WARP; d *= 2) {
          double lower = __shfl_up_sync(EVERYONE, sum, d);
          if (lane >= d) sum += lower;
        }
        u32 hit = __ballot_sync(EVERYONE, in && left < sum), any = __ballot_sync(EVERYONE, in);
        if (hit) found = i + __ffs(hit) - 1;
        if (any) last = i + 31 - __clz(any);
        left -= __shfl_sync(EVERYONE, sum, WARP - 1);
      }
      if (lane == 0) chosen = found < v ? found : last;
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    int token = chosen < v ? chosen : 0;
    tokens[row] = token;
    logprobs[row] = z[token] * by - (s.top + logarithm(s.sum));
  }
}
