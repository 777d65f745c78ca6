// Parallel loops: every iteration once, scratch that no other thread uses meanwhile, loops within
// loops, several callers at once, and processes that fork.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include <idefics/core/threads.hpp>

#include "support/catch.hpp"

using namespace idefics;

namespace {

/// Runs loops of several lengths, and counts the iterations that were not run exactly once, and
/// those during which another thread had the same worker number.
int faults(int threads, int loops) {
  set_num_threads(threads);
  std::atomic<int> wrong = 0;
  for (int loop = 0; loop < loops; ++loop) {
    const auto count = static_cast<std::size_t>(1 + loop * 7 % 50);
    std::vector<std::atomic<int>> runs(count), users(static_cast<std::size_t>(threads));
    parallel_tasks(static_cast<std::int64_t>(count), [&](std::int64_t i, int worker) {
      wrong += worker < 0 || worker >= threads;
      auto& user = users[static_cast<std::size_t>(worker % threads)];
      wrong += ++user != 1;
      ++runs[static_cast<std::size_t>(i)];
      if (i % 5 == 0) std::this_thread::yield();
      --user;
    });
    for (const auto& n : runs) wrong += n != 1;
  }
  set_num_threads(0);
  return wrong;
}

}  // namespace

TEST_CASE("every iteration is run once, and no two threads have the same worker number") {
  for (const int threads : {1, 2, 3, 7}) CHECK(faults(threads, 400) == 0);
}

TEST_CASE("loops of several threads at once do not disturb each other") {
  std::atomic<int> wrong = 0;
  std::vector<std::jthread> callers;
  for (int caller = 0; caller < 6; ++caller)
    callers.emplace_back([&, caller] { wrong += faults(1 + caller % 4, 200); });
  callers.clear();
  CHECK(wrong == 0);
}

TEST_CASE("what the iterations wrote is visible after the loop") {
  set_num_threads(2);
  std::vector<std::int64_t> squares(20);
  for (std::int64_t round = 1; round <= 30; ++round) {
    parallel_tasks(std::ssize(squares), [&](std::int64_t i, int worker) {
      std::this_thread::sleep_for(std::chrono::microseconds(worker == 0 ? 50 : 400));
      squares[static_cast<std::size_t>(i)] = round * i;
    });
    bool all = true;
    for (std::int64_t i = 0; i < std::ssize(squares); ++i)
      all = all && squares[static_cast<std::size_t>(i)] == round * i;
    REQUIRE(all);
  }
  set_num_threads(0);
}

TEST_CASE("iterations are shared with a helper") {
  set_num_threads(2);
  std::mutex mutex;
  std::set<std::thread::id> seen;
  for (int attempt = 0; attempt < 100 && seen.size() < 2; ++attempt)
    parallel_tasks(20, [&](std::int64_t, int) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      const std::lock_guard lock(mutex);
      seen.insert(std::this_thread::get_id());
    });
  CHECK(seen.size() == 2);
  set_num_threads(0);
}

TEST_CASE("a loop within a loop runs on the thread of its iteration") {
  set_num_threads(3);
  std::atomic<int> elsewhere = 0, inner = 0;
  parallel_tasks(30, [&](std::int64_t, int) {
    const auto own = std::this_thread::get_id();
    parallel_tasks(10, [&](std::int64_t, int worker) {
      elsewhere += worker != 0 || std::this_thread::get_id() != own;
      ++inner;
    });
  });
  CHECK(inner == 300);
  CHECK(elsewhere == 0);
  set_num_threads(0);
}

TEST_CASE("ranges cover everything, and have the smallest length asked for") {
  set_num_threads(4);
  for (const std::int64_t count : {0, 1, 9, 10, 19, 20, 1000}) {
    std::atomic<std::int64_t> covered = 0, ranges = 0, too_short = 0;
    parallel_ranges(count, 10, [&](std::int64_t begin, std::int64_t end) {
      covered += end - begin, ++ranges, too_short += end - begin < 10;
    });
    CAPTURE(count);
    CHECK(covered == count);
    CHECK(ranges <= 4);
    CHECK((ranges <= 1 || too_short == 0));
  }
  set_num_threads(0);
}

TEST_CASE("the number of threads is a setting of each thread") {
  set_num_threads(3);
  int other = 0;
  std::thread([&] { other = num_threads(); }).join();
  CHECK(num_threads() == 3);
  set_num_threads(0);
  CHECK(num_threads() == other);
  set_num_threads(1 << 30);
  CHECK(num_threads() == detail::max_threads);
  set_num_threads(0);
}

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_THREAD_SANITIZER  // which ends a process that starts threads after a fork
#elif __has_feature(address_sanitizer)
#define UNDER_ADDRESS_SANITIZER
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(UNDER_ADDRESS_SANITIZER)
extern "C" void __lsan_disable();
#endif
#if !defined(__SANITIZE_THREAD__) && !defined(UNDER_THREAD_SANITIZER)
TEST_CASE("a process that forked runs its loops alone, and ends") {
  CHECK(faults(2, 50) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
#if defined(__SANITIZE_ADDRESS__) || defined(UNDER_ADDRESS_SANITIZER)
    __lsan_disable();  // the handles of threads that the fork did not copy are left
#endif
    bool right = faults(2, 50) == 0;
    std::thread([&] { right = right && faults(2, 50) == 0; }).join();
    std::exit(right ? 0 : 1);
  }
  int status = 1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
}
#endif
