// The threads of parallel loops. The caller of a loop begins to work on it at once; helpers join it
// when the system lets them run. The caller waits for helpers that are within an iteration, never
// for one that has not begun, so a helper that gets no core costs nothing. A thread that waits
// spins for some microseconds and then sleeps.
//
//   caller   gate: n places    takes iterations, until none is left   no places   none inside?
//   helper   takes a place     takes iterations, until none is left   no places   leaves
//
// Every thread that calls loops has helpers of its own, which end with it.
#pragma once

#include <cstdint>

#include <idefics/core/config.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The iterations of a loop, which threads take one by one.
struct Loop {
  std::int64_t count;
  void (*iteration)(const void* body, std::int64_t i, int worker);
  const void* body;
};

inline constexpr int max_threads = 4096;

/// Runs all iterations on at most `threads` threads, of which the caller is one. `worker` is less
/// than `threads`, and no two threads have the same one. A loop within a loop is not divided.
IDEFICS_ENGINE_INLINE void run_loop(const Loop& loop, int threads) noexcept;

/// The threads that a loop may have unless its caller has set a number: OMP_NUM_THREADS if that is
/// set, else the cores that the process may use.
IDEFICS_ENGINE_INLINE int default_threads();

}}}  // namespace idefics::v0::detail

#if IDEFICS_ENGINE_BODIES

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <idefics/core/memory.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The cores that the process may use.
inline int usable_cores() {
  static const int count = [] {
    cpu_set_t cores;
    if (::sched_getaffinity(0, sizeof cores, &cores) == 0) return CPU_COUNT(&cores);
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }();
  return count;
}

/// Active waiting for a limited time.
class Spin {
 public:
  using Duration = std::chrono::steady_clock::duration;
  explicit Spin(Duration limit) : limit_(limit) {}

  /// Waits for some cycles; false once the time is up.
  bool pause() {
    for (int i = 0; i < 8; ++i) relax();
    const auto now = std::chrono::steady_clock::now();
    if (begin_ == std::chrono::steady_clock::time_point{}) begin_ = now;
    return now - begin_ < limit_;
  }

 private:
  static void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
  }

  Duration limit_;
  std::chrono::steady_clock::time_point begin_{};
};

/// The threads of the process that work on loops are counted, so that many callers at once do not
/// have more of them than there are cores.
class ThreadShare {
 public:
  explicit ThreadShare(int wanted) {
    const int others = busy().fetch_add(wanted, std::memory_order_relaxed);
    threads_ = std::clamp(std::max(wanted, usable_cores()) - others, 1, wanted);
    busy().fetch_sub(wanted - threads_, std::memory_order_relaxed);
  }
  ThreadShare(const ThreadShare&) = delete;
  ThreadShare& operator=(const ThreadShare&) = delete;
  ~ThreadShare() { busy().fetch_sub(threads_, std::memory_order_relaxed); }

  int threads() const { return threads_; }

 private:
  static std::atomic<int>& busy() {
    static std::atomic<int> count = 0;
    return count;
  }
  int threads_;
};

/// The helpers of one caller.
class ThreadTeam {
 public:
  ThreadTeam() = default;
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;
  ~ThreadTeam() {
    if (helpers_.empty()) return;
    if (::getpid() != process_) {  // after a fork: the helpers exist in the parent only
      (void)new std::vector<std::thread>(std::move(helpers_));
      return;
    }
    gate_.store(the_end, std::memory_order_release);
    gate_.notify_all();
    for (std::thread& helper : helpers_) helper.join();
  }

  static ThreadTeam& of_this_thread() {
    static thread_local ThreadTeam team;
    return team;
  }
  /// Whether this thread works on a loop.
  static bool& in_loop() {
    static thread_local bool inside = false;
    return inside;
  }

