// Linear layers with int8 weights: the reference within rounding, the documented order bit for bit,
// and a row alone as in any batch.
#include <limits>

#include "support/parity.hpp"

using namespace idefics;
using namespace testing;

namespace {

struct Case {
  std::int64_t m, n, k;
  float threshold = 6.0f, scale = 1.0f;
  Compute compute = Compute::f32;
  bool bias = true;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << "M=" << c.m << " N=" << c.n << " K=" << c.k << " threshold " << c.threshold
             << " scale " << c.scale << ", compute "
             << (c.compute == Compute::f32 ? "f32" : "bf16");
}

struct Operands {
  Tensor x, codes, absmax, bias;
};

/// Codes of all values, also -128; x with some values far above the others.
Operands operands(const Case& c) {
  Values x = normals(c.m * c.k, 1, c.scale);
  for (std::size_t i = 0; i < x.size(); i += 37) x[i] *= 9.0f;
  Operands o{tensor({c.m, c.k}, x), Tensor::empty(DType::i8, {c.n, c.k}),
             tensor({c.n}, normals(c.n, 2, 0.1f)),
             c.bias ? tensor({c.n}, normals(c.n, 3)) : Tensor()};
  const Values codes = integers(c.n * c.k, 128, 4);
  for (std::size_t i = 0; i < codes.size(); ++i)
    o.codes.as_mutable<std::int8_t>()[i] = static_cast<std::int8_t>(std::min(codes[i], 127.0f));
  return o;
}

auto linear(const Case& c, const Operands& o) {
  return [=](Backend& backend) {
    const Untouched inputs({o.x, o.absmax, o.bias});
    const Output out(backend, {c.m, c.n});
    const LinearWeight weight{
        .int8 = {backend.upload(o.codes), backend.upload(o.absmax), c.threshold}};
    backend.linear(out.tensor_on_device(), backend.upload(o.x), weight,
                   o.bias ? backend.upload(o.bias) : Tensor(), c.compute);
    CHECK(inputs.unchanged());
    return out.values();
  };
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const float threshold : {6.0f, 0.0f, 0.5f})
    for (const Compute compute : {Compute::f32, Compute::bf16}) {
      for (const std::int64_t k : {1, 15, 16, 17, 31, 32, 33, 64, 97, 1000})
        all.push_back({3, 5, k, threshold, 1.0f, compute});
      for (const std::int64_t m : {1, 2, 4, 5, 8, 9, 67})
        all.push_back({m, 13, 53, threshold, 1.0f, compute, m % 2 == 0});
      for (const std::int64_t n : {1, 2, 3, 4, 7, 50})
        all.push_back({6, n, 40, threshold, 1.0f, compute});
      all.push_back({390, 3, 18, threshold, 1.0f, compute});
      all.push_back({2, 3, 40, threshold, 1e-7f, compute});  // subnormal in f16
    }
  return all;
}

/// docs/determinism.md, step by step.
Tensor in_order(const Case& c, const Operands& o) {
  auto out = Tensor::empty(DType::f32, {c.m, c.n});
  const auto x = o.x.as<float>(), absmax = o.absmax.as<float>();
  const auto codes = o.codes.as<std::int8_t>();
  for (std::int64_t m = 0; m < c.m; ++m) {
    std::vector<float> row(x.begin() + m * c.k, x.begin() + (m + 1) * c.k);
    if (c.compute == Compute::bf16)
      for (float& v : row) v = to_f32(to_bf16(v));
    const reference::Int8Codes q = reference::int8_codes(row, c.threshold);
    for (std::int64_t n = 0; n < c.n; ++n) {
      std::int32_t sum = 0;
      const auto w = codes.subspan(static_cast<std::size_t>(n * c.k));
      for (std::size_t k = 0; k < row.size(); ++k) sum += static_cast<int>(q.codes[k]) * w[k];
      volatile float value = q.absmax * absmax[static_cast<std::size_t>(n)];
      value = static_cast<float>(sum) * value;
      value = value * 6.200124e-05f;
      if (o.bias) value = value + o.bias.as<float>()[static_cast<std::size_t>(n)];
      float outliers = 0;
      for (const std::int64_t k : q.outliers) {
        volatile float wide = static_cast<float>(w[static_cast<std::size_t>(k)]) *
                              absmax[static_cast<std::size_t>(n)];
        wide = wide * 7.874015718698502e-3f;
        const float factor = c.compute == Compute::bf16 ? to_f32(to_bf16(wide)) : wide;
        outliers = std::fma(row[static_cast<std::size_t>(k)], factor, outliers);
      }
      if (!q.outliers.empty()) value = value + outliers;
      out.as_mutable<float>()[static_cast<std::size_t>(m * c.n + n)] = value;
    }
  }
  return out;
}

}  // namespace

