// What every family of GPU measurements is given: the backend, the bounds measured in the same run, and a
// table in Markdown. A family is a function of this; kernels.cu runs them all.
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
  Backend& reference;    // right
  bool quick = false;    // few rounds and small shapes: only to see that all of it runs
  double bandwidth = 0;  // bytes per second that can be read (bandwidth.cuh)
  std::size_t cold = 0;  // bytes of operands to take in turn, so that none waits in the L2 cache
  Cublas* cublas = nullptr;
  std::int64_t wrong = 0;  // results that were not what the reference says

  /// How many copies of `bytes` bytes are enough to be cold.
  std::size_t copies(std::size_t bytes) const { return quick ? 2 : 1 + cold / bytes; }
};

/// Two points in the order of a stream, and the time between them.
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
  /// Seconds since start(); waits for them.
  double stop() {
    float milliseconds = 0;
    cuda::check(cudaEventRecord(end_, stream_.native()), "recording an event");
    cuda::check(cudaEventSynchronize(end_), "running kernels");
    cuda::check(cudaEventElapsedTime(&milliseconds, begin_, end_), "asking for a time");
    return static_cast<double>(milliseconds) * 1e-3;
  }

 private:
  cuda::Stream& stream_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

/// Seconds of one call(i) in the order of the stream: the median over batches of i = 0, 1, …, each long
/// enough that its two events are nothing beside it. Batches are equal passes, hence replayed as one graph
/// (cuda/stream.cuh), and queued while another one runs: the host's part in them is not measured.
template <class Call>
double device_seconds(const Harness& h, const Call& call) {
  Stopwatch watch(h.device.stream());
  const auto batch = [&](std::size_t calls) {
    for (std::size_t i = 0; i < calls; ++i) call(i);
    (void)h.device.stream().native();
  };
  const auto time = [&](std::size_t calls) {
    batch(calls);
    watch.start();
    batch(calls);
    return watch.stop() / static_cast<double>(calls);
  };
  const std::size_t few = h.quick ? 1 : 3;
  time(few);  // first touches, growing pools
  const double once = time(few);
  const auto calls = h.quick ? 1 : static_cast<std::size_t>(std::clamp(3e-3 / once, 1.0, 1000.0));
  time(calls);  // the first of them is remembered, the second recorded
  std::vector<double> times;
  for (int i = 0; i < (h.quick ? 1 : 5); ++i) times.push_back(time(calls));
  return median(std::move(times));
}

inline void print_header(const char* family) {
  std::printf("\n| %s | us | rate | share | of |\n|---|---|---|---|---|\n", family);
}

/// A row of the table: `work` bytes or flops per call, against what the bound would take.
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

/// A row whose bound is reading and writing `bytes`.
inline void print_bytes(const Harness& h, const std::string& name, double seconds, double bytes) {
  print_row(name, seconds, bytes, false, bytes / h.bandwidth, "read bandwidth");
}

/// Says so in the table, and counts it, when `found` on the device is not the expected within 1e-5 of its
/// norm: the order of sums differs from the reference's, no more.
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

/// `count` copies on the device.
inline std::vector<Tensor> uploaded(Harness& h, const Tensor& host, std::size_t count) {
  std::vector<Tensor> copies;
  while (copies.size() < count) copies.push_back(h.device.upload(host));
  return copies;
}

}  // namespace idefics::bench::gpu
