// NVIDIA's libraries, as far as kernels/src/cuda calls them, imitated on the host: the driver, NVRTC and cuBLASLt. Compiled three times, once
// under each library's name. A "module" is the name of a source; a kernel is the emulated one of that name (kernels/src/cuda/emulation), and the
// product is cuBLASLt's as its manual defines it, by columns. It holds the host's side of a card to what those libraries are promised to do.
#include <dirent.h>
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <functional>
#include <string>
#include <vector>

extern "C" {

// --- the driver ---

enum { CAPTURE_UNSUPPORTED = 900, SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, NOT_FOUND = 500, LAUNCH_FAILED = 719 };
static const size_t TOTAL = 1 << 30;
static size_t used;
static __thread void *current;
static int context;

struct Kernel {
  const char *(*entry)(void **, const unsigned *, unsigned, unsigned long);
  int most_shared, arguments;
};

// A captured stream notes its work in place of doing it; a graph is the list.
typedef std::vector<std::function<int()>> Graph;
static Graph *captured;
// Whether the work was noted. The libraries share the driver's list.
bool imitated_note(std::function<int()> *work) { return captured ? (captured->push_back(*work), true) : false; }
static bool note(std::function<int()> work) {
  static auto shared = (bool (*)(std::function<int()> *))dlsym(dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD), "imitated_note");
  return shared(&work);
}
int cuStreamBeginCapture_v2(void *s, int mode) { return s && mode == 2 && !captured ? (captured = new Graph, SUCCESS) : INVALID_VALUE; }
int cuStreamEndCapture(void *s, Graph **g) { return s && captured ? (*g = captured, captured = nullptr, SUCCESS) : INVALID_VALUE; }
int cuGraphInstantiateWithFlags(Graph **made, Graph *g, unsigned long long flags) { return flags ? INVALID_VALUE : (*made = new Graph(*g), SUCCESS); }
int cuGraphDestroy(Graph *g) { return delete g, SUCCESS; }
int cuGraphExecDestroy(Graph *g) { return delete g, SUCCESS; }
int cuGraphLaunch(Graph *g, void *s) {
  if (!s || captured) return INVALID_VALUE;
  for (auto &work : *g)
    if (int e = work()) return e;
  return SUCCESS;
}

int cuInit(unsigned) { return SUCCESS; }
int cuDeviceGetCount(int *n) { return *n = 1, SUCCESS; }
int cuDeviceGet(int *d, int i) { return i == 0 ? (*d = 0, SUCCESS) : 101; }
int cuDeviceGetName(char *name, int n, int) { return snprintf(name, n, "an imitated card"), SUCCESS; }
int cuDeviceGetAttribute(int *x, int which, int) {
  *x = which == 75 ? 9 : which == 76 ? 0 : which == 16 ? 4 : -1;
  return *x < 0 ? INVALID_VALUE : SUCCESS;
}
int cuDevicePrimaryCtxRetain(void **c, int) { return *c = &context, SUCCESS; }
int cuCtxSetCurrent(void *c) { return current = c, SUCCESS; }
int cuStreamCreate(void **s, unsigned flags) { return flags == 1 && current ? (*s = malloc(1), SUCCESS) : INVALID_CONTEXT; }
int cuStreamSynchronize(void *s) { return captured ? CAPTURE_UNSUPPORTED : s && current ? SUCCESS : INVALID_CONTEXT; }
int cuStreamDestroy_v2(void *s) { return free(s), SUCCESS; }
// A block keeps its size in front of it.
int cuMemAlloc_v2(uint64_t *p, size_t n) {
  if (!current) return INVALID_CONTEXT;
  if (n == 0) return INVALID_VALUE;
  if (used + n > TOTAL) return OUT_OF_MEMORY;
  char *block = (char *)aligned_alloc(512, (n + 1023) / 512 * 512);
  memset(block, 0xff, n + 512);
  *(size_t *)block = n;
  used += n;
  return *p = (uint64_t)(block + 512), SUCCESS;
}
int cuMemFree_v2(uint64_t p) {
  char *block = (char *)p - 512;
  used -= *(size_t *)block;
  return free(block), SUCCESS;
}
int cuMemGetInfo_v2(size_t *free_, size_t *total) { return *free_ = TOTAL - used, *total = TOTAL, current ? SUCCESS : INVALID_CONTEXT; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t n, void *s) { return captured ? CAPTURE_UNSUPPORTED : (memcpy((void *)to, from, n), s && current ? SUCCESS : INVALID_CONTEXT); }
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t n, void *s) { return captured ? CAPTURE_UNSUPPORTED : (memcpy(to, (void *)from, n), s && current ? SUCCESS : INVALID_CONTEXT); }
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t n, void *s) {
  if (note([=] { return memmove((void *)to, (void *)from, n), SUCCESS; })) return SUCCESS;
  return memmove((void *)to, (void *)from, n), s && current ? SUCCESS : INVALID_CONTEXT;
}
int cuMemsetD8Async(uint64_t to, unsigned char x, size_t n, void *s) {
  if (note([=] { return memset((void *)to, x, n), SUCCESS; })) return SUCCESS;
  return memset((void *)to, x, n), s && current ? SUCCESS : INVALID_CONTEXT;
}

