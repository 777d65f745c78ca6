// The shim's model of tensor cores in cases worked out by hand.
#include <algorithm>
#include <initializer_list>
#include <limits>

#include "support/catch.hpp"
#include "support/cuda_on_cpu/tensor_core.hpp"

using namespace idefics;
using cuda_on_cpu::ampere_core;
using cuda_on_cpu::Factors;
using cuda_on_cpu::hopper_core;
using cuda_on_cpu::TensorCore;

namespace {

struct Term {
  float a, b;
  int at;  // 0 to 15
};

float sum(TensorCore core, float c, std::initializer_list<Term> terms) {
  bf16_t a[16] = {}, b[16] = {};
  for (const Term& term : terms) a[term.at] = to_bf16(term.a), b[term.at] = to_bf16(term.b);
  return cuda_on_cpu::tensor_core_sum(core, c, Factors::of(a), Factors::of(b));
}
float hopper(float c, std::initializer_list<Term> terms) { return sum(hopper_core, c, terms); }
float ampere(float c, std::initializer_list<Term> terms) { return sum(ampere_core, c, terms); }

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }

}  // namespace

TEST_CASE("terms are cut off 25 bits below the largest exponent, on Ampere 24") {
  // 1 - 1 leaves what was not cut off
  CHECK(hopper(0, {{1, 1, 0}, {-1, 1, 1}, {0x1p-25f, 1, 2}}) == 0x1p-25f);
  CHECK(hopper(0, {{1, 1, 0}, {-1, 1, 1}, {0x1p-26f, 1, 2}}) == 0);
  CHECK(hopper(0, {{1, 1, 0}, {-1, 1, 1}, {0x1.8p-25f, 1, 2}}) == 0x1p-25f);
  CHECK(ampere(0, {{1, 1, 0}, {-1, 1, 1}, {0x1p-25f, 1, 2}}) == 0);
  CHECK(ampere(0, {{1, 1, 0}, {-1, 1, 1}, {0x1p-24f, 1, 2}}) == 0x1p-24f);
  CHECK(hopper(0x1p-25f, {{1, 1, 0}, {-1, 1, 1}}) == 0x1p-25f);  // the sum so far is a term
  CHECK(hopper(0x1p-26f, {{1, 1, 0}, {-1, 1, 1}}) == 0);
}

TEST_CASE("each term is truncated towards zero before the sum") {
  CHECK(hopper(1, {{-0x1p-26f, 1, 0}}) == 1);  // rounding down would give 1 - 2^-24
  CHECK(hopper(1, {{0x1p-26f, 1, 0}, {0x1p-26f, 1, 1}, {0x1p-26f, 1, 2}, {0x1p-26f, 1, 3}}) == 1);
  CHECK(hopper(1, {{0x1p-25f, 1, 0}, {0x1p-25f, 1, 1}, {0x1p-25f, 1, 2}, {0x1p-25f, 1, 3}}) ==
        1 + 0x1p-23f);
}

TEST_CASE("the sum is truncated to f32, not rounded") {
  CHECK(hopper(1, {{0x1.8p-23f, 1, 0}}) == 1 + 0x1p-23f);
  CHECK(hopper(-1, {{-0x1.8p-23f, 1, 0}}) == -1 - 0x1p-23f);
  CHECK(hopper(1, {{-0x1p-25f, 1, 0}}) == 1 - 0x1p-24f);
}

TEST_CASE("the exponent of a product is that of its factors: 1.5 x 1.5 counts as 2^0") {
  CHECK(hopper(0, {{1.5f, 1.5f, 0}, {-1.5f, 1.5f, 1}, {0x1p-25f, 1, 2}}) == 0x1p-25f);
  CHECK(hopper(-2.25f, {{1.5f, 1.5f, 1}, {0x1p-25f, 1, 2}}) == 0);  // -2.25 itself is 2^1
  CHECK(hopper(-2.25f, {{1.5f, 1.5f, 1}, {0x1p-24f, 1, 2}}) == 0x1p-24f);
}

