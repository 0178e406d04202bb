// RMSNorm, a block a row. Sums of squares: each thread its values ascending by fused multiply-add, then threads in a tree.
// `wide`: rows are aligned to 16 bytes (8 in bf16) and have a multiple of four values, so four are read at once.

template <class X>
static __device__ float mean_square(const X *x, int c, int wide, float *room) {
  float sum = 0.0f;
  if (wide) {
    for (int j = 4 * threadIdx.x; j < c; j += 4 * blockDim.x) {
      float4 v = load4(x + j);
      sum = fmaf(v.x, v.x, sum);
      sum = fmaf(v.y, v.y, sum);
      sum = fmaf(v.z, v.z, sum);
      sum = fmaf(v.w, v.w, sum);
    }
  } else {
    for (int j = threadIdx.x; j < c; j += blockDim.x) {
      float v = load(x + j);
      sum = fmaf(v, v, sum);
    }
  }
  return block_sum(sum, room) / (float)c;
}

template <class X, class Y>
static __device__ void forward(const X *x, const float *w, float eps, Y *y, float *rstd, int c, int wide, float *room) {
  u64 row = blockIdx.x;
  x += row * c;
  y += row * c;
  float r = 1.0f / sqrtf(mean_square(x, c, wide, room) + eps);
  if (threadIdx.x == 0) rstd[row] = r;
  if (wide) {
    for (int j = 4 * threadIdx.x; j < c; j += 4 * blockDim.x) {
      float4 v = load4(x + j), s = load4(w + j);
      v.x = v.x * r * s.x;
      v.y = v.y * r * s.y;
      v.z = v.z * r * s.z;
      v.w = v.w * r * s.w;
      store4(y + j, v);
    }
  } else {
    for (int j = threadIdx.x; j < c; j += blockDim.x) store(y + j, load(x + j) * r * w[j]);
  }
}

extern "C" __global__ void rmsnorm_forward_f32_f32(const float *x, const float *w, float eps, float *y, float *rstd, int c, int wide) {
  __shared__ float room[32];
  forward(x, w, eps, y, rstd, c, wide, room);
}
extern "C" __global__ void rmsnorm_forward_f32_bf16(const float *x, const float *w, float eps, bf16 *y, float *rstd, int c, int wide) {
  __shared__ float room[32];
  forward(x, w, eps, y, rstd, c, wide, room);
}
extern "C" __global__ void rmsnorm_forward_bf16_bf16(const bf16 *x, const float *w, float eps, bf16 *y, float *rstd, int c, int wide) {
  __shared__ float room[32];
  forward(x, w, eps, y, rstd, c, wide, room);
}

// x += branch first; each thread reads back what it wrote itself.
template <class B>
static __device__ void add(float *x, const B *branch, int c, int wide) {
  u64 at = (u64)blockIdx.x * c;
  x += at;
  branch += at;
  if (wide) {
    for (int j = 4 * threadIdx.x; j < c; j += 4 * blockDim.x) {
      float4 v = load4(x + j), b = load4(branch + j);
      v.x += b.x;
      v.y += b.y;
      v.z += b.z;
      v.w += b.w;
      store4(x + j, v);
    }
  } else {
    for (int j = threadIdx.x; j < c; j += blockDim.x) x[j] += load(branch + j);
  }
}

extern "C" __global__ void rmsnorm_add_forward_f32_f32(float *x, const float *branch, const float *w, float eps, float *y, float *rstd, int c, int wide) {
  __shared__ float room[32];
  add(x, branch, c, wide);
  forward((const float *)x, w, eps, y, rstd, c, wide, room);
}
extern "C" __global__ void rmsnorm_add_forward_f32_bf16(float *x, const float *branch, const float *w, float eps, bf16 *y, float *rstd, int c, int wide) {
  __shared__ float room[32];
  add(x, branch, c, wide);
  forward((const float *)x, w, eps, y, rstd, c, wide, room);
}
extern "C" __global__ void rmsnorm_add_forward_bf16_bf16(float *x, const bf16 *branch, const float *w, float eps, bf16 *y, float *rstd, int c, int wide) {
  __shared__ float room[32];
  add(x, branch, c, wide);
  forward((const float *)x, w, eps, y, rstd, c, wide, room);
}

