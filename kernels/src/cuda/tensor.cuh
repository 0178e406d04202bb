// Tensor cores and asynchronous copies: the few PTX instructions that tiles are made of. emulation/shim.h has the same functions in C++.

#ifndef EMULATED
// D (16×8, f32) += A (16×16, bf16, by rows) · B (16×8, bf16, by columns), over a warp. With g = lane/4 and t = lane%4, d holds
// (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1); a the pairs from (g, 2t), (g+8, 2t), (g, 2t+8), (g+8, 2t+8); b those from (2t, g), (2t+8, g).
static __device__ __forceinline__ void mma(float d[4], const u32 a[4], const u32 b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8×8 matrices of bf16; lane l names row l%8 of matrix l/8 (16 bytes in shared memory) and gets of each the pair (l/4, 2(l%4)).
static __device__ __forceinline__ void load_matrices(u32 r[4], const bf16 *row) {
  u32 at = (u32)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at));
}

// The same, each matrix transposed: of each the pair (2(l%4), l/4), (2(l%4)+1, l/4).
static __device__ __forceinline__ void load_matrices_transposed(u32 r[4], const bf16 *row) {
  u32 at = (u32)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at));
}

// 16 bytes from global to shared memory, in the background; zeros where `there` is false.
static __device__ __forceinline__ void copy_16(void *to, const void *from, bool there) {
  u32 at = (u32)__cvta_generic_to_shared(to);
  int bytes = there ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(at), "l"(from), "r"(bytes) : "memory");
}
static __device__ __forceinline__ void copies_end() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// Waits until at most N of the groups that this thread ended are on their way.
template <int N>
static __device__ __forceinline__ void copies_wait() { asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory"); }

// Two values to bf16 (nearest even), `low` in the lower half.
static __device__ __forceinline__ u32 pair(float low, float high) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(r) : "f"(high), "f"(low));
  return r;
}

// 2^x to two units in the last place; results below the normal range are 0.
static __device__ __forceinline__ float power_of_two(float x) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(r) : "f"(x));
  return r;
}
#endif
