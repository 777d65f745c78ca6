// The stream in which a backend does all its work; a pass that repeats an earlier one runs as a CUDA
// graph.
//
// A pass is the work submitted between two waits: when a model decodes, one token. It consists of
// hundreds of small kernels, and each costs the host a call and the device a pause. But a pass
// usually equals an earlier one: the same kernels on the same memory. What differs (ids, positions,
// rows of keys) are bytes that the kernels read. So the stream compares: as long as the submitted
// work equals that of a remembered pass, it only counts it, and at the end it launches all of it as
// one graph. At the first difference, it launches the counted work piece by piece, and likewise the
// rest.
//
//   pass 1   a b c d   each launched at once, and remembered
//   pass 2   a b c d   counted; recorded as a graph, which is launched
//   pass 3   a b c d   counted; the graph is launched
//   pass 4   a b x     a and b counted; then a, b, x launched; a b x remembered as well
//   pass 5   a b c d   counted; the graph is launched
//
// The passes of pictures, prompts and steps alternate, so the last few are remembered. A graph never
// runs on memory that has been reassigned since: every pass names its memory again, and the
// comparison includes the addresses. Models and operations are unaware of all this.
#pragma once

#include <algorithm>
#include <list>
#include <utility>
#include <vector>

#include "gpu.cuh"
#include "work.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// A recording of a stream. It ends with the object, so that an exception leaves a usable stream.
class Capture {
 public:
  explicit Capture(cudaStream_t stream) : stream_(stream) {
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "recording a pass");
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  ~Capture() {
    if (open_) (void)cudaStreamEndCapture(stream_, &recorded_);
    if (recorded_) (void)cudaGraphDestroy(recorded_);
    (void)cudaGetLastError();
  }
  /// Ends the recording and makes it ready for launches.
  cudaGraphExec_t finish() {
    open_ = false;
    check(cudaStreamEndCapture(stream_, &recorded_), "recording a pass");
    cudaGraphExec_t ready = nullptr;
    check(cudaGraphInstantiate(&ready, recorded_, 0), "recording a pass");
    return ready;
  }

 private:
  cudaStream_t stream_;
  cudaGraph_t recorded_ = nullptr;
  bool open_ = true;
};

/// The work between two waits and, once it has been repeated, its graph.
struct Pass {
  WorkList work;
  cudaGraphExec_t graph = nullptr;

  Pass() = default;
  Pass(Pass&& other) noexcept
      : work(std::move(other.work)), graph(std::exchange(other.graph, nullptr)) {}
  Pass& operator=(Pass&&) = delete;
  ~Pass() {
    if (graph) (void)cudaGraphExecDestroy(graph);
  }

  /// Whether the first `count` pieces of work are equal.
  bool begins_like(const Pass& other, std::size_t count) const {
    if (this == &other || count == 0) return true;
    const auto equal = [](const auto& a, const auto& b) { return a->equals(*b); };
    return work.size() >= count &&
           std::equal(work.begin(), work.begin() + static_cast<std::ptrdiff_t>(count),
                      other.work.begin(), equal);
  }
};

/// A CUDA stream.
class Stream {
 public:
  explicit Stream(Gpu gpu = {}) : gpu_(gpu) {
    gpu_.make_current();
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
  }
  /// Wraps a stream of the caller, on which everything is launched immediately: for single kernels.
  explicit Stream(cudaStream_t native) : direct_(true), stream_(native) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  /// Waits for the remaining work, because it uses memory that is about to be freed.
  ~Stream() {
    (void)cudaStreamSynchronize(stream_);
    passes_.clear();
    if (!direct_) (void)cudaStreamDestroy(stream_);
  }

  /// Submits one more piece of work. It may be launched as late as `run` or `wait`. If a launch
  /// fails, the rest of the pass is forgotten.
  void add(const Work& work) {
    if (direct_) return work.start(stream_);
    pending_ = true;
    if (follows_ && follow([&](const Pass& pass) {
          return counted_ < pass.work.size() && pass.work[counted_]->equals(work);
        })) {
      ++counted_;
      return;
    }
    or_forget([&] {
      leave_pass();
      launch(work);
    });
  }

  /// Ends a pass: launches everything submitted. Calls to CUDA itself may follow on `native`.
  void run() {
    if (!pending_) return;
    or_forget([&] {
      if (follows_ && follow([&](const Pass& pass) { return pass.work.size() == counted_; }))
        start_graph(passes_.front());
      else
        leave_pass();
    });
    if (!follows_ && pass_.work.size() < longest_pass) passes_.push_front(std::move(pass_));
    if (passes_.size() > most_passes) passes_.pop_back();
    begin_pass();
  }
  cudaStream_t native() {
    run();
    gpu_.make_current();
    return stream_;
  }

  /// The work of the pass that ended last; for measurements.
  const WorkList& last_pass() const {
    require(!passes_.empty(), "no pass was remembered");
    return passes_.front().work;
  }

  /// Ends a pass and returns when its work is done. Throws errors that its kernels reported.
  void wait() {
    run();
    check(cudaStreamSynchronize(stream_), "running kernels");
  }

 private:
  static constexpr std::size_t longest_pass = 16384;  // longer ones are not model steps: not kept
  static constexpr std::size_t most_passes = 8;       // remembered

  /// Moves a remembered pass to the front that begins with the counted work, and that fits().
  template <class Fits>
  bool follow(const Fits& fits) {
    for (auto pass = passes_.begin(); pass != passes_.end(); ++pass)
      if (fits(*pass) && pass->begins_like(passes_.front(), counted_)) {
        passes_.splice(passes_.begin(), passes_, pass);
        return true;
      }
    return false;
  }

  /// If this pass follows another, which it does no longer: launches their common part.
  void leave_pass() {
    if (!std::exchange(follows_, false)) return;
    for (std::size_t i = 0; i < counted_; ++i) launch(*passes_.front().work[i]);
  }

  void launch(const Work& work) {
    if (pass_.work.size() < longest_pass) pass_.work.push_back(work.copy());
    gpu_.make_current();
    work.start(stream_);
  }

  void start_graph(Pass& pass) {
    gpu_.make_current();
    if (!pass.graph) {
      Capture capture(stream_);
      for (const auto& work : pass.work) work->start(stream_);
      pass.graph = capture.finish();
    }
    check(cudaGraphLaunch(pass.graph, stream_), "starting a pass");
  }

  void begin_pass() {
    pass_.work.clear();
    follows_ = true;
    counted_ = 0;
    pending_ = false;
  }

  template <class Action>
  void or_forget(const Action& action) {
    try {
      action();
    } catch (...) {
      begin_pass();
      throw;
    }
  }

  Gpu gpu_;
  bool direct_ = false;
  cudaStream_t stream_ = nullptr;
  std::list<Pass> passes_;   // the last ones; the first is the one that this pass follows
  Pass pass_;                // this pass, if it follows none
  bool pending_ = false;     // whether this pass has any work yet
  bool follows_ = true;      // whether this pass equals a remembered one so far
  std::size_t counted_ = 0;  // how many pieces of that one have been submitted again
};

}}}  // namespace idefics::v0::cuda
