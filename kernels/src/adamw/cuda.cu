// One step of AdamW, element by element, with the CPU's operations; the bf16 copy that the products read is written on the way.

extern "C" __global__ void adamw(float *w, float *m, float *v, const float *g, bf16 *copy, u64 count, float grad_scale, float beta1, float one_minus_beta1, float beta2, float one_minus_beta2, float keep, float rate, float inverse_root, float eps) {
  u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  float d = g[i] * grad_scale;
  float a = fmaf(beta1, m[i], one_minus_beta1 * d);
  float b = fmaf(beta2, v[i], one_minus_beta2 * (d * d));
  float step = rate * a / fmaf(sqrtf(b), inverse_root, eps);
  float x = fmaf(w[i], keep, -step);
  w[i] = x;
  m[i] = a;
  v[i] = b;
  if (copy) copy[i] = narrow(x);
}
