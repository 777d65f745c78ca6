// The stream in which a backend does all its work; a pass that repeats the previous one runs as a
// CUDA graph.
//
// A pass is the work submitted between two waits: when a model decodes, one token. It consists of
// hundreds of small kernels, and each costs the host a call and the device a pause. But a pass
// usually equals the previous one: the same kernels on the same memory. What differs (ids,
// positions, rows of keys) are bytes that the kernels read. So the stream compares: as long as the
// submitted work equals that of the previous pass, it only counts it, and at the end it launches
// all of it as one graph. At the first difference, it launches the counted work piece by piece, and
// likewise the rest.
//
//   pass 1   a b c d   each launched at once, and remembered
//   pass 2   a b c d   counted; recorded as a graph, which is launched
//   pass 3   a b c d   counted; the graph is launched
//   pass 4   a b x     a and b counted; then a, b, x launched; a b x remembered
//
// A graph never runs on memory that has been reassigned since: every pass names its memory again,
// and the comparison includes the addresses. Models and operations are unaware of all this.
#pragma once

#include <vector>

#include "gpu.cuh"
#include "work.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

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
    forget_graph();
    if (!direct_) (void)cudaStreamDestroy(stream_);
  }

  /// Submits one more piece of work. It may be launched as late as `run` or `wait`.
  void add(const Work& work) {
    if (direct_) return work.start(stream_);
    pending_ = true;
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

  /// Ends a pass: launches everything submitted. Calls to CUDA itself may follow on `native`.
  void run() {
    if (!pending_) return;
    if (follows_ && counted_ < pass_.size()) leave_pass();
    if (follows_ && counted_ > 0) start_graph();
    follows_ = !pass_.empty() && pass_.size() < longest_pass;
    if (!follows_) pass_.clear();
    counted_ = 0;
    pending_ = false;
  }
  cudaStream_t native() {
    run();
    gpu_.make_current();
    return stream_;
  }

  /// Ends a pass and returns when its work is done. Throws errors that its kernels reported.
  void wait() {
    run();
    check(cudaStreamSynchronize(stream_), "running kernels");
  }

 private:
  static constexpr std::size_t longest_pass = 16384;  // longer ones are not model steps: not kept

  /// This pass differs from the previous one: launches their common part and forgets the rest.
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
  /// The work of this pass; that of the previous one for as long as this pass follows it.
  std::vector<std::unique_ptr<Work>> pass_;
  bool pending_ = false;             // whether this pass has any work yet
  bool follows_ = false;             // whether this pass equals the previous one so far
  std::size_t counted_ = 0;          // how many pieces of pass_ have been submitted again
  cudaGraphExec_t graph_ = nullptr;  // all of pass_
};

}}}  // namespace idefics::v0::cuda
