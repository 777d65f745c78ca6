// Parallel loops over outputs. Work is divided by output element, never within a sum, so the number
// of threads cannot change a single bit of a result.
#pragma once

#include <cstdint>

#include <idefics/core/config.hpp>

#if defined(_OPENMP) && !defined(IDEFICS_NO_OPENMP)
#define IDEFICS_HAS_OPENMP 1
#include <omp.h>
#else
#define IDEFICS_HAS_OPENMP 0
#endif

namespace idefics { inline namespace v0 {

/// Sets how many threads parallel loops of this thread use; 0 restores the default (all cores).
inline void set_num_threads(int count) {
#if IDEFICS_HAS_OPENMP
  static const int all = omp_get_max_threads();
  omp_set_num_threads(count > 0 ? count : all);
#else
  (void)count;
#endif
}

inline int num_threads() {
#if IDEFICS_HAS_OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

/// Calls body(i) for every i in [0, count), in any order, from several threads. `body` must not
/// throw.
template <class Body>
void parallel_for(std::int64_t count, const Body& body) {
#if IDEFICS_HAS_OPENMP
  if (count > 1 && omp_get_max_threads() > 1 && !omp_in_parallel()) {
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < count; ++i) body(i);
    return;
  }
#endif
  for (std::int64_t i = 0; i < count; ++i) body(i);
}

/// Calls body(task, worker) for every task in [0, count). Each task goes to the next free worker;
/// `worker` is in [0, num_threads()) and identifies scratch that no other thread uses meanwhile.
/// `body` must not throw.
template <class Body>
void parallel_tasks(std::int64_t count, const Body& body) {
#if IDEFICS_HAS_OPENMP
  if (count > 1 && omp_get_max_threads() > 1 && !omp_in_parallel()) {
#pragma omp parallel for schedule(dynamic, 1)
    for (std::int64_t i = 0; i < count; ++i) body(i, omp_get_thread_num());
    return;
  }
#endif
  for (std::int64_t i = 0; i < count; ++i) body(i, 0);
}

/// Calls body(begin, end) for ranges that cover [0, count): at most one per thread, and each of at
/// least `grain` if there are several. `body` must not throw.
template <class Body>
void parallel_ranges(std::int64_t count, std::int64_t grain, const Body& body) {
  if (count <= 0) return;
  const std::int64_t max_ranges = count / (grain > 0 ? grain : 1);
  const std::int64_t threads = num_threads();
  const std::int64_t ranges = max_ranges < 1 ? 1 : (max_ranges < threads ? max_ranges : threads);
  parallel_for(ranges, [&](std::int64_t i) { body(count * i / ranges, count * (i + 1) / ranges); });
}

}}  // namespace idefics::v0
