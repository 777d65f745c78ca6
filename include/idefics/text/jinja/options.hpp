// How a chat template is rendered, and what that may cost. A template comes with a checkpoint, and
// what it does with a conversation can depend on what strangers wrote; so nothing in it runs
// without bound.
#pragma once

#include <cstdint>
#include <ctime>
#include <optional>

#include <idefics/core/config.hpp>

namespace idefics { inline namespace v0 {

/// Exceeding one of these is `template_limit`. With the defaults, a template ends within a second
/// and 64 MiB whatever it contains.
struct TemplateLimits {
  std::uint64_t source_bytes = 128u << 10;
  std::uint64_t steps = 4'000'000;   // operations, items visited, each 64 bytes that are copied
  std::uint64_t memory = 24u << 20;  // bytes of values, variables and output at one time
  std::uint64_t output_bytes = 8u << 20;
  int depth = 400;  // of brackets, blocks and calls within each other, and of lists within lists
};

struct TemplateOptions {
  TemplateLimits limits{};
  std::optional<std::tm> now{};  // for strftime_now; unset: the local time
};

}}  // namespace idefics::v0
