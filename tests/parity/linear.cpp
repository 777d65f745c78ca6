// Linear layers: exact sums, sums within rounding, and the two orders of summation bit for bit.
// linear_fused.cpp has normed_linear_group, gated_linear_unit and linear_gated_add.
#include <array>
#include <limits>

#include <idefics/backend/reference/bf16_order.hpp>

#include "support/parity.hpp"

using namespace idefics;
using namespace testing;

namespace {

struct Case {
  std::int64_t m, n, k;
  DType dtype = DType::f32;
  Compute compute = Compute::f32;
  std::size_t offset = 0;  // bytes between a cache line and the weights
  bool bias = true;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << "M=" << c.m << " N=" << c.n << " K=" << c.k << " weights " << name_of(c.dtype)
             << " at offset " << c.offset << ", compute "
             << (c.compute == Compute::f32 ? "f32" : "bf16");
}

struct Operands {
  Tensor x, weight, bias;
};

Operands operands(const Case& c, const Values& x, const Values& weight, const Values& bias) {
  return {tensor({c.m, c.k}, x), stored(c.dtype, {c.n, c.k}, weight, c.offset),
          c.bias ? stored(c.dtype, {c.n}, bias, c.offset) : Tensor()};
}

/// The operation as a function of the backend, which also checks that the inputs are unchanged.
auto linear(const Case& c, const Operands& o) {
  return [=](Backend& backend) {
    const Untouched inputs({o.x, o.weight, o.bias});
    const Output out(backend, {c.m, c.n});
    backend.linear(out.tensor_on_device(), backend.upload(o.x), {backend.upload(o.weight)},
                   o.bias ? backend.upload(o.bias) : Tensor(), c.compute);
    CHECK(inputs.unchanged());
    return out.values();
  };
}

/// The outputs of three matrices with the same x, followed by sums to which these products are
/// added: computed as a group and by fused addition, or as single products and sums.
std::vector<Tensor> several(Backend& backend, const Case& c, const std::vector<Operands>& parts,
                            bool grouped) {
  const Tensor x = backend.upload(parts[0].x);
  std::vector<Output> outs, sums;
  std::vector<LinearWeight> weights;
  std::vector<LinearTask> tasks;
  weights.reserve(parts.size());
  for (const Operands& o : parts) {
    const std::int64_t n = o.weight.dim(0);
    outs.emplace_back(backend, Shape{c.m, n});
    sums.emplace_back(backend, Shape{c.m, n}, normals(c.m * n, 9));
    weights.push_back({backend.upload(o.weight)});
    tasks.push_back({outs.back().tensor_on_device(), &weights.back(),
                     o.bias ? backend.upload(o.bias) : Tensor(), c.compute});
  }
  if (grouped) backend.linear_group(tasks, x);
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const auto& [out, weight, bias, compute] = tasks[i];
    const Tensor sum = sums[i].tensor_on_device();
    if (!grouped) backend.linear(out, x, *weight, bias, compute);
    if (grouped)
      backend.linear_add(sum, x, *weight, bias, compute, backend.empty(DType::f32, out.shape()));
    else
      backend.add(sum, sum, out);
  }
  std::vector<Tensor> values;
  for (const auto* list : {&outs, &sums})
    for (const Output& out : *list) values.push_back(out.values());
  return values;
}

/// Lengths around multiples of a vector, rows around the tile sizes, and shapes of several blocks.
std::vector<Case> shapes() {
  std::vector<Case> cases;
  for (std::int64_t k : {1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 97})
    cases.push_back({.m = 3, .n = 5, .k = k});
  for (std::int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 64, 67})
    cases.push_back({.m = m, .n = 13, .k = 35});
  for (std::int64_t n : {1, 2, 3, 4, 7, 9, 50}) {
    cases.push_back({.m = 1, .n = n, .k = 20});
    cases.push_back({.m = 9, .n = n, .k = 20});
  }
  cases.push_back({.m = 1, .n = 6, .k = 2100});
  cases.push_back({.m = 6, .n = 3, .k = 2100});
  cases.push_back({.m = 390, .n = 3, .k = 18});
  return cases;
}

template <class Body>
void for_each_case(const Body& body) {
  std::size_t offset = 0;
  for (Case c : shapes())
    for (const DType dtype : weight_dtypes)
      for (const Compute compute : {Compute::f32, Compute::bf16}) {
        c.dtype = dtype;
        c.compute = compute;
        c.offset = offset++ % 4;
        INFO(c);
        body(c);
      }
}

Operands real_operands(const Case& c, unsigned seed = 1) {
  return operands(c, normals(c.m * c.k, seed), normals(c.n * c.k, seed + 1, 0.3f),
                  normals(c.n, seed + 2));
}

double sum_of_sizes(const Operands& o, std::int64_t m, std::int64_t n) {
  const std::int64_t k = o.x.dim(1);
  double sum = o.bias ? std::abs(reference::value(o.bias, n)) : 0.0;
  for (std::int64_t i = 0; i < k; ++i)
    sum += std::abs(reference::value(o.x, m * k + i) * reference::value(o.weight, n * k + i));
  return sum;
}

