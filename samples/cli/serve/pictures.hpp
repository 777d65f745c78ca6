// The pictures of a request: fetched, decoded and made small, within limits.
#pragma once

#include <functional>

#include <idefics/image/processor.hpp>
#include <idefics/io/url.hpp>

#include "cli/serve/gate.hpp"
#include "cli/serve/metrics.hpp"
#include "cli/serve/prompts.hpp"
#include "cli/serve/settings.hpp"

namespace cli::serve {

/// Loads the pictures of one request.
class PictureLoader {
 public:
  /// `size`: pixels per side that the model sees. `wanted` says whether the client still waits.
  PictureLoader(const Settings& settings, std::int64_t size, Gate& gate, Metrics& metrics,
                std::function<bool()> wanted);

  /// Throws the errors of fetching and decoding, with the place of the picture in the request.
  idefics::Image operator()(const PictureSource& source) const;

 private:
  std::int64_t size_;
  Gate& gate_;
  Metrics& metrics_;
  idefics::Fetcher fetch_;
};

}  // namespace cli::serve
