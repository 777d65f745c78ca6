// Probabilities over the last dimension, and the index of the largest value.
#include <limits>

#include "support/parity.hpp"

using namespace idefics;
using namespace testing;

namespace {

using Ids = std::vector<std::int32_t>;

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr std::int64_t widths[] = {1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 130, 1024, 5000};

auto softmax(const Tensor& x) {
  return [=](Backend& backend) {
    const Untouched inputs({x});
    const Output out(backend, x.shape());
    backend.softmax(out.tensor_on_device(), backend.upload(x));
    CHECK(inputs.unchanged());
    return out.values();
  };
}

auto softmax_in_place(const Tensor& x) {
  return [=](Backend& backend) {
    const auto values = x.as<float>();
    const Output out(backend, x.shape(), Values(values.begin(), values.end()));
    backend.softmax(out.tensor_on_device(), out.tensor_on_device());
    return out.values();
  };
}

auto argmax(const Tensor& x) {
  return [=](Backend& backend) {
    Tensor out = backend.empty(DType::i64, {x.count() / x.dim(-1)});
    backend.argmax(out, backend.upload(x));
    return backend.download(out);
  };
}

/// Checks the index of the largest value of a single row.
void largest_is(const Values& row, std::int64_t index) {
  exactly(argmax(tensor({static_cast<std::int64_t>(row.size())}, row)), Tensor::from({index}, {1}));
}

/// The choice of each row of logits in two parts, whose tokens `excluded` no row must choose.
auto greedy(const Tensor& base, const Tensor& additional,
            const std::vector<std::vector<std::int32_t>>& excluded) {
  return [=](Backend& backend) {
    std::vector<std::int32_t> ids, ends;
    for (const auto& row : excluded) {
      ids.insert(ids.end(), row.begin(), row.end());
      ends.push_back(static_cast<std::int32_t>(ids.size()));
    }
    const Tensor out = backend.empty(DType::i32, {base.dim(0)});
    backend.greedy_choice(out, backend.upload(base), backend.upload(additional), {ids, ends});
    return backend.download(out);
  };
}
Tensor choices(const std::vector<std::int32_t>& ids) {
  const Tensor all = Tensor::empty(DType::i32, {std::ssize(ids)});
  Tensor writable = all;
  std::ranges::copy(ids, writable.as_mutable<std::int32_t>().begin());
  return all;
}

}  // namespace

TEST_CASE("softmax is the reference's within rounding, and each row adds up to one") {
  for (const std::int64_t d : widths) {
    INFO("D=" << d);
    const Tensor x = tensor({3, d}, normals(3 * d, 1, 4.0f));
    const Tensor expected = softmax(x)(*subjects().front().backend);
    const auto bound = [&](std::int64_t i) { return tolerance(d, reference::value(expected, i)); };
    on_every_backend(softmax(x), [&](const Tensor& result) {
      CHECK(beyond(result, expected, bound) == "");
      for (std::int64_t m = 0; m < 3; ++m)
        CHECK(std::abs(reference::read(result, m * d, d).sum() - 1.0) <= tolerance(d, 1.0));
    });
  }
}

TEST_CASE("equal scores give equal probabilities, exactly where D is a power of two") {
  for (const std::int64_t d : {1, 2, 16, 64, 512}) {
    INFO("D=" << d);
    for (const float score : {0.0f, -3.5f, 3e38f, -3e38f}) {
      const auto count = static_cast<std::size_t>(2 * d);
      exactly(softmax(tensor({2, d}, Values(count, score))),
              tensor({2, d}, Values(count, 1.0f / static_cast<float>(d))));
    }
  }
}

TEST_CASE("no score is too large, and one far above the others takes everything") {
  const Values x{-3e38f, 3e38f, 0.0f, 1e30f, 5.0f, -inf};
  exactly(softmax(tensor({6}, x)), tensor({6}, {0.0f, 1.0f, 0.0f, 0.0f, 0.0f, 0.0f}));
  exactly(softmax(tensor({3}, {-inf, 88.5f, 88.5f})), tensor({3}, {0.0f, 0.5f, 0.5f}));
}

