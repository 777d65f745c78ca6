// 4-bit quantization against bitsandbytes, bit for bit: codes, constants, nested constants, values.
#include <cmath>

#include <idefics/backend/cpu/quantize.hpp>
#include <idefics/io/json.hpp>
#include <idefics/io/safetensors.hpp>

#include "support/catch.hpp"
#include "support/hash.hpp"

using namespace idefics;

namespace {

std::filesystem::path folder() { return std::filesystem::path(IDEFICS_GOLDEN_DIR) / "quant"; }

std::uint64_t mix64(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

std::uint64_t stream(std::uint64_t seed, std::uint64_t index) {
  return mix64(seed + (index + 1) * 0x9e3779b97f4a7c15u);
}

/// Value i of the sweep; `generated` of tests/reference/make_quant.py explains it.
float generated(std::uint64_t seed, std::uint64_t i, const std::array<float, 15>& middles,
                bool wild) {
  const std::uint64_t z = stream(seed, i), chunk = i / 1024;
  const float scale = std::ldexp(1.0f, static_cast<int>(stream(seed + 1, chunk) % 40) - 30);
  const float sign = (z & 64) != 0 ? -1.0f : 1.0f;
  if (wild && z % 401 == 0 && chunk % 16 == 7) return sign * HUGE_VALF;
  if (wild && z % 401 == 0 && chunk % 16 == 9) return std::nanf("");
  switch (z & 63) {
    case 0: return sign * 0.0f;
    case 1: return std::bit_cast<float>(static_cast<std::uint32_t>(z >> 40) & 0x7fffffu) * sign;
    case 2: return middles[(z >> 8) % 15] * scale;
    case 3: return sign * scale;
    default: return (static_cast<float>(z >> 40) * 0x1p-23f - 1.0f) * scale;
  }
}

Tensor generated(std::uint64_t seed, std::int64_t count, QuantType type, bool wild) {
  const std::array<float, 15> middles = detail::CodeRule(type).thresholds;
  Tensor x = Tensor::empty(DType::f32, {count});
  const auto values = x.as_mutable<float>();
  parallel_ranges(count, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      values[static_cast<std::size_t>(i)] =
          generated(seed, static_cast<std::uint64_t>(i), middles, wild);
  });
  return x;
}

/// FNV-1a over the hashes of pieces of 65,536 bytes; all NaNs are hashed alike.
std::string hash_of(Tensor t) {
  if (t.dtype() == DType::f32) {
    Tensor copy = Tensor::empty(DType::f32, t.shape());
    std::ranges::transform(t.as<float>(), copy.as_mutable<float>().begin(), [](float x) {
      return std::isnan(x) ? std::bit_cast<float>(0x7fc00000u) : x;
    });
    t = copy;
  }
  constexpr std::size_t piece = 65536;
  const std::span bytes(t.raw(), t.bytes());
  std::vector<std::uint64_t> pieces((bytes.size() + piece - 1) / piece);
  parallel_for(std::ssize(pieces), [&](std::int64_t i) {
    const std::size_t at = static_cast<std::size_t>(i) * piece;
    pieces[static_cast<std::size_t>(i)] =
        testing::fnv1a(bytes.subspan(at, std::min(piece, bytes.size() - at)));
  });
  char text[17];
  std::snprintf(text, sizeof text, "%016llx",
                static_cast<unsigned long long>(testing::fnv1a(std::as_bytes(std::span(pieces)))));
  return text;
}

/// The parts of a quantized tensor in the order in which they are recorded.
std::vector<NamedTensor> parts_of(const QuantizedTensor& q) {
  std::vector<NamedTensor> parts{{"codes", q.codes}, {"absmax", q.absmax}};
  if (q.double_quant()) {
    Tensor offset = Tensor::empty(DType::f32, {1});
    offset.as_mutable<float>()[0] = q.nested.offset;
    parts.push_back({"nested_absmax", q.nested.absmax});
    parts.push_back({"nested_offset", offset});
  }
  parts.push_back({"values", dequantize_4bit(q)});
  return parts;
}

bool same(const Tensor& a, const Tensor& b) {
  if (a.count() != b.count() || a.dtype() != b.dtype()) return false;
  if (a.dtype() != DType::f32) return std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
  for (std::int64_t i = 0; i < a.count(); ++i) {
    const float x = detail::element_as_f32(a, i), y = detail::element_as_f32(b, i);
    const bool equal = std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
    if (!equal && !(std::isnan(x) && std::isnan(y))) return false;
  }
  return true;
}

QuantizeOptions options(const std::string& type, std::int64_t blocksize, bool double_quant) {
  return {type == "nf4" ? QuantType::nf4 : QuantType::fp4, blocksize, double_quant};
}

}  // namespace

TEST_CASE("small cases equal bitsandbytes' in every part") {
  const auto file = SafetensorsFile::open(folder() / "cases.safetensors");
  int cases = 0;
  for (const TensorInfo& info : file.tensors()) {
    if (!info.name.ends_with(".x")) continue;
    const std::string key = info.name.substr(0, info.name.size() - 2);  // name.type.size.form
    const auto dot = key.find('.');
    const auto q = quantize_4bit(
        file.tensor(info.name),
        options(key.substr(dot + 1, 3), std::stoi(key.substr(dot + 5)), key.ends_with("double")));
    for (const auto& [part, ours] : parts_of(q)) {
      CAPTURE(key, part);
      CHECK(same(ours, file.tensor(key + "." + part)));
    }
    ++cases;
  }
  CHECK(cases == 22);
}

TEST_CASE("ten million values equal bitsandbytes' for both types and all block sizes") {
  const Json golden = read_json_file(folder() / "sweep.json");
  const auto seed = golden["seed"].get<std::uint64_t>();
  const auto count = golden["count"].get<std::int64_t>();
  CHECK(golden["rows"].size() == 48);
  Tensor x;
  std::string made;  // what x holds
  for (const Json& row : golden["rows"]) {
    const auto type = row[0].get<std::string>();
    const bool wild = row[2].get<bool>();
    CAPTURE(type, row[1].get<int>(), wild, row[3].get<bool>());
    if (const std::string now = type + (wild ? "w" : "t"); now != made) {
      x = generated(seed, count, type == "nf4" ? QuantType::nf4 : QuantType::fp4, wild);
      REQUIRE(hash_of(x) == row[4].get<std::string>());
      made = now;
    }
    std::size_t i = 5;
    for (const auto& [part, ours] : parts_of(
             quantize_4bit(x, options(type, row[1].get<std::int64_t>(), row[3].get<bool>())))) {
      CAPTURE(part);
      CHECK(hash_of(ours) == row[i++].get<std::string>());
    }
    CHECK(i == row.size());
  }
}

TEST_CASE("only float tensors are quantized, and only in the block sizes of bitsandbytes") {
  const Tensor x = Tensor::zeros(DType::f32, {100});
  for (const std::int64_t size : {0, 16, 48, 8192, -64})
    CHECK_THROWS_AS(quantize_4bit(x, {.blocksize = size}), Error);
  CHECK_THROWS_AS(quantize_4bit(Tensor::zeros(DType::i64, {100})), Error);
}
