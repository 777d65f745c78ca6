// What a call of a model may set besides its inputs and the options of generation.
#pragma once

#include <functional>

#include <idefics/generation/run/past_key_values.hpp>

namespace idefics { inline namespace v0 {

struct ForwardOptions {
  bool interpolate_pos_encoding = false;  // allow picture sizes other than the configuration's
  /// Tokens that earlier calls of `generate` with this object and this model have read are not read
  /// again. For one prompt without beams; otherwise ignored.
  PastKeyValues* past_key_values = nullptr;
  /// Asked within steps of `generate`, the first included; false ends the answer before that step.
  std::function<bool()> proceed{};
};

}}  // namespace idefics::v0
