// Admission, order and workers.
#include "cli/serve/queue.hpp"

#include "cli/serve/errors.hpp"

namespace cli::serve {

Queue::Queue(int workers, int most_waiting, const std::function<void()>& begin)
    : most_admitted_(workers + most_waiting) {
  for (int i = 0; i < workers; ++i)
    workers_.emplace_back([this, begin] {
      begin();
      work();
    });
}

Queue::~Queue() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::thread& worker : workers_) worker.join();
  for (auto& [number, entry] : std::exchange(entries_, {})) {
    entry.job->cancel();
    entry.job->run();  // which ends at once
  }
}

Queue::Ticket Queue::admit() {
  if (!open_) {
    Refusal refusal(503, "shutting_down", "the server is shutting down");
    refusal.retry_after = 5;
    throw refusal;
  }
  const std::scoped_lock lock(mutex_);
  if (admitted_ >= most_admitted_) {
    Refusal refusal(429, "queue_full", "too many requests are waiting");
    refusal.retry_after = 1;
    throw refusal;
  }
  ++admitted_;
  return {*this, arrived_++};
}

void Queue::submit(Ticket ticket, std::shared_ptr<Job> job) {
  const std::scoped_lock lock(mutex_);
  const std::uint64_t number = ticket.number();
  entries_.emplace(number, Entry{std::move(ticket), std::move(job)});
  changed_.notify_one();
}

int Queue::running() const {
  const std::scoped_lock lock(mutex_);
  return running_;
}

int Queue::waiting() const {
  const std::scoped_lock lock(mutex_);
  return admitted_ - running_;
}

void Queue::leave() {
  const std::scoped_lock lock(mutex_);
  --admitted_;
}

void Queue::work() {
  for (;;) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stopping_ || !entries_.empty(); });
    if (stopping_) return;
    auto first = entries_.extract(entries_.begin());
    ++running_;
    lock.unlock();
    first.mapped().job->run();
    lock.lock();
    --running_;
    lock.unlock();  // before the ticket leaves, which locks again
  }
}

}  // namespace cli::serve
