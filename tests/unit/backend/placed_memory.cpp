// Which device has the newest bytes of a block, checked against a version number for each byte.
#include <array>
#include <random>

#include <idefics/backend/placed_memory.hpp>

#include "support/catch.hpp"

using namespace idefics;

namespace {

/// A block of 64 bytes on three devices; every write is a new version of the bytes that it covers.
struct Versions {
  std::array<std::array<int, 64>, 3> on{};
  std::array<int, 64> newest{};
};

}  // namespace

TEST_CASE(
    "the bytes that a device needs of a block are copied once, from where they were written last") {
  Holders holders(64);
  Versions versions;
  std::mt19937 draw(7);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(draw() % n); };
  for (int step = 1; step <= 5000; ++step) {
    const std::size_t begin = below(64), end = begin + 1 + below(64 - begin), device = below(3);
    if (below(2) == 0) {
      holders.written(begin, end, device);
      for (std::size_t i = begin; i < end; ++i) versions.on[device][i] = versions.newest[i] = step;
      continue;
    }
    const auto copy = [&](std::size_t from_byte, std::size_t to_byte, std::size_t from) {
      REQUIRE((begin <= from_byte && from_byte < to_byte && to_byte <= end && from != device));
      for (std::size_t i = from_byte; i < to_byte; ++i) {
        REQUIRE(versions.on[from][i] == versions.newest[i]);    // never an outdated copy
        REQUIRE(versions.on[device][i] != versions.newest[i]);  // never what is already there
        versions.on[device][i] = versions.newest[i];
      }
    };
    holders.need(begin, end, device, copy);
    for (std::size_t i = begin; i < end; ++i) REQUIRE(versions.on[device][i] == versions.newest[i]);
  }
}

TEST_CASE("an address identifies its block until the last tensor in it is destroyed") {
  const auto memory = std::make_shared<PlacedMemory>();
  Tensor first = memory->make(DType::f32, {4, 3}, 2, 0);
  const Tensor second = memory->make(DType::u8, {0}, 2, 1);
  const Tensor rows = first.slice(1, 3).reshape({6});
  CHECK(memory->find(rows).block == memory->find(first).block);
  CHECK(memory->find(rows).begin == 12);
  CHECK(memory->find(rows).end == 36);
  CHECK(memory->find(second).block->home == 1);
  first = {};
  CHECK(memory->find(rows).block->bytes == 48);
  const Tensor elsewhere = Tensor::zeros(DType::f32, {2});
  CHECK_THROWS_AS(memory->find(elsewhere), Error);
}
