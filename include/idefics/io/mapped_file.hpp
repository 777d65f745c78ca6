// Files: read-only mappings, reads that notice changes, bounded reads, and writes that never leave a
// partial file.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <idefics/core/checked.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  int get() const noexcept { return value_; }
  /// Closes now; returns false if the system reports an error (a full disk may only show here).
  bool close() noexcept { return ::close(std::exchange(value_, -1)) == 0; }

 private:
  int value_;
};

[[noreturn]] inline void fail_errno(const std::filesystem::path& path, const char* what) {
  const int error = errno;
  const auto code =
      error == ENOENT || error == ENOTDIR ? ErrorCode::file_not_found : ErrorCode::io_failure;
  fail(code, std::string(what) + ": " + std::strerror(error), {.file = path.string()});
}

/// Opens for reading. With O_NONBLOCK a pipe opens without waiting for its writer, and is refused.
inline int open_to_read(const std::filesystem::path& path) {
  return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

/// What changes when a file is written to: its size, and the time of its last modification.
struct FileState {
  std::uint64_t size = 0;
  std::int64_t seconds = 0, nanoseconds = 0;

  bool operator==(const FileState&) const = default;
};

/// The state of an open file. Throws `file_not_found` unless it is a regular file, or `io_failure`.
inline FileState state_of(const Descriptor& file, const std::filesystem::path& path) {
  if (file.get() < 0) fail_errno(path, "cannot open the file");
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) fail_errno(path, "cannot read the size of the file");
  if (!S_ISREG(status.st_mode))
    fail(ErrorCode::file_not_found, "not a regular file", {.file = path.string()});
  return {static_cast<std::uint64_t>(status.st_size), status.st_mtim.tv_sec,
          status.st_mtim.tv_nsec};
}

}  // namespace detail

/// A file that is open for reading: mapped read-only, or read piece by piece. Tensors that are views
/// of the mapping keep it alive.
///
/// A mapping shows what the file contains now, and ends the program (SIGBUS) where the file has
/// become shorter. The functions here that read notice both; they cannot do so for later accesses to
/// the mapping. A file that is replaced by renaming another to its name does not change.
class MappedFile {
 public:
  /// Throws `file_not_found` or `io_failure`. An empty file maps to no bytes.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path,
                                                bool mmap = true) {
    auto opened = std::shared_ptr<MappedFile>(new MappedFile(path));
    if (mmap && opened->size() > 0) opened->map();
    return opened;
  }

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(data_, static_cast<std::size_t>(size()));
  }

  bool is_mapped() const noexcept { return data_ != nullptr; }
  std::uint64_t size() const noexcept { return first_.size; }  // when it was opened
  /// The mapping; empty if the file is not mapped.
  std::span<const std::byte> bytes() const noexcept {
    return {data_, data_ == nullptr ? 0 : static_cast<std::size_t>(size())};
  }
  const std::filesystem::path& path() const noexcept { return path_; }

  /// Reads the bytes from `begin` on into `to`, from the file rather than from the mapping. Throws
  /// `file_changed` or `io_failure`.
  void read(std::uint64_t begin, std::span<std::byte> to) const {
    while (!to.empty()) {
      const auto got = ::pread(file_.get(), to.data(), to.size(), static_cast<::off_t>(begin));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) detail::fail_errno(path_, "cannot read the file");
      if (got == 0) fail_changed();
      to = to.subspan(static_cast<std::size_t>(got));
      begin += static_cast<std::uint64_t>(got);
    }
  }

  /// Throws `file_changed` if the file has another size or time of modification than when it was
  /// opened.
  void check_unchanged() const {
    const State now = detail::state_of(file_, path_);
    if (now != first_) fail_changed();
  }

  /// To be called before [begin, end) of the mapping is read: brings it into memory, and throws
  /// `file_changed` where reading would end the program. (Before Linux 5.14, only if the file is
  /// already shorter.)
  void require_readable(std::uint64_t begin, std::uint64_t end) const {
    check_unchanged();
    if (data_ == nullptr || begin == end) return;
#if defined(__linux__)
    constexpr int populate_read = 22;  // MADV_POPULATE_READ, which older headers lack
    const std::uint64_t first = begin / page_size() * page_size();
    if (::madvise(data_ + first, static_cast<std::size_t>(end - first), populate_read) != 0 &&
        errno == EFAULT)
      fail_changed();
#endif
  }

  /// Starts reading [begin, end) from disk, without waiting for it.
  void prefetch(std::uint64_t begin, std::uint64_t end) const noexcept {
    if (data_ == nullptr) {
      ::posix_fadvise(file_.get(), static_cast<::off_t>(begin), static_cast<::off_t>(end - begin),
                      POSIX_FADV_WILLNEED);
      return;
    }
    // Linux cuts longer requests to the device's read-ahead.
    constexpr std::uint64_t piece = 128 << 10;
    for (std::uint64_t at = begin / page_size() * page_size(); at < end; at += piece)
      ::madvise(data_ + at, static_cast<std::size_t>(std::min(piece, end - at)), MADV_WILLNEED);
  }

  /// Releases the memory of all whole pages in [begin, end) of the mapping; the next access reads
  /// them from the file again.
  void release(std::uint64_t begin, std::uint64_t end) const noexcept {
    const std::uint64_t page = page_size();
    const std::uint64_t first = (begin + page - 1) / page * page, last = end / page * page;
    if (data_ != nullptr && first < last)
      ::madvise(data_ + first, static_cast<std::size_t>(last - first), MADV_DONTNEED);
  }

 private:
  using State = detail::FileState;

  explicit MappedFile(const std::filesystem::path& path)
      : path_(path), file_(detail::open_to_read(path)), first_(detail::state_of(file_, path)) {}

  void map() {
    void* memory = ::mmap(nullptr, Checked(size()).size(), PROT_READ, MAP_SHARED, file_.get(), 0);
    if (memory == MAP_FAILED) detail::fail_errno(path_, "cannot map the file");
    data_ = static_cast<std::byte*>(memory);
  }
  static std::uint64_t page_size() noexcept {
    return static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  }
  [[noreturn]] void fail_changed() const {
    fail(ErrorCode::file_changed, "the file was changed while it was read",
         {.file = path_.string(), .limit = size()});
  }

  std::filesystem::path path_;
  detail::Descriptor file_;
  State first_;
  std::byte* data_ = nullptr;
};

