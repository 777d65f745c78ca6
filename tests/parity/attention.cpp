// Attention: which keys a query sees, the softmax, and the same bits for every grouping of queries.
#include <algorithm>
#include <numeric>

#include <idefics/backend/cpu/convert.hpp>

#include "support/attention_operands.hpp"
#include "support/parity.hpp"

using namespace idefics;
using namespace testing;

namespace {

Rows first_rows(std::int64_t count) {
  Rows rows(static_cast<std::size_t>(count));
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

/// The same with keys and values in bf16, and queries that bf16 can represent.
Operands in_bf16(const Operands& o) {
  return {convert(convert(o.q, DType::bf16), DType::f32), convert(o.k, DType::bf16),
          convert(o.v, DType::bf16)};
}

auto attention(const Operands& o, const std::vector<AttentionSegment>& segments, float scale) {
  return [=](Backend& backend) {
    const Untouched inputs({o.q, o.k, o.v});
    const Output out(backend, o.q.shape());
    backend.attention(out.tensor_on_device(), backend.upload(o.q), backend.upload(o.k),
                      backend.upload(o.v), segments, scale);
    CHECK(inputs.unchanged());
    return out.values();
  };
}

/// The weights of some queries, with space for `keys` keys.
auto attention_weights(const Operands& o, const std::vector<AttentionSegment>& segments,
                       const Rows& queries, std::int64_t keys, float scale) {
  return [=](Backend& backend) {
    const Untouched inputs({o.q, o.k});
    const Output out(backend, {static_cast<std::int64_t>(queries.size()), o.q.dim(1), keys});
    backend.attention_weights(out.tensor_on_device(), backend.upload(o.q), backend.upload(o.k),
                              segments, queries, scale);
    CHECK(inputs.unchanged());
    return out.values();
  };
}

float largest(const Tensor& t) {
  float most = 0.0f;
  for (const float value : t.as<float>()) most = std::max(most, std::abs(value));
  return most;
}

/// A score has the rounding error of E products, which the exponential amplifies by its size.
double bound(const Operands& o, std::int64_t keys, float scale) {
  const auto width = static_cast<double>(o.q.dim(2));
  const double score = static_cast<double>(std::abs(scale)) * width *
                       static_cast<double>(largest(o.q)) * static_cast<double>(largest(o.k));
  return tolerance(o.q.dim(2) + keys, (1.0 + 2.0 * score) * static_cast<double>(largest(o.v)));
}

}  // namespace

TEST_CASE("attention is the reference's within rounding") {
  struct Sizes {
    std::int64_t queries, keys, heads, width;
  };
  const Sizes sizes[] = {{1, 1, 1, 1},   {1, 2, 1, 7},    {2, 15, 2, 8},   {3, 16, 1, 15},
                         {4, 17, 3, 16}, {5, 31, 2, 17},  {2, 32, 1, 33},  {1, 33, 2, 48},
                         {7, 64, 1, 63}, {33, 40, 2, 64}, {34, 65, 1, 80}, {9, 300, 2, 96},
                         {2, 12, 1, 130}};
  for (const Sizes& s : sizes)
    for (const bool causal : {false, true}) {
      INFO("M=" << s.queries << " J=" << s.keys << " H=" << s.heads << " E=" << s.width
                << (causal ? " causal" : ""));
      const Operands o = random_operands(s.queries, s.keys + 3, s.heads, s.width);
      const Rows rows = some_rows(s.keys, s.keys + 3, 5);
      const float scale = 1.0f / std::sqrt(static_cast<float>(s.width));
      const double limit = bound(o, s.keys, scale);
      like_the_reference(attention(o, {{0, s.queries, rows, causal}}, scale),
                         [=](std::int64_t) { return limit; });
    }
}

TEST_CASE("attention over keys and values in bf16 is the reference's within rounding") {
  struct Sizes {
    std::int64_t queries, keys, heads, width;
  };
  const Sizes sizes[] = {{1, 1, 1, 1},   {1, 15, 2, 8},    {2, 16, 1, 15},  {5, 31, 2, 17},
                         {7, 64, 1, 63}, {33, 140, 2, 64}, {34, 65, 1, 80}, {1, 300, 2, 128},
                         {9, 70, 2, 96}, {2, 12, 1, 130}};
  for (const Sizes& s : sizes)
    for (const bool causal : {false, true}) {
      INFO("M=" << s.queries << " J=" << s.keys << " H=" << s.heads << " E=" << s.width
                << (causal ? " causal" : ""));
      const Operands o = random_operands(s.queries, s.keys + 3, s.heads, s.width);
      const Rows rows = some_rows(s.keys, s.keys + 3, 5), last{static_cast<int>(s.queries) - 1};
      const float scale = 1.0f / std::sqrt(static_cast<float>(s.width));
      // tensor cores round weights to bf16, each by at most one part in 512, and cut off sums
      const double limit =
          2.0 * bound(o, s.keys, scale) + 0x1p-9 * static_cast<double>(largest(o.v));
      const std::vector<AttentionSegment> segments{{0, s.queries, rows, causal}};
      like_the_reference(attention(in_bf16(o), segments, scale),
                         [=](std::int64_t) { return limit; });
      like_the_reference(attention_weights(in_bf16(o), segments, last, s.keys, scale),
                         [=](std::int64_t) { return limit; });
    }
}

TEST_CASE("values of keys with equal scores are averaged exactly") {
  for (const std::int64_t keys : {1, 2, 4, 16, 32, 64}) {
    for (const std::int64_t width : {1, 16, 35}) {
      INFO("J=" << keys << " E=" << width);
      const std::int64_t heads = 2, pool = keys + 2;
      const Values v = integers(pool * heads * width, 100, 4);
      const Operands o{tensor({1, heads, width}, Values(static_cast<std::size_t>(heads * width))),
                       tensor({pool, heads, width}, normals(pool * heads * width, 5)),
                       tensor({pool, heads, width}, v)};
      const Rows rows = some_rows(keys, pool, 6);
      Values mean(static_cast<std::size_t>(heads * width));
      for (std::size_t e = 0; e < mean.size(); ++e) {
        for (const auto row : rows) mean[e] += v[static_cast<std::size_t>(row) * mean.size() + e];
        mean[e] /= static_cast<float>(keys);
      }
      exactly(attention(o, {{0, 1, rows}}, 1.0f), tensor({1, heads, width}, mean));
    }
  }
}

TEST_CASE("the scale multiplies the scores, and the softmax is that of the worked example") {
  // docs/layers/decoder.md: scores 1 and 2, values 10 and 20.
  const Operands o{tensor({1, 1, 1}, {4.0f}), tensor({2, 1, 1}, {1.0f, 2.0f}),
                   tensor({2, 1, 1}, {10.0f, 20.0f})};
  const Rows rows{0, 1};
  const double second = 1.0 / (1.0 + std::exp(-1.0));
  const Tensor expected = tensor({1, 1, 1}, {static_cast<float>(10.0 + 10.0 * second)});
  on_every_backend(attention(o, {{0, 1, rows}}, 0.25f), [&](const Tensor& result) {
    CHECK(beyond(result, expected, [](std::int64_t) { return tolerance(2, 20.0); }) == "");
  });
}

TEST_CASE("causal queries see the keys up to their own, and the first queries may see none") {
  // A query of 1000 selects exactly the last key that it may see: keys are 0, 1, 2, …
  const std::int64_t keys = 21;
  for (const std::int64_t queries : {1, 2, 5, 20, 21, 24}) {
    INFO(queries << " queries");
    Values k, v, expected;
    for (std::int64_t j = 0; j < keys; ++j) {
      k.push_back(static_cast<float>(j));
      v.push_back(static_cast<float>(100 + j));
    }
    for (std::int64_t i = 0; i < queries; ++i) {
      const std::int64_t last = keys - 1 - (queries - 1 - i);
      expected.push_back(last < 0 ? 0.0f : v[static_cast<std::size_t>(last)]);
    }
    const Operands o{tensor({queries, 1, 1}, Values(static_cast<std::size_t>(queries), 1000.0f)),
                     tensor({keys, 1, 1}, k), tensor({keys, 1, 1}, v)};
    const Rows rows = first_rows(keys);
    exactly(attention(o, {{0, queries, rows, true}}, 1.0f), tensor({queries, 1, 1}, expected));
  }
}

TEST_CASE("a query without keys gives zeros") {
  const Operands o = random_operands(5, 4, 2, 19);
  const Rows rows = first_rows(4);
  const std::vector<AttentionSegment> segments{{0, 2, {}}, {2, 3, rows}, {3, 5, {}, true}};
  on_every_backend(attention(o, segments, 1.0f), [&](const Tensor& result) {
    for (const std::int64_t m : {0, 1, 3, 4})
      CHECK(different_bits(result.slice(m, m + 1), Tensor::zeros(DType::f32, {1, 2, 19})) == "");
    CHECK(largest(result.slice(2, 3)) > 0.0f);
  });
}

TEST_CASE("scores far apart do not overflow, and give the value of the largest") {
  for (const float size : {1e4f, 1e18f}) {
    const Operands o{tensor({1, 1, 1}, {size}), tensor({3, 1, 1}, {-size, size, 0.5f * size}),
                     tensor({3, 1, 1}, {3.0f, 5.0f, 7.0f})};
    const Rows rows = first_rows(3);
    exactly(attention(o, {{0, 1, rows}}, 1.0f), tensor({1, 1, 1}, {5.0f}));
  }
}

TEST_CASE("reading a prompt at once, in parts or token by token gives the same bits") {
  const std::int64_t tokens = 43, width = 24;
  const Operands o = random_operands(tokens, tokens, 2, width);
  const Rows rows = some_rows(tokens, tokens, 8);
  const std::span<const std::int32_t> all(rows);
  for (const Subject& subject : subjects()) {
    INFO("backend " << subject.name);
    const Tensor whole = attention(o, {{0, tokens, all, true}}, 0.2f)(*subject.backend);
    for (const std::int64_t part : {1, 2, 3, 16, 37}) {
      INFO("parts of " << part);
      for (std::int64_t begin = 0; begin < tokens; begin += part) {
        const std::int64_t end = std::min(begin + part, tokens);
        const Operands some{o.q.slice(begin, end), o.k, o.v};
        const auto seen = all.first(static_cast<std::size_t>(end));
        CHECK(
            different_bits(attention(some, {{0, end - begin, seen, true}}, 0.2f)(*subject.backend),
                           whole.slice(begin, end)) == "");
      }
    }
  }
}

TEST_CASE("a segment gives the same bits in any batch, and with its keys anywhere in the pool") {
  const Operands o = random_operands(12, 60, 3, 20);
  const Rows a = some_rows(20, 60, 1), b = some_rows(33, 60, 2);
  const std::vector<AttentionSegment> batch{{0, 5, a, true}, {5, 11, b}, {11, 12, a}};
  for (const Subject& subject : subjects()) {
    INFO("backend " << subject.name);
    const Tensor together = attention(o, batch, 0.3f)(*subject.backend);
    for (AttentionSegment s : batch) {
      // the keys of this segment only, gathered into a pool of their own
      const auto count = static_cast<std::int64_t>(s.key_rows.size());
      const auto gathered = [&](const Tensor& pool) {
        const Tensor rows = subject.backend->empty(DType::f32, {count, 3, 20});
        subject.backend->gather_rows(rows, subject.backend->upload(pool), s.key_rows);
        return subject.backend->download(rows);
      };
      const Operands alone{o.q.slice(s.query_begin, s.query_end), gathered(o.k), gathered(o.v)};
      const Tensor expected = together.slice(s.query_begin, s.query_end);
      const Rows rows = first_rows(count);
      s = {0, s.query_end - s.query_begin, rows, s.causal};
      CHECK(different_bits(attention(alone, {s}, 0.3f)(*subject.backend), expected) == "");
    }
  }
}

TEST_CASE("weights are the reference's within rounding, and zero after the last visible key") {
  for (const std::int64_t keys : {1, 5, 16, 33, 65}) {
    for (const std::int64_t width : {1, 16, 35}) {
      INFO("J=" << keys << " E=" << width);
      const Operands o = random_operands(6, keys + 3, 2, width);
      const Rows rows = some_rows(keys, keys + 3, 5), queries{5, 0, 3};
      const float scale = 1.0f / std::sqrt(static_cast<float>(width));
      const std::vector<AttentionSegment> segments{{0, 1, {}}, {1, 5, rows, true}, {5, 6, rows}};
      const double limit = bound(o, keys, scale);
      const auto weights = attention_weights(o, segments, queries, keys + 2, scale);
      like_the_reference(weights, [=](std::int64_t) { return limit; });
      on_every_backend(weights, [&](const Tensor& result) {
        const auto w = result.as<float>();
        const auto line = static_cast<std::size_t>(keys + 2);
        for (std::size_t at = 0; at < w.size(); at += line) {
          // query 5 sees all keys, query 0 none, query 3 all but the last
          const std::int64_t seen = at / line < 2 ? keys : at / line < 4 ? 0 : keys - 1;
          const auto of_query = w.subspan(at, line);
          double sum = 0;
          for (std::size_t j = 0; j < line; ++j) {
            sum += static_cast<double>(of_query[j]);
            if (static_cast<std::int64_t>(j) >= seen) CHECK(of_query[j] == 0.0f);
          }
          CHECK(std::abs(sum - (seen > 0 ? 1.0 : 0.0)) <= limit * static_cast<double>(keys));
        }
      });
    }
  }
}

TEST_CASE("weights are those that attention applies to the values") {
  // with unit vectors as values, the outputs are the weights themselves
  const std::int64_t keys = 19;
  const Operands o = random_operands(3, keys, 1, keys);
  Values unit(static_cast<std::size_t>(keys * keys));
  for (std::int64_t j = 0; j < keys; ++j) unit[static_cast<std::size_t>(j * (keys + 1))] = 1.0f;
  const Operands shown{o.q, o.k, tensor({keys, 1, keys}, unit)};
  const Rows rows = first_rows(keys), queries{0, 1, 2};
  const std::vector<AttentionSegment> segments{{0, 3, rows, true}};
  for (const Subject& subject : subjects()) {
    INFO("backend " << subject.name);
    CHECK(different_bits(
              attention_weights(o, segments, queries, keys, 0.3f)(*subject.backend),
              attention(shown, segments, 0.3f)(*subject.backend).reshape({3, 1, keys})) == "");
  }
}

TEST_CASE("attention refuses shapes that do not fit, and queries and keys out of range") {
  const Operands o = random_operands(2, 3, 1, 4);
  const Rows good = first_rows(3), bad{0, 3}, negative{-1};
  for (const Subject& subject : subjects()) {
    INFO("backend " << subject.name);
    const auto call = [&](const Operands& x, const std::vector<AttentionSegment>& segments) {
      return error_of([&] { (void)attention(x, segments, 1.0f)(*subject.backend); });
    };
    CHECK(call(o, {{0, 2, good}}) == "nothing");
    CHECK(call({o.q, o.k, o.v.slice(0, 2)}, {{0, 2, good}}) == "shape_mismatch");
    CHECK(call(in_bf16(o), {{0, 2, good}}) == "nothing");
    CHECK(call({o.q, in_bf16(o).k, o.v}, {{0, 2, good}}) == "dtype_mismatch");
    const Tensor halves = convert(o.k, DType::f16);
    CHECK(call({o.q, halves, halves}, {{0, 2, good}}) == "dtype_mismatch");
    CHECK(call({o.q.reshape({1, 2, 4}), o.k, o.v}, {{0, 1, good}}) == "shape_mismatch");
    CHECK(call(o, {{0, 2, bad}}) == "invalid_argument");
    CHECK(call(o, {{0, 2, negative}}) == "invalid_argument");
    CHECK(call(o, {{0, 3, good}}) == "invalid_argument");
    CHECK(call(o, {{2, 1, good}}) == "invalid_argument");
    const auto weigh = [&](const std::vector<AttentionSegment>& segments, const Rows& queries,
                           std::int64_t keys) {
      return error_of(
          [&] { (void)attention_weights(o, segments, queries, keys, 1.0f)(*subject.backend); });
    };
    CHECK(weigh({{0, 2, good}}, {1, 0}, 3) == "nothing");
    CHECK(weigh({{0, 2, good}}, {1, 0}, 2) == "shape_mismatch");
    CHECK(weigh({{0, 2, bad}}, {0}, 3) == "invalid_argument");
    CHECK(weigh({{0, 1, good}}, {1}, 3) == "invalid_argument");
  }
}
