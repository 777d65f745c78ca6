// A second reader of safetensors headers, written from the format's description alone: it decides
// on the text itself, without a JSON library, and compares every pair of tensors. The fuzz target
// `safetensors` demands that it and the engine's reader give the same answer.
#pragma once

#include <cmath>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/target.hpp"
#include "fuzz/targets/utf8.hpp"

namespace fuzz {

struct NaiveTensor {
  std::string name, dtype;
  std::vector<std::uint64_t> dims;
  std::uint64_t begin = 0, end = 0;  // from the end of the header

  auto operator<=>(const NaiveTensor&) const = default;
};

/// Reads a header; every function is false at the first rule that the text breaks.
class NaiveHeader {
 public:
  explicit NaiveHeader(std::string_view text) : text_(text) {}

  std::vector<NaiveTensor> tensors;

  bool read() {
    std::map<std::string, int> names;
    const bool valid = object([&](const std::string& name) {
      if (++names[name] > 1) return false;
      return name == "__metadata__" ? metadata() : entry(name);
    });
    return valid && (space(), at_ == text_.size());
  }

 private:
  bool space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != text_.npos) ++at_;
    return true;
  }
  bool take(std::string_view token) {
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }
  bool is_next(std::string_view token) { return space() && take(token); }

  /// Elements between `open` and `close`, separated by commas.
  template <class Element>
  bool list(const char* open, const char* close, const Element& element) {
    if (!is_next(open)) return false;
    if (is_next(close)) return true;
    do
      if (!element()) return false;
    while (is_next(","));
    return is_next(close);
  }
  template <class Value>
  bool object(const Value& value) {
    return list("{", "}", [&] {
      std::string name;
      return string(name) && is_next(":") && value(name);
    });
  }

  bool string(std::string& out) {
    if (!is_next("\"")) return false;
    while (!take("\"")) {
      if (at_ == text_.size() || static_cast<unsigned char>(text_[at_]) < 0x20) return false;
      if (take("\\")) {
        if (!escape(out)) return false;
        continue;
      }
      const std::size_t length = naive_sequence(text_.substr(at_));
      if (length == 0) return false;
      out += text_.substr(at_, length);
      at_ += length;
    }
    return true;
  }
  bool escape(std::string& out) {
    static constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    if (at_ == text_.size()) return false;
    const std::size_t known = letters.find(text_[at_]);
    if (known != letters.npos) return ++at_, out += meanings[known], true;
    unsigned point = 0, low = 0;
    if (!unit(point) || (point >= 0xdc00 && point < 0xe000)) return false;
    if (point >= 0xd800 && point < 0xdc00) {
      if (!take("\\") || !unit(low) || low < 0xdc00 || low >= 0xe000) return false;
      point = 0x10000 + (point - 0xd800) * 0x400 + (low - 0xdc00);
    }
    const auto byte = [&](unsigned value) { out += static_cast<char>(value); };
    if (point < 0x80) return byte(point), true;
    if (point < 0x800) return byte(0xc0 | point >> 6), byte(0x80 | (point & 0x3f)), true;
    point < 0x10000 ? byte(0xe0 | point >> 12)
                    : (byte(0xf0 | point >> 18), byte(0x80 | (point >> 12 & 0x3f)));
    return byte(0x80 | (point >> 6 & 0x3f)), byte(0x80 | (point & 0x3f)), true;
  }
  bool unit(unsigned& value) {
    if (!take("u")) return false;
    value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      static constexpr std::string_view digits = "0123456789abcdefABCDEF";
      const std::size_t digit = at_ < text_.size() ? digits.find(text_[at_]) : digits.npos;
      if (digit == digits.npos) return false;
      value = value * 16 + static_cast<unsigned>(digit < 16 ? digit : digit - 6);
    }
    return true;
  }

  /// A number of any kind, and its text.
  bool number(std::string_view& out) {
    space();
    const std::size_t first = at_;
    const auto digits = [&] {
      const std::size_t begin = at_;
      while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
      return at_ > begin;
    };
    (void)take("-");
    if (!take("0") && !digits()) return false;
    if (take(".") && !digits()) return false;
    if (take("e") || take("E")) {
      (void)(take("+") || take("-"));
      if (!digits()) return false;
    }
    out = text_.substr(first, at_ - first);
    return !std::isinf(std::strtod(std::string(out).c_str(), nullptr));
  }
  bool integer(std::uint64_t& out) {
    std::string_view digits;
    if (!number(digits) || digits.find_first_not_of("0123456789") != digits.npos) return false;
    out = digits.size() > 15 ? ~std::uint64_t{0} : std::stoull(std::string(digits));
    return out <= std::uint64_t{1} << 48;
  }
  bool integers(std::vector<std::uint64_t>& out) {
    return list("[", "]", [&] { return integer(out.emplace_back()); });
  }

  bool anything(int depth) {
    space();
    std::string text;
    std::string_view digits;
    switch (at_ < text_.size() ? text_[at_] : '\0') {
      case '"': return string(text);
      case '{': return depth < 125 && object([&](auto&) { return anything(depth + 1); });
      case '[': return depth < 125 && list("[", "]", [&] { return anything(depth + 1); });
      default: return take("null") || take("true") || take("false") || number(digits);
    }
  }
  bool metadata() {
    if (is_next("null")) return true;
    std::map<std::string, int> names;
    return object([&](const std::string& name) {
      std::string value;
      return ++names[name] == 1 && string(value);
    });
  }
  bool entry(const std::string& name) {
    NaiveTensor tensor;
    tensor.name = name;
    std::vector<std::uint64_t> offsets;
    std::map<std::string, int> fields;
    const bool valid = object([&](const std::string& field) {
      ++fields[field];
      if (field == "dtype") return string(tensor.dtype);
      if (field == "shape") return integers(tensor.dims);
      if (field == "data_offsets") return integers(offsets);
      return anything(0);
    });
    if (!valid || offsets.size() != 2 || tensor.dims.size() > 64) return false;
    for (const char* field : {"dtype", "shape", "data_offsets"})
      if (fields[field] != 1) return false;
    tensor.begin = offsets[0], tensor.end = offsets[1];
    tensors.push_back(tensor);
    return tensor.begin <= tensor.end && holds(tensor);
  }
  /// Whether the range of a tensor has as many bytes as its shape needs.
  static bool holds(const NaiveTensor& tensor) {
    static const std::map<std::string, unsigned> bits{
        {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"BOOL", 8},        {"U8", 8},
        {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E5M2FNUZ", 8}, {"F8_E4M3FNUZ", 8},
        {"I16", 16}, {"F8_E8M0", 8}, {"U16", 16},    {"F16", 16},        {"BF16", 16},
        {"I32", 32}, {"U32", 32},    {"F32", 32},    {"F64", 64},        {"I64", 64},
        {"U64", 64}, {"C64", 64}};
    if (!bits.contains(tensor.dtype)) return false;
    __extension__ unsigned __int128 total = bits.at(tensor.dtype);
    for (const std::uint64_t dim : tensor.dims)
      if ((total *= dim) >> 64 != 0) return false;
    return total % 8 == 0 && total / 8 == tensor.end - tensor.begin;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

/// The tensors of a file, or none if it breaks a rule of the format.
inline std::optional<std::vector<NaiveTensor>> naive_safetensors(Bytes file) {
  std::uint64_t length = 0, covered = 0;
  if (file.size() < 8) return std::nullopt;
  for (std::size_t i = 0; i < 8; ++i) length |= static_cast<std::uint64_t>(file[i]) << (8 * i);
  if (length > 100'000'000 || length > file.size() - 8) return std::nullopt;
  NaiveHeader header(text_of(file.subspan(8, length)));
  if (!header.read()) return std::nullopt;
  const std::uint64_t size = file.size() - 8 - length;
  for (const NaiveTensor& a : header.tensors) {
    covered += a.end - a.begin;
    for (const NaiveTensor& b : header.tensors)
      if (a.end > size || (&a != &b && a.begin < b.end && b.begin < a.end)) return std::nullopt;
  }
  return covered == size ? std::optional(header.tensors) : std::nullopt;
}

}  // namespace fuzz
