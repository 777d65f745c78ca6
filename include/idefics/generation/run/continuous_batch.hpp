// Continuous batching: runs of several threads share their forward passes. A run joins the batch
// when the pool has rows for its keys and values, and leaves it when it ends; a pass takes the next
// tokens of every run that waits for one, so that the weights are read once for all of them. Source:
// Orca (Yu et al. 2022); chunks of prompts between the steps of others, Sarathi (Agrawal et al.
// 2023).
//
// The bits of a run do not depend on the others: an output element depends only on its own inputs
// (backend/backend.hpp), and a run reads no other rows of the pool than its own.
//
//   thread of a run     next tokens -> wait ............ logits -> choose -> next tokens -> wait
//   thread of the batch          collect, one pass, logits out            collect, one pass
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include <idefics/core/config.hpp>
#include <idefics/generation/run/batch_pass.hpp>
#include <idefics/generation/run/batch_statistics.hpp>
#include <idefics/generation/run/session_pool.hpp>

namespace idefics { inline namespace v0 { namespace detail {

class ContinuousBatch;

/// The place of a run in a batch. Cache rows of its tokens are numbered from 0; the batch maps them
/// to rows of its pool. Used by one thread.
class Seat {
 public:
  /// A run of at most `sequences` sequences that holds `rows` rows of the pool in all.
  Seat(ContinuousBatch& batch, std::int64_t rows, std::int64_t sequences, PassShare share)
      : batch_(batch), needed_(rows), sequences_(sequences), share_(std::move(share)) {}
  Seat(const Seat&) = delete;
  ~Seat();

  /// Waits until the tokens of the run have passed through the model. The first call waits for rows
  /// of the pool before that. `ask`, which may throw, is called while the tokens wait for a pass.
  void pass(const TokenBatch& tokens, std::span<const std::int32_t> logit_rows,
            const std::function<void()>& ask);

  /// The logits that the last pass has computed.
  const PassShare& logits() const { return share_; }

 private:
  friend class ContinuousBatch;
  enum class State { choosing, entering, waiting, passing };

  ContinuousBatch& batch_;
  std::int64_t needed_, sequences_;
  PassShare share_;
  std::vector<std::int32_t> rows_;  // of the pool, by row of the run; empty before it has joined
  std::thread::id thread_;
  State state_ = State::choosing;
  std::exception_ptr error_;
};

/// Internally locked; its thread does all that uses the backend.
class ContinuousBatch {
 public:
  /// `rows` of the pool; prompts are read `chunk` tokens at a time. Throws `out_of_memory`.
  ContinuousBatch(const Idefics& model, SessionPool& sessions, std::int64_t rows,
                  std::int64_t chunk);
  ContinuousBatch(const ContinuousBatch&) = delete;
  ~ContinuousBatch();

  std::int64_t rows() const { return rows_; }
  /// Whether a run of this thread may join: not within a step of another one, which holds rows that
  /// this one might wait for.
  bool takes_this_thread() const;

  /// Runs a job between two passes, in the session of the batch, and waits for its end.
  void between_passes(const std::function<void(Session&)>& job);

  /// Within a job: keeps the pictures in these slots until `unpin`.
  void pin(std::span<const std::int32_t> slots);
  void unpin(std::span<const std::int32_t> slots) noexcept;

  /// What runs may refer to, and only jobs may change.
  Session& session() const { return *session_; }
  BatchStatistics statistics() const;

 private:
  friend class Seat;
  using Clock = std::chrono::steady_clock;
  struct Job {
    const std::function<void(Session&)>& run;
    std::exception_ptr error{};
    bool done = false;
  };

  void await(std::unique_lock<std::mutex>& lock, Seat& seat, std::vector<Seat*>& queue,
             const std::function<void()>& ask);
  void serve();
  void admit();
  void be_patient() { patience_ends_ = Clock::now() + last_pass_ / 4; }
  bool pass_is_due() const;
  void do_job(std::unique_lock<std::mutex>& lock);
  void do_pass(std::unique_lock<std::mutex>& lock);
  void choose_seats();

  SessionPool& sessions_;
  std::int64_t rows_, chunk_;
  std::unique_ptr<Session> session_;
  BatchPass compute_;
  static constexpr std::size_t most_seats = 1024;  // of a pass
  std::vector<Seat*> seats_;                       // of the next pass
  std::vector<PassShare*> shares_;                 // theirs