/// The bf16 order flushes subnormal numbers to zero, in operands and in results.
float flushed(float x, bool flush) {
  return flush && std::abs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x;
}

/// The f32 order of docs/determinism.md: lane l takes k = 16 i + l, and lanes are added as a tree.
float dot_in_f32_order(const Values& x, const Values& w) {
  std::array<float, 16> lanes{};
  for (std::size_t k = 0; k < (x.size() + 15) / 16 * 16; ++k)
    lanes[k % 16] = std::fma(k < x.size() ? x[k] : 0.0f, k < x.size() ? w[k] : 0.0f, lanes[k % 16]);
  for (std::size_t half = 8; half > 0; half /= 2)
    for (std::size_t l = 0; l < half; ++l) lanes[l] = lanes[l] + lanes[l + half];
  return lanes[0];
}

/// The bf16 order: of every 32 values, the even ones in one chain and the odd ones in another.
float dot_in_bf16_order(Values x, Values w) {
  x.resize((x.size() + 31) / 32 * 32);
  w.resize(x.size());
  for (Values* values : {&x, &w})
    for (float& v : *values) v = flushed(to_f32(to_bf16(v)), true);
  float total = 0;
  for (std::size_t at = 0; at < x.size(); at += 32) {
    float chains[2] = {0, 0};
    for (std::size_t k = at; k < at + 32; ++k)
      chains[k % 2] = flushed(std::fma(x[k], w[k], chains[k % 2]), true);
    total = flushed(total + flushed(chains[0] + chains[1], true), true);
  }
  return total;
}

float dot_in_order(const Values& x, const Values& w, Compute compute) {
  const float ours = compute == Compute::bf16 ? dot_in_bf16_order(x, w) : dot_in_f32_order(x, w);
  if (compute == Compute::bf16)  // the definition, implemented twice
    CHECK(reference::dot_in_bf16_order(x, w) == ours);
  return ours;
}

Values row_of(const Tensor& t, std::int64_t row) {
  Values values;
  for (std::int64_t i = 0; i < t.dim(1); ++i)
    values.push_back(detail::element_as_f32(t, row * t.dim(1) + i));
  return values;
}

Tensor in_order(const Case& c, const Operands& o) {
  auto out = Tensor::empty(DType::f32, {c.m, c.n});
  for (std::int64_t m = 0; m < c.m; ++m)
    for (std::int64_t n = 0; n < c.n; ++n)
      out.as_mutable<float>()[static_cast<std::size_t>(m * c.n + n)] =
          dot_in_order(row_of(o.x, m), row_of(o.weight, n), c.compute) +
          (o.bias ? detail::element_as_f32(o.bias, n) : 0.0f);
  return out;
}

void check_order(const Case& c, const Operands& o) {
  const Tensor expected = in_order(c, o);
  for (const Subject& subject : subjects()) {
    if (!subject.fixed_order) continue;
    INFO("backend " << subject.name);
    CHECK(different_bits(linear(c, o)(*subject.backend), expected) == "");
  }
}

}  // namespace

TEST_CASE("sums of integers are exact") {
  for_each_case([](const Case& c) {
    const Values x = integers(c.m * c.k, 7, 1), w = integers(c.n * c.k, 7, 2);
    const Values bias = integers(c.n, 9, 3);
    Values expected;
    for (std::int64_t m = 0; m < c.m; ++m)
      for (std::int64_t n = 0; n < c.n; ++n) {
        float sum = bias[static_cast<std::size_t>(n)];
        for (std::int64_t k = 0; k < c.k; ++k)
          sum +=
              x[static_cast<std::size_t>(m * c.k + k)] * w[static_cast<std::size_t>(n * c.k + k)];
        expected.push_back(sum);
      }
    exactly(linear(c, operands(c, x, w, bias)), tensor({c.m, c.n}, expected));
  });
}

TEST_CASE("real numbers give the reference's sums within rounding") {
  for_each_case([](const Case& c) {
    const Operands o = real_operands(c);
    like_the_reference(linear(c, o), [&](std::int64_t i) {
      return tolerance(c.k + 1, sum_of_sizes(o, i / c.n, i % c.n), c.compute);
    });
  });
}

TEST_CASE("products of a group, and products added to a sum, have the bits of single operations") {
  for (const std::int64_t m : {1, 5, 9, 20})
    for (const Compute compute : {Compute::f32, Compute::bf16})
      for (const DType last : {DType::bf16, DType::f16}) {
        const Case c{.m = m, .n = 35, .k = 200, .dtype = DType::bf16, .compute = compute};
        Case wide = c, other = c;
        wide.n = 50, wide.bias = false;
        other.n = 7, other.dtype = last;
        const std::vector<Operands> parts{real_operands(c), real_operands(wide, 4),
                                          real_operands(other, 6)};
        for (const Subject& subject : subjects()) {
          INFO("backend " << subject.name << ", " << c << ", last " << name_of(last));
          const auto single = several(*subject.backend, c, parts, false);
          const auto grouped = several(*subject.backend, c, parts, true);
          for (std::size_t i = 0; i < single.size(); ++i)
            CHECK(different_bits(grouped[i], single[i]) == "");
        }
      }
}

