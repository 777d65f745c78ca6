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

/// Work that fails to start when *left is 0.
class FailingWork final : public Work {
 public:
  explicit FailingWork(const int* left) : left_(left) {}
  void start(cudaStream_t) const override {
    if (*left_ == 0) throw std::runtime_error("no launch");
  }
  bool equals(const Work& other) const override {
    return dynamic_cast<const FailingWork*>(&other) != nullptr;
  }
  std::unique_ptr<Work> copy() const override { return std::make_unique<FailingWork>(left_); }

 private:
  const int* left_;
};

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
  }
}

TEST_CASE("passes that alternate are launched as graphs") {
  const std::vector<std::vector<int>> passes{{1, 2, 3}, {1, 2}, {1, 2, 3, 4}, {1, 5}, {6}};
  Machine m;
  int sum = 0;
  for (int round = 0; round < 3; ++round)
    for (const auto& pass : passes) {
      m.pass(round, pass);
      sum += round * std::accumulate(pass.begin(), pass.end(), 0);
      CHECK(m.sum == sum);
    }
  CHECK(m.graphs() == 10);
  for (int pass = 10; pass < 18; ++pass) m.pass(1, {pass});  // of all others, none is remembered
  m.pass(1, {1, 2, 3});
  CHECK(m.graphs() == 10);
}

TEST_CASE("a pass that fails to be launched or recorded leaves a usable stream") {
  for (const int failing : {1, 2}) {
    INFO("failure in pass " << failing);
    Machine m;
    int left = 1;
    const auto pass = [&](int number) {
      left = number == failing ? 0 : 1;
      m.submit(1, {1, 2});
      m.stream.add(FailingWork(&left));
      m.stream.wait();
    };
    if (failing == 2) pass(1);
    CHECK_THROWS_WITH(pass(failing), "no launch");
    m.stream.wait();
    const int before = m.sum, graphs = m.graphs();
    for (int number = 3; number <= 5; ++number) pass(number);
    CHECK(m.sum == before + 9);
    CHECK(m.graphs() - graphs >= 2);
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
