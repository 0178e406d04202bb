// Around the products, which are cuBLASLt's: bias, its gradient, conversion, the residual sum.

// The row that value i of rows of n lies in: divided in 32 bits where that does, which is many times faster.
static __device__ __forceinline__ u64 row_of(u64 i, int n) { return i >> 32 ? i / (u32)n : (u32)i / (u32)n; }

template <class Y>
static __device__ void add_bias(Y *y, const float *bias, u64 count, int n) {
  u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) store(y + i, load(y + i) + bias[i - row_of(i, n) * n]);
}
extern "C" __global__ void add_bias_f32(float *y, const float *bias, u64 count, int n) { add_bias(y, bias, count, n); }
extern "C" __global__ void add_bias_bf16(bf16 *y, const float *bias, u64 count, int n) { add_bias(y, bias, count, n); }

// Sums over `run` rows, rows ascending, a thread a column: part [runs, n].
template <class D>
static __device__ void bias_part(const D *dy, float *part, int rows, int n, int run) {
  int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j >= n) return;
  int start = blockIdx.y * run, end = min(rows, start + run);
  float sum = 0.0f;
#pragma unroll 8  // loads ahead of the sum
  for (int row = start; row < end; row++) sum += load(dy + (u64)row * n + j);
  part[(u64)blockIdx.y * n + j] = sum;
}
extern "C" __global__ void bias_part_f32(const float *dy, float *part, int rows, int n, int run) { bias_part(dy, part, rows, n, run); }
extern "C" __global__ void bias_part_bf16(const bf16 *dy, float *part, int rows, int n, int run) { bias_part(dy, part, rows, n, run); }
// db += the parts, in order.
extern "C" __global__ void bias_sum(const float *part, float *db, int runs, int n) {
  int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j >= n) return;
  float sum = db[j];
#pragma unroll 16
  for (int i = 0; i < runs; i++) sum += part[(u64)i * n + j];
  db[j] = sum;
}

// Four values a thread; a last thread takes what is left.
template <class X, class Y>
static __device__ void convert(const X *x, Y *y, u64 count, int wide) {
  u64 i = 4 * ((u64)blockIdx.x * blockDim.x + threadIdx.x);
  if (wide && i + 4 <= count) store4(y + i, load4(x + i));
  else
    for (u64 j = i; j < count && j < i + 4; j++) store(y + j, load(x + j));
}
extern "C" __global__ void convert_f32_f32(const float *x, float *y, u64 count, int wide) { convert(x, y, count, wide); }
extern "C" __global__ void convert_f32_bf16(const float *x, bf16 *y, u64 count, int wide) { convert(x, y, count, wide); }
extern "C" __global__ void convert_bf16_f32(const bf16 *x, float *y, u64 count, int wide) { convert(x, y, count, wide); }
extern "C" __global__ void convert_bf16_bf16(const bf16 *x, bf16 *y, u64 count, int wide) { convert(x, y, count, wide); }

template <class Y>
static __device__ void add(float *x, const Y *y, u64 count, int wide) {
  u64 i = 4 * ((u64)blockIdx.x * blockDim.x + threadIdx.x);
  if (wide && i + 4 <= count) {
    float4 a = load4(x + i), b = load4(y + i);
    a.x += b.x;
    a.y += b.y;
    a.z += b.z;
    a.w += b.w;
    store4(x + i, a);
  } else
    for (u64 j = i; j < count && j < i + 4; j++) x[j] += load(y + j);
}
extern "C" __global__ void add_f32(float *x, const float *y, u64 count, int wide) { add(x, y, count, wide); }
extern "C" __global__ void add_bf16(float *x, const bf16 *y, u64 count, int wide) { add(x, y, count, wide); }

// Columns of one matrix into another: to[row, to_at + j] = from[row / times, from_at + j].
template <class T>
static __device__ void columns(const T *from, T *to, u64 count, int width, int times, int from_stride, int from_at, int to_stride, int to_at) {
  u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  u64 row = row_of(i, width), j = i - row * width;
  to[row * to_stride + to_at + j] = from[row_of(row, times) * from_stride + from_at + j];
}
extern "C" __global__ void columns_f32(const float *from, float *to, u64 count, int width, int times, int from_stride, int from_at, int to_stride, int to_at) { columns(from, to, count, width, times, from_stride, from_at, to_stride, to_at); }
extern "C" __global__ void columns_bf16(const bf16 *from, bf16 *to, u64 count, int width, int times, int from_stride, int from_at, int to_stride, int to_at) { columns(from, to, count, width, times, from_stride, from_at, to_stride, to_at); }

// The gradient of columns that stand in `times` rows each: to[row, j] = the sum of from[row * times + i, at + j], i ascending.
template <class T>
static __device__ void fold(const T *from, T *to, u64 count, int width, int times, int stride, int at) {
  u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  u64 row = row_of(i, width), j = i - row * width;
  float sum = 0.0f;
  for (int n = 0; n < times; n++) sum += load(from + (row * times + n) * stride + at + j);
  store(to + i, sum);
}
extern "C" __global__ void fold_f32(const float *from, float *to, u64 count, int width, int times, int stride, int at) { fold(from, to, count, width, times, stride, at); }
extern "C" __global__ void fold_bf16(const bf16 *from, bf16 *to, u64 count, int width, int times, int stride, int at) { fold(from, to, count, width, times, stride, at); }

// y = x · by, rounded to what products take.
template <class Y>
static __device__ void scaled(const float *x, Y *y, u64 count, float by) {
  u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) store(y + i, x[i] * by);
}
extern "C" __global__ void scaled_f32(const float *x, float *y, u64 count, float by) { scaled(x, y, count, by); }
extern "C" __global__ void scaled_bf16(const float *x, bf16 *y, u64 count, float by) { scaled(x, y, count, by); }
