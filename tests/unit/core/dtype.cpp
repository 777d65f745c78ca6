#include <cmath>
#include <cstring>
#include <limits>

#include <idefics/core/dtype.hpp>

#include "support/catch.hpp"

using namespace idefics;

TEST_CASE("every half survives the round trip through f32") {
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const f16_t half{static_cast<std::uint16_t>(bits)};
    const float value = to_f32(half);
    if (std::isnan(value)) {
      REQUIRE(std::isnan(to_f32(to_f16(value))));
    } else {
      REQUIRE(to_f16(value).bits == half.bits);
    }
  }
}

TEST_CASE("every bfloat16 survives the round trip through f32") {
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const bf16_t half{static_cast<std::uint16_t>(bits)};
    if (!std::isnan(to_f32(half))) REQUIRE(to_bf16(to_f32(half)).bits == half.bits);
  }
}

TEST_CASE("conversions round to nearest, ties to even") {
  CHECK(to_bf16(1.00390625f).bits == 0x3f80);  // exactly between 0x3f80 and 0x3f81: even
  CHECK(to_bf16(1.01171875f).bits == 0x3f82);  // between 0x3f81 and 0x3f82: even
  CHECK(to_f16(65519.99f).bits == 0x7bff);     // the largest half
  CHECK(to_f16(65520.0f).bits == 0x7c00);      // rounds to infinity
  CHECK(to_f16(0x1p-25f).bits == 0x0000);      // half of the smallest subnormal: tie to zero
  CHECK(to_f16(std::nextafter(0x1p-25f, 1.0f)).bits == 0x0001);
  CHECK(to_f16(-0.0f).bits == 0x8000);
  CHECK(std::isnan(to_f32(to_bf16(std::numeric_limits<float>::quiet_NaN()))));
}
