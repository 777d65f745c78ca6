// Rotary position embedding in the half-split form.
#include <array>

#include "support/parity.hpp"

using namespace idefics;
using namespace testing;

namespace {

using Positions = std::vector<std::int32_t>;

auto rope(const Tensor& x, const Tensor& cos, const Tensor& sin, const Positions& positions) {
  return [=](Backend& backend) {
    const Untouched inputs({cos, sin});
    const auto values = x.as<float>();
    const Output out(backend, x.shape(), Values(values.begin(), values.end()));
    backend.rope(out.tensor_on_device(), backend.upload(cos), backend.upload(sin), positions);
    CHECK(inputs.unchanged());
    return out.values();
  };
}

constexpr std::int64_t halves[] = {1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64};

}  // namespace

TEST_CASE("a quarter turn swaps the halves of each head, exactly") {
  for (const std::int64_t half : halves) {
    INFO("E=" << 2 * half);
    const std::int64_t m = 3, heads = 2, count = m * heads * 2 * half;
    const auto h = static_cast<std::size_t>(half);
    const Values x = integers(count, 1000, 1);
    // Position 0 does not rotate, position 1 rotates by a quarter turn, position 2 by a half.
    Values cos(3 * h), sin(3 * h), expected(x);
    for (std::size_t i = 0; i < h; ++i) {
      cos[i] = 1.0f;
      sin[h + i] = 1.0f;
      cos[2 * h + i] = -1.0f;
    }
    for (std::size_t head = 0; head < 2; ++head)
      for (std::size_t i = 0; i < h; ++i) {
        const std::size_t quarter = (2 + head) * 2 * h + i, turned = (4 + head) * 2 * h + i;
        expected[quarter] = 0.0f - x[quarter + h];
        expected[quarter + h] = x[quarter];
        expected[turned] = 0.0f - x[turned];
        expected[turned + h] = 0.0f - x[turned + h];
      }
    const Tensor begin = tensor({m, heads, 2 * half}, x);
    const Tensor end = tensor({m, heads, 2 * half}, expected);
    on_every_backend(rope(begin, tensor({3, half}, cos), tensor({3, half}, sin), {0, 1, 2}),
                     [&](const Tensor& result) {
                       CHECK(beyond(result, end, [](std::int64_t) { return 0.0; }) == "");
                     });
  }
}

TEST_CASE("rotations are the reference's within rounding") {
  for (const std::int64_t half : halves)
    for (const DType dtype : weight_dtypes) {
      INFO("E=" << 2 * half << " tables " << name_of(dtype));
      const std::int64_t m = 5, heads = 3, width = 2 * half;
      const Tensor x = tensor({m, heads, width}, normals(m * heads * width, 1));
      const Tensor cos = stored(dtype, {9, half}, normals(9 * half, 2), 1);
      const Tensor sin = stored(dtype, {9, half}, normals(9 * half, 3), 1);
      const Positions positions{8, 0, 3, 3, 5};
      like_the_reference(rope(x, cos, sin, positions), [&](std::int64_t i) {
        const std::int64_t column = i % half, row = i / (heads * width);
        const std::int64_t entry = positions[static_cast<std::size_t>(row)] * half + column;
        const std::int64_t first = i / width * width + column;
        return tolerance(
            2,
            (std::abs(reference::value(x, first)) + std::abs(reference::value(x, first + half))) *
                (std::abs(reference::value(cos, entry)) + std::abs(reference::value(sin, entry))));
      });
    }
}

TEST_CASE("a rotated row gives the same bits in any batch") {
  const std::int64_t half = 24;
  const Tensor x = tensor({7, 2, 2 * half}, normals(7 * 4 * half, 1));
  const Tensor cos = tensor({7, half}, normals(7 * half, 2));
  const Tensor sin = tensor({7, half}, normals(7 * half, 3));
  for (const Subject& subject : subjects()) {
    INFO("backend " << subject.name);
    const Tensor all = rope(x, cos, sin, {6, 5, 4, 3, 2, 1, 0})(*subject.backend);
    for (std::int32_t m = 0; m < 7; ++m)
      CHECK(different_bits(rope(x.slice(m, m + 1), cos, sin, {6 - m})(*subject.backend),
                           all.slice(m, m + 1)) == "");
  }
}

