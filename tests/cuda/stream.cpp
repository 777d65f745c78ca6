// Passes that repeat on a simulated device: what is launched, and in which form.
#include "cuda/launch.cuh"
#include "cuda/memory.cuh"
#include "support/catch.hpp"

using namespace idefics;
using namespace idefics::cuda;
using cuda_on_cpu::graphs_started;

namespace {

__global__ void add_number(int* sum, const int* number, int times) {
  if (threadIdx.x == 0) *sum += *number * times;
}

/// A stream, a number in pinned memory that passes read, and a sum that they add to.
struct Machine {
  std::shared_ptr<MemoryPool> pinned = std::make_shared<MemoryPool>(MemoryPool::Kind::pinned);
  std::shared_ptr<std::byte> host = pinned->get(4), device = pinned->get(4);
  Stream stream;
  int sum = 0, graphs_before = graphs_started;

  /// Adds number * (sum of `times`), in one pass.
  void pass(int number, const std::vector<int>& times) {
    submit(number, times);
    stream.wait();
  }
  void submit(int number, const std::vector<int>& times) {
    std::memcpy(host.get(), &number, sizeof number);
    stream.add(CopyWork(device.get(), host.get(), sizeof number));
    for (const int t : times)
      launch(stream, 1, 32, 0, add_number, &sum, reinterpret_cast<const int*>(device.get()), t);
  }
  int graphs() const { return graphs_started - graphs_before; }
};

}  // namespace

TEST_CASE("a pass that repeats is launched as one graph, on the current bytes") {
  Machine m;
  m.pass(1, {1, 2});
  CHECK(m.sum == 3);
  CHECK(m.graphs() == 0);
  m.pass(10, {1, 2});
  CHECK(m.sum == 33);
  CHECK(m.graphs() == 1);
  m.pass(100, {1, 2});
  CHECK(m.sum == 333);
  CHECK(m.graphs() == 2);
}

TEST_CASE("a pass that differs from the last one is launched piece by piece") {
  for (const auto& other : {std::vector<int>{1, 2, 4}, {2, 1, 3}, {1}, {1, 2, 3, 4}, {}}) {
    const int total = std::accumulate(other.begin(), other.end(), 0);
    Machine m;
    m.pass(1, {1, 2, 3});
    m.pass(1, {1, 2, 3});
    CHECK(m.graphs() == 1);
    m.pass(1, other);
    CHECK(m.sum == 12 + total);
    CHECK(m.graphs() == 1);
    m.pass(1, other);
    CHECK(m.sum == 12 + 2 * total);
    CHECK(m.graphs() == 2);
    m.pass(1, {1, 2, 3});
    CHECK(m.sum == 18 + 2 * total);
    CHECK(m.graphs() == 2);
  }
}

TEST_CASE("counted work is launched before calls to CUDA itself") {
  Machine m;
  m.pass(1, {1, 2});
  m.submit(10, {1, 2});
  CHECK(m.stream.native()->work.size() == 3);
  m.stream.wait();
  CHECK(m.sum == 33);
}

TEST_CASE("an empty pass, and one that is too long to keep, run like any other") {
  Machine m;
  m.stream.wait();
  const std::vector<int> many(20000, 1);
  for (int round = 1; round <= 3; ++round) {
    m.pass(1, many);
    CHECK(m.sum == 20000 * round);
  }
  CHECK(m.graphs() == 0);
}
