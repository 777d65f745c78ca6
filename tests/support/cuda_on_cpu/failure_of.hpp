// What the shim reports about code that breaks a rule.
#pragma once

#include <string>

#include "support/cuda_on_cpu/block.hpp"

namespace cuda_on_cpu {

/// The message of the Failure that call() throws, or "nothing".
template <class Call>
std::string failure_of(const Call& call) {
  try {
    call();
  } catch (const Failure& failure) {
    return failure.what();
  }
  return "nothing";
}

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace cuda_on_cpu