TEST_CASE("sums are taken in the documented order, bit for bit") {
  for_each_case([](const Case& c) { check_order(c, real_operands(c, 5)); });
}

TEST_CASE("the bf16 order reads and writes subnormal numbers as zero") {
  for (const std::int64_t m : {1, 6})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Case c{
          .m = m, .n = 5, .k = 75, .dtype = dtype, .compute = Compute::bf16, .bias = false};
      INFO(c);
      // products around the smallest normal number, inputs around it, and ordinary inputs
      for (const auto& [x_scale, w_scale] :
           {std::pair{0x1p-63f, 0x1p-63f}, {0x1p-126f, 1.0f}, {0x1p-127f, 0x1p10f}, {1.0f, 1.0f}})
        check_order(
            c, operands(c, normals(c.m * c.k, 3, x_scale), normals(c.n * c.k, 4, w_scale), {}));
    }
}

TEST_CASE("the f32 order keeps subnormal numbers") {
  for (const std::int64_t m : {1, 6}) {
    const Case c{.m = m, .n = 3, .k = 21, .bias = false};
    INFO(c);
    check_order(c,
                operands(c, normals(c.m * c.k, 3, 0x1p-70f), normals(c.n * c.k, 4, 0x1p-70f), {}));
  }
}

TEST_CASE("a row gives the same bits alone and in any batch") {
  for (const Compute compute : {Compute::f32, Compute::bf16})
    for (const DType dtype : weight_dtypes) {
      const Case c{.m = 70, .n = 21, .k = 53, .dtype = dtype, .compute = compute, .offset = 1};
      INFO(c);
      const Operands o = real_operands(c, 9);
      for (const Subject& subject : subjects()) {
        INFO("backend " << subject.name);
        const Tensor all = linear(c, o)(*subject.backend);
        for (const auto& [begin, end] : {std::pair{0, 1}, {1, 3}, {5, 9}, {33, 38}, {2, 69}}) {
          INFO("rows " << begin << " to " << end);
          Case part = c;
          part.m = end - begin;
          const Operands some{o.x.slice(begin, end), o.weight, o.bias};
          CHECK(different_bits(linear(part, some)(*subject.backend), all.slice(begin, end)) == "");
        }
      }
    }
}

TEST_CASE("a row with NaN does not change other rows") {
  for (const Compute compute : {Compute::f32, Compute::bf16})
    for (const std::int64_t m : {3, 8}) {
      const Case c{.m = m, .n = 4, .k = 19, .compute = compute};
      INFO(c);
      const Operands good = real_operands(c);
      Values x = row_of(good.x.reshape({1, c.m * c.k}), 0);
      x[static_cast<std::size_t>(c.k)] = std::numeric_limits<float>::quiet_NaN();
      const Operands bad{tensor({c.m, c.k}, x), good.weight, good.bias};
      for (const Subject& subject : subjects()) {
        INFO("backend " << subject.name);
        const Tensor expected = linear(c, good)(*subject.backend);
        const Tensor result = linear(c, bad)(*subject.backend);
        CHECK(different_bits(result.slice(0, 1), expected.slice(0, 1)) == "");
        CHECK(different_bits(result.slice(2, c.m), expected.slice(2, c.m)) == "");
        for (const float value : result.slice(1, 2).as<float>()) CHECK(std::isnan(value));
      }
    }
}

TEST_CASE("shapes that do not fit are refused") {
  for (const Subject& subject : subjects()) {
    const auto zeros = [&](Shape shape) {
      return subject.backend->upload(Tensor::zeros(DType::f32, shape));
    };
    INFO("backend " << subject.name);
    const auto call = [&](Shape out, Shape x, Shape w, Tensor bias) {
      return error_of(
          [&] { subject.backend->linear(zeros(out), zeros(x), {zeros(w)}, bias, Compute::f32); });
    };
    CHECK(call({2, 4}, {2, 3}, {4, 3}, {}) == "nothing");
    CHECK(call({0, 4}, {0, 3}, {4, 3}, {}) == "nothing");
    CHECK(call({2, 4}, {2, 5}, {4, 3}, {}) == "shape_mismatch");
    CHECK(call({2, 4}, {3, 3}, {4, 3}, {}) == "shape_mismatch");
    CHECK(call({2, 5}, {2, 3}, {4, 3}, {}) == "shape_mismatch");
    CHECK(call({2, 4}, {2, 3}, {4, 3}, zeros({3})) == "shape_mismatch");
    CHECK(call({2, 4}, {2, 0}, {4, 0}, {}) == "shape_mismatch");
  }
}
