// The order in which all work of a backend is done; a pass that comes again runs as one CUDA graph.
//
// A pass is what is asked for between two waits: for a model that decodes, a token. It has hundreds of
// small kernels, and each costs the host a call and the device a pause. But it is what the last pass
// was: the same kernels on the same memory. What differs (ids, positions, rows of keys) are bytes that
// the kernels read. So the stream compares: as long as it is asked for what it was asked for last time,
// it only counts, and at the end it starts the whole as one graph. At the first difference, what was
// counted is started piece by piece, and so is the rest.
//
//   pass 1   a b c d   each started at once, and remembered
//   pass 2   a b c d   counted; recorded as a graph, which is started
//   pass 3   a b c d   counted; the graph is started
//   pass 4   a b x     a and b counted; then a, b, x started; a b x remembered
//
// A graph is never started on memory that has gone elsewhere since: every pass names its memory again.
// The model and the operations know nothing of this.
#pragma once

#include <vector>

#include "gpu.cuh"
#include "work.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// A stream of CUDA.
class Stream {
 public:
  explicit Stream(Gpu gpu = {}) : gpu_(gpu) {
    gpu_.make_current();
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
  }
  /// Somebody else's, on which everything is started at once: for single kernels.
  explicit Stream(cudaStream_t native) : direct_(true), stream_(native) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  /// Waits for what is still to be done, since it reads and writes the memory that goes now.
  ~Stream() {
    (void)cudaStreamSynchronize(stream_);
    forget_graph();
    if (!direct_) (void)cudaStreamDestroy(stream_);
  }

  /// Asks for one more thing. It may start as late as `run` or `wait`.
  void add(const Work& work) {
    if (direct_) return work.start(stream_);
    asked_ = true;
    if (follows_) {
      if (counted_ < pass_.size() && pass_[counted_]->equals(work)) {
        ++counted_;
        return;
      }
      leave_pass();
    }
    if (pass_.size() < longest_pass) pass_.push_back(work.copy());
    gpu_.make_current();
    work.start(stream_);
  }

  /// Ends a pass: all that was asked for is started. CUDA's own calls may follow with `native`.
  void run() {
    if (!asked_) return;
    if (follows_ && counted_ < pass_.size()) leave_pass();
    if (follows_ && counted_ > 0) start_graph();
    follows_ = !pass_.empty() && pass_.size() < longest_pass;
    if (!follows_) pass_.clear();
    counted_ = 0;
    asked_ = false;
  }
  cudaStream_t native() {
    run();
    gpu_.make_current();
    return stream_;
  }

  /// Ends a pass and returns when it is done. Throws what a kernel of it has reported.
  void wait() {
    run();
    check(cudaStreamSynchronize(stream_), "running kernels");
  }

 private:
  static constexpr std::size_t longest_pass = 16384;  // more is no step of a model, and not kept

  /// This pass differs from the last one: what they have in common is started, the rest forgotten.
  void leave_pass() {
    follows_ = false;
    forget_graph();
    pass_.resize(counted_);
    gpu_.make_current();
    for (const auto& work : pass_) work->start(stream_);
  }

  void start_graph() {
    gpu_.make_current();
    if (!graph_) {
      cudaGraph_t recorded = nullptr;
      check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "recording a pass");
      for (const auto& work : pass_) work->start(stream_);
      check(cudaStreamEndCapture(stream_, &recorded), "recording a pass");
      const cudaError_t status = cudaGraphInstantiate(&graph_, recorded, 0);
      (void)cudaGraphDestroy(recorded);
      check(status, "recording a pass");
    }
    check(cudaGraphLaunch(graph_, stream_), "starting a pass");
  }

  void forget_graph() {
    if (graph_) (void)cudaGraphExecDestroy(graph_);
    graph_ = nullptr;
  }

  Gpu gpu_;
  bool direct_ = false;
  cudaStream_t stream_ = nullptr;
  std::vector<std::unique_ptr<Work>>
      pass_;                         // this one where it does not follow the last, else the last
  bool asked_ = false;               // whether anything was asked for in this one
  bool follows_ = false;             // whether this pass has been the last one so far
  std::size_t counted_ = 0;          // how much of it was asked for again
  cudaGraphExec_t graph_ = nullptr;  // of the whole of pass_
};

}}}  // namespace idefics::v0::cuda
