// The option for which a generation is refused.
#pragma once

#include <string>

#include <idefics/model.hpp>

namespace testing {

/// The field that the error names, or "accepted".
inline std::string refusal(const idefics::Model& model, const idefics::Inputs& inputs,
                           const idefics::GenerationConfig& config) {
  try {
    model.generate(inputs, config);
  } catch (const idefics::Error& error) {
    return error.context().field;
  }
  return "accepted";
}

}  // namespace testing
