// A directory for one test, initially empty and removed at its end.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

#include <idefics/io/mapped_file.hpp>

namespace testing {

class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "idefics-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary directory");
    path_ = name;
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::filesystem::path& path() const { return path_; }

  /// Writes a file into the directory and returns its path.
  std::filesystem::path write(const std::string& name, std::string_view content) const {
    idefics::AtomicFile file(path_ / name);
    file.write(content);
    file.commit();
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace testing