TEST_CASE("rows with NaN or infinity, or with -infinity alone, are NaN; others are not affected") {
  for (const std::int64_t d : {1, 16, 37, 1100})
    for (const float odd : {not_a_number, inf, -inf}) {
      INFO("D=" << d << ", " << odd);
      Values x = normals(3 * d, 2);
      for (std::int64_t i = 0; i < d; ++i)
        if (odd == -inf || i == d / 2) x[static_cast<std::size_t>(d + i)] = odd;
      const Tensor all = tensor({3, d}, x);
      on_every_backend(softmax(all), [&](const Tensor& result) {
        const auto p = result.as<float>();
        std::int64_t wrong = 0;
        for (std::int64_t i = 0; i < 3 * d; ++i)
          wrong += std::isnan(p[static_cast<std::size_t>(i)]) != (i / d == 1);
        CHECK(wrong == 0);
      });
    }
}

TEST_CASE("softmax works in place, and a row gives the same bits in any batch") {
  for (const std::int64_t d : widths) {
    INFO("D=" << d);
    const Tensor x = tensor({9, d}, normals(9 * d, 3, 3.0f));
    for (const Subject& subject : subjects()) {
      INFO("backend " << subject.name);
      const Tensor all = softmax(x)(*subject.backend);
      CHECK(different_bits(softmax_in_place(x)(*subject.backend), all) == "");
      for (std::int64_t m = 0; m < 9; m += 4)
        CHECK(different_bits(softmax(x.slice(m, m + 1))(*subject.backend), all.slice(m, m + 1)) ==
              "");
    }
  }
}

TEST_CASE("argmax finds the largest value at every place of a row") {
  for (const std::int64_t d : widths) {
    INFO("D=" << d);
    const std::int64_t rows = std::min<std::int64_t>(d, 60);
    Values x = integers(rows * d, 100, 4);
    std::vector<std::int64_t> expected;
    for (std::int64_t m = 0; m < rows; ++m) {
      expected.push_back(m * (d - 1) / std::max<std::int64_t>(1, rows - 1));
      x[static_cast<std::size_t>(m * d + expected.back())] = 101.0f;
    }
    exactly(argmax(tensor({rows, d}, x)), Tensor::from(expected, {rows}));
    for (float& value : x) value -= 1000.0f;  // below the zeros that pad a vector
    exactly(argmax(tensor({rows, 1, d}, x)), Tensor::from(expected, {rows}));
  }
}

TEST_CASE("argmax returns the first of equal values, and NaN is larger than any number") {
  largest_is({1.0f, 7.0f, 7.0f, 2.0f}, 1);
  largest_is({-0.0f, 0.0f}, 0);
  largest_is({-inf, -inf, -inf}, 0);
  largest_is({1.0f, inf, 3.0f, inf}, 1);
  largest_is({1.0f, inf, not_a_number, inf, not_a_number}, 2);
  largest_is({not_a_number, inf}, 0);
  for (const std::int64_t d : {33, 1024, 2500}) {
    INFO("D=" << d);
    const auto at = static_cast<std::size_t>(d);
    Values x(at, 5.0f);
    largest_is(x, 0);
    x[at - 1] = inf;
    largest_is(x, d - 1);
    x[at - 9] = x[at - 2] = not_a_number;
    largest_is(x, d - 9);
  }
}

TEST_CASE("softmax and argmax refuse shapes and dtypes that do not fit") {
  for (const Subject& subject : subjects()) {
    INFO("backend " << subject.name);
    Backend& b = *subject.backend;
    const auto zeros = [&](Shape shape) { return b.upload(Tensor::zeros(DType::f32, shape)); };
    const auto probabilities = [&](Shape out, Shape x) {
      return error_of([&] { b.softmax(zeros(out), zeros(x)); });
    };
    CHECK(probabilities({2, 3}, {2, 3}) == "nothing");
    CHECK(probabilities({0, 3}, {0, 3}) == "nothing");
    CHECK(probabilities({2, 3}, {2, 4}) == "shape_mismatch");
    CHECK(probabilities({2, 0}, {2, 0}) == "shape_mismatch");
    CHECK(probabilities({}, {}) == "shape_mismatch");
    const auto index = [&](DType dtype, Shape out, Shape x) {
      return error_of([&] { b.argmax(b.empty(dtype, out), zeros(x)); });
    };
    CHECK(index(DType::i64, {2}, {2, 3}) == "nothing");
    CHECK(index(DType::i64, {0}, {0, 3}) == "nothing");
    CHECK(index(DType::i64, {3}, {2, 3}) == "shape_mismatch");
    CHECK(index(DType::i64, {2}, {2, 0}) == "shape_mismatch");
    CHECK(index(DType::i32, {2}, {2, 3}) == "dtype_mismatch");
  }
}

