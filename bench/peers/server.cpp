// Times products of the CPU backend for peers.py. Each line of stdin, "COMPUTE M N K", is answered by
// the seconds of one product with a bf16 weight (f32 if COMPUTE is f32), and "read" by the read
// bandwidth, in bytes per second. A matrix is used once in 512 MiB of matrices if M is at most 8.
#include <iostream>
#include <map>
#include <string>

#include <idefics/backend/cpu/cpu_backend.hpp>

#include "../bench.hpp"

namespace {

using namespace idefics;

struct Problem {
  Tensor x, out;
  std::vector<Tensor> weights;
  std::size_t next = 0;
};

Problem make(const std::string& compute, std::int64_t m, std::int64_t n, std::int64_t k) {
  const DType dtype = compute == "f32" ? DType::f32 : DType::bf16;
  Problem p{
      bench::random_tensor(DType::f32, {m, k}, 1.0f, 9), Tensor::empty(DType::f32, {m, n}), {}};
  const std::size_t bytes = static_cast<std::size_t>(n * k) * size_of(dtype);
  const std::size_t count = m > 8 ? 1 : 1 + (std::size_t{512} << 20) / bytes;
  for (std::size_t i = 0; i < count; ++i)
    p.weights.push_back(bench::random_tensor(dtype, {n, k}, 0.02f, i + 1));
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
    const Tensor& weight = p.weights[p.next++ % p.weights.size()];
    const Compute compute = word == "f32" ? Compute::f32 : Compute::bf16;
    std::cout << bench::seconds([&] { backend->linear(p.out, p.x, {weight}, {}, compute); })
              << std::endl;
  }
}
