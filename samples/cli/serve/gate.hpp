// What strangers may make the server hold at once: work with large values, and bytes of bodies.
#pragma once

#include <cstdint>
#include <mutex>
#include <semaphore>
#include <utility>

#include "cli/serve/errors.hpp"

namespace cli::serve {

/// Lets a few threads parse and decode at once; the others wait for their turn.
class Gate {
 public:
  explicit Gate(int most) : free_(most) {}

  class Pass {
   public:
    explicit Pass(Gate& gate) : gate_(gate) { gate_.free_.acquire(); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    ~Pass() { gate_.free_.release(); }

   private:
    Gate& gate_;
  };

 private:
  std::counting_semaphore<1024> free_;
};

/// Bytes that the bodies of all requests share.
class Budget {
 public:
  explicit Budget(std::uint64_t bytes) : left_(bytes) {}

  /// The bytes of one request, until it is destroyed.
  class Share {
   public:
    explicit Share(Budget& budget) : budget_(budget) {}
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;
    ~Share() { budget_.give_back(bytes_); }
    /// Throws Refusal, 503.
    void add(std::uint64_t bytes) {
      budget_.take(bytes);
      bytes_ += bytes;
    }

   private:
    Budget& budget_;
    std::uint64_t bytes_ = 0;
  };

 private:
  void take(std::uint64_t bytes) {
    const std::scoped_lock lock(mutex_);
    if (bytes > left_) {
      Refusal refusal(503, "too_many_bytes", "the bodies of other requests use the memory");
      refusal.retry_after = 1;
      throw refusal;
    }
    left_ -= bytes;
  }
  void give_back(std::uint64_t bytes) {
    const std::scoped_lock lock(mutex_);
    left_ += bytes;
  }

  std::mutex mutex_;
  std::uint64_t left_;
};

}  // namespace cli::serve