  void run(const Loop& loop, int threads) {
    const auto begin = std::chrono::steady_clock::now();
    loop_ = loop;
    next_.store(0, std::memory_order_relaxed);
    open(std::min(threads - 1, hire(threads - 1)));
    work(0);
    close();
    // an iteration takes no longer than all that this thread has done
    Spin spin(std::min<Spin::Duration>(longest_spin(), std::chrono::steady_clock::now() - begin));
    for (;;) {
      const std::uint32_t seen = leavings_.load(std::memory_order_acquire);
      if (gate_.load(std::memory_order_acquire) == 0) return;
      if (!spin.pause()) leavings_.wait(seen, std::memory_order_acquire);
    }
  }

 private:
  // gate_: helpers within the loop, and above them, places for more
  static constexpr std::uint32_t place = 0x10000, inside = place - 1, the_end = 0xffffffff;

  static Spin::Duration longest_spin() {
    return std::chrono::microseconds(usable_cores() > 1 ? 50 : 0);
  }

  /// Starts helpers until there are `count`, or as many as the system grants. Returns their number.
  int hire(int count) {
    if (helpers_.empty()) process_ = ::getpid();
    try {
      while (std::ssize(helpers_) < count) helpers_.emplace_back([this] { help(); });
    } catch (const std::exception&) {
    }
    return static_cast<int>(helpers_.size());
  }

  void open(int places) {
    gate_.store(static_cast<std::uint32_t>(places) * place, std::memory_order_release);
    if (places == std::ssize(helpers_)) return gate_.notify_all();
    for (int i = 0; i < places; ++i) gate_.notify_one();
  }
  void close() { gate_.fetch_and(inside, std::memory_order_acq_rel); }

  void work(int worker) {
    for (;;) {
      const std::int64_t i = next_.fetch_add(1, std::memory_order_relaxed);
      if (i >= loop_.count) return;
      loop_.iteration(loop_.body, i, worker);
    }
  }

  /// What a helper does until the end.
  void help() {
    in_loop() = true;
    for (;;) {
      std::uint32_t gate = await_place();
      if (gate == the_end) return;
      if (!gate_.compare_exchange_strong(gate, gate - place + 1, std::memory_order_acq_rel))
        continue;
      work(static_cast<int>(gate & inside) + 1);  // none leaves before the last one has entered
      close();
      if (gate_.fetch_sub(1, std::memory_order_acq_rel) != 1) continue;
      leavings_.fetch_add(1, std::memory_order_release);
      leavings_.notify_one();
    }
  }

  std::uint32_t await_place() {
    for (Spin spin(longest_spin());;) {
      const std::uint32_t gate = gate_.load(std::memory_order_acquire);
      if (gate >= place) return gate;
      if (!spin.pause()) gate_.wait(gate, std::memory_order_acquire);
    }
  }

  alignas(cache_line) std::atomic<std::uint32_t> gate_{0};
  alignas(cache_line) std::atomic<std::int64_t> next_{0};
  alignas(cache_line) std::atomic<std::uint32_t> leavings_{0};  // how often a last one has left
  Loop loop_{};
  std::vector<std::thread> helpers_;
  pid_t process_ = 0;
};

IDEFICS_ENGINE_INLINE void run_loop(const Loop& loop, int threads) noexcept {
  bool& in_loop = ThreadTeam::in_loop();
  const std::int64_t most = in_loop ? 1 : std::min<std::int64_t>(threads, loop.count);
  const ThreadShare share(static_cast<int>(most));
  if (share.threads() == 1) {
    for (std::int64_t i = 0; i < loop.count; ++i) loop.iteration(loop.body, i, 0);
    return;
  }
  in_loop = true;
  ThreadTeam::of_this_thread().run(loop, share.threads());
  in_loop = false;
}

IDEFICS_ENGINE_INLINE int default_threads() {
  static const int count = [] {
    const char* set = std::getenv("OMP_NUM_THREADS");
    const std::string_view text = set == nullptr ? "" : set;
    int number = 0;
    (void)std::from_chars(text.data(), text.data() + text.size(), number);
    return std::min(number > 0 ? number : usable_cores(), max_threads);
  }();
  return count;
}

}}}  // namespace idefics::v0::detail

#endif  // IDEFICS_ENGINE_BODIES
