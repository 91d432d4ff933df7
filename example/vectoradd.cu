// Adds two vectors on each GPU of the machine and compares every sum with the
// CPU's.
//
//     vectoradd [ELEMENTS]
//
// Exit status: 0 all sums are right, 1 some are wrong, 2 wrong arguments,
// 3 CUDA failed, in which case stderr says where and how.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <cuda_runtime.h>

enum { kRight = 0, kWrong = 1, kUsage = 2, kFailed = 3 };

// check ends the program where a call of CUDA's failed.
#define check(call) checkCall((call), #call, __LINE__)

static void checkCall(cudaError_t status, const char *call, int line) {
  if (status == cudaSuccess) return;
  fprintf(stderr, "vectoradd: %s (%s:%d): %s: %s\n", call, __FILE__, line,
          cudaGetErrorName(status), cudaGetErrorString(status));
  exit(kFailed);
}

__global__ void add(const float *a, const float *b, float *sum, size_t n) {
  size_t stride = static_cast<size_t>(gridDim.x) * blockDim.x;
  for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride)
    sum[i] = a[i] + b[i];
}

// numbers are n floats between 0 and 1 that look random and are the same each time.
static std::vector<float> numbers(size_t n, uint32_t seed) {
  std::vector<float> list(n);
  for (float &x : list) {
    seed = seed * 1664525u + 1013904223u;
    x = static_cast<float>(seed >> 8) / (1 << 24);
  }
  return list;
}

static float *copyToDevice(const std::vector<float> &list) {
  float *device = nullptr;
  check(cudaMalloc(&device, list.size() * sizeof(float)));
  check(cudaMemcpy(device, list.data(), list.size() * sizeof(float), cudaMemcpyHostToDevice));
  return device;
}

static void describe(int device) {
  cudaDeviceProp p;
  char bus[32];
  check(cudaGetDeviceProperties(&p, device));
  check(cudaDeviceGetPCIBusId(bus, sizeof(bus), device));
  printf("GPU %d: %s at %s\n", device, p.name, bus);
  printf("  compute capability %d.%d, %d multiprocessors, %.1f GiB of memory%s\n", p.major, p.minor,
         p.multiProcessorCount, p.totalGlobalMem / double(1 << 30), p.ECCEnabled ? " with ECC" : "");
}

// addOn returns how many of the sums that a GPU computed are wrong.
static size_t addOn(int device, const std::vector<float> &a, const std::vector<float> &b) {
  size_t n = a.size(), bytes = n * sizeof(float);
  check(cudaSetDevice(device));
  float *deviceA = copyToDevice(a), *deviceB = copyToDevice(b), *deviceSum = nullptr;
  check(cudaMalloc(&deviceSum, bytes));
  check(cudaMemset(deviceSum, 0xff, bytes)); // NaNs: no sum is right that was not computed

  size_t blocks = (n + 255) / 256;
  add<<<static_cast<unsigned>(blocks < 4096 ? blocks : 4096), 256>>>(deviceA, deviceB, deviceSum, n);
  check(cudaGetLastError());
  check(cudaDeviceSynchronize());

  std::vector<float> sum(n);
  check(cudaMemcpy(sum.data(), deviceSum, bytes, cudaMemcpyDeviceToHost));
  check(cudaFree(deviceA));
  check(cudaFree(deviceB));
  check(cudaFree(deviceSum));

  size_t wrong = 0;
  for (size_t i = 0; i < n; i++) {
    float want = a[i] + b[i]; // one rounding, which IEEE 754 prescribes for both
    if (sum[i] == want) continue;
    if (wrong++ == 0) fprintf(stderr, "vectoradd: GPU %d: sum %zu is %g, want %g\n", device, i, sum[i], want);
  }
  return wrong;
}

int main(int argc, char **argv) {
  size_t n = 1 << 24;
  if (argc > 1) {
    char *end = nullptr;
    n = strtoull(argv[1], &end, 10);
    if (argc > 2 || *end != '\0' || argv[1][0] == '-' || n == 0 || n > (size_t(1) << 32)) {
      fprintf(stderr, "usage: vectoradd [ELEMENTS], from 1 to 2^32\n");
      return kUsage;
    }
  }
  int devices = 0, driver = 0, runtime = 0;
  check(cudaGetDeviceCount(&devices));
  check(cudaDriverGetVersion(&driver));
  check(cudaRuntimeGetVersion(&runtime));
  printf("CUDA %d.%d, on a driver for up to CUDA %d.%d\n", runtime / 1000, runtime % 1000 / 10, driver / 1000,
         driver % 1000 / 10);

  std::vector<float> a = numbers(n, 1), b = numbers(n, 2);
  int status = kRight;
  for (int device = 0; device < devices; device++) {
    describe(device);
    size_t wrong = addOn(device, a, b);
    if (wrong == 0) {
      printf("  %zu sums, all equal to the CPU's\n", n);
    } else {
      printf("  %zu of %zu sums are WRONG\n", wrong, n);
      status = kWrong;
    }
  }
  return status;
}
