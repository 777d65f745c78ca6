// Timing for programs that print ratios: a clock, interleaved medians, and one line per
// measurement.
//
// Machines are shared and their bandwidth varies, so an absolute figure says little. Every
// operation is timed in turn with the ceiling it is compared to, and its line ends with the ratio
// of the medians.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <idefics/backend/backend.hpp>
#include <idefics/core/threads.hpp>

#include "ceilings.hpp"

namespace idefics::bench {

/// The arguments of every family of measurements.
struct Context {
  Backend& fast;        // measured
  Backend& reference;   // computes the expected results
  bool quick = false;   // few rounds and small shapes, to check that everything runs
  std::string model{};  // a checkpoint directory, for whole stages
  int rounds() const { return quick ? 3 : 15; }
};

// One per family, in the file of the same name.
void bench_linear(Context&);
void bench_linear_4bit(Context&);
void bench_linear_int8(Context&);
void bench_attention(Context&);
void bench_norm(Context&);
void bench_rope(Context&);
void bench_activation(Context&);
void bench_embedding(Context&);
void bench_elementwise(Context&);
void bench_softmax(Context&);
void bench_matmul(Context&);
void bench_transpose(Context&);
void bench_patch(Context&);
void bench_stages(Context&);
void bench_searches(Context&);
void bench_clients(Context&);

/// Seconds of one call.
inline double seconds(const std::function<void()>& call) {
  const auto begin = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Medians of `rounds` timings of each call, taken in turn after one round of warm-up.
inline std::vector<double> interleaved(const std::vector<std::function<void()>>& calls,
                                       int rounds = 15) {
  std::vector<std::vector<double>> times(calls.size());
  for (int r = 0; r <= rounds; ++r)
    for (std::size_t i = 0; i < calls.size(); ++i) {
      const double t = seconds(calls[i]);
      if (r > 0) times[i].push_back(t);
    }
  std::vector<double> medians;
  for (auto& t : times) medians.push_back(median(std::move(t)));
  return medians;
}

/// "name   1.234 ms   56.7 GB/s   0.91 of read bandwidth"; `ceiling` in 10^9 per second.
inline void print_rate(const std::string& name, double time, double work, const char* unit,
                       double ceiling, const char* ceiling_name) {
  std::printf("%-44s %9.3f ms %8.1f %-7s %5.2f of %s\n", name.c_str(), time * 1e3,
              work / time / 1e9, unit, work / time / 1e9 / ceiling, ceiling_name);
  std::fflush(stdout);
}

/// Uniform values in [-spread, spread), the same in every run (splitmix64).
inline Tensor random_tensor(DType dtype, Shape shape, float spread, std::uint64_t seed) {
  Tensor t = Tensor::empty(dtype, shape);
  const auto value = [=](std::int64_t i) {
    std::uint64_t z = (seed << 40) + (static_cast<std::uint64_t>(i) + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (static_cast<float>(z >> 40) * 0x1p-23f - 1.0f) * spread;
  };
  const auto fill = [&](auto values, auto convert) {
    parallel_ranges(t.count(), 4096, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        values[static_cast<std::size_t>(i)] = convert(value(i));
    });
  };
  if (dtype == DType::f32)
    fill(t.as_mutable<float>(), [](float x) { return x; });
  else if (dtype == DType::f16)
    fill(t.as_mutable<f16_t>(), [](float x) { return to_f16(x); });
  else
    fill(t.as_mutable<bf16_t>(), [](float x) { return to_bf16(x); });
  return t;
}

/// Ends the program if a result differs from the reference by more than `tolerance`, relative to
/// its norm: a wrong result is not worth timing.
inline void check_close(const std::string& name, const Tensor& found, const Tensor& expected,
                        double tolerance) {
  double difference = 0, norm = 0;
  const auto a = found.as<float>(), b = expected.as<float>();
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += d * d;
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  if (difference <= tolerance * tolerance * norm) return;
  std::fprintf(stderr, "%s: result differs from the reference\n", name.c_str());
  std::exit(1);
}

/// For an operation that is bound by the bytes it moves: checks it, then times it in turn with
/// reading as many bytes as `out` has.
template <class Operation>
void compare_bytes(Context& c, const std::string& name, const Operation& operation, Tensor& out,
                   Tensor& expected, std::size_t bytes) {
  operation(c.fast, out);
  operation(c.reference, expected);
  check_close(name, out, expected, 1e-5);
  const auto times = interleaved({[&] {
                                    read_all({expected.raw(), expected.bytes()});
                                  },
                                  [&] { operation(c.fast, out); }},
                                 c.rounds());
  print_rate(name, times[1], static_cast<double>(bytes), "GB/s",
             static_cast<double>(expected.bytes()) / times[0] / 1e9, "read bandwidth");
}

}  // namespace idefics::bench