  mutable std::mutex mutex_;
  std::condition_variable work_, results_;
  std::vector<std::int32_t> free_rows_;
  std::vector<std::int32_t> unpinned_;  // slots, before the next job
  std::size_t pinned_ = 0;
  std::vector<Seat*> entering_, waiting_;  // in order of arrival
  std::vector<Job*> jobs_;
  std::vector<std::thread::id> seated_;  // threads whose runs have joined
  Clock::time_point patience_ends_{};
  Clock::duration last_pass_{};
  bool job_was_last_ = false, closing_ = false;
  BatchStatistics statistics_;
  std::thread thread_;
};

}}}  // namespace idefics::v0::detail

#if IDEFICS_ENGINE_BODIES

#include <algorithm>
#include <string>
#include <system_error>

#include <idefics/core/error.hpp>
#include <idefics/core/threads.hpp>

namespace idefics { inline namespace v0 { namespace detail {

// ---- a seat -------------------------------------------------------------------------------------

inline Seat::~Seat() {
  if (rows_.empty()) return;
  const std::lock_guard lock(batch_.mutex_);
  batch_.free_rows_.insert(batch_.free_rows_.end(), rows_.begin(), rows_.end());
  std::erase(batch_.seated_, thread_);
  batch_.work_.notify_one();
}

inline void Seat::pass(const TokenBatch& tokens, std::span<const std::int32_t> logit_rows,
                       const std::function<void()>& ask) {
  std::unique_lock lock(batch_.mutex_);
  if (rows_.empty()) {
    state_ = State::entering;
    thread_ = std::this_thread::get_id();
    rows_.reserve(static_cast<std::size_t>(needed_));
    batch_.entering_.push_back(this);
    batch_.seated_.reserve(batch_.seated_.size() + batch_.entering_.size());
    batch_.await(lock, *this, batch_.entering_, ask);
  }
  lock.unlock();
  share_.set(tokens, logit_rows, rows_);
  lock.lock();
  state_ = State::waiting;
  if (batch_.waiting_.empty()) batch_.be_patient();
  batch_.waiting_.push_back(this);
  batch_.await(lock, *this, batch_.waiting_, ask);
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

// ---- the threads of runs ------------------------------------------------------------------------

inline bool ContinuousBatch::takes_this_thread() const {
  const std::lock_guard lock(mutex_);
  return std::ranges::find(seated_, std::this_thread::get_id()) == seated_.end();
}

/// Waits in `queue` until `seat` may choose its next tokens. What `ask` throws ends the wait, unless a
/// pass with the tokens of the seat has begun.
inline void ContinuousBatch::await(std::unique_lock<std::mutex>& lock, Seat& seat,
                                   std::vector<Seat*>& queue, const std::function<void()>& ask) {
  work_.notify_one();
  constexpr std::chrono::milliseconds interval{20};
  const auto ended = [&] { return seat.state_ == Seat::State::choosing; };
  while (!results_.wait_for(lock, interval, ended)) {
    if (!ask) continue;
    lock.unlock();
    std::exception_ptr stop;
    try {
      ask();
    } catch (...) {
      stop = std::current_exception();
    }
    lock.lock();
    if (!stop) continue;
    const auto place = std::ranges::find(queue, &seat);
    if (place == queue.end()) {  // the batch has taken it
      results_.wait(lock, ended);
    } else {
      queue.erase(place);
      work_.notify_one();  // the next one may fit
    }
    seat.state_ = Seat::State::choosing;
    seat.error_ = nullptr;
    std::rethrow_exception(stop);
  }
}

inline void ContinuousBatch::between_passes(const std::function<void(Session&)>& run) {
  Job job{run};
  std::unique_lock lock(mutex_);
  jobs_.push_back(&job);
  work_.notify_one();
  results_.wait(lock, [&job] { return job.done; });
  if (job.error) std::rethrow_exception(job.error);
}

inline void ContinuousBatch::pin(std::span<const std::int32_t> slots) {
  const std::lock_guard lock(mutex_);
  unpinned_.reserve(pinned_ + slots.size());  // so that unpinning cannot fail
  pinned_ += slots.size();
  for (const std::int32_t slot : slots) session_->pictures.pin(slot);
}

inline void ContinuousBatch::unpin(std::span<const std::int32_t> slots) noexcept {
  const std::lock_guard lock(mutex_);
  unpinned_.insert(unpinned_.end(), slots.begin(), slots.end());
}

inline BatchStatistics ContinuousBatch::statistics() const {
  const std::lock_guard lock(mutex_);
  BatchStatistics now = statistics_;
  now.running = std::ssize(seated_);
  now.waiting = std::ssize(entering_);
  now.free_tokens = std::ssize(free_rows_);
  return now;
}

// ---- the thread of the batch --------------------------------------------------------------------

inline ContinuousBatch::ContinuousBatch(const Idefics& model, SessionPool& sessions,
                                        std::int64_t rows, std::int64_t chunk)
    : sessions_(sessions),
      rows_(rows),
      chunk_(chunk),
      session_(sessions.make_session()),
      compute_(model, *session_->backend, rows) {
  free_rows_ = iota_rows(0, rows);
  std::ranges::reverse(free_rows_);  // taken from the end
  seats_.reserve(most_seats), shares_.reserve(most_seats);
  try {
    thread_ = std::thread([this, threads = num_threads()] {
      set_num_threads(threads);
      serve();
    });
  } catch (const std::system_error& error) {
    fail(ErrorCode::out_of_memory, std::string("no thread for the batch: ") + error.what(),
         {.field = "shared_cache_tokens"});
  }
}

inline ContinuousBatch::~ContinuousBatch() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  work_.notify_one();
  thread_.join();
}

inline void ContinuousBatch::serve() {
  std::unique_lock lock(mutex_);
  while (!closing_) {
    admit();
    if (!jobs_.empty() && (waiting_.empty() || !job_was_last_)) {
      do_job(lock);
    } else if (pass_is_due()) {
      do_pass(lock);
    } else if (waiting_.empty()) {
      work_.wait(lock);
    } else {
      work_.wait_until(lock, patience_ends_);
    }
  }
}

/// Gives rows to the runs that wait for them, in order of arrival.
inline void ContinuousBatch::admit() {
  bool any = false;
  while (!entering_.empty() && entering_.front()->needed_ <= std::ssize(free_rows_)) {
    Seat& seat = *entering_.front();
    entering_.erase(entering_.begin());
    const auto first = free_rows_.end() - seat.needed_;
    seat.rows_.assign(first, free_rows_.end());
    free_rows_.erase(first, free_rows_.end());
    seated_.push_back(seat.thread_);
    seat.state_ = Seat::State::choosing;
    any = true;
  }
  if (any) results_.notify_all();
}

/// Whether every run waits for a pass, or has had time to choose its tokens.
inline bool ContinuousBatch::pass_is_due() const {
  if (waiting_.empty()) return false;
  return waiting_.size() >= seated_.size() || job_was_last_ || Clock::now() >= patience_ends_;
}

inline void ContinuousBatch::do_job(std::unique_lock<std::mutex>& lock) {
  Job& job = *jobs_.front();
  jobs_.erase(jobs_.begin());
  for (const std::int32_t slot : unpinned_) session_->pictures.unpin(slot);
  pinned_ -= unpinned_.size();
  unpinned_.clear();
  lock.unlock();
  try {
    const auto turn = sessions_.take_turn();
    job.run(*session_);
  } catch (...) {
    job.error = std::current_exception();
  }
  lock.lock();
  statistics_.cached_pictures = session_->pictures.size();
  job_was_last_ = job.done = true;
  results_.notify_all();
}

inline void ContinuousBatch::do_pass(std::unique_lock<std::mutex>& lock) {
  choose_seats();
  lock.unlock();
  const auto begin = Clock::now();
  try {
    const auto turn = sessions_.take_turn();
    compute_(shares_, session_->pictures);
  } catch (const Error& error) {
    for (Seat* seat : seats_) seat->error_ = std::make_exception_ptr(error);  // one for each thread
  } catch (...) {
    for (Seat* seat : seats_) seat->error_ = std::current_exception();
  }
  lock.lock();
  last_pass_ = Clock::now() - begin;
  be_patient();  // the runs of this pass are about to ask for the next one
  job_was_last_ = false;
  statistics_.passes += 1;
  statistics_.shares += std::ssize(seats_);
  for (Seat* seat : seats_) {
    statistics_.tokens += seat->share_.size();
    seat->state_ = Seat::State::choosing;
  }
  results_.notify_all();
}

/// Takes from the queue those that step and then, up to one chunk, those that read prompts.
inline void ContinuousBatch::choose_seats() {
  seats_.clear(), shares_.clear();
  for (const bool stepping : {true, false}) {
    std::int64_t tokens = 0;
    for (Seat* seat : waiting_) {
      const std::int64_t count = seat->share_.size();
      if ((count <= seat->sequences_) != stepping) continue;
      if (tokens > 0 && tokens + count > chunk_) continue;
      if (seats_.size() == most_seats) break;
      tokens += count;
      seat->state_ = Seat::State::passing;
      seats_.push_back(seat), shares_.push_back(&seat->share_);
    }
  }
  std::erase_if(waiting_, [](const Seat* seat) { return seat->state_ == Seat::State::passing; });
}

}}}  // namespace idefics::v0::detail

#endif  // IDEFICS_ENGINE_BODIES
