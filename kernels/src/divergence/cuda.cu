// The divergence of a student's row of logits from its teacher's, and its slope: see mod.rs. A block of 512 threads a row (head/rows.cuh).

// beta: 0 forward, 1 reverse, between them Jensen-Shannon; rest = ln(1 − β), odds = ln β − ln(1 − β).
struct Shape {
  float beta, rest, odds;
};

// ln(1 + u) for 0 ≤ u ≤ 1, as kernels/src/lanes/exp.rs computes it.
static __device__ __forceinline__ float logarithm_of_more(float u) {
  float s = u / (2.0f + u), square = s * s, sum = 2.0f / 17.0f;
  sum = fmaf(sum, square, 2.0f / 15.0f);
  sum = fmaf(sum, square, 2.0f / 13.0f);
  sum = fmaf(sum, square, 2.0f / 11.0f);
  sum = fmaf(sum, square, 2.0f / 9.0f);
  sum = fmaf(sum, square, 2.0f / 7.0f);
  sum = fmaf(sum, square, 2.0f / 5.0f);
  sum = fmaf(sum, square, 2.0f / 3.0f);
  return fmaf(sum * square, s, s + s);
}

// ln q − ln m, m the mixture; q and p are logarithms from here on.
static __device__ __forceinline__ float from_mixture(float q, float p, Shape s) {
  float a = p - q + s.odds, softplus = fmaxf(a, 0.0f) + logarithm_of_more(exponential(-fabsf(a)));
  return -(s.rest + softplus);
}

// What one outcome adds to the teacher's and to the student's sum.
struct Pair {
  float of_teacher, of_student;
};
static __device__ __forceinline__ void add(Pair &sums, float q, float p, Shape s) {
  float apart = p - q;
  if (s.beta == 0.0f) sums.of_teacher = fmaf(exponential(p), apart, sums.of_teacher);
  else if (s.beta == 1.0f) sums.of_student = fmaf(exponential(q), -apart, sums.of_student);
  else {
    float r = from_mixture(q, p, s);
    sums.of_teacher = fmaf(exponential(p), apart + r, sums.of_teacher);
    sums.of_student = fmaf(exponential(q), r, sums.of_student);
  }
}

// The divergence, and the mean of the outcomes' slopes, Σ q s.
struct Whole {
  float divergence, mean;
};
static __device__ Whole whole(Pair sums, Shape s, float *room) {
  float of_teacher = block_sum(sums.of_teacher, room), of_student = block_sum(sums.of_student, room);
  Whole w = {of_teacher, 0.0f};
  if (s.beta == 1.0f) w.divergence = w.mean = of_student;
  else if (s.beta != 0.0f) {
    w.mean = (1.0f - s.beta) * of_student;
    w.divergence = s.beta * of_teacher + w.mean;
  }
  return w;
}

// d(divergence)/d(logit) of one outcome.
static __device__ __forceinline__ float slope_of(float q, float p, Shape s, float mean) {
  if (s.beta == 0.0f) return exponential(q) - exponential(p);
  if (s.beta == 1.0f) return exponential(q) * (q - p - mean);
  return exponential(q) * ((1.0f - s.beta) * from_mixture(q, p, s) - mean);
}

