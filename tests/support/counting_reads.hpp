// Counts every read of the program, and makes reads fail on request. To be included by one file of a
// program: it replaces read and pread of the C library.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

namespace reads {

inline std::atomic<std::int64_t> count{0}, fail_at{-1};  // calls; the first one that fails

/// Counts a call; whether it must fail.
inline bool fails() {
  const std::int64_t call = count.fetch_add(1, std::memory_order_relaxed);
  const std::int64_t at = fail_at.load(std::memory_order_relaxed);
  if (at < 0 || call < at) return false;
  errno = EIO;
  return true;
}

}  // namespace reads

extern "C" {
ssize_t read(int file, void* to, std::size_t size) {
  return reads::fails() ? -1 : ::syscall(SYS_read, file, to, size);
}
ssize_t pread(int file, void* to, std::size_t size, off_t at) {
  return reads::fails() ? -1 : ::syscall(SYS_pread64, file, to, size, at);
}
}
