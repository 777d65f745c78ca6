// The program of kernels.cuh.
#include "kernels.cuh"

#include <string_view>

int main(int argc, char** argv) {
  try {
    return idefics::bench::gpu::measure_kernels(argc > 1 && std::string_view(argv[1]) == "--quick")
               ? 1
               : 0;
  } catch (const idefics::Error& error) {
    std::fprintf(stderr, "gpu_kernels: %s\n", error.what());
    return 1;
  }
}
