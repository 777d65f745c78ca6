// Files whose system calls are interrupted or fail: the next call of each kind does, once.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <utility>

#include <idefics/io/mapped_file.hpp>

#include "support/fault.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;
using enum ErrorCode;

namespace {

/// Errors of the next calls; 0: they do what they are asked to do.
struct NextCalls {
  int read = 0, write = 0, close = 0, fstat = 0, mmap = 0, madvise = 0;
  std::function<void()> after_read{};
} next;

bool fails(int& error) {
  if (error == 0) return false;
  errno = std::exchange(error, 0);
  return true;
}
ssize_t after_read(ssize_t got) {
  if (const auto act = std::exchange(next.after_read, {})) act();
  return got;
}

}  // namespace

extern "C" {
ssize_t read(int file, void* to, std::size_t size) {
  return fails(next.read) ? -1 : after_read(::syscall(SYS_read, file, to, size));
}
ssize_t pread(int file, void* to, std::size_t size, off_t at) {
  return fails(next.read) ? -1 : after_read(::syscall(SYS_pread64, file, to, size, at));
}
ssize_t write(int file, const void* from, std::size_t size) {
  return fails(next.write) ? -1 : ::syscall(SYS_write, file, from, size);
}
int close(int file) {
  const long result = ::syscall(SYS_close, file);
  return fails(next.close) ? -1 : static_cast<int>(result);
}
int fstat(int file, struct stat* status) noexcept {
  return fails(next.fstat) ? -1 : ::fstatat(file, "", status, AT_EMPTY_PATH);
}
void* mmap(void* at, std::size_t size, int access, int flags, int file, off_t offset) noexcept {
  if (fails(next.mmap)) return MAP_FAILED;
  return reinterpret_cast<void*>(::syscall(SYS_mmap, at, size, access, flags, file, offset));
}
int madvise(void* at, std::size_t size, int advice) noexcept {
  return fails(next.madvise) ? -1 : static_cast<int>(::syscall(SYS_madvise, at, size, advice));
}
}

TEST_CASE("calls that a signal interrupts are made again") {
  const testing::TempDir directory;
  const auto path = directory.path() / "file";
  AtomicFile written(path);
  next.write = EINTR;
  written.write("content");
  written.commit();
  next.read = EINTR;
  CHECK(detail::read_file(path, 100) == "content");
  std::string bytes(7, ' ');
  next.read = EINTR;
  MappedFile::open(path)->read(0, std::as_writable_bytes(std::span(bytes)));
  CHECK(bytes == "content");
}

TEST_CASE("calls that fail are errors, and leave no file") {
  const testing::TempDir directory;
  const auto path = directory.path() / "file";
  const auto write = [&path] {
    AtomicFile file(path);
    file.write("content");
    file.commit();
  };
  std::string bytes(7, ' ');
  const auto open = [&path] { return MappedFile::open(path); };
  const auto read_mapped = [&] { open()->read(0, std::as_writable_bytes(std::span(bytes))); };
  const auto read_whole = [&path] { (void)detail::read_file(path, 100); };
  const auto failing = [](const char* what, int& call, int error, ErrorCode code,
                          std::function<void()> act) {
    testing::check(
        {what, code, [&] { call = error, act(); }, "file", "", "", code == file_changed});
    CHECK(call == 0);
  };
  failing("a full disk", next.write, ENOSPC, io_failure, write);
  failing("a full disk, when it is closed", next.close, EIO, io_failure, write);
  CHECK(std::filesystem::is_empty(directory.path()));
  write();
  failing("a size that cannot be read", next.fstat, EIO, io_failure, open);
  failing("a file that cannot be mapped", next.mmap, ENODEV, io_failure, open);
  failing("bytes that cannot be read", next.read, EIO, io_failure, read_mapped);
  failing("a text that cannot be read", next.read, EIO, io_failure, read_whole);
  failing("a page that is gone", next.madvise, EFAULT, file_changed,
          [&] { open()->require_readable(0, 7); });
  next.madvise = ENOMEM;  // not a fault of the file
  open()->require_readable(0, 7);
}

TEST_CASE("a file that is written to while it is read is refused") {
  const testing::TempDir directory;
  const auto path = directory.write("file", "content");
  testing::check({"it becomes longer", file_changed,
                  [&] {
                    next.after_read = [&] { std::filesystem::resize_file(path, 8); };
                    (void)detail::read_file(path, 100);
                  },
                  "file", "", "", true});
}
