// Tests of device memory and of transfers to it, on a simulated device: a stream runs when the host
// waits for it.
#include "cuda/memory.cuh"
#include "cuda/launch.cuh"
#include "cuda/require_device.cuh"
#include "support/catch.hpp"

using namespace idefics;
using namespace idefics::cuda;
using cuda_on_cpu::simulated;

namespace {

/// The message and the code of the error that call() throws, or "nothing".
template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return std::string(error.code_name()) + ": " + error.what();
  }
  return "nothing";
}

struct NativeStream {
  cudaStream_t stream = nullptr;
  NativeStream() { cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking); }
  ~NativeStream() { cudaStreamDestroy(stream); }
};

struct Machine {
  NativeStream native;
  std::shared_ptr<MemoryPool> device = std::make_shared<MemoryPool>(MemoryPool::Kind::device);
  std::shared_ptr<MemoryPool> pinned = std::make_shared<MemoryPool>(MemoryPool::Kind::pinned);
  Stream stream{native.stream};  // destroyed before the memory that its work uses
};
std::shared_ptr<MemoryPool> device = std::make_shared<MemoryPool>(MemoryPool::Kind::device);
std::shared_ptr<MemoryPool> pinned = std::make_shared<MemoryPool>(MemoryPool::Kind::pinned);

__global__ void copy_ints(std::int32_t* out, const std::int32_t* x, int count) {
  for (int i = thread_of_block(); i < count; i += 32) out[i] = x[i];
}
__global__ void nothing() {}

std::string device_error(const cuda_on_cpu::Simulated& found) {
  const auto before = simulated;
  simulated = found;
  const std::string error = error_of([] { require_device(nothing); });
  simulated = before;
  return error;
}

}  // namespace

TEST_CASE("freed blocks are reused for requests of about their size") {
  Machine m;
  auto first = m.device->get(1000);
  const std::byte* place = first.get();
  first.reset();
  auto second = m.device->get(900);
  CHECK(second.get() == place);
  CHECK(m.device->get(1000).get() != place);
  second.reset();
  CHECK(m.device->get(100).get() != place);
}

TEST_CASE("a lack of memory is reported with the bytes needed and found") {
  Machine m;
  const auto before = simulated;
  simulated.memory = simulated.used[0] + 4096;
  { m.device->get(2048); }                // remains in the pool
  CHECK(m.device->get(4096) != nullptr);  // which releases it for this
  CHECK(error_of([&] { m.device->get(8192); }) ==
        "out_of_memory: the CUDA device has 4096 of its " + std::to_string(simulated.memory) +
            " bytes left, and a tensor needs 8192 bytes [field: device] [found: 8192] [limit: "
            "4096]");
  simulated.memory = before.memory;
}

TEST_CASE("spans reach kernels in the order in which they were staged") {
  Machine m;
  Staging staging(m.stream, m.pinned, m.device);
  const int rounds = 70, count = 10000;  // fills the ring of 1 MiB more than twice
  std::vector<std::vector<std::int32_t>> results(rounds, std::vector<std::int32_t>(count + 1));
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::int32_t> values(count, round);
    const std::int32_t last[] = {-round};
    const auto [many, one] =
        staging(std::span<const std::int32_t>(values), std::span<const std::int32_t>(last));
    auto* out = results[static_cast<std::size_t>(round)].data();
    launch(m.stream, 1, 32, 0, copy_ints, out, many, count);
    launch(m.stream, 1, 32, 0, copy_ints, out + count, one, 1);
  }
  m.stream.wait();
  for (int round = 0; round < rounds; ++round) {
    const auto& result = results[static_cast<std::size_t>(round)];
    REQUIRE(result.front() == round);
    REQUIRE(result[static_cast<std::size_t>(count - 1)] == round);
    REQUIRE(result.back() == -round);
  }
}

TEST_CASE("equal spans are sent once") {
  Machine m;
  Staging staging(m.stream, m.pinned, m.device);
  const std::int32_t values[] = {1, 2, 3}, others[] = {1, 2, 4};
  const auto send = [&](std::span<const std::int32_t> span) { return std::get<0>(staging(span)); };
  const auto* first = send(values);
  CHECK(send(others) != first);
  CHECK(send(values) == first);
  CHECK(m.stream.native()->work.size() == 2);
}

TEST_CASE("uploads of any size arrive, and their source may be overwritten after the call") {
  Machine m;
  Uploader upload(m.stream, m.pinned);
  for (const std::size_t bytes : {0u, 1u, 100u, (16u << 20) - 1, (48u << 20) + 5}) {
    const auto to = m.device->get(bytes);
    std::vector<std::byte> from(bytes);
    for (std::size_t i = 0; i < bytes; ++i) from[i] = static_cast<std::byte>(i * 7 + i / 1000);
    const auto expected = from;
    upload(to.get(), from.data(), bytes);
    std::ranges::fill(from, std::byte{0});
    m.stream.wait();
    CHECK(std::equal(expected.begin(), expected.end(), to.get()));
  }
}

TEST_CASE("an unusable GPU is reported with what was needed and found") {
  const cuda_on_cpu::Simulated good;
  CHECK(device_error(good) == "nothing");
  auto found = good;
  found.driver = 0;
  CHECK(device_error(found) ==
        "device_unavailable: no NVIDIA driver is installed [field: device] [found: 0] [limit: "
        "13000]");
  found.driver = 12040;
  CHECK(device_error(found) ==
        "device_unavailable: the NVIDIA driver supports CUDA 12.4, and this build needs 13.0 "
        "[field: device] [found: 12040] [limit: 13000]");
  found = good;
  found.devices = 0;
  CHECK(device_error(found) ==
        "device_unavailable: there is no NVIDIA GPU [field: device] [found: 0] [limit: 1]");
  found = good;
  found.major = 7, found.minor = 5;
  CHECK(device_error(found) ==
        "device_unavailable: the GPU has compute capability 7.5, and the kernels need 8.0 [field: "
        "device] [found: 75] [limit: 80]");
  found.major = 12, found.minor = 0;
  CHECK(device_error(found) ==
        "device_unavailable: the GPU has compute capability 12.0, for which this build has no "
        "kernels (CMAKE_CUDA_ARCHITECTURES) [field: device] [found: 120] [limit: 80]");
}