TEST_CASE("rope_and_cache gives the bits of rope and scatter_rows") {
  const std::int64_t m = 3, heads = 2, half = 24, width = heads * 2 * half;
  const Shape shape{m, heads, 2 * half}, cache{5, heads, 2 * half};
  const Tensor q = tensor(shape, normals(m * width, 1)), k = tensor(shape, normals(m * width, 2)),
               v = tensor(shape, normals(m * width, 3));
  const Tensor cos = tensor({9, half}, normals(9 * half, 4)),
               sin = tensor({9, half}, normals(9 * half, 5));
  const Positions positions{8, 0, 3}, rows{4, 0, 2};
  // q, and the caches of keys and values, after the operation or what it consists of
  const auto results = [&](Backend& b, bool fused, DType kept) {
    const auto copy = [&](Shape s, const Tensor& from) {
      Tensor on_device = b.empty(from.dtype(), s);
      b.write(on_device, from);
      return on_device;
    };
    const Tensor sevens =
        stored(kept, cache, Values(static_cast<std::size_t>(cache.count()), 7.0f));
    const Tensor q1 = copy(shape, q), k1 = copy(shape, k), v1 = copy(shape, v);
    const KeysAndValues to{copy(cache, sevens), copy(cache, sevens)};
    const Tensor c = b.upload(cos), s = b.upload(sin);
    if (fused) {
      b.rope_and_cache(q1, k1, v1, to, rows, c, s, positions);
    } else {
      b.rope(q1, c, s, positions);
      b.rope(k1, c, s, positions);
      b.scatter_rows(to.k, rows, k1);
      b.scatter_rows(to.v, rows, v1);
    }
    return std::array{b.download(q1), b.download(to.k), b.download(to.v)};
  };
  for (const Subject& subject : subjects()) {
    INFO("backend " << subject.name);
    for (const DType kept : {DType::f32, DType::bf16}) {
      INFO("a cache of " << name_of(kept));
      const auto fused = results(*subject.backend, true, kept),
                 composed = results(*subject.backend, false, kept);
      for (std::size_t i = 0; i < 3; ++i) CHECK(different_bits(fused[i], composed[i]) == "");
    }
  }
}

TEST_CASE("rope_and_cache refuses shapes, positions and rows that do not fit") {
  for (const Subject& subject : subjects()) {
    Backend& b = *subject.backend;
    const auto zeros = [&](Shape shape) { return b.upload(Tensor::zeros(DType::f32, shape)); };
    const auto call = [&](Shape k, Shape cache, const Positions& rows, const Positions& positions) {
      return error_of([&] {
        b.rope_and_cache(zeros({2, 1, 6}), zeros(k), zeros({2, 1, 6}), {zeros(cache), zeros(cache)},
                         rows, zeros({4, 3}), zeros({4, 3}), positions);
      });
    };
    CHECK(call({2, 1, 6}, {5, 1, 6}, {4, 0}, {0, 3}) == "nothing");
    CHECK(call({2, 1, 4}, {5, 1, 6}, {4, 0}, {0, 3}) == "shape_mismatch");
    CHECK(call({2, 1, 6}, {5, 1, 4}, {4, 0}, {0, 3}) == "shape_mismatch");
    CHECK(call({2, 1, 6}, {5, 1, 6}, {4}, {0, 3}) == "shape_mismatch");
    CHECK(call({2, 1, 6}, {5, 1, 6}, {4, 0}, {3}) == "shape_mismatch");
    CHECK(call({2, 1, 6}, {5, 1, 6}, {5, 0}, {0, 3}) == "invalid_argument");
    CHECK(call({2, 1, 6}, {5, 1, 6}, {4, 0}, {0, 4}) == "invalid_argument");
  }
}

TEST_CASE("rotations refuse shapes and positions that do not fit") {
  for (const Subject& subject : subjects()) {
    const auto zeros = [&](Shape shape) {
      return subject.backend->upload(Tensor::zeros(DType::f32, shape));
    };
    const auto call = [&](Shape x, Shape table, const Positions& positions) {
      return error_of(
          [&] { subject.backend->rope(zeros(x), zeros(table), zeros(table), positions); });
    };
    CHECK(call({2, 1, 6}, {4, 3}, {0, 3}) == "nothing");
    CHECK(call({0, 1, 6}, {4, 3}, {}) == "nothing");
    CHECK(call({2, 1, 8}, {4, 3}, {0, 3}) == "shape_mismatch");
    CHECK(call({2, 6}, {4, 3}, {0, 3}) == "shape_mismatch");
    CHECK(call({2, 1, 6}, {4, 3}, {0}) == "shape_mismatch");
    CHECK(call({2, 1, 6}, {4, 3}, {0, 4}) == "invalid_argument");
    CHECK(call({2, 1, 6}, {4, 3}, {0, -1}) == "invalid_argument");
  }
}
