// The names of the JSON types, for headers that only declare functions of them.
#pragma once

#include <cstdint>

#include <nlohmann/json_fwd.hpp>

namespace idefics { inline namespace v0 {

using Json = nlohmann::json;
/// JSON whose objects keep the order of their names, which chat templates can see.
using OrderedJson = nlohmann::ordered_json;

struct JsonOptions {
  std::uint64_t bytes = 16u << 20;  // of the file, at most
  int depth = 16;                   // of nested arrays and objects, at most
  /// Accept nothing but JSON. Otherwise NaN, Infinity, -Infinity, numbers too large for a double
  /// and lone surrogates are read as Python's json reads and writes them.
  bool strict = false;
};

}}  // namespace idefics::v0