TEST_CASE("Hopper adds 16 products at once, Ampere two halves") {
  CHECK(hopper(1, {{0x1p-24f, 1, 0}, {0x1p-24f, 1, 8}}) == 1 + 0x1p-23f);
  CHECK(ampere(1, {{0x1p-24f, 1, 0}, {0x1p-24f, 1, 8}}) == 1);
  CHECK(ampere(1, {{0x1p-24f, 1, 0}, {0x1p-24f, 1, 7}}) == 1 + 0x1p-23f);
  CHECK(hopper(0, {{0x1p30f, 1, 0}, {1, 1, 7}, {-0x1p30f, 1, 8}, {1, 1, 15}}) == 0);
  CHECK(ampere(0, {{0x1p30f, 1, 0}, {1, 1, 7}, {-0x1p30f, 1, 8}, {1, 1, 15}}) == 0);
  CHECK(ampere(0, {{0x1p20f, 1, 0}, {-0x1p20f, 1, 7}, {0x1p-5f, 1, 15}}) == 0x1p-5f);
  CHECK(hopper(0, {{0x1p21f, 1, 0}, {-0x1p21f, 1, 7}, {0x1p-5f, 1, 15}}) == 0);
}

TEST_CASE("the order within a sum does not matter") {
  bf16_t a[16], b[16];
  for (int i = 0; i < 16; ++i) {
    a[i] = to_bf16(std::ldexp(static_cast<float>(i * 37 % 101 - 50), i % 7 - 3));
    b[i] = to_bf16(std::ldexp(static_cast<float>(i * 53 % 89 - 44), i % 5));
  }
  const auto sum_of = [&] {
    return cuda_on_cpu::tensor_core_sum(hopper_core, 0.3f, Factors::of(a), Factors::of(b));
  };
  const float forward = sum_of();
  std::reverse(a, a + 16), std::reverse(b, b + 16);
  CHECK(sum_of() == forward);
}

TEST_CASE("zeros, subnormal numbers and what is not finite") {
  const float infinity = std::numeric_limits<float>::infinity(), largest = 0x1.fffffep127f;
  CHECK(hopper(0x1p-10f, {{0, 0x1p100f, 0}}) == 0x1p-10f);  // a zero does not move the window
  CHECK(hopper(0x1p-10f, {{0, 0x1p100f, 0}, {0x1p-30f, 1, 1}}) == 0x1p-10f + 0x1p-30f);
  CHECK(hopper(0x1p-149f, {{0x1p-126f, 0x1p-23f, 0}}) == 0x1p-148f);
  CHECK(hopper(0, {{0x1p-133f, 1, 0}}) == 0x1p-133f);  // the smallest of bf16
  CHECK(hopper(0, {{0x1p-100f, 0x1p-52f, 0}}) == 0);
  CHECK(bits(hopper(-0.0f, {})) == 0);
  CHECK(hopper(largest, {{0x1p102f, 1, 0}}) == largest);
  CHECK(hopper(largest, {{0x1p104f, 1, 0}}) == infinity);
  CHECK(hopper(1, {{infinity, 1, 3}}) == infinity);
  CHECK(bits(hopper(1, {{infinity, 0, 3}})) == 0x7fffffffu);
  CHECK(bits(hopper(-infinity, {{infinity, 1, 3}})) == 0x7fffffffu);
}

TEST_CASE("subnormal numbers of f16 keep its smallest exponent") {
  f16_t a[16] = {}, b[16] = {};
  a[0] = f16_t{1}, b[0] = to_f16(1);  // 2^-24, counted as 2^-14 times 2^-10
  a[1] = to_f16(0x1p-14f), b[1] = to_f16(0x1p-14f);
  const auto sum_of = [&](float c) {
    return cuda_on_cpu::tensor_core_sum(hopper_core, c, Factors::of(a), Factors::of(b));
  };
  CHECK(sum_of(0) == 0x1p-24f + 0x1p-28f);
  CHECK(sum_of(-0x1p-24f) == 0x1p-28f);
  CHECK(sum_of(-0x1p-24f - 0x1p-40f) == 0x1p-28f);  // 2^-40 is below 2^(-14 - 25)
}