TEST_CASE("greedy_choice returns the first of the largest logits that are not forbidden") {
  for (const std::int64_t v : {1, 31, 32, 33, 1000, 5003}) {
    INFO("V=" << v);
    const std::int32_t last = static_cast<std::int32_t>(v) - 1, added = last + 1;
    Values base(static_cast<std::size_t>(6 * v), -2.0f), additional(12, -3.0f);
    for (std::size_t row = 0; row < 6; ++row) {
      base[row * static_cast<std::size_t>(v)] = row == 5 ? -0.0f : 1.0f;
      base[(row + 1) * static_cast<std::size_t>(v) - 1] = row == 5 ? 0.0f : 1.0f;
      additional[2 * row + 1] = row == 2 ? 1.5f : 1.0f;
    }
    const std::int32_t after_zero = v > 1 ? last : added + 1;
    exactly(greedy(tensor({6, v}, base), tensor({6, 2}, additional),
                   {{}, {0}, {}, {last, 0}, {0, last, added + 1}, {added + 1}}),
            choices({0, after_zero, added + 1, added + 1, v > 2 ? 1 : added, 0}));
  }
}

TEST_CASE("greedy_choice reports logits that are not finite, and rows without an allowed token") {
  for (const float odd : {not_a_number, inf, -inf})
    for (const std::int64_t v : {3, 2100})
      for (const bool in_added : {false, true}) {
        Values base(static_cast<std::size_t>(2 * v), 1.0f), additional{0.0f, 0.0f};
        (in_added ? additional[1] : base[static_cast<std::size_t>(2 * v - 1)]) = odd;
        exactly(greedy(tensor({2, v}, base), tensor({2, 1}, additional),
                       {{0}, {static_cast<std::int32_t>(v) - 1}}),
                choices({1, no_finite_logits}));
      }
  exactly(greedy(tensor({2, 2}, {1.0f, 2.0f, 3.0f, 4.0f}), {}, {{1, 0, 1}, {1}}),
          choices({no_allowed_token, 0}));
}

TEST_CASE("greedy_choice refuses operands that do not fit") {
  for (const Subject& subject : subjects()) {
    Backend& b = *subject.backend;
    const auto call = [&](Shape base, Shape additional, DType dtype, const Ids& ids,
                          const Ids& ends) {
      return error_of([&] {
        b.greedy_choice(b.empty(dtype, {2}), b.upload(Tensor::zeros(DType::f32, base)),
                        b.upload(Tensor::zeros(DType::f32, additional)), {ids, ends});
      });
    };
    const auto i32 = DType::i32;
    CHECK(call({2, 5}, {2, 1}, i32, {5}, {0, 1}) == "nothing");
    CHECK(call({3, 5}, {2, 1}, i32, {5}, {0, 1}) == "shape_mismatch");
    CHECK(call({2, 5}, {3, 1}, i32, {5}, {0, 1}) == "shape_mismatch");
    CHECK(call({2, 5}, {2, 1}, DType::i64, {5}, {0, 1}) == "dtype_mismatch");
    CHECK(call({2, 5}, {2, 1}, i32, {6}, {0, 1}) == "invalid_argument");
    CHECK(call({2, 5}, {2, 1}, i32, {-1}, {0, 1}) == "invalid_argument");
    CHECK(call({2, 5}, {2, 1}, i32, {5}, {0, 2}) == "invalid_argument");
    CHECK(call({2, 5}, {2, 1}, i32, {5}, {1}) == "invalid_argument");
    CHECK(call({2, 5}, {2, 1}, i32, {5, 1}, {2, 1}) == "invalid_argument");
  }
}