namespace detail {

/// Whether a file is a Git LFS pointer: the placeholder of a large file that was never fetched.
inline bool is_git_lfs_pointer(std::span<const std::byte> bytes) {
  constexpr std::string_view start = "version https://git-lfs";
  return bytes.size() >= start.size() && std::memcmp(bytes.data(), start.data(), start.size()) == 0;
}

/// The contents of a file, read instead of mapped, so that later writes to the file cannot change
/// them. Throws `too_large` above `limit` bytes, before anything is read; `file_not_found`,
/// `file_changed`, `io_failure`.
inline std::string read_file(const std::filesystem::path& path, std::uint64_t limit,
                             ErrorCode too_large = ErrorCode::oversized_file) {
  const Descriptor file(open_to_read(path));
  const FileState first = state_of(file, path);
  if (const std::uint64_t size = first.size; size > limit)
    fail(too_large, "the file is too large",
         {.file = path.string(), .actual = size, .limit = limit});
  std::string content(Checked(first.size).size(), '\0');
  std::size_t filled = 0;
  while (filled < content.size()) {
    const auto got = ::read(file.get(), content.data() + filled, content.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) detail::fail_errno(path, "cannot read the file");
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
  }
  if (filled < content.size() || state_of(file, path) != first)
    fail(ErrorCode::file_changed, "the file was changed while it was read",
         {.file = path.string(), .actual = filled, .limit = content.size()});
  return content;
}

/// The contents of a text file. Throws what read_file throws, and `git_lfs_pointer`.
inline std::string read_text_file(const std::filesystem::path& path, std::uint64_t limit) {
  std::string text = read_file(path, limit);
  if (is_git_lfs_pointer(std::as_bytes(std::span(text))))
    fail(ErrorCode::git_lfs_pointer, "this is a Git LFS pointer, not the file itself",
         {.file = path.string()});
  return text;
}

}  // namespace detail

/// Writes a file under a temporary name; commit() renames it after the last byte, so that a partial
/// file never has the final name.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path)
      : path_(path),
        temporary_(path.string() + ".part-" + std::to_string(::getpid())),
        file_(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
    if (file_.get() < 0) detail::fail_errno(path_, "cannot create the file");
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    if (!committed_) ::unlink(temporary_.c_str());
  }

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto written = ::write(file_.get(), bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) detail::fail_errno(path_, "cannot write the file");
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  void commit() {
    if (!file_.close()) detail::fail_errno(path_, "cannot write the file");
    if (::rename(temporary_.c_str(), path_.c_str()) != 0)
      detail::fail_errno(path_, "cannot rename the file");
    committed_ = true;
  }

 private:
  std::filesystem::path path_;
  std::string temporary_;
  detail::Descriptor file_;
  bool committed_ = false;
};

}}  // namespace idefics::v0
