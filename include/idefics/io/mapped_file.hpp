// Files: read-only mappings, bounded reads, and writes that never leave a partial file.
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

/// The size of an open file. Throws `file_not_found` unless it is a regular file, or `io_failure`.
inline std::uint64_t regular_size(const Descriptor& file, const std::filesystem::path& path) {
  if (file.get() < 0) fail_errno(path, "cannot open the file");
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) fail_errno(path, "cannot read the size of the file");
  if (!S_ISREG(status.st_mode))
    fail(ErrorCode::file_not_found, "not a regular file", {.file = path.string()});
  return static_cast<std::uint64_t>(status.st_size);
}

}  // namespace detail

/// A whole file mapped read-only. Tensors that are views of it keep it alive.
class MappedFile {
 public:
  /// Throws `file_not_found` or `io_failure`. An empty file maps to no bytes.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path) {
    const detail::Descriptor file(detail::open_to_read(path));
    const std::uint64_t size = detail::regular_size(file, path);
    void* memory = nullptr;
    if (size > 0) {
      memory = ::mmap(nullptr, Checked(size).size(), PROT_READ, MAP_SHARED, file.get(), 0);
      if (memory == MAP_FAILED) detail::fail_errno(path, "cannot map the file");
    }
    return std::shared_ptr<const MappedFile>(new MappedFile(static_cast<const std::byte*>(memory),
                                                            static_cast<std::size_t>(size), path));
  }

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  }

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  const std::filesystem::path& path() const noexcept { return path_; }

  /// Starts reading [begin, end) from disk, without waiting for it.
  void prefetch(std::uint64_t begin, std::uint64_t end) const noexcept {
    // Linux cuts longer requests to the device's read-ahead.
    constexpr std::uint64_t piece = 128 << 10;
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    for (std::uint64_t at = begin / page * page; at < end; at += piece)
      ::madvise(const_cast<std::byte*>(data_) + at,
                static_cast<std::size_t>(std::min(piece, end - at)), MADV_WILLNEED);
  }

  /// Releases the memory of all whole pages in [begin, end); the next access reads them from the
  /// file again.
  void release(std::uint64_t begin, std::uint64_t end) const noexcept {
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    const std::uint64_t first = (begin + page - 1) / page * page, last = end / page * page;
    if (first < last)
      ::madvise(const_cast<std::byte*>(data_) + first, static_cast<std::size_t>(last - first),
                MADV_DONTNEED);
  }

 private:
  MappedFile(const std::byte* data, std::size_t size, std::filesystem::path path)
      : data_(data), size_(size), path_(std::move(path)) {}

  const std::byte* data_;
  std::size_t size_;
  std::filesystem::path path_;
};

namespace detail {

/// Whether a file is a Git LFS pointer: the placeholder of a large file that was never fetched.
inline bool is_git_lfs_pointer(std::span<const std::byte> bytes) {
  constexpr std::string_view start = "version https://git-lfs";
  return bytes.size() >= start.size() && std::memcmp(bytes.data(), start.data(), start.size()) == 0;
}

/// The contents of a file, read instead of mapped, so that later writes to the file cannot change
/// them. Throws `too_large` above `limit` bytes, before anything is read; `file_not_found`,
/// `io_failure`.
inline std::string read_file(const std::filesystem::path& path, std::uint64_t limit,
                             ErrorCode too_large = ErrorCode::oversized_file) {
  const detail::Descriptor file(detail::open_to_read(path));
  const std::uint64_t size = detail::regular_size(file, path);
  if (size > limit)
    fail(too_large, "the file is too large",
         {.file = path.string(), .actual = size, .limit = limit});
  std::string content(Checked(size).size(), '\0');
  std::size_t filled = 0;
  while (filled < content.size()) {
    const auto got = ::read(file.get(), content.data() + filled, content.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) detail::fail_errno(path, "cannot read the file");
    if (got == 0) break;  // the file was truncated meanwhile
    filled += static_cast<std::size_t>(got);
  }
  content.resize(filled);
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
