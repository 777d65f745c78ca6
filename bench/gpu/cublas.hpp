// cuBLAS on the same shapes, if the build found it: for comparison, not used by the library.
#pragma once

#include <idefics/core/error.hpp>
#include <idefics/core/tensor.hpp>

#if defined(IDEFICS_HAS_CUBLAS)
#include <cublas_v2.h>
#endif

namespace idefics::bench::gpu {

#if defined(IDEFICS_HAS_CUBLAS)

class Cublas {
 public:
  explicit Cublas(cudaStream_t stream) {
    check(cublasCreate(&handle_));
    check(cublasSetStream(handle_, stream));
    // of its own, so that a captured graph neither allocates nor frees
    if (cudaMalloc(&workspace_, workspace_bytes) == cudaSuccess)
      check(cublasSetWorkspace(handle_, workspace_, workspace_bytes));
  }
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;
  ~Cublas() {
    (void)cublasDestroy(handle_);
    (void)cudaFree(workspace_);
  }

  /// out [M,N] = x [M,K] times weight [N,K], all bf16 with f32 sums: torch.nn.Linear without bias.
  void linear(Tensor& out, const Tensor& x, const Tensor& weight) {
    const int m = static_cast<int>(x.dim(0)), n = static_cast<int>(weight.dim(0));
    const int k = static_cast<int>(x.dim(1));
    const float one = 1, zero = 0;
    // cuBLAS matrices are column-major: the transpose of out is weight times the transpose of x
    check(cublasGemmEx(handle_, CUBLAS_OP_T, CUBLAS_OP_N, n, m, k, &one, weight.raw(), CUDA_R_16BF,
                       k, x.raw(), CUDA_R_16BF, k, &zero, out.raw_mutable(), CUDA_R_16BF, n,
                       CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
  }

 private:
  static void check(cublasStatus_t status) {
    if (status != CUBLAS_STATUS_SUCCESS)
      fail(ErrorCode::device_unavailable, std::string("cuBLAS: ") + cublasGetStatusString(status));
  }
  static constexpr std::size_t workspace_bytes = std::size_t{32}
                                                 << 20;  // NVIDIA's advice for Hopper
  cublasHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
};

inline constexpr bool has_cublas = true;

#else

class Cublas {
 public:
  explicit Cublas(cudaStream_t) {}
  void linear(Tensor&, const Tensor&, const Tensor&) {}
};
inline constexpr bool has_cublas = false;

#endif

}  // namespace idefics::bench::gpu
