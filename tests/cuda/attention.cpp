// Tests of the CUDA attention kernels, run on the CPU by tests/support/cuda_on_cpu/.
#include "cuda/attention.cuh"

#include <idefics/backend/reference/attention.hpp>

#include "support/attention_operands.hpp"
#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

namespace {

using Segments = std::vector<AttentionSegment>;

constexpr float scale = 0.125f;

/// The values rounded to bf16, in f32.
Tensor rounded(const Tensor& t) {
  Values values = values_of(t);
  for (float& x : values) x = to_f32(to_bf16(x));
  return tensor(t.shape(), values);
}

Rows lists_of(const Segments& segments) {
  Rows all;
  for (const AttentionSegment& s : segments)
    all.insert(all.end(), s.key_rows.begin(), s.key_rows.end());
  return all;
}

template <class T = float>
cuda::AttentionOperands<T> operands(const Operands& h, const Rows& lists) {
  return {data(h.q),    h.k.as<T>().data(),           h.v.as<T>().data(),
          lists.data(), static_cast<int>(h.q.dim(1)), static_cast<int>(h.q.dim(2)),
          scale};
}

/// `most`: queries per tile; 1 selects the decode kernels. T: the type of keys and values.
template <class T = float>
Tensor attend(const Operands& h, const Segments& segments, std::int64_t most,
              std::size_t offset = 0) {
  const Rows lists = lists_of(segments);
  const auto placed = [offset](const Tensor& t) {
    return stored(dtype_of<T>(), t.shape(), values_of(t), offset * sizeof(T));
  };
  const Operands at{moved(h.q, offset), placed(h.k), placed(h.v)};
  const auto tiles = cuda::attention_tiles(segments, most);
  const auto count = static_cast<std::int64_t>(tiles.size());
  std::int64_t keys = 0;
  for (const AttentionSegment& s : segments)
    keys = std::max(keys, static_cast<std::int64_t>(s.key_rows.size()));
  return cuda_result(
      h.q.shape(),
      [&](float* out) {
        std::vector<float> scratch(
            static_cast<std::size_t>(cuda::attention_scratch(count, h.q.dim(1), h.q.dim(2), keys)));
        std::vector<unsigned> finished(static_cast<std::size_t>(count * h.q.dim(1)), 0u);
        cuda::attention(at_once(), out, operands<T>(at, lists), tiles.data(), count, most == 1,
                        keys, scratch.data(), finished.data());
        CHECK(std::ranges::count(finished, 0u) == std::ssize(finished));
      },
      {}, offset);
}

/// Rounding of E products perturbs a score; the exponential amplifies this by the score's size.
double bound(const Operands& h, std::int64_t keys) {
  const auto largest = [](const Tensor& t) {
    double most = 0.0;
    for (const float x : t.as<float>()) most = std::max(most, std::abs(static_cast<double>(x)));
    return most;
  };
  const double score =
      static_cast<double>(scale) * static_cast<double>(h.q.dim(2)) * largest(h.q) * largest(h.k);
  return tolerance(h.q.dim(2) + keys, (1.0 + 2.0 * score) * largest(h.v));
}

/// The same with weights that are rounded to bf16, each by at most one part in 512: so much of the
/// values they mix. Tensor cores cut off what is below their window instead of rounding, which is
/// up to twice the error.
double mma_bound(const Operands& h, std::int64_t keys) {
  double most = 0.0;
  for (const float x : h.v.as<float>()) most = std::max(most, std::abs(static_cast<double>(x)));
  return 2.0 * bound(h, keys) + 0x1p-9 * most;
}

}  // namespace

TEST_CASE("CUDA attention is the reference's within rounding, for prompts and single queries") {
  struct Sizes {
    std::int64_t queries, keys, heads, width;
  };
  for (const Sizes& s :
       {Sizes{1, 1, 1, 1}, Sizes{2, 15, 2, 7}, Sizes{5, 64, 1, 8}, Sizes{3, 65, 3, 20},
        Sizes{33, 40, 2, 32}, Sizes{34, 130, 1, 80}, Sizes{4, 200, 2, 128}})
    for (const bool causal : {false, true}) {
      INFO("M " << s.queries << " keys " << s.keys << " H " << s.heads << " E " << s.width
                << (causal ? " causal" : ""));
      const Operands h = random_operands(s.queries, s.keys + 3, s.heads, s.width);
      const Rows rows = some_rows(s.keys, s.keys + 3, 5);
      const Segments segments{{0, s.queries, rows, causal}};
      Tensor expected = Tensor::empty(DType::f32, h.q.shape());
      reference::attention(expected, h.q, h.k, h.v, segments, scale);
      const Tensor result = attend(h, segments, cuda::attention_queries);
      CHECK(beyond(result, expected, [&](std::int64_t) { return bound(h, s.keys); }) == "");
      if (s.queries <= 5) CHECK(different_bits(attend(h, segments, 1), result) == "");
    }
}

