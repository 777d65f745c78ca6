// The name of the JSON type, for headers that only declare functions of it.
#pragma once

#include <cstdint>

#include <nlohmann/json_fwd.hpp>

namespace idefics { inline namespace v0 {

using Json = nlohmann::json;

struct JsonLimits {
  std::uint64_t bytes = 16u << 20;  // of the file
  int depth = 16;                   // of nested arrays and objects
};

}}  // namespace idefics::v0