// dx = dy·w·rstd − x·rstd³·mean(dy·w·x)
template <class D, class X>
static __device__ void backward(const D *dy, const X *x, const float *w, const float *rstd, float *dx, int accumulate, int c, int wide, float *room) {
  u64 row = blockIdx.x;
  dy += row * c;
  x += row * c;
  dx += row * c;
  float sum = 0.0f, r = rstd[row];
  if (wide) {
    for (int j = 4 * threadIdx.x; j < c; j += 4 * blockDim.x) {
      float4 d = load4(dy + j), v = load4(x + j), s = load4(w + j);
      sum = fmaf(d.x * s.x, v.x, sum);
      sum = fmaf(d.y * s.y, v.y, sum);
      sum = fmaf(d.z * s.z, v.z, sum);
      sum = fmaf(d.w * s.w, v.w, sum);
    }
  } else {
    for (int j = threadIdx.x; j < c; j += blockDim.x) sum = fmaf(load(dy + j) * w[j], load(x + j), sum);
  }
  float by = -(r * r * r * (block_sum(sum, room) / (float)c));
  if (wide) {
    for (int j = 4 * threadIdx.x; j < c; j += 4 * blockDim.x) {
      float4 d = load4(dy + j), v = load4(x + j), s = load4(w + j), o;
      o.x = fmaf(d.x * s.x, r, v.x * by);
      o.y = fmaf(d.y * s.y, r, v.y * by);
      o.z = fmaf(d.z * s.z, r, v.z * by);
      o.w = fmaf(d.w * s.w, r, v.w * by);
      if (accumulate) {
        float4 old = load4(dx + j);
        o.x += old.x;
        o.y += old.y;
        o.z += old.z;
        o.w += old.w;
      }
      store4(dx + j, o);
    }
  } else {
    for (int j = threadIdx.x; j < c; j += blockDim.x) {
      float o = fmaf(load(dy + j) * w[j], r, load(x + j) * by);
      dx[j] = accumulate ? dx[j] + o : o;
    }
  }
}

extern "C" __global__ void rmsnorm_backward_f32_f32(const float *dy, const float *x, const float *w, const float *rstd, float *dx, int accumulate, int c, int wide) {
  __shared__ float room[32];
  backward(dy, x, w, rstd, dx, accumulate, c, wide, room);
}
extern "C" __global__ void rmsnorm_backward_bf16_f32(const bf16 *dy, const float *x, const float *w, const float *rstd, float *dx, int accumulate, int c, int wide) {
  __shared__ float room[32];
  backward(dy, x, w, rstd, dx, accumulate, c, wide, room);
}
extern "C" __global__ void rmsnorm_backward_f32_bf16(const float *dy, const bf16 *x, const float *w, const float *rstd, float *dx, int accumulate, int c, int wide) {
  __shared__ float room[32];
  backward(dy, x, w, rstd, dx, accumulate, c, wide, room);
}
extern "C" __global__ void rmsnorm_backward_bf16_bf16(const bf16 *dy, const bf16 *x, const float *w, const float *rstd, float *dx, int accumulate, int c, int wide) {
  __shared__ float room[32];
  backward(dy, x, w, rstd, dx, accumulate, c, wide, room);
}

// Sums over `run` rows, rows ascending, for each column: part [runs, c]. A thread a column.
template <class D, class X>
static __device__ void weight_part(const D *dy, const X *x, const float *rstd, float *part, int rows, int c, int run) {
  int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j >= c) return;
  int start = blockIdx.y * run, end = min(rows, start + run);
  float sum = 0.0f;
  for (int row = start; row < end; row++) {
    u64 at = (u64)row * c + j;
    sum = fmaf(load(dy + at), load(x + at) * rstd[row], sum);
  }
  part[(u64)blockIdx.y * c + j] = sum;
}

extern "C" __global__ void rmsnorm_weight_part_f32_f32(const float *dy, const float *x, const float *rstd, float *part, int rows, int c, int run) {
  weight_part(dy, x, rstd, part, rows, c, run);
}
extern "C" __global__ void rmsnorm_weight_part_bf16_f32(const bf16 *dy, const float *x, const float *rstd, float *part, int rows, int c, int run) {
  weight_part(dy, x, rstd, part, rows, c, run);
}
extern "C" __global__ void rmsnorm_weight_part_f32_bf16(const float *dy, const bf16 *x, const float *rstd, float *part, int rows, int c, int run) {
  weight_part(dy, x, rstd, part, rows, c, run);
}
extern "C" __global__ void rmsnorm_weight_part_bf16_bf16(const bf16 *dy, const bf16 *x, const float *rstd, float *part, int rows, int c, int run) {
  weight_part(dy, x, rstd, part, rows, c, run);
}

// dw += the parts, in order.
extern "C" __global__ void rmsnorm_weight_sum(const float *part, float *dw, int runs, int c) {
  int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j >= c) return;
  float sum = dw[j];
#pragma unroll 16  // loads ahead of the sum
  for (int i = 0; i < runs; i++) sum += part[(u64)i * c + j];
  dw[j] = sum;
}
