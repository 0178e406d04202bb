// SwiGLU, element by element; four at once where rows allow it (`wide`).

static __device__ __forceinline__ float gated(float g, float up) { return g * sigmoid(g) * up; }

template <class T>
static __device__ void forward(const T *gate_up, T *y, u64 rows, int f, int wide) {
  u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (wide) {
    int quarter = f / 4;
    if (i >= rows * quarter) return;
    u64 row = i / quarter;
    int j = 4 * (int)(i % quarter);
    float4 g = load4(gate_up + row * 2 * f + j), u = load4(gate_up + row * 2 * f + f + j), o;
    o.x = gated(g.x, u.x);
    o.y = gated(g.y, u.y);
    o.z = gated(g.z, u.z);
    o.w = gated(g.w, u.w);
    store4(y + row * f + j, o);
  } else {
    if (i >= rows * f) return;
    u64 row = i / f;
    int j = i % f;
    store(y + i, gated(load(gate_up + row * 2 * f + j), load(gate_up + row * 2 * f + f + j)));
  }
}
extern "C" __global__ void swiglu_forward_f32(const float *gate_up, float *y, u64 rows, int f, int wide) { forward(gate_up, y, rows, f, wide); }
extern "C" __global__ void swiglu_forward_bf16(const bf16 *gate_up, bf16 *y, u64 rows, int f, int wide) { forward(gate_up, y, rows, f, wide); }

// d gate = (dy·up)·(s·fma(g, 1 − s, 1)), d up = dy·(g·s)
static __device__ __forceinline__ void slopes(float d, float g, float up, float &dgate, float &dup) {
  float s = sigmoid(g);
  dgate = d * up * (s * fmaf(g, 1.0f - s, 1.0f));
  dup = d * (g * s);
}

template <class T>
static __device__ void backward(const T *dy, const T *gate_up, T *out, u64 rows, int f, int wide) {
  u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (wide) {
    int quarter = f / 4;
    if (i >= rows * quarter) return;
    u64 row = i / quarter;
    int j = 4 * (int)(i % quarter);
    float4 d = load4(dy + row * f + j), g = load4(gate_up + row * 2 * f + j), u = load4(gate_up + row * 2 * f + f + j), a, b;
    slopes(d.x, g.x, u.x, a.x, b.x);
    slopes(d.y, g.y, u.y, a.y, b.y);
    slopes(d.z, g.z, u.z, a.z, b.z);
    slopes(d.w, g.w, u.w, a.w, b.w);
    store4(out + row * 2 * f + j, a);
    store4(out + row * 2 * f + f + j, b);
  } else {
    if (i >= rows * f) return;
    u64 row = i / f;
    int j = i % f;
    float a, b;
    slopes(load(dy + i), load(gate_up + row * 2 * f + j), load(gate_up + row * 2 * f + f + j), a, b);
    store(out + row * 2 * f + j, a);
    store(out + row * 2 * f + f + j, b);
  }
}
extern "C" __global__ void swiglu_backward_f32(const float *dy, const float *gate_up, float *out, u64 rows, int f, int wide) { backward(dy, gate_up, out, rows, f, wide); }
extern "C" __global__ void swiglu_backward_bf16(const bf16 *dy, const bf16 *gate_up, bf16 *out, u64 rows, int f, int wide) { backward(dy, gate_up, out, rows, f, wide); }
