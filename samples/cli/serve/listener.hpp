// Accepts connections, one thread for each, and ends gracefully.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "cli/serve/connection.hpp"

namespace cli::serve {

class Listener {
 public:
  using Serve = std::function<void(Connection&)>;

  /// Binds to the address; port 0 picks a free one. Throws Error, `io_failure`.
  Listener(const std::string& host, int port, int most_connections, Metrics& metrics);
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener();

  int port() const { return port_; }
  int connections() const;

  /// Calls `serve` in a thread of its own for each connection, until `stopping` and no connection
  /// is being answered. If there are too many connections, the one that has been idle for longest
  /// is closed.
  void run(const Serve& serve, const std::function<bool()>& stopping);

 private:
  void accept_one(const Serve& serve);
  bool make_space();
  void start(int socket, const Serve& serve);
  bool any_busy() const;

  const std::size_t most_;
  Metrics& metrics_;
  int socket_ = -1, port_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Connection*> open_;
};

}  // namespace cli::serve
