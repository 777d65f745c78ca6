// Counting, and Prometheus' text format.
#include "cli/serve/metrics.hpp"

#include <unistd.h>

#include <fstream>
#include <sstream>

namespace cli::serve {
namespace {

std::uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::string quoted(const std::string& value) { return '"' + value + '"'; }

class Page {
 public:
  /// The lines before the values of a metric.
  void begin(const char* name, const char* type, const char* help) {
    text_ << "# HELP " << name << ' ' << help << "\n# TYPE " << name << ' ' << type << '\n';
  }
  template <class T>
  void value(const char* name, const char* type, const char* help, T number) {
    begin(name, type, help);
    text_ << name << ' ' << number << '\n';
  }
  std::ostringstream& out() { return text_; }

 private:
  std::ostringstream text_;
};

}  // namespace

void Histogram::add(double seconds) {
  for (std::size_t i = 0; i < bounds.size(); ++i)
    if (seconds <= bounds[i]) {
      ++counts_[i];
      break;
    }
  ++count_;
  sum_ += seconds;
}

std::string Histogram::text(const std::string& name, const std::string& label) const {
  std::ostringstream out;
  const std::string before = label.empty() ? "" : label + ",";
  const std::string alone = label.empty() ? "" : "{" + label + "}";
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    below += counts_[i];
    out << name << "_bucket{" << before << "le=\"" << bounds[i] << "\"} " << below << '\n';
  }
  out << name << "_bucket{" << before << "le=\"+Inf\"} " << count_ << '\n'
      << name << "_sum" << alone << ' ' << sum_ << '\n'
      << name << "_count" << alone << ' ' << count_ << '\n';
  return out.str();
}

void Metrics::add_request(const std::string& route, int status, double seconds) {
  const std::scoped_lock lock(mutex_);
  ++requests_[{route, status}];
  seconds_[route].add(seconds);
}

void Metrics::add_first_token(double seconds) {
  const std::scoped_lock lock(mutex_);
  first_token_.add(seconds);
}

void Metrics::add_tokens(std::int64_t read, std::int64_t generated) {
  const std::scoped_lock lock(mutex_);
  read_ += static_cast<std::uint64_t>(read);
  generated_ += static_cast<std::uint64_t>(generated);
}

std::string Metrics::text(const Gauges& now) const {
  const std::scoped_lock lock(mutex_);
  Page page;
  page.begin("idefics_requests_total", "counter", "Requests by route and HTTP status.");
  for (const auto& [key, count] : requests_)
    page.out() << "idefics_requests_total{route=" << quoted(key.first) << ",status=\"" << key.second
               << "\"} " << count << '\n';
  page.begin("idefics_request_seconds", "histogram",
             "Time from a request to the end of its answer.");
  for (const auto& [route, histogram] : seconds_)
    page.out() << histogram.text("idefics_request_seconds", "route=" + quoted(route));
  page.begin("idefics_first_token_seconds", "histogram",
             "Time from a request to the first token of a streamed answer.");
  page.out() << first_token_.text("idefics_first_token_seconds", "");
  page.value("idefics_running", "gauge", "Requests that the model works on.", now.running);
  page.value("idefics_waiting", "gauge", "Admitted requests that wait.", now.waiting);
  page.value("idefics_connections", "gauge", "Open connections.", now.connections);
  page.value("idefics_prompt_tokens_total", "counter", "Tokens of prompts.", read_);
  page.value("idefics_generated_tokens_total", "counter", "New tokens.", generated_);
  page.value("idefics_pictures_total", "counter", "Pictures that were decoded.", pictures.load());
  page.value("idefics_cached_pictures", "gauge", "Pictures whose latents are kept.",
             now.cached_pictures);
  page.value("idefics_passes_total", "counter", "Forward passes that requests shared.", now.passes);
  page.value("idefics_pass_shares_total", "counter", "Requests in each of them, summed.",
             now.shares);
  page.value("idefics_received_bytes_total", "counter", "Bytes read from clients.",
             received_bytes.load());
  page.value("idefics_sent_bytes_total", "counter", "Bytes written to clients.", sent_bytes.load());
  page.value("idefics_resident_bytes", "gauge", "Resident memory of the server.", resident_bytes());
  return page.out().str();
}

}  // namespace cli::serve
