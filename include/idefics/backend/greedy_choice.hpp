// The tokens that greedy search chooses: of each row of logits, the first of the largest that are
// not forbidden. Where the logits are on a device, so is the choice, and a step downloads one number
// per row instead of a vocabulary. This is the definition; no sums, so every device agrees exactly.
//
// Letters: R selected rows, V vocabulary, A added tokens.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

#include <idefics/core/tensor.hpp>

namespace idefics { inline namespace v0 {

/// The tokens that each row must not choose, one row after another.
struct ForbiddenTokens {
  std::span<const std::int32_t> ids{};
  std::span<const std::int32_t> ends{};  // [R], where those of each row end in `ids`

  std::span<const std::int32_t> of_row(std::size_t row) const {
    const auto begin = row == 0 ? 0 : static_cast<std::size_t>(ends[row - 1]);
    return ids.subspan(begin, static_cast<std::size_t>(ends[row]) - begin);
  }
  /// Throws `invalid_argument` unless these are tokens below `tokens` of `rows` rows.
  void check(std::int64_t rows, std::int64_t tokens) const {
    require(std::ssize(ends) == rows && std::ranges::is_sorted(ends) &&
                (rows == 0 || (ends[0] >= 0 && ends.back() == std::ssize(ids))),
            "forbidden tokens are not those of each row");
    require(std::ranges::all_of(ids, [&](std::int32_t id) { return id >= 0 && id < tokens; }),
            "a forbidden token is out of range");
  }
};

/// In place of a token: a logit of the row is NaN or infinite; every token is forbidden.
inline constexpr std::int32_t no_finite_logits = -1;
inline constexpr std::int32_t no_allowed_token = -2;

namespace detail {

/// The choice of one row, among its logits [V] and those of added tokens [A].
inline std::int32_t greedy_choice(std::span<const float> base, std::span<const float> additional,
                                  std::span<const std::int32_t> excluded) {
  const auto finite = [](float x) { return std::isfinite(x); };
  if (!std::ranges::all_of(base, finite) || !std::ranges::all_of(additional, finite))
    return no_finite_logits;
  std::int32_t best = no_allowed_token, id = 0;
  float largest = 0;
  for (const std::span<const float> logits : {base, additional})
    for (const float x : logits) {
      if ((best < 0 || x > largest) && std::ranges::find(excluded, id) == excluded.end())
        best = id, largest = x;
      ++id;
    }
  return best;
}

inline void greedy_choice(Tensor out /*[R] i32*/, const Tensor& base /*[R,V]*/,
                          const Tensor& additional /*[R,A] or empty*/,
                          const ForbiddenTokens& excluded) {
  const auto row_of = [](const Tensor& logits, std::size_t row) {
    if (!logits) return std::span<const float>();
    const auto width = static_cast<std::size_t>(logits.dim(-1));
    return logits.as<float>().subspan(row * width, width);
  };
  const auto chosen = out.as_mutable<std::int32_t>();
  for (std::size_t row = 0; row < chosen.size(); ++row)
    chosen[row] = greedy_choice(row_of(base, row), row_of(additional, row), excluded.of_row(row));
}

}  // namespace detail

}}  // namespace idefics::v0