TEST_CASE("CUDA attention over bf16 has the bits of the same keys and values in f32") {
  for (const std::int64_t width : {7, 20, 32, 130})
    for (const std::int64_t most : {std::int64_t{1}, cuda::attention_tile_queries(width)})
      for (const std::size_t offset : {0u, 1u}) {
        INFO("E " << width << ", " << most << " queries per tile, offset " << offset);
        Operands h = random_operands(5, 75, 2, width);
        h.k = rounded(h.k), h.v = rounded(h.v);
        const Rows rows = some_rows(70, 75, 5);
        const Segments segments{{0, 5, rows, true}};
        CHECK(different_bits(attend<bf16_t>(h, segments, most, offset),
                             attend(h, segments, most)) == "");
      }
}

TEST_CASE("CUDA attention on tensor cores is the reference's within rounding") {
  struct Sizes {
    std::int64_t queries, keys, heads, width;
  };
  for (const Sizes& s : {Sizes{1, 1, 1, 80}, Sizes{5, 64, 2, 80}, Sizes{3, 65, 1, 96},
                         Sizes{17, 40, 2, 96}, Sizes{66, 70, 1, 128}, Sizes{4, 130, 1, 128}})
    for (const bool causal : {false, true}) {
      INFO("M " << s.queries << " keys " << s.keys << " H " << s.heads << " E " << s.width
                << (causal ? " causal" : ""));
      Operands h = random_operands(s.queries, s.keys + 3, s.heads, s.width);
      h.q = rounded(h.q), h.k = rounded(h.k), h.v = rounded(h.v);
      const Rows rows = some_rows(s.keys, s.keys + 3, 5);
      const Segments segments{{0, s.queries, rows, causal}};
      Tensor expected = Tensor::empty(DType::f32, h.q.shape());
      reference::attention(expected, h.q, h.k, h.v, segments, scale);
      const std::int64_t most = cuda::attention_tile_queries<bf16_t>(s.width);
      CHECK(most == 64);
      const Tensor result = attend<bf16_t>(h, segments, most);
      CHECK(beyond(result, expected, [&](std::int64_t) { return mma_bound(h, s.keys); }) == "");
      if (s.queries <= 5) CHECK(different_bits(attend<bf16_t>(h, segments, 1), result) == "");
      CHECK(different_bits(attend<bf16_t>(h, segments, most, 1), result) == "");
    }
}

TEST_CASE(
    "CUDA attention on tensor cores: a prompt may be cut anywhere, and the batch is the same") {
  const std::int64_t queries = 70, keys = 131;
  const Operands h = random_operands(queries, keys, 1, 80);
  const Rows rows = some_rows(keys, keys, 7);
  const std::span<const std::int32_t> all(rows);
  const Tensor uncut = attend<bf16_t>(h, {{0, queries, all, true}}, 64);
  for (const std::int64_t cut : {1, 69}) {
    INFO("cut at " << cut);
    const auto early = all.first(static_cast<std::size_t>(keys - (queries - cut)));
    const Segments parts{{0, cut, early, true}, {cut, queries, all, true}};
    CHECK(different_bits(attend<bf16_t>(h, parts, 64), uncut) == "");
  }
}

TEST_CASE("CUDA attention on tensor cores: no key gives zeros, equal scores average exactly") {
  for (const std::int64_t most : {std::int64_t{1}, std::int64_t{64}}) {
    Operands some = random_operands(5, 4, 2, 96);
    some.v = rounded(some.v);
    const Rows rows{3, 0, 1};
    const Segments segments{{0, 2, {}, false}, {2, 5, std::span(rows).first(1), true}};
    const Tensor result = attend<bf16_t>(some, segments, most);
    for (const float x : result.slice(0, 4).as<float>()) CHECK(x == 0.0f);
    CHECK(different_bits(result.slice(4, 5), some.v.slice(3, 4)) == "");
    const Tensor blind = attend<bf16_t>(some, {{0, 5, {}, false}}, most);
    for (const float x : blind.as<float>()) CHECK(x == 0.0f);

    const Values v = integers(128 * 80, 100, 4);
    const Operands equal{tensor({1, 1, 80}, Values(80, 0.0f)),
                         tensor({128, 1, 80}, normals(128 * 80, 5)), tensor({128, 1, 80}, v)};
    const Rows every = some_rows(128, 128, 6);
    Values mean(80, 0.0f);
    for (std::size_t i = 0; i < v.size(); ++i) mean[i % 80] += v[i] / 128.0f;
    CHECK(different_bits(attend<bf16_t>(equal, {{0, 1, every}}, most), tensor({1, 1, 80}, mean)) ==
          "");
  }
}

