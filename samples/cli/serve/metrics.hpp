// What GET /metrics shows, in Prometheus' text format.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace cli::serve {

/// Seconds, counted in buckets.
class Histogram {
 public:
  static constexpr std::array<double, 12> bounds{0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                                 0.5,   1,    2.5,   5,    15,  60};

  void add(double seconds);
  std::string text(const std::string& name, const std::string& label) const;

 private:
  std::array<std::uint64_t, bounds.size()> counts_{};  // not cumulative
  std::uint64_t count_ = 0;
  double sum_ = 0;
};

/// What is true now, as opposed to what has been counted.
struct Gauges {
  int running = 0, waiting = 0, connections = 0;
  std::int64_t cached_pictures = 0;
  std::int64_t passes = 0, shares = 0;  // of continuous batching, since the start
};

class Metrics {
 public:
  /// A request has been answered.
  void add_request(const std::string& route, int status, double seconds);
  void add_first_token(double seconds);
  void add_tokens(std::int64_t read, std::int64_t generated);

  std::atomic<std::uint64_t> received_bytes{0}, sent_bytes{0}, pictures{0};

  std::string text(const Gauges& now) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, std::uint64_t> requests_;
  std::map<std::string, Histogram> seconds_;  // by route
  Histogram first_token_;
  std::uint64_t read_ = 0, generated_ = 0;
};

}  // namespace cli::serve
