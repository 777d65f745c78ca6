// Where a run is computed, and where its pictures are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include <idefics/generation/run/continuous_batch.hpp>
#include <idefics/generation/run/session_pool.hpp>
#include <idefics/model/picture_encoding.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// A session of the run's own, or a batch. Pictures of a run in a batch are not replaced before the
/// run ends.
class Workplace {
 public:
  /// In `batch`, or in a session of `sessions` if it is null.
  Workplace(ContinuousBatch* batch, SessionPool& sessions) : batch_(batch) {
    if (batch_ == nullptr) lease_.emplace(sessions.borrow());
  }
  Workplace(const Workplace&) = delete;
  ~Workplace() {
    if (batch_ != nullptr) batch_->unpin(pinned_);
  }

  ContinuousBatch* batch() const { return batch_; }
  Session& session() const { return batch_ != nullptr ? batch_->session() : **lease_; }

  /// As detail::encode_pictures.
  PictureSlots encode(const Idefics& model, const Inputs& inputs, const PicturesNeeded& needed,
                      bool interpolate, const ProgressCallback& progress) {
    PictureSlots slots;
    const auto job = [&](Session& session) {
      slots = encode_pictures(model, *session.backend, session.pictures, inputs, needed,
                              interpolate, progress);
      if (batch_ == nullptr) return;
      std::vector<std::int32_t> used;
      for (const auto& row : slots)
        std::ranges::copy_if(row, std::back_inserter(used), [](auto slot) { return slot >= 0; });
      batch_->pin(used);
      pinned_ = std::move(used);
    };
    if (batch_ != nullptr)
      batch_->between_passes(job);
    else
      job(**lease_);
    return slots;
  }

 private:
  ContinuousBatch* batch_;
  std::optional<SessionPool::Lease> lease_;
  std::vector<std::int32_t> pinned_;
};

}}}  // namespace idefics::v0::detail
