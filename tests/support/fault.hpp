// Tables of faults: an action, and the error that it must cause.
#pragma once

#include <ctime>
#include <functional>
#include <string>

#include <idefics/core/error.hpp>

#include "support/catch.hpp"

namespace testing {

/// Seconds of CPU time that a fault may take: one, and more where sanitizers count every access, or
/// nothing is optimized.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
inline constexpr double seconds_allowed = 30;
#elif defined(__has_feature)
inline constexpr double seconds_allowed =
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ? 30 : 1;
#else
inline constexpr double seconds_allowed = 1;
#endif

struct Fault {
  const char* what;
  idefics::ErrorCode code;
  std::function<void()> act;
  // how the error's names must end; "" where it must have none, "*" where any name will do
  const char *file = "", *tensor = "", *field = "";
  bool limit = false;  // the error must have a limit
};

inline bool names(const std::string& found, const std::string& wanted) {
  if (wanted == "*" || wanted.empty()) return found.empty() == wanted.empty();
  return found.ends_with(wanted);
}

/// Runs one fault, which must end in its error within the CPU time allowed.
inline void check(const Fault& fault) {
  INFO(fault.what);
  const std::clock_t begin = std::clock();
  try {
    fault.act();
    FAIL_CHECK("no error");
  } catch (const idefics::Error& error) {
    INFO(error.what());
    CHECK(std::string(error.code_name()) == std::string(idefics::name_of(fault.code)));
    const idefics::ErrorContext& where = error.context();
    CHECK(names(where.file, fault.file));
    CHECK(names(where.tensor, fault.tensor));
    CHECK(names(where.field, fault.field));
    CHECK((where.limit.has_value() || !fault.limit));
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
  }
  CHECK(static_cast<double>(std::clock() - begin) < seconds_allowed * CLOCKS_PER_SEC);
}

}  // namespace testing
