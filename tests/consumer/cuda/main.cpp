// A program that requests the backend of an installed idefics::cuda and gets it, or the reason why
// not.
#include <idefics/backend/cuda_backend.hpp>

#include <cstdio>

int main() {
  try {
    const auto backend = idefics::make_cuda_backend();
    const auto tensor = backend->upload(idefics::Tensor::zeros(idefics::DType::f32, {3}));
    return backend->download(tensor).count() == 3 ? 0 : 1;
  } catch (const idefics::Error& error) {
    std::printf("%s\n", error.what());
    return error.code() == idefics::ErrorCode::device_unavailable && !idefics::cuda_is_available()
               ? 0
               : 1;
  }
}
