// Where the embedded checkpoint is: next to the executable, wherever that was built or installed.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>

namespace cli {

inline std::string embedded_model() {
  std::error_code unknown;
  const auto executable = std::filesystem::read_symlink("/proc/self/exe", unknown);
  return (executable.parent_path() / IDEFICS_EMBEDDED_MODEL).lexically_normal().string();
}

}  // namespace cli
