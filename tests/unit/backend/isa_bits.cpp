// The promise of docs/determinism.md for the CPU: the bits of a result do not depend on the
// instruction set, on the number of threads, on how many rows share the work, or on how a prompt is
// split.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include <idefics/backend/cpu/convert.hpp>
#include <idefics/backend/cpu/cpu_backend.hpp>

#include "support/catch.hpp"

using namespace idefics;

namespace {

/// Values around zero, determined by the seed (splitmix64); some of them are subnormal or tiny.
Tensor random(DType dtype, Shape shape, std::uint64_t seed) {
  Tensor t = Tensor::empty(dtype, shape);
  for (std::size_t i = 0; i < static_cast<std::size_t>(t.count()); ++i) {
    std::uint64_t z = (seed << 40) + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    float x = static_cast<float>(z >> 40) * 0x1p-23f - 1.0f;
    if (z % 61 == 0) x *= 0x1p-130f;
    if (dtype == DType::f32)
      t.as_mutable<float>()[i] = x;
    else if (dtype == DType::f16)
      t.as_mutable<f16_t>()[i] = to_f16(x);
    else
      t.as_mutable<bf16_t>()[i] = to_bf16(x);
  }
  return t;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

using Operation = std::function<Tensor(Backend&)>;

/// Runs `operation` on every instruction set and number of threads, and compares with scalar code
/// on one thread.
void require_same_everywhere(const Operation& operation) {
  set_num_threads(1);
  const Tensor expected = operation(*make_cpu_backend(Isa::scalar));
  for (const Isa isa : available_isas())
    for (const int threads : {1, 2, 3, 4}) {
      set_num_threads(threads);
      const auto backend = make_cpu_backend(isa);
      CAPTURE(std::string(backend->name()), threads);
      CHECK(same_bits(operation(*backend), expected));
    }
  set_num_threads(0);
}

Tensor linear(Backend& backend, const Tensor& x, const Tensor& weight, const Tensor& bias,
              Compute compute) {
  Tensor out = Tensor::empty(DType::f32, {x.dim(0), weight.dim(0)});
  backend.linear(out, x, {weight}, bias, compute);
  return out;
}

struct Keys {
  std::vector<std::int32_t> rows;
  explicit Keys(std::int64_t count) : rows(static_cast<std::size_t>(count)) {
    std::iota(rows.begin(), rows.end(), 0);
  }
};

Tensor attend(Backend& backend, const Tensor& q, const Tensor& k, const Tensor& v, const Keys& keys,
              bool causal) {
  Tensor out = Tensor::empty(DType::f32, q.shape());
  const AttentionSegment segment{0, q.dim(0), keys.rows, causal};
  backend.attention(out, q, k, v, {&segment, 1}, 0.125f);
  return out;
}

}  // namespace

TEST_CASE("linear has the same bits on every instruction set and thread count") {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
    for (const Compute compute : {Compute::f32, Compute::bf16})
      for (const std::int64_t k : {1, 31, 96, 2085})
        for (const std::int64_t m : {1, 3, 8, 13}) {
          const Tensor x = random(DType::f32, {m, k}, 1), weight = random(dtype, {22, k}, 2);
          const Tensor bias = random(dtype, {22}, 3);
          CAPTURE(name_of(dtype), k, m, compute == Compute::bf16);
          require_same_everywhere([&](Backend& b) { return linear(b, x, weight, bias, compute); });
        }
}

TEST_CASE("every row of a product equals the product of that row alone") {
  const auto backend = make_cpu_backend();
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
    for (const Compute compute : {Compute::f32, Compute::bf16})
      for (const std::int64_t k : {80, 2500})
        for (const std::int64_t m : {2, 3, 4, 5, 6, 7, 8, 9, 17, 400}) {
          const Tensor x = random(DType::f32, {m, k}, 4), weight = random(dtype, {53, k}, 5);
          const Tensor all = linear(*backend, x, weight, {}, compute);
          bool equal = true;
          for (std::int64_t row : {std::int64_t{0}, m / 2, m - 1})
            equal = equal && same_bits(linear(*backend, x.slice(row, row + 1), weight, {}, compute),
                                       all.slice(row, row + 1));
          CAPTURE(name_of(dtype), compute == Compute::bf16, k, m);
          CHECK(equal);
        }
}

TEST_CASE("weights may be stored at any address") {
  const auto backend = make_cpu_backend();
  const Tensor x = random(DType::f32, {1, 70}, 6), weight = random(DType::bf16, {9, 70}, 7);
  std::vector<std::byte> bytes(weight.bytes() + 64);
  for (const std::size_t shift : {1u, 2u, 7u, 33u}) {
    std::memcpy(bytes.data() + shift, weight.raw(), weight.bytes());
    const Tensor moved = Tensor::view_of(DType::bf16, weight.shape(), bytes.data() + shift);
    for (const Compute compute : {Compute::f32, Compute::bf16})
      CHECK(same_bits(linear(*backend, x, moved, {}, compute),
                      linear(*backend, x, weight, {}, compute)));
  }
}

TEST_CASE("the bf16 order has a chain for even and one for odd k, without subnormals") {
  const auto backend = make_cpu_backend();
  Tensor x = Tensor::zeros(DType::f32, {1, 32}), weight = Tensor::zeros(DType::bf16, {1, 32});
  for (std::size_t i = 0; i < 4; ++i) weight.as_mutable<bf16_t>()[i] = to_bf16(1.0f);
  // (1 + tiny) - 1 loses tiny in a chain; two chains add large numbers and tiny ones apart
  const float values[4] = {1.0f, 0x1p-30f, -1.0f, 0x1p-30f};
  for (std::size_t i = 0; i < 4; ++i) x.as_mutable<float>()[i] = values[i];
  CHECK(linear(*backend, x, weight, {}, Compute::bf16).as<float>()[0] == 0x1p-29f);
  for (std::size_t i = 0; i < 4; ++i) x.as_mutable<float>()[i] = 0;
  x.as_mutable<float>()[0] = 0x1p-127f;  // a subnormal input counts as zero
  CHECK(linear(*backend, x, weight, {}, Compute::bf16).as<float>()[0] == 0.0f);
  CHECK(linear(*backend, x, weight, {}, Compute::f32).as<float>()[0] != 0.0f);
}

TEST_CASE("attention has the same bits everywhere") {
  struct Sizes {
    std::int64_t queries, keys, width;
  };
  for (const Sizes& s : {Sizes{7, 37, 8}, {1, 50, 80}, {70, 101, 24}, {3, 49, 112}, {5, 6, 176}})
    for (const bool causal : {false, true}) {
      const Tensor q = random(DType::f32, {s.queries, 3, s.width}, 8),
                   k = random(DType::f32, {s.keys, 3, s.width}, 9),
                   v = random(DType::f32, {s.keys, 3, s.width}, 10);
      CAPTURE(s.queries, s.keys, s.width, causal);
      require_same_everywhere([&](Backend& b) { return attend(b, q, k, v, Keys(s.keys), causal); });
    }
}

TEST_CASE("keys and values in bf16 give the bits of the same values in f32, everywhere") {
  struct Sizes {
    std::int64_t queries, keys, width;
  };
  for (const Sizes& s : {Sizes{7, 37, 8}, {1, 50, 80}, {70, 101, 24}, {3, 49, 112}, {1, 9, 33}})
    for (const bool causal : {false, true}) {
      const Tensor q = random(DType::f32, {s.queries, 3, s.width}, 8),
                   k = random(DType::bf16, {s.keys, 3, s.width}, 9),
                   v = random(DType::bf16, {s.keys, 3, s.width}, 10);
      const Tensor wide_k = convert(k, DType::f32), wide_v = convert(v, DType::f32);
      CAPTURE(s.queries, s.keys, s.width, causal);
      require_same_everywhere([&](Backend& b) {
        const Tensor out = attend(b, q, k, v, Keys(s.keys), causal);
        CHECK(same_bits(out, attend(b, q, wide_k, wide_v, Keys(s.keys), causal)));
        return out;
      });
    }
}

TEST_CASE("the order of attention is that of docs/determinism.md") {
  const std::int64_t queries = 66, keys = 99;  // more than one block of each
  const auto sum_of = [](const float* lanes) {
    float t[8];
    for (int i = 0; i < 8; ++i) t[i] = lanes[i] + lanes[i + 8];
    for (int i = 0; i < 4; ++i) t[i] += t[i + 4];
    return (t[0] + t[2]) + (t[1] + t[3]);
  };
  for (const std::int64_t width : {5, 80}) {
    const Tensor q = random(DType::f32, {queries, 1, width}, 8),
                 k = random(DType::f32, {keys, 1, width}, 9),
                 v = random(DType::f32, {keys, 1, width}, 10);
    const auto at = [&](const Tensor& t, std::int64_t row, std::int64_t e) {
      return t.as<float>()[static_cast<std::size_t>(row * width + e)];
    };
    Tensor expected = Tensor::empty(DType::f32, q.shape());
    for (std::int64_t i = 0; i < queries; ++i) {
      const std::int64_t seen = keys - (queries - 1 - i);
      std::vector<float> p(static_cast<std::size_t>(seen));
      for (std::int64_t j = 0; j < seen; ++j) {
        float lanes[16] = {};
        for (std::int64_t e = 0; e < width; ++e)
          lanes[e % 16] = std::fma(at(q, i, e), at(k, j, e), lanes[e % 16]);
        p[static_cast<std::size_t>(j)] = sum_of(lanes) * 0.125f;
      }
      const float largest = *std::ranges::max_element(p);
      for (float& x : p) x -= largest;
      detail::cpu::kernels_for(Isa::scalar).elementary(p.data(), p.data(), seen, 0);
      float lanes[16] = {};
      for (std::size_t j = 0; j < p.size(); ++j) lanes[j % 16] += p[j];
      for (std::int64_t e = 0; e < width; ++e) {
        float sum = 0;
        for (std::int64_t j = 0; j < seen; ++j)
          sum = std::fma(p[static_cast<std::size_t>(j)], at(v, j, e), sum);
        expected.as_mutable<float>()[static_cast<std::size_t>(i * width + e)] = sum / sum_of(lanes);
      }
    }
    CAPTURE(width);
    require_same_everywhere([&](Backend& b) {
      const Tensor found = attend(b, q, k, v, Keys(keys), true);
      CHECK(same_bits(found, expected));
      return found;
    });
  }
}

TEST_CASE("a causal prompt gives the same bits at once, in pieces and token by token") {
  const auto backend = make_cpu_backend();
  const std::int64_t tokens = 141;
  const Tensor q = random(DType::f32, {tokens, 2, 24}, 11),
               k = random(DType::f32, {tokens, 2, 24}, 12),
               v = random(DType::f32, {tokens, 2, 24}, 13);
  const Tensor whole = attend(*backend, q, k, v, Keys(tokens), true);
  for (const std::int64_t piece : {1, 2, 5, 32, 65})
    for (std::int64_t at = 0; at < tokens; at += piece) {
      const std::int64_t end = std::min(at + piece, tokens);
      CAPTURE(piece, at);
      CHECK(same_bits(attend(*backend, q.slice(at, end), k, v, Keys(end), true),
                      whole.slice(at, end)));
    }
}

TEST_CASE("attention depends on the order of keys, not on where they are stored") {
  const auto backend = make_cpu_backend();
  const Tensor q = random(DType::f32, {3, 2, 16}, 14), k = random(DType::f32, {20, 2, 16}, 15),
               v = random(DType::f32, {20, 2, 16}, 16);
  Keys moved(20);
  std::ranges::reverse(moved.rows);
  Tensor k2 = Tensor::empty(DType::f32, k.shape()), v2 = Tensor::empty(DType::f32, v.shape());
  backend->gather_rows(k2, k, moved.rows);
  backend->gather_rows(v2, v, moved.rows);
  CHECK(same_bits(attend(*backend, q, k, v, Keys(20), false),
                  attend(*backend, q, k2, v2, moved, false)));
  CHECK(
      same_bits(attend(*backend, q, k, v, Keys(0), false), Tensor::zeros(DType::f32, {3, 2, 16})));
}

TEST_CASE("norms, rotations and elementwise operations have the same bits everywhere") {
  for (const std::int64_t d : {6, 48, 50}) {
    const Tensor x = random(DType::f32, {21, d}, 17), y = random(DType::f32, {21, d}, 18);
    const Tensor w = random(DType::bf16, {d}, 19), b = random(DType::f16, {d}, 20);
    const auto fresh = [&] { return Tensor::empty(DType::f32, {21, d}); };
    const auto copy = [&] {
      Tensor t = fresh();
      std::memcpy(t.raw_mutable(), x.raw(), x.bytes());
      return t;
    };
    CAPTURE(d);
    require_same_everywhere([&](Backend& be) {
      Tensor out = fresh();
      be.rms_norm(out, x, w, 1e-6f);
      return out;
    });
    require_same_everywhere([&](Backend& be) {
      Tensor out = fresh();
      be.layer_norm(out, x, w, b, 1e-5f);
      return out;
    });
    require_same_everywhere([&](Backend& be) {
      Tensor out = copy();
      be.gated_add(out, y, w);
      be.add(out, out, b);
      be.multiply(out, out, w);
      be.multiply(out, out, y);
      be.scale(out, out, 0.3f);
      return out;
    });
    std::vector<std::int32_t> positions(21);
    std::iota(positions.begin(), positions.end(), 3);
    require_same_everywhere([&](Backend& be) {
      Tensor out = copy();
      be.rope(out.reshape({21, 1, d}), random(DType::f32, {24, d / 2}, 21),
              random(DType::f32, {24, d / 2}, 22), positions);
      return out;
    });
    for (int act = 0; act <= static_cast<int>(Activation::identity); ++act)
      require_same_everywhere([&](Backend& be) {
        Tensor out = fresh();
        be.gated_activation(out, x, y, static_cast<Activation>(act));
        return out;
      });
  }
}

TEST_CASE("softmax and argmax have the same bits everywhere, NaN included") {
  for (const std::int64_t d : {1, 6, 16, 50, 1030}) {
    Tensor x = random(DType::f32, {21, d}, 23);
    const float infinity = std::numeric_limits<float>::infinity();
    auto values = x.as_mutable<float>();
    for (std::int64_t m = 0; m < 5; ++m)  // the last of these rows is -infinity throughout
      for (std::int64_t i = m < 4 ? d / 2 : 0; i < d; i += m < 4 ? d : 1)
        values[static_cast<std::size_t>(m * d + i)] =
            m < 2    ? std::bit_cast<float>(m == 0 ? 0x7fc01234u : 0xffc00001u)
            : m == 2 ? infinity
                     : -infinity;
    CAPTURE(d);
    require_same_everywhere([&](Backend& be) {
      Tensor out = Tensor::empty(DType::f32, {21, d});
      be.softmax(out, x);
      return out;
    });
    require_same_everywhere([&](Backend& be) {
      Tensor out = Tensor::empty(DType::i64, {21});
      be.argmax(out, x);
      return out;
    });
  }
}

TEST_CASE("matmul has the bits of linear on every instruction set and thread count") {
  for (const std::int64_t k : {1, 31, 96, 2085})
    for (const std::int64_t n : {1, 22, 300})
      for (const std::int64_t m : {1, 3, 8, 33, 400}) {
        if (m * n * k > 10'000'000) continue;
        const Tensor a = random(DType::f32, {m, k}, 24), b = random(DType::f32, {k, n}, 25);
        CAPTURE(m, n, k);
        require_same_everywhere([&](Backend& be) {
          Tensor out = Tensor::empty(DType::f32, {m, n}),
                 weight = Tensor::empty(DType::f32, {n, k});
          be.matmul(out, a, b);
          be.transpose(weight, b, 0, 1);
          CHECK(same_bits(out, linear(be, a, weight, {}, Compute::f32)));
          return out;
        });
      }
}

TEST_CASE("exp, tanh and erf stay within their documented errors, with the same bits everywhere") {
  std::vector<float> x;
  for (std::uint32_t bits = 0; bits < 0x7f800000u; bits += 30011) {
    x.push_back(std::bit_cast<float>(bits));
    x.push_back(-std::bit_cast<float>(bits));
  }
  while (x.size() % 16 != 0) x.push_back(0.5f);
  const auto count = static_cast<std::int64_t>(x.size());
  double (*const exact[])(double) = {[](double v) { return std::exp(v); },
                                     [](double v) { return std::tanh(v); },
                                     [](double v) { return std::erf(v); }};
  const double limits[] = {2.0, 3.0, 3.0};
  for (int function = 0; function < 3; ++function) {
    std::vector<float> scalar(x.size()), other(x.size());
    detail::cpu::kernels_for(Isa::scalar).elementary(scalar.data(), x.data(), count, function);
    for (const Isa isa : available_isas()) {
      detail::cpu::kernels_for(isa).elementary(other.data(), x.data(), count, function);
      CHECK(std::memcmp(scalar.data(), other.data(), x.size() * sizeof(float)) == 0);
    }
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double right = exact[function](static_cast<double>(x[i]));
      if (right > 0x1.fffffep127) {
        CHECK(std::isinf(scalar[i]));
        continue;
      }
      const double unit =
          std::max(std::ldexp(1.0, std::ilogb(std::abs(right) + 0x1p-200) - 23), 0x1p-149);
      if (right != 0.0 || scalar[i] != 0.0f)
        worst = std::max(worst, std::abs(static_cast<double>(scalar[i]) - right) / unit);
    }
    CAPTURE(function, worst);
    CHECK(worst <= limits[function]);
  }
}

TEST_CASE("exp, tanh and erf keep NaN and map infinities to their limits") {
  const float inf = std::numeric_limits<float>::infinity();
  const float x[3] = {std::numeric_limits<float>::quiet_NaN(), inf, -inf};
  const float limits[3][2] = {{inf, 0}, {1, -1}, {1, -1}};
  for (const Isa isa : available_isas())
    for (int function = 0; function < 3; ++function) {
      float y[3];
      detail::cpu::kernels_for(isa).elementary(y, x, 3, function);
      CHECK(std::isnan(y[0]));
      CHECK(y[1] == limits[function][0]);
      CHECK(y[2] == limits[function][1]);
    }
}
