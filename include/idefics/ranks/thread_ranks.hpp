// Ranks that are threads of one process: for several GPUs of one machine, and for tests.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <idefics/ranks/communicator.hpp>

namespace idefics { inline namespace v0 {

/// Makes the communicators of `size` threads.
class ThreadRanks {
 public:
  /// A rank that does not answer for `timeout` is lost.
  explicit ThreadRanks(int size, std::chrono::milliseconds timeout = std::chrono::minutes(10))
      : meeting_(std::make_shared<Meeting>(size, timeout)) {
    require(size > 0, "there must be at least one rank");
  }

  std::shared_ptr<Communicator> communicator(int rank) const {
    require(rank >= 0 && rank < meeting_->size(), "no such rank");
    return std::make_shared<Rank>(meeting_, rank);
  }

 private:
  /// Where all ranks meet, and what each shows the others there.
  class Meeting {
   public:
    Meeting(int size, std::chrono::milliseconds timeout)
        : timeout_(timeout), shown_(static_cast<std::size_t>(size)) {
      why_.reserve(500);
    }

    int size() const { return static_cast<int>(shown_.size()); }
    std::span<std::byte>& shown(int rank) { return shown_[static_cast<std::size_t>(rank)]; }

    /// Returns when all ranks have called it as often.
    void wait() {
      std::unique_lock lock(mutex_);
      if (!lost_ && ++arrived_ == size()) {
        arrived_ = 0, ++meetings_;
        all_here_.notify_all();
        return;
      }
      const std::uint64_t this_one = meetings_;
      const bool in_time =
          all_here_.wait_for(lock, timeout_, [&] { return lost_ || meetings_ != this_one; });
      if (meetings_ != this_one && !lost_) return;
      lost_ = true;
      all_here_.notify_all();
      fail(ErrorCode::rank_lost, in_time ? "another rank of this run ended: " + why_
                                         : "another rank of this run does not answer");
    }
    void lose(const char* why) noexcept {
      const std::lock_guard lock(mutex_);
      if (!std::exchange(lost_, true))
        why_.assign(why, std::min(std::strlen(why), why_.capacity()));
      all_here_.notify_all();
    }

   private:
    const std::chrono::milliseconds timeout_;
    std::vector<std::span<std::byte>> shown_;
    std::mutex mutex_;
    std::condition_variable all_here_;
    int arrived_ = 0;
    std::uint64_t meetings_ = 0;
    bool lost_ = false;
    std::string why_;  // of the first rank that ended; has its capacity from the beginning
  };

  class Rank final : public Communicator {
   public:
    Rank(std::shared_ptr<Meeting> meeting, int rank) : meeting_(std::move(meeting)), rank_(rank) {}

    int rank() const override { return rank_; }
    int size() const override { return meeting_->size(); }

    void all_gather(std::span<std::byte> all, std::span<const std::size_t> offsets) override {
      exchange(all, [&](int other, std::span<std::byte> theirs) {
        const auto r = static_cast<std::size_t>(other);
        copy(all.subspan(offsets[r], offsets[r + 1] - offsets[r]), theirs.subspan(offsets[r]));
      });
    }
    void broadcast(std::span<std::byte> bytes, int root) override {
      exchange(bytes, [&](int other, std::span<std::byte> theirs) {
        if (other == root) copy(bytes, theirs);
      });
    }
    void barrier() override { meeting_->wait(); }
    void give_up(const char* why) noexcept override { meeting_->lose(why); }

   private:
    /// Calls take(rank, bytes) with what each other rank shows, which stays as it is meanwhile.
    template <class Take>
    void exchange(std::span<std::byte> mine, const Take& take) {
      meeting_->shown(rank_) = mine;
      meeting_->wait();
      for (int other = 0; other < size(); ++other)
        if (other != rank_) take(other, meeting_->shown(other));
      meeting_->wait();
    }
    static void copy(std::span<std::byte> to, std::span<const std::byte> from) {
      if (!to.empty()) std::memcpy(to.data(), from.data(), to.size());
    }

    std::shared_ptr<Meeting> meeting_;
    int rank_;
  };

  std::shared_ptr<Meeting> meeting_;
};

}}  // namespace idefics::v0
