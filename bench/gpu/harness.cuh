// What all GPU measurements share: the backend, the bounds measured in the same run, and a Markdown
// table. A family of measurements is a function that takes a Harness; kernels.cu runs them all.
#pragma once

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "cuda/cuda_backend.hpp"

#include "../bench.hpp"
#include "cublas.hpp"

namespace idefics::bench::gpu {

struct Harness {
  cuda::CudaBackend& device;
  Backend& reference;    // defines the right results
  bool quick = false;    // few rounds and small shapes: only checks that everything runs
  double bandwidth = 0;  // bytes read per second (bandwidth.cuh)
  std::size_t cold = 0;  // bytes of operands to cycle through, so that none is in the L2 cache
  Cublas* cublas = nullptr;
  std::int64_t wrong = 0;  // results that differed from the reference

  /// How many copies of `bytes` bytes have more than `cold` bytes in total.
  std::size_t copies(std::size_t bytes) const { return quick ? 2 : 1 + cold / bytes; }
};

/// The time between two points in the order of a stream.
class Stopwatch {
 public:
  explicit Stopwatch(cuda::Stream& stream) : stream_(stream) {
    for (cudaEvent_t* event : {&begin_, &end_})
      cuda::check(cudaEventCreateWithFlags(event, 0), "creating an event");
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() {
    (void)cudaEventDestroy(begin_);
    (void)cudaEventDestroy(end_);
  }
  void start() { cuda::check(cudaEventRecord(begin_, stream_.native()), "recording an event"); }
  /// Waits for the work since start() and returns its seconds.
  double stop() {
    float milliseconds = 0;
    cuda::check(cudaEventRecord(end_, stream_.native()), "recording an event");
    cuda::check(cudaEventSynchronize(end_), "running kernels");
    cuda::check(cudaEventElapsedTime(&milliseconds, begin_, end_), "reading a time");
    return static_cast<double>(milliseconds) * 1e-3;
  }

 private:
  cuda::Stream& stream_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

/// Seconds per call in the order of the stream: the median over batches that are long enough to make
/// their two events negligible. queue(n) queues n calls; each batch is queued while an equal one
/// runs, so the time of the host is excluded.
template <class Queue>
double batch_seconds(const Harness& h, const Queue& queue) {
  Stopwatch watch(h.device.stream());
  const auto time = [&](std::size_t calls) {
    queue(calls);
    watch.start();
    queue(calls);
    return watch.stop() / static_cast<double>(calls);
  };
  const std::size_t few = h.quick ? 1 : 3;
  time(few);  // first accesses, growing pools
  const double once = time(few);
  const auto calls = h.quick ? 1 : static_cast<std::size_t>(std::clamp(3e-3 / once, 1.0, 1000.0));
  time(calls);  // its first batch is remembered, its second recorded
  std::vector<double> times;
  for (int i = 0; i < (h.quick ? 1 : 5); ++i) times.push_back(time(calls));
  return median(std::move(times));
}

/// Seconds of one call(i) of our kernels. Batches are equal passes, hence replayed as one graph
/// (cuda/stream.cuh).
template <class Call>
double device_seconds(const Harness& h, const Call& call) {
  return batch_seconds(h, [&](std::size_t calls) {
    for (std::size_t i = 0; i < calls; ++i) call(i);
    (void)h.device.stream().native();
  });
}

/// Seconds of one call(i) of a library that launches on the stream itself: captured and replayed as
/// one graph, like ours.
template <class Call>
double library_seconds(const Harness& h, const Call& call) {
  const cudaStream_t stream = h.device.stream().native();
  cudaGraphExec_t graph = nullptr;
  std::size_t captured = 0;
  const auto capture = [&](std::size_t calls) {
    if (graph) cuda::check(cudaGraphExecDestroy(graph), "dropping a graph");
    cuda::Capture recording(stream);
    for (std::size_t i = 0; i < calls; ++i) call(i);
    graph = recording.finish();
    captured = calls;
  };
  call(0);  // loads its kernels, which a capture must not
  const double seconds = batch_seconds(h, [&](std::size_t calls) {
    if (calls != captured) capture(calls);
    cuda::check(cudaGraphLaunch(graph, stream), "starting a graph");
  });
  cuda::check(cudaGraphExecDestroy(graph), "dropping a graph");
  return seconds;
}

inline void print_header(const char* family) {
  std::printf("\n| %s | us | rate | share | of |\n|---|---|---|---|---|\n", family);
}

/// A row of the table: `work` bytes or flops per call, and the time of the bound as a share.
inline void print_row(const std::string& name, double seconds, double work, bool flops,
                      double bound_seconds, const char* bound) {
  const double rate = work / seconds * (flops ? 1e-12 : 1e-9);
  std::printf("| %s | %.1f | %.*f %s |", name.c_str(), seconds * 1e6, flops ? 1 : 0, rate,
              flops ? "TFLOP/s" : "GB/s");
  if (bound_seconds > 0)
    std::printf(" %.2f | %s |\n", bound_seconds / seconds, bound);
  else
    std::printf(" | %s |\n", bound);
  std::fflush(stdout);
}

/// A row with reading and writing `bytes` as its bound.
inline void print_bytes(const Harness& h, const std::string& name, double seconds, double bytes) {
  print_row(name, seconds, bytes, false, bytes / h.bandwidth, "read bandwidth");
}

/// Reports and counts a wrong result: `found`, on the device, differs from `expected` by more than
/// 1e-5 of its norm. The order of sums may differ from the reference's, nothing else.
inline void check_close(Harness& h, const std::string& name, const Tensor& found,
                        const Tensor& expected) {
  const Tensor host = h.device.download(found);
  double difference = 0, norm = 0;
  const auto a = host.as<float>(), b = expected.as<float>();
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += d * d;
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  if (difference <= 1e-10 * norm) return;  // false for a NaN
  ++h.wrong;
  std::printf("| %s | **wrong** | | | the reference |\n", name.c_str());
}

/// Uploads `count` copies.
inline std::vector<Tensor> uploaded(Harness& h, const Tensor& host, std::size_t count) {
  std::vector<Tensor> copies;
  while (copies.size() < count) copies.push_back(h.device.upload(host));
  return copies;
}

}  // namespace idefics::bench::gpu
