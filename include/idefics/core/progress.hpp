// Progress of long operations. The library prints nothing; a program that shows progress passes a
// callback.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include <idefics/core/error.hpp>

namespace idefics { inline namespace v0 {

struct Progress {
  std::string_view stage;  // "loading", "pictures", "prefill" or "generation"
  std::int64_t done = 0, total = 0;
};

/// Called on the working thread, with `done` from 0 or 1 up to `total`; a stage may end early.
/// Returning false stops the work with `cancelled`.
using ProgressCallback = std::function<bool(const Progress&)>;

namespace detail {

/// Calls the callback, if there is one. Throws `cancelled` if it returns false.
inline void report(const ProgressCallback& callback, const Progress& progress) {
  if (callback && !callback(progress)) fail(ErrorCode::cancelled, "stopped by the caller");
}

}  // namespace detail

}}  // namespace idefics::v0
