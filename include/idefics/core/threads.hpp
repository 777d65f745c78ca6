// Parallel loops over outputs. Work is divided by output element, never within a sum, so the number
// of threads cannot change a single bit of a result.
#pragma once

#include <algorithm>
#include <cstdint>

#include <idefics/core/config.hpp>
#include <idefics/core/thread_team.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// The number of threads that this thread has set; 0 if none.
inline int& threads_set() {
  static thread_local int count = 0;
  return count;
}

}  // namespace detail

/// Sets how many threads parallel loops of this thread use; 0 restores the default (all cores, or
/// OMP_NUM_THREADS).
inline void set_num_threads(int count) {
  detail::threads_set() = std::clamp(count, 0, detail::max_threads);
}

inline int num_threads() {
#if defined(IDEFICS_NO_THREADS)
  return 1;
#else
  const int set = detail::threads_set();
  return set > 0 ? set : detail::default_threads();
#endif
}

/// Calls body(task, worker) for every task in [0, count). Each task goes to the next free worker;
/// `worker` is in [0, threads) and identifies scratch that no other thread uses meanwhile. `body`
/// must not throw.
template <class Body>
void parallel_tasks(std::int64_t count, const Body& body, int threads = num_threads()) {
  if (count > 1 && threads > 1)
    return detail::run_loop(
        {.count = count,
         .iteration = [](const void* call, std::int64_t i,
                         int worker) { (*static_cast<const Body*>(call))(i, worker); },
         .body = &body},
        threads);
  for (std::int64_t i = 0; i < count; ++i) body(i, 0);
}

/// Calls body(begin, end) for ranges that cover [0, count): at most one per thread, and each of at
/// least `grain` if there are several. `body` must not throw.
template <class Body>
void parallel_ranges(std::int64_t count, std::int64_t grain, const Body& body) {
  if (count <= 0) return;
  const std::int64_t most = std::max<std::int64_t>(1, count / std::max<std::int64_t>(1, grain));
  const std::int64_t ranges = std::min<std::int64_t>(most, num_threads());
  parallel_tasks(ranges,
                 [&](std::int64_t i, int) { body(count * i / ranges, count * (i + 1) / ranges); });
}

/// Calls body(i) for every i in [0, count), in any order, from several threads. `body` must not
/// throw.
template <class Body>
void parallel_for(std::int64_t count, const Body& body) {
  parallel_tasks(count, [&](std::int64_t i, int) { body(i); });
}

}}  // namespace idefics::v0
