// Work that a worker does for a connection. The worker never waits for the client: pieces of an
// answer are put on a list, from which the thread of the connection takes them.
#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace cli::serve {

/// Some text of an answer.
struct Piece {
  std::size_t answer;
  std::string text;
};

class Job {
 public:
  using Work = std::function<void(Job&)>;

  explicit Job(Work work) : work_(std::move(work)) {}

  /// By the worker: does the work, and keeps what it throws.
  void run() noexcept {
    std::exception_ptr thrown;
    try {
      if (wanted()) work_(*this);
    } catch (...) {
      thrown = std::current_exception();
    }
    work_ = nullptr;  // frees inputs
    const std::scoped_lock lock(mutex_);
    error_ = thrown;
    done_ = true;
    changed_.notify_all();
  }
  /// By the worker: passes on some text.
  void push(Piece piece) {
    const std::scoped_lock lock(mutex_);
    pieces_.push_back(std::move(piece));
    changed_.notify_all();
  }
  /// Whether the client still waits for the answer.
  bool wanted() const {
    const std::scoped_lock lock(mutex_);
    return !cancelled_;
  }

  void cancel() {
    const std::scoped_lock lock(mutex_);
    cancelled_ = true;
  }
  /// Waits for pieces or the end, but not longer than `time`, and moves the pieces to `pieces`.
  /// Returns whether the work is done. Throws what it threw, after all pieces were taken.
  bool wait(std::chrono::milliseconds time, std::vector<Piece>& pieces) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, time, [this] { return done_ || !pieces_.empty(); });
    pieces = std::exchange(pieces_, {});
    if (done_ && pieces.empty() && error_) std::rethrow_exception(error_);
    return done_ && !error_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Work work_;
  std::vector<Piece> pieces_;
  bool done_ = false, cancelled_ = false;
  std::exception_ptr error_;
};

}  // namespace cli::serve
