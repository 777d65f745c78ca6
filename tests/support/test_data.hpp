// Files that tests use where they exist, but that are not part of the project: the folder that
// IDEFICS_TEST_DATA names, or shared/data beside the checkout.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace testing {

/// Empty if there is no such folder.
inline std::filesystem::path test_data() {
  const char* named = std::getenv("IDEFICS_TEST_DATA");
  const std::filesystem::path source = IDEFICS_SOURCE_DIR;
  const auto folder =
      named != nullptr ? std::filesystem::path(named) : source.parent_path() / "shared" / "data";
  return std::filesystem::is_directory(folder) ? folder : std::filesystem::path();
}

}  // namespace testing
