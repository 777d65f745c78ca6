// Files that tests use if they exist, but that are not part of the project: in the folder that
// IDEFICS_TEST_DATA names, or in shared/data next to the checkout.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace testing {

/// Empty if the folder does not exist.
inline std::filesystem::path test_data() {
  const char* named = std::getenv("IDEFICS_TEST_DATA");
  const std::filesystem::path source = IDEFICS_SOURCE_DIR;
  const auto folder =
      named != nullptr ? std::filesystem::path(named) : source.parent_path() / "shared" / "data";
  return std::filesystem::is_directory(folder) ? folder : std::filesystem::path();
}

}  // namespace testing
