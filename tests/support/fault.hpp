// Faults as a table: what is done, and the error that must come of it.
#pragma once

#include <ctime>
#include <functional>
#include <string>

#include <idefics/core/error.hpp>

#include "support/catch.hpp"

namespace testing {

struct Fault {
  const char* what;
  idefics::ErrorCode code;
  std::function<void()> act;
  // what is named: nothing, or anything ("*"), or this, and of a file its end
  const char *file = "", *tensor = "", *field = "";
  bool limit = false;  // a limit must be named
};

inline bool names(const std::string& found, const std::string& wanted) {
  if (wanted == "*" || wanted.empty()) return found.empty() == wanted.empty();
  return found.ends_with(wanted);
}

/// Runs one row; it must end in its error, in less than a second of this program's time.
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
  CHECK(static_cast<double>(std::clock() - begin) < 1.0 * CLOCKS_PER_SEC);
}

}  // namespace testing
