// Threads share the weights of a model and nothing else: what a run changes belongs to a session, and
// a session serves one run at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <idefics/model/image_cache.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// What runs over a model change, apart from the objects that callers pass.
struct Session {
  std::shared_ptr<Backend> backend;  // with its scratch buffers
  ImageCache pictures;
  /// For a draft model with the schedule "heuristic": what its last generation arrived at.
  std::optional<std::int64_t> num_assistant_tokens{};
};

/// Lends sessions. One thread that generates again and again gets the same one, with the pictures
/// that it has seen; as many threads as run at once get one each. If the backend cannot be forked
/// (Backend::fork), their runs take turns. Internally locked.
class SessionPool {
 public:
  /// A session of one run, returned to its pool on destruction, by the thread that borrowed it.
  class Lease {
   public:
    Lease(SessionPool& pool, std::unique_ptr<Session> session,
          std::unique_lock<std::recursive_mutex> turn)
        : pool_(&pool), session_(std::move(session)), turn_(std::move(turn)) {}
    Lease(Lease&&) noexcept = default;
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() {
      if (session_) pool_->give_back(std::move(session_));
    }
    Session& operator*() const { return *session_; }
    Session* operator->() const { return session_.get(); }

   private:
    SessionPool* pool_;
    std::unique_ptr<Session> session_;
    std::unique_lock<std::recursive_mutex> turn_;
  };

  /// `capacity`: pictures that each session keeps, for `layers` cross-attention layers.
  SessionPool(std::shared_ptr<Backend> backend, const Config& config, std::int64_t layers,
              std::int64_t capacity)
      : backend_(std::move(backend)),
        config_(config),
        layers_(layers),
        capacity_(capacity),
        forks_(backend_->fork() != nullptr) {
    idle_.push_back(make(backend_));
  }

  Lease borrow() {
    auto turn = take_turn();
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        auto session = std::move(idle_.back());
        idle_.pop_back();
        return {*this, std::move(session), std::move(turn)};
      }
    }
    return {*this, make_session(), std::move(turn)};
  }

  /// The right to use a backend that cannot be forked; an unlocked lock if it can.
  std::unique_lock<std::recursive_mutex> take_turn() const {
    std::unique_lock turn(backend_->turns(), std::defer_lock);
    if (!forks_) turn.lock();
    return turn;
  }

  /// A session that is not lent. Where the backend cannot be forked, its user takes a turn for
  /// every use.
  std::unique_ptr<Session> make_session() { return make(forks_ ? backend_->fork() : backend_); }

  /// Pictures that the sessions which no run uses have in their caches.
  std::int64_t cached_pictures() const {
    const std::lock_guard lock(mutex_);
    std::int64_t count = 0;
    for (const auto& session : idle_) count += session->pictures.size();
    return count;
  }

 private:
  std::unique_ptr<Session> make(std::shared_ptr<Backend> backend) {
    auto session = std::make_unique<Session>(
        Session{backend, ImageCache(backend, config_, layers_, capacity_), {}});
    const std::lock_guard lock(mutex_);
    idle_.reserve(++made_);  // so that returning one cannot fail
    return session;
  }
  void give_back(std::unique_ptr<Session> session) noexcept {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(session));
  }

  std::shared_ptr<Backend> backend_;
  Config config_;
  std::int64_t layers_, capacity_;
  bool forks_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Session>> idle_;  // most recently used last
  std::size_t made_ = 0;
};

}}}  // namespace idefics::v0::detail
