// Times products of the CPU backend for peers.py. Each line of stdin, "COMPUTE M N K", is answered by
// the seconds of one product, and "read" by the read bandwidth, in bytes per second. COMPUTE is f32
// or bf16, with a weight of that type, or nf4, in the bf16 order. A matrix is used once in 512 MiB of
// matrices if M is at most 8.
#include <iostream>
#include <map>
#include <string>

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/backend/cpu/quantize.hpp>

#include "../bench.hpp"

namespace {

using namespace idefics;

struct Problem {
  Tensor x, out;
  std::vector<LinearWeight> weights;
  std::size_t next = 0;
};

LinearWeight random_weight(const std::string& compute, std::int64_t n, std::int64_t k,
                           std::uint64_t seed) {
  const DType dtype = compute == "f32" ? DType::f32 : DType::bf16;
  const Tensor values = bench::random_tensor(dtype, {n, k}, 0.02f, seed);
  if (compute != "nf4") return {.values = values};
  return {.packed = quantize_4bit(values, {.type = QuantType::nf4})};
}

Problem make(const std::string& compute, std::int64_t m, std::int64_t n, std::int64_t k) {
  Problem p{
      bench::random_tensor(DType::f32, {m, k}, 1.0f, 9), Tensor::empty(DType::f32, {m, n}), {}};
  std::size_t bytes = 0;
  do {
    p.weights.push_back(random_weight(compute, n, k, p.weights.size() + 1));
    bytes += p.weights.back().values.bytes() + p.weights.back().packed.codes.bytes();
  } while (m <= 8 && bytes < std::size_t{512} << 20);
  return p;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) set_num_threads(std::atoi(argv[1]));
  const auto backend = make_cpu_backend();
  std::map<std::string, Problem> problems;
  Tensor memory;
  std::string word;
  while (std::cin >> word) {
    if (word == "read") {
      if (!memory) memory = Tensor::zeros(DType::u8, {std::int64_t{512} << 20});
      const double time = bench::seconds([&] { bench::read_all({memory.raw(), memory.bytes()}); });
      std::cout << static_cast<double>(memory.bytes()) / time << std::endl;
      continue;
    }
    std::int64_t m = 0, n = 0, k = 0;
    if (!(std::cin >> m >> n >> k) || m < 1 || n < 1 || k < 1) return 2;
    const std::string key =
        word + ' ' + std::to_string(m) + ' ' + std::to_string(n) + ' ' + std::to_string(k);
    if (!problems.contains(key)) problems.clear(), problems[key] = make(word, m, n, k);
    Problem& p = problems[key];
    const LinearWeight& weight = p.weights[p.next++ % p.weights.size()];
    const Compute compute = word == "f32" ? Compute::f32 : Compute::bf16;
    std::cout << bench::seconds([&] { backend->linear(p.out, p.x, weight, {}, compute); })
              << std::endl;
  }
}