int cuModuleLoadData(void **module, const void *image) {
  std::string folder = std::string(getenv("XDG_CACHE_HOME")) + "/r1", start = std::string("emulated-") + (const char *)image + "-";
  DIR *d = opendir(folder.c_str());
  if (!d) return NOT_FOUND;
  void *found = nullptr;
  while (dirent *e = readdir(d)) {
    std::string name = e->d_name;
    if (name.rfind(start, 0) == 0 && name.size() > 3 && name.substr(name.size() - 3) == ".so") found = dlopen((folder + "/" + name).c_str(), RTLD_NOW | RTLD_LOCAL);
  }
  closedir(d);
  return *module = found, found ? SUCCESS : NOT_FOUND;
}
int cuModuleGetFunction(void **f, void *module, const char *name) {
  void *entry = dlsym(module, (std::string("emulated_") + name).c_str());
  if (!entry) return NOT_FOUND;
  Kernel *k = new Kernel;
  memcpy(&k->entry, &entry, sizeof entry);
  k->most_shared = 48 * 1024;
  k->arguments = *(int *)dlsym(module, (std::string("arguments_") + name).c_str());
  return *f = k, SUCCESS;
}
int cuFuncSetAttribute(Kernel *k, int which, int x) {
  if (which != 8 || x > 227 * 1024) return INVALID_VALUE;
  return k->most_shared = x, SUCCESS;
}
int cuLaunchKernel(Kernel *k, unsigned x, unsigned y, unsigned z, unsigned tx, unsigned ty, unsigned tz, unsigned shared, void *s, void **args, void **extra) {
  unsigned blocks[3] = {x, y, z};
  if (!current || !s) return INVALID_CONTEXT;
  if (!x || !y || !z || y > 65535 || z > 65535 || tx > 1024 || ty != 1 || tz != 1 || extra || (int)shared > k->most_shared) return INVALID_VALUE;
  std::vector<uint64_t> bits(k->arguments);
  for (int i = 0; i < k->arguments; i++) bits[i] = *(uint64_t *)args[i];
  // What a function's launches may ask for is looked at again when a graph is launched.
  auto later = [=]() mutable {
    if ((int)shared > k->most_shared) return (int)INVALID_VALUE;
    unsigned blocks[3] = {x, y, z};
    std::vector<void *> at;
    for (uint64_t &b : bits) at.push_back(&b);
    return (int)(k->entry(at.data(), blocks, tx, 0) ? LAUNCH_FAILED : SUCCESS);
  };
  if (note(later)) return SUCCESS;
  const char *fault = k->entry(args, blocks, tx, 0);
  return fault ? (fprintf(stderr, "%s\n", fault), LAUNCH_FAILED) : SUCCESS;
}
int cuGetErrorName(int e, const char **text) { return *text = e == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR", SUCCESS; }
int cuGetErrorString(int e, const char **text) { return *text = e == OUT_OF_MEMORY ? "out of memory" : "an error", SUCCESS; }

// --- NVRTC: a program's machine code is its name ---

int nvrtcVersion(int *major, int *minor) { return *major = 13, *minor = 0, 0; }
int nvrtcGetNumSupportedArchs(int *n) { return *n = 2, 0; }
int nvrtcGetSupportedArchs(int *a) { return a[0] = 80, a[1] = 90, 0; }
int nvrtcCreateProgram(char **p, const char *text, const char *name, int, const char *const *, const char *const *) {
  std::string stem = name;
  return *p = strdup(stem.substr(0, stem.find(".cu")).c_str()), text ? 0 : 1;
}
int nvrtcCompileProgram(char *, int n, const char *const *options) {
  bool known = false;
  for (int i = 0; i < n; i++) known |= !strcmp(options[i], "--gpu-architecture=sm_90");
  return known ? 0 : 5;
}
int nvrtcGetCUBINSize(char *p, size_t *n) { return *n = strlen(p), 0; }
int nvrtcGetCUBIN(char *p, char *to) { return memcpy(to, p, strlen(p)), 0; }
int nvrtcGetProgramLogSize(char *, size_t *n) { return *n = 1, 0; }
int nvrtcGetProgramLog(char *, char *to) { return *to = 0, 0; }
int nvrtcDestroyProgram(char **p) { return free(*p), 0; }
const char *nvrtcGetErrorString(int) { return "an error"; }

// --- cuBLASLt: D = alpha·op(A)·op(B) + beta·C, matrices by columns ---

struct Layout {
  int type;
  uint64_t rows, columns;
  int64_t stride;
};
struct Description {
  int transposed[2];
};
enum { R_32F = 0, R_16BF = 14, COMPUTE_32F = 68, NOT_SUPPORTED = 15, LT_INVALID_VALUE = 7 };

int cublasLtCreate(void **h) { return *h = malloc(1), 0; }
int cublasLtDestroy(void *h) { return free(h), 0; }
int cublasLtMatmulDescCreate(Description **d, int compute, int scale) { return *d = new Description{}, compute == COMPUTE_32F && scale == R_32F ? 0 : NOT_SUPPORTED; }
int cublasLtMatmulDescDestroy(Description *d) { return delete d, 0; }
int cublasLtMatmulDescSetAttribute(Description *d, int which, const int *x, size_t n) {
  if ((which != 3 && which != 4) || n != 4) return LT_INVALID_VALUE;
  return d->transposed[which - 3] = *x, 0;
}
int cublasLtMatrixLayoutCreate(Layout **l, int type, uint64_t rows, uint64_t columns, int64_t stride) {
  *l = new Layout{type, rows, columns, stride};
  return (type == R_32F || type == R_16BF) && stride >= (int64_t)rows ? 0 : LT_INVALID_VALUE;
}
int cublasLtMatrixLayoutDestroy(Layout *l) { return delete l, 0; }
// How a sum over k that is cut may be put together: in place 1, in the type of the sums 2, in that of the result 4; any where nobody says.
struct Preference {
  uint32_t reductions = 7;
};
int cublasLtMatmulPreferenceCreate(Preference **p) { return *p = new Preference, 0; }
int cublasLtMatmulPreferenceDestroy(Preference *p) { return delete p, 0; }
// 1: bytes of workspace, 64 bits; 3: reductions, 32 bits; 5 to 8: alignments of A, B, C, D, 32 bits, powers of two.
int cublasLtMatmulPreferenceSetAttribute(Preference *p, int which, const void *x, size_t n) {
  if (which == 1) return n == 8 ? 0 : LT_INVALID_VALUE;
  uint32_t alignment;
  memcpy(&alignment, x, 4);
  if (which == 3) return p->reductions = alignment, n == 4 && alignment < 8 ? 0 : LT_INVALID_VALUE;
  return which >= 5 && which <= 8 && n == 4 && alignment && !(alignment & (alignment - 1)) ? 0 : LT_INVALID_VALUE;
}
static bool fits(const Description *d, const Layout *a, const Layout *b, const Layout *c, uint64_t &m, uint64_t &n, uint64_t &k) {
  m = d->transposed[0] ? a->columns : a->rows, k = d->transposed[0] ? a->rows : a->columns;
  n = d->transposed[1] ? b->rows : b->columns;
  return k == (d->transposed[1] ? b->columns : b->rows) && c->rows == m && c->columns == n && a->type == b->type;
}
// The worst that it may choose: the algorithm's first byte says whether parts of sums are rounded to the type of the result.
int cublasLtMatmulAlgoGetHeuristic(void *, Description *d, Layout *a, Layout *b, Layout *c, Layout *, Preference *p, int, char *results, int *count) {
  uint64_t m, n, k;
  memset(results, 0, 64 + 8 + 4);
  results[0] = (p->reductions & 5) != 0;
  return *count = 1, fits(d, a, b, c, m, n, k) ? 0 : LT_INVALID_VALUE;
}
static float read(const Layout *l, const void *p, uint64_t i, uint64_t j) {
  uint64_t at = i + j * l->stride;
  uint32_t u = l->type == R_16BF ? (uint32_t)((const uint16_t *)p)[at] << 16 : ((const uint32_t *)p)[at];
  float x;
  return memcpy(&x, &u, 4), x;
}
static float rounded(float x) {
  uint32_t u;
  memcpy(&u, &x, 4);
  u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000;
  return memcpy(&x, &u, 4), x;
}
int cublasLtMatmul(void *, Description *d, const float *alpha, const void *A, Layout *a, const void *B, Layout *b, const float *beta, const void *C, Layout *c, void *D, Layout *, const char *algorithm, void *workspace, size_t, void *stream) {
  uint64_t m, n, k;
  if (!fits(d, a, b, c, m, n, k) || !algorithm || !workspace || !stream) return LT_INVALID_VALUE;
  // The scalars are read before the call returns; what else is named stays.
  float by = *alpha, and_ = *beta;
  if (note([=] { return cublasLtMatmul(nullptr, d, &by, A, a, B, b, &and_, C, c, D, c, algorithm, workspace, 0, stream); })) return 0;
  for (uint64_t j = 0; j < n; j++)
    for (uint64_t i = 0; i < m; i++) {
      float sum = *beta != 0.0f ? *beta * read(c, C, i, j) : 0.0f;
      for (uint64_t l = 0; l < k; l++) {
        float x = d->transposed[0] ? read(a, A, l, i) : read(a, A, i, l), y = d->transposed[1] ? read(b, B, j, l) : read(b, B, l, j);
        sum = fmaf(*alpha * x, y, sum);
        if (*algorithm && c->type == R_16BF) sum = rounded(sum);
      }
      uint32_t u;
      memcpy(&u, &sum, 4);
      if (c->type == R_16BF) ((uint16_t *)D)[i + j * c->stride] = (u + 0x7fff + (u >> 16 & 1)) >> 16;
      else ((float *)D)[i + j * c->stride] = sum;
    }
  return 0;
}
}