TEST_CASE("CUDA attention of heads that are too wide for tiles runs query by query") {
  CHECK(cuda::attention_tile_queries(128) == 32);
  CHECK(cuda::attention_tile_queries(129) == 1);
  const Operands h = random_operands(2, 70, 1, 130);
  const Rows rows = some_rows(70, 70, 5);
  const Segments segments{{0, 2, rows, true}};
  Tensor expected = Tensor::empty(DType::f32, h.q.shape());
  reference::attention(expected, h.q, h.k, h.v, segments, scale);
  CHECK(beyond(attend(h, segments, 1), expected, [&](std::int64_t) { return bound(h, 70); }) == "");
}

TEST_CASE("CUDA attention: a prompt may be cut anywhere, and the batch changes no bits") {
  const std::int64_t queries = 37, keys = 70;
  const Operands h = random_operands(queries, keys, 2, 24);
  const Rows rows = some_rows(keys, keys, 7);
  const std::span<const std::int32_t> all(rows);
  const Tensor uncut = attend(h, {{0, queries, all, true}}, cuda::attention_queries);
  for (const std::int64_t cut : {1, 20, 36}) {
    INFO("cut at " << cut);
    const auto early = all.first(static_cast<std::size_t>(keys - (queries - cut)));
    const Segments parts{{0, cut, early, true}, {cut, queries, all, true}};
    CHECK(different_bits(attend(h, parts, cuda::attention_queries), uncut) == "");
  }
  for (const std::size_t offset : {1u, 2u})
    CHECK(different_bits(attend(h, {{0, queries, all, true}}, cuda::attention_queries, offset),
                         uncut) == "");
}

TEST_CASE("CUDA attention: no key gives zeros, keys of equal score are averaged exactly") {
  for (const std::int64_t most : {std::int64_t{1}, std::int64_t{32}}) {
    const Operands some = random_operands(5, 4, 2, 12);
    const Rows rows{3, 0, 1};
    const Segments segments{{0, 2, {}, false}, {2, 5, std::span(rows).first(1), true}};
    const Tensor result = attend(some, segments, most);
    for (const float x : result.slice(0, 4).as<float>()) CHECK(x == 0.0f);
    CHECK(different_bits(result.slice(4, 5), some.v.slice(3, 4)) == "");

    const Values v = integers(128 * 6, 100, 4);
    const Operands equal{tensor({1, 1, 6}, Values(6, 0.0f)),
                         tensor({128, 1, 6}, normals(128 * 6, 5)), tensor({128, 1, 6}, v)};
    const Rows every = some_rows(128, 128, 6);
    Values mean(6, 0.0f);
    for (std::size_t i = 0; i < v.size(); ++i) mean[i % 6] += v[i] / 128.0f;
    CHECK(different_bits(attend(equal, {{0, 1, every}}, most), tensor({1, 1, 6}, mean)) == "");
  }
}

TEST_CASE("CUDA attention_weights are the reference's within rounding") {
  const Operands h = random_operands(6, 150, 2, 20);
  const Rows first = some_rows(70, 150, 8), second = some_rows(3, 150, 9);
  const Segments segments{{0, 4, first, true}, {4, 6, second, false}};
  const Rows queries{5, 0, 3};
  const std::int64_t columns = 75;
  Tensor expected = Tensor::empty(DType::f32, {3, 2, columns});
  reference::attention_weights(expected, h.q, h.k, segments, queries, scale);
  const Rows lists = lists_of(segments);
  const auto tiles = cuda::attention_tiles(segments, 1);
  std::vector<cuda::AttentionTile> chosen;
  for (const std::int32_t query : queries) chosen.push_back(tiles[static_cast<std::size_t>(query)]);
  const Tensor result = cuda_result({3, 2, columns}, [&](float* out) {
    cuda::attention_weights(at_once(), out, operands(h, lists), chosen.data(), 3, columns);
  });
  Operands ones = h;
  ones.v = tensor({1}, {1.0f});
  CHECK(beyond(result, expected, [&](std::int64_t) { return bound(ones, 70); }) == "");
}
