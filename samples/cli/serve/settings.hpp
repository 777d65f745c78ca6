// What the operator sets.
#pragma once

#include <cstdint>
#include <string>

namespace cli::serve {

struct Settings {
  std::string host = "127.0.0.1";
  int port = 8080;
  std::string api_key, cors, model_name;
  int max_running = 8, max_waiting = 64, max_connections = 256;
  std::uint64_t max_body = 32u << 20;
  std::int64_t max_tokens = 2048;  // of an answer
  int max_pictures = 32;           // of a request
  std::int64_t shared_cache_tokens = 2048;
  double max_time = 600;  // seconds of an answer
  bool allow_private_urls = false, offline = false, quiet = false;
  int threads = 0;
};

}  // namespace cli::serve