// Against a teacher's whole row; without one every token is as probable as every other.
template <class D>
static __device__ void live(const float *logits, int v, const float *of_teacher, int theirs, const float *by, Shape s, const float *weights, float *values, D *dlogits) {
  __shared__ float room[32];
  u64 row = blockIdx.x;
  int both = of_teacher && theirs < v ? theirs : v;
  const float *z = logits + row * v, *teacher = of_teacher + row * theirs;
  float factor = by[row], same = -logarithm((float)v);
  Sums ours = row_sums(z, factor, both, false, room);
  float lse = ours.top + logarithm(ours.sum), their_lse = 0.0f;
  if (of_teacher) {
    Sums t = row_sums(teacher, factor, both, false, room);
    their_lse = t.top + logarithm(t.sum);
  }
  Pair sums = {0.0f, 0.0f};
  for (int i = threadIdx.x; i < both; i += THREADS) add(sums, z[i] * factor - lse, of_teacher ? teacher[i] * factor - their_lse : same, s);
  Whole w = whole(sums, s, room);
  if (threadIdx.x == 0) values[row] = w.divergence;
  float slope = weights[row] * factor;
  for (int i = threadIdx.x; i < v; i += THREADS) {
    float d = i < both ? slope_of(z[i] * factor - lse, of_teacher ? teacher[i] * factor - their_lse : same, s, w.mean) : 0.0f;
    store(dlogits + row * v + i, d * slope);
  }
}
extern "C" __global__ void live_f32(const float *logits, int v, const float *of_teacher, int theirs, const float *by, float beta, float rest, float odds, const float *weights, float *values, float *dlogits) {
  Shape s = {beta, rest, odds};
  live(logits, v, of_teacher, theirs, by, s, weights, values, dlogits);
}
extern "C" __global__ void live_bf16(const float *logits, int v, const float *of_teacher, int theirs, const float *by, float beta, float rest, float odds, const float *weights, float *values, bf16 *dlogits) {
  Shape s = {beta, rest, odds};
  live(logits, v, of_teacher, theirs, by, s, weights, values, dlogits);
}

// Against lists: row i has starts[i] to starts[i + 1] of ids and logprobs; tails is ln of what its list leaves out, own is scratch as long
// as the lists. The logits of what is listed are used up.
template <class D>
static __device__ void listed(float *logits, int v, const u32 *ids, const float *logprobs, const u32 *starts, const float *tails, float *own, const float *by, Shape s, const float *weights, float *values, D *dlogits) {
  __shared__ float room[32];
  const float least = 1.17549435e-38f;
  u64 row = blockIdx.x;
  u32 start = starts[row], count = starts[row + 1] - start;
  float *z = logits + row * v, *q = own + start;
  const u32 *id = ids + start;
  const float *p = logprobs + start;
  float factor = by[row];
  Sums ours = row_sums(z, factor, v, false, room);
  float lse = ours.top + logarithm(ours.sum);
  for (u32 j = threadIdx.x; j < count; j += THREADS) {
    q[j] = z[id[j]] * factor - lse;
    z[id[j]] = -INF;
  }
  __syncthreads();
  float mass = 0.0f;
  for (int i = threadIdx.x; i < v; i += THREADS) mass += exponential(z[i] * factor - lse);
  mass = block_sum(mass, room);
  bool has_rest = count < (u32)v;
  // A tail that q has lost altogether stays an outcome with a finite logarithm.
  float tail = logarithm(fmaxf(mass, least)), their_tail = tails[row];
  Pair sums = {0.0f, 0.0f};
  for (u32 j = threadIdx.x; j < count; j += THREADS) add(sums, q[j], p[j], s);
  if (threadIdx.x == 0 && has_rest) add(sums, tail, their_tail, s);
  Whole w = whole(sums, s, room);
  if (threadIdx.x == 0) values[row] = w.divergence;
  float slope = weights[row] * factor;
  float share = has_rest && mass >= least ? slope_of(tail, their_tail, s, w.mean) * slope / mass : 0.0f;
  for (int i = threadIdx.x; i < v; i += THREADS) store(dlogits + row * v + i, exponential(z[i] * factor - lse) * share);
  __syncthreads();
  for (u32 j = threadIdx.x; j < count; j += THREADS) store(dlogits + row * v + id[j], slope_of(q[j], p[j], s, w.mean) * slope);
}
extern "C" __global__ void listed_f32(float *logits, int v, const u32 *ids, const float *logprobs, const u32 *starts, const float *tails, float *own, const float *by, float beta, float rest, float odds, const float *weights, float *values, float *dlogits) {
  Shape s = {beta, rest, odds};
  listed(logits, v, ids, logprobs, starts, tails, own, by, s, weights, values, dlogits);
}
extern "C" __global__ void listed_bf16(float *logits, int v, const u32 *ids, const float *logprobs, const u32 *starts, const float *tails, float *own, const float *by, float beta, float rest, float odds, const float *weights, float *values, bf16 *dlogits) {
  Shape s = {beta, rest, odds};
  listed(logits, v, ids, logprobs, starts, tails, own, by, s, weights, values, dlogits);
}
