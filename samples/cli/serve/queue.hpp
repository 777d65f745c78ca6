// The requests that were admitted: a fixed number of workers takes them in the order of their arrival.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "cli/serve/job.hpp"

namespace cli::serve {

class Queue {
 public:
  /// A place in the queue, from the arrival of a request to the end of its work.
  class Ticket {
   public:
    Ticket(Queue& queue, std::uint64_t number) : queue_(&queue), number_(number) {}
    Ticket(Ticket&& other) noexcept
        : queue_(std::exchange(other.queue_, nullptr)), number_(other.number_) {}
    Ticket& operator=(Ticket&&) = delete;
    ~Ticket() {
      if (queue_ != nullptr) queue_->leave();
    }
    std::uint64_t number() const { return number_; }

   private:
    Queue* queue_;
    std::uint64_t number_;
  };

  /// `begin` is called by each worker first.
  Queue(int workers, int most_waiting, const std::function<void()>& begin);
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;
  /// Waits for the work that was begun, and drops the rest.
  ~Queue();

  /// Throws Refusal: 429 if too many wait, 503 after `close`.
  Ticket admit();
  void submit(Ticket ticket, std::shared_ptr<Job> job);
  /// Admits no more.
  void close() { open_ = false; }

  bool is_open() const { return open_; }
  int running() const;
  /// Requests that were admitted and do not run yet.
  int waiting() const;

 private:
  struct Entry {
    Ticket ticket;
    std::shared_ptr<Job> job;
  };
  void work();
  void leave();

  const int most_admitted_;
  std::atomic<bool> open_{true};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, Entry> entries_;  // by arrival
  std::uint64_t arrived_ = 0;
  int admitted_ = 0, running_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace cli::serve
