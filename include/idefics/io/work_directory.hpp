// A directory that is written file by file and has its name only once it is complete. What an
// interrupted process leaves is continued by the next one that makes the same.
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <idefics/io/directory.hpp>
#include <idefics/io/mapped_file.hpp>

namespace idefics { inline namespace v0 { namespace detail {

class WorkDirectory {
 public:
  /// `recipe` describes what is being made, and from what: files of another recipe are removed.
  /// `keep`: whether files also stay after an exception. Throws `io_failure` if `path` exists and is
  /// not empty, or if another process is making it.
  WorkDirectory(std::filesystem::path path, std::string_view recipe, bool keep = false)
      : path_(std::move(path)), keep_(keep) {
    if (!path_.has_filename()) path_ = path_.parent_path();
    std::error_code error;
    if (std::filesystem::exists(path_, error) &&
        (!std::filesystem::is_directory(path_, error) || !names_in(path_).empty()))
      fail(ErrorCode::io_failure, "the destination already exists and is not empty",
           {.file = path_.string()});
    work_ = path_.string() + ".part";
    std::filesystem::create_directory(work_, error);
    if (error) fail(ErrorCode::io_failure, "cannot create the directory", {.file = work_.string()});
    lock_ = std::make_unique<Descriptor>(::open(work_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (lock_->get() < 0) fail_errno(work_, "cannot open the directory");
    if (::flock(lock_->get(), LOCK_EX | LOCK_NB) != 0)
      fail(ErrorCode::io_failure, "another process is making this directory",
           {.file = work_.string()});
    begin(recipe);
  }
  WorkDirectory(const WorkDirectory&) = delete;
  WorkDirectory& operator=(const WorkDirectory&) = delete;
  ~WorkDirectory() {
    if (committed_ || keep_) return;
    remove_contents(*lock_);
    ::rmdir(work_.c_str());
  }

  const std::filesystem::path& path() const { return work_; }
  bool has(const std::string& name) const {
    std::error_code error;
    return std::filesystem::is_regular_file(work_ / name, error);
  }

  void commit() {
    std::error_code error;
    std::filesystem::remove(work_ / recipe_name, error);
    std::filesystem::rename(work_, path_, error);
    if (error)
      fail(ErrorCode::io_failure, "cannot rename the directory: " + error.message(),
           {.file = path_.string()});
    committed_ = true;
  }

 private:
  static constexpr const char* recipe_name = ".recipe";

  /// Removes what an interrupted process may have left of something else.
  void begin(std::string_view recipe) {
    constexpr std::uint64_t longest = 16 << 20;
    if (has(recipe_name) && read_file(work_ / recipe_name, longest) == recipe) return;
    remove_contents(*lock_);
    AtomicFile file(work_ / recipe_name);
    file.write(recipe);
    file.commit();
  }

  std::filesystem::path path_, work_;
  std::unique_ptr<Descriptor> lock_;
  bool keep_, committed_ = false;
};

}}}  // namespace idefics::v0::detail
