// What head and divergence do with a row of logits, a block of 512 threads a row.

#define THREADS 512

// The greatest tempered logit of a row, Σ e^(z − top) and, where wanted, Σ e^(z − top)·(z − top). One order for training and sampling.
struct Sums {
  float top, sum, mixed;
};
static __device__ Sums row_sums(const float *logits, float by, int v, bool mixed, float *room) {
  Sums s;
  float top = -INF;
  for (int i = threadIdx.x; i < v; i += THREADS) top = fmaxf(top, logits[i] * by);
  s.top = block_max(top, room);
  float sum = 0.0f, times = 0.0f;
  for (int i = threadIdx.x; i < v; i += THREADS) {
    float z = logits[i] * by - s.top, e = exponential(z);
    sum += e;
    if (mixed && e > 0.0f) times = fmaf(e, z, times);
  }
  s.sum = block_sum(sum, room);
  s.mixed = mixed ? block_sum(times, room) : 0.0f;
  return s;
}

