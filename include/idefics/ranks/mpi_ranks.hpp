// Ranks that are processes under an MPI launcher (mpirun, srun), on one machine or several. Only
// programs that link the CMake target idefics::mpi, which defines IDEFICS_MPI, have them.
#pragma once

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#if defined(IDEFICS_MPI)
#define OMPI_SKIP_MPICXX 1  // the C interface is all that is used
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>
#endif

#include <idefics/ranks/communicator.hpp>

namespace idefics { inline namespace v0 {

struct MpiOptions {
  /// A rank that does not take part in a call for so long is lost: it must be longer than the slowest
  /// pass, or loading, of a single rank.
  std::chrono::milliseconds timeout = std::chrono::minutes(10);
  /// Called again and again while this rank waits; true ends the wait with `rank_lost`. For programs
  /// that launchers end by a signal.
  std::function<bool()> interrupted{};
};

#if defined(IDEFICS_MPI)

/// All processes of the launcher. Initializes MPI; a program has at most one such object, and makes
/// no other MPI calls. Its calls are made from the thread that constructed it.
class MpiRanks final : public Communicator {
 public:
  explicit MpiRanks(MpiOptions options = {}) : options_(std::move(options)) {
    int level = 0;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level), "starting MPI");
    check(MPI_Comm_dup(MPI_COMM_WORLD, &data_), "starting MPI");
    check(MPI_Comm_dup(MPI_COMM_WORLD, &alarms_), "starting MPI");
    for (MPI_Comm comm : {data_, alarms_}) MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(data_, &rank_);
    MPI_Comm_size(data_, &size_);
    counts_.resize(static_cast<std::size_t>(size_)), begins_.resize(counts_.size());
  }
  MpiRanks(const MpiRanks&) = delete;
  MpiRanks& operator=(const MpiRanks&) = delete;
  /// Waits for the other ranks to end as well, but not for one that is lost.
  ~MpiRanks() override {
    if (!lost_ || all_ended(std::chrono::seconds(5))) MPI_Finalize();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_gather(std::span<std::byte> all, std::span<const std::size_t> offsets) override {
    for (std::size_t r = 0; r < counts_.size(); ++r) {
      counts_[r] = as_int(offsets[r + 1] - offsets[r]);
      begins_[r] = as_int(offsets[r]);
    }
    MPI_Request request{};
    check(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all.data(), counts_.data(),
                          begins_.data(), MPI_BYTE, data_, &request),
          "gathering");
    wait(request);
  }
  void broadcast(std::span<std::byte> bytes, int root) override {
    MPI_Request request{};
    check(MPI_Ibcast(bytes.data(), as_int(bytes.size()), MPI_BYTE, root, data_, &request),
          "broadcasting");
    wait(request);
  }
  void barrier() override {
    MPI_Request request{};
    check(MPI_Ibarrier(data_, &request), "waiting for all ranks");
    wait(request);
  }
  void give_up(const char* why) noexcept override {
    if (std::exchange(lost_, true)) return;
    const auto begin = Clock::now();
    const auto length = static_cast<int>(std::min(std::strlen(why), most_text));
    for (int other = 0; other < size_; ++other) {
      if (other == rank_) continue;
      MPI_Request request{};
      int done = MPI_Isend(why, length, MPI_CHAR, other, 0, alarms_, &request) != MPI_SUCCESS;
      while (!done && Clock::now() - begin < std::chrono::seconds(2))
        if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) break;
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t most_text = 500;

  static int as_int(std::size_t bytes) {
    if (bytes > INT_MAX)
      fail(ErrorCode::invalid_argument, "a message between ranks is too long",
           {.actual = bytes, .limit = INT_MAX});
    return static_cast<int>(bytes);
  }
  void check(int status, const char* what) {
    if (status == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length = 0;
    MPI_Error_string(status, text, &length);
    lose(std::string(what) + ": " + text);
  }
  [[noreturn]] void lose(const std::string& why) {
    give_up(why.c_str());
    fail(ErrorCode::rank_lost, why);
  }
  /// The alarm of a rank that has ended: its reason.
  std::optional<std::string> alarm() {
    int there = 0, length = 0;
    MPI_Status status{};
    if (MPI_Iprobe(MPI_ANY_SOURCE, 0, alarms_, &there, &status) != MPI_SUCCESS || !there) return {};
    MPI_Get_count(&status, MPI_CHAR, &length);
    std::string why(static_cast<std::size_t>(std::max(length, 0)), ' ');
    MPI_Recv(why.data(), length, MPI_CHAR, status.MPI_SOURCE, 0, alarms_, MPI_STATUS_IGNORE);
    ++ended_;
    return "rank " + std::to_string(status.MPI_SOURCE) + " of this run ended: " + why;
  }
  /// Whether all other ranks have ended, each with an alarm.
  bool all_ended(std::chrono::milliseconds limit) noexcept {
    try {
      for (const auto begin = Clock::now(); ended_ < size_ - 1;) {
        if (Clock::now() - begin > limit) return false;
        if (!alarm()) std::this_thread::yield();
      }
      return true;
    } catch (...) {  // no memory for a reason
      return false;
    }
  }

  /// Until all ranks have made the call. Yields the core, which may be needed by another rank.
  void wait(MPI_Request& request) {
    const auto begin = Clock::now();
    for (int tries = 0, done = 0;; ++tries) {
      check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "waiting for other ranks");
      if (done) return;
      if (tries % 64 != 63) continue;
      std::this_thread::yield();
      if (const auto why = alarm()) lose(*why);
      if (options_.interrupted && options_.interrupted()) lose("this run is being ended");
      if (Clock::now() - begin > options_.timeout) lose("another rank of this run does not answer");
    }
  }

  MpiOptions options_;
  MPI_Comm data_ = MPI_COMM_NULL, alarms_ = MPI_COMM_NULL;
  int rank_ = 0, size_ = 1, ended_ = 0;
  bool lost_ = false;
  std::vector<int> counts_, begins_;  // of a gather
};

inline std::shared_ptr<Communicator> make_mpi_ranks(MpiOptions options = {}) {
  return std::make_shared<MpiRanks>(std::move(options));
}

#else

/// The ranks of the launcher. Throws `device_unavailable`, because this program is not linked with
/// idefics::mpi.
inline std::shared_ptr<Communicator> make_mpi_ranks(const MpiOptions& = {}) {
  fail(ErrorCode::device_unavailable, "this build has no MPI", {.field = "ranks"});
}

#endif

/// Whether this process was started by an MPI launcher with more than one rank.
inline bool started_by_mpi_launcher() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS"})
    if (const char* size = std::getenv(name))
      return std::string_view(size) != "0" && std::string_view(size) != "1";
  return false;
}

}}  // namespace idefics::v0
