// Whether the environment forbids the network.
#pragma once

#include <cstdlib>

#include <idefics/core/ascii.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Whether the environment asks for offline mode, by the rules of huggingface_hub.
inline bool offline_by_environment() {
  for (const char* name : {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"})
    if (const char* value = std::getenv(name); value != nullptr)
      for (const char* yes : {"1", "ON", "YES", "TRUE"})
        if (equal_ignoring_case(value, yes)) return true;
  return false;
}

}}}  // namespace idefics::v0::detail
