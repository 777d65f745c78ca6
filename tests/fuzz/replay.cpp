// Runs a target on every file of its corpus, on every prefix of the small files, and on mutations
// with a fixed seed: what any compiler can do without libFuzzer.
// usage: fuzz-replay NAME CORPUS MUTATIONS
#include <algorithm>
#include <random>
#include <vector>

#include "fuzz/targets.hpp"

namespace {

using Input = std::vector<std::byte>;

Input read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// A few changes: bytes, bits, cuts, and pieces copied from another input or erased.
Input mutate(Input input, const Input& other, std::mt19937& random) {
  const auto below = [&random](std::size_t n) { return n == 0 ? 0 : random() % n; };
  for (std::size_t changes = 1 + below(4); changes > 0; --changes) {
    const std::size_t at = below(input.size());
    switch (below(5)) {
      case 0:
        if (!input.empty()) input[at] = static_cast<std::byte>(random());
        break;
      case 1:
        if (!input.empty()) input[at] ^= static_cast<std::byte>(1u << below(8));
        break;
      case 2: input.resize(at); break;
      case 3: {
        const auto from = static_cast<std::ptrdiff_t>(below(other.size()));
        const auto count =
            std::min(std::ssize(other) - from, static_cast<std::ptrdiff_t>(below(64)));
        input.insert(input.begin() + static_cast<std::ptrdiff_t>(at), other.begin() + from,
                     other.begin() + from + count);
        break;
      }
      default: {
        const auto from = input.begin() + static_cast<std::ptrdiff_t>(at);
        input.erase(from,
                    from + static_cast<std::ptrdiff_t>(std::min(input.size() - at, below(32))));
      }
    }
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  const fuzz::Target* target = argc == 4 ? fuzz::find_target(argv[1]) : nullptr;
  if (target == nullptr) {
    std::fprintf(stderr, "usage: fuzz-replay NAME CORPUS MUTATIONS\n");
    return 2;
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(argv[2])) files.push_back(entry);
  std::ranges::sort(files);
  std::vector<Input> corpus;
  for (const auto& path : files) {
    std::printf("%s\n", path.filename().c_str());
    std::fflush(stdout);
    corpus.push_back(read(path));
    constexpr std::size_t small = 600;
    const std::size_t first = corpus.back().size() <= small ? 0 : corpus.back().size();
    for (std::size_t n = first; n <= corpus.back().size(); ++n)
      fuzz::run(*target, fuzz::Bytes(corpus.back()).first(n));
  }
  if (corpus.empty()) fuzz::finding("the corpus is empty");
  std::mt19937 random(1);
  int runs = 0;
  for (int wanted = std::atoi(argv[3]); runs < wanted; ++runs)
    fuzz::run(*target,
              mutate(corpus[random() % corpus.size()], corpus[random() % corpus.size()], random));
  std::printf("%zu files, %d mutations\n", corpus.size(), runs);
}
