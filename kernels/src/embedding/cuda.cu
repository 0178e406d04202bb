// Table look-up, a block a token; its transpose, a block a token id, its tokens ascending.

template <class T>
static __device__ void forward(const T *table, const u32 *ids, float *y, int c, int rows) {
  u64 t = blockIdx.x, id = ids[t];
  // An id beyond the table cannot be refused here: it shows as NaN.
  for (int j = threadIdx.x; j < c; j += blockDim.x) y[t * c + j] = id < (u64)rows ? load(table + id * c + j) : INF - INF;
}
extern "C" __global__ void embedding_forward_f32(const float *table, const u32 *ids, float *y, int c, int rows) { forward(table, ids, y, c, rows); }
extern "C" __global__ void embedding_forward_bf16(const bf16 *table, const u32 *ids, float *y, int c, int rows) { forward(table, ids, y, c, rows); }

// Block b adds the rows order[starts[b]..starts[b + 1]] of dy to row ids[b].
extern "C" __global__ void embedding_backward(const float *dy, const u32 *ids, const u32 *starts, const u32 *order, float *dtable, int c) {
  u32 start = starts[blockIdx.x], end = starts[blockIdx.x + 1];
  float *row = dtable + (u64)ids[blockIdx.x] * c;
  for (int j = threadIdx.x; j < c; j += blockDim.x) {
    float sum = row[j];
    for (u32 i = start; i < end; i++) sum += dy[(u64)order[i] * c + j];
    row[j] = sum;
  }
}