TEST_CASE("int8 products are the reference's within rounding") {
  for (const Case& c : cases()) {
    INFO(c);
    const Operands o = operands(c);
    like_the_reference(linear(c, o), [&](std::int64_t i) {
      double sum = 1;
      for (std::int64_t k = 0; k < c.k; ++k)
        sum += std::abs(reference::value(o.x, i / c.n * c.k + k)) *
               std::abs(reference::value(o.absmax, i % c.n)) * 1.01;
      return tolerance(c.k + 8, sum, Compute::f32);
    });
  }
}

TEST_CASE("int8 products are taken in the documented order, bit for bit") {
  for (const Case& c : cases()) {
    INFO(c);
    const Operands o = operands(c);
    const Tensor expected = in_order(c, o);
    for (const Subject& subject : subjects()) {
      if (!subject.fixed_order) continue;
      INFO("backend " << subject.name);
      CHECK(different_bits(linear(c, o)(*subject.backend), expected) == "");
    }
  }
}

TEST_CASE("a row times an int8 matrix gives the same bits alone and in any batch") {
  for (const Compute compute : {Compute::f32, Compute::bf16}) {
    const Case c{70, 21, 53, 3.0f, 1.0f, compute};
    const Operands o = operands(c);
    for (const Subject& subject : subjects()) {
      INFO("backend " << subject.name << ", " << c);
      const Tensor all = linear(c, o)(*subject.backend);
      for (const auto& [begin, end] : {std::pair{0, 1}, {1, 3}, {5, 9}, {33, 38}, {2, 69}}) {
        Case part = c;
        part.m = end - begin;
        const Operands some{o.x.slice(begin, end), o.codes, o.absmax, o.bias};
        CHECK(different_bits(linear(part, some)(*subject.backend), all.slice(begin, end)) == "");
      }
    }
  }
}

TEST_CASE("NaN, infinity and zeros in a row of x do what they do in bitsandbytes") {
  Values x(3 * 20, 0.5f);
  x[3] = std::numeric_limits<float>::quiet_NaN();
  x[20 + 5] = std::numeric_limits<float>::infinity();
  std::fill(x.begin() + 40, x.end(), 0.0f);
  for (const float threshold : {6.0f, 0.0f}) {
    const Case c{3, 4, 20, threshold};
    Operands o = operands(c);
    o.x = tensor({3, 20}, x);
    for (const Subject& subject : subjects()) {
      INFO("backend " << subject.name << ", " << c);
      const Tensor out = linear(c, o)(*subject.backend);
      for (std::size_t n = 0; n < 4; ++n) {
        CHECK(std::isnan(out.as<float>()[n]));
        // with a threshold an infinity is an outlier, without one it makes the row NaN
        const float second = out.as<float>()[4 + n];
        CHECK((threshold > 0 ? std::isinf(second) : std::isnan(second)));
        CHECK(out.as<float>()[8 + n] == o.bias.as<float>()[n]);
      }
    }
  }
}
