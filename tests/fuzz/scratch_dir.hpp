// A directory in memory whose files a target rewrites for every input.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace fuzz {

class ScratchDir {
 public:
  ScratchDir() {
    const bool memory = std::filesystem::is_directory("/dev/shm");
    path_ = std::string(memory ? "/dev/shm" : "/tmp") + "/idefics-fuzz-XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;
  ~ScratchDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::filesystem::path path() const { return path_; }

  /// Sets a file's content; empty content removes the file.
  void set(const char* name, std::string_view content) const {
    const auto file = path() / name;
    if (content.empty()) {
      std::filesystem::remove(file);
      return;
    }
    std::ofstream out(file, std::ios::binary | std::ios::trunc);
    out.write(content.data(), static_cast<std::streamsize>(content.size()));
  }

 private:
  std::string path_;
};

/// Splits one file off the front of the input, up to the next zero byte, which no JSON text
/// contains.
inline std::string_view next_file(std::string_view& input) {
  const auto end = input.find('\0');
  const std::string_view file = input.substr(0, end);
  input = end == std::string_view::npos ? std::string_view() : input.substr(end + 1);
  return file;
}

}  // namespace fuzz
