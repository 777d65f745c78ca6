// The listening socket and the threads of connections.
#include "cli/serve/listener.hpp"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>
#include <thread>

#include "cli/serve/errors.hpp"

namespace cli::serve {
namespace {

using namespace idefics;

/// A socket that listens at the address, or -1 with errno.
int listen_at(const addrinfo& address) {
  const int made = ::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (made < 0) return -1;
  const int on = 1;
  ::setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(made, address.ai_addr, address.ai_addrlen) == 0 && ::listen(made, 512) == 0)
    return made;
  const int why = errno;
  ::close(made);
  errno = why;
  return -1;
}

int port_of(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                   : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

/// What a client gets if no thread is free for it.
void refuse_connection(int socket) {
  const std::string body =
      make_fault(503, "too_many_connections", "too many connections", "").body.dump();
  const std::string answer =
      "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
      "Content-Type: application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body;
  ::send(socket, answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  ::close(socket);
}

}  // namespace

Listener::Listener(const std::string& host, int port, int most_connections, Metrics& metrics)
    : most_(static_cast<std::size_t>(most_connections)), metrics_(metrics) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  const std::string service = std::to_string(port);
  if (const int why = ::getaddrinfo(host.c_str(), service.c_str(), &hints, &found); why != 0)
    fail(ErrorCode::io_failure,
         "cannot find the address " + host + ": " + std::string(::gai_strerror(why)));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  for (const addrinfo* at = found; at != nullptr && socket_ < 0; at = at->ai_next)
    socket_ = listen_at(*at);
  if (socket_ < 0)
    fail(ErrorCode::io_failure, "cannot listen at " + host + ", port " + service + ": " +
                                    std::string(std::strerror(errno)));
  port_ = port_of(socket_);
}

Listener::~Listener() { ::close(socket_); }

int Listener::connections() const {
  const std::scoped_lock lock(mutex_);
  return static_cast<int>(open_.size());
}

bool Listener::any_busy() const {
  const std::scoped_lock lock(mutex_);
  return std::ranges::any_of(
      open_, [](const Connection* c) { return c->state() == Connection::State::answering; });
}

void Listener::run(const Serve& serve, const std::function<bool()>& stopping) {
  while (!stopping() || any_busy()) {
    pollfd entry{.fd = socket_, .events = POLLIN, .revents = 0};
    if (::poll(&entry, 1, 50) > 0) accept_one(serve);
  }
  std::unique_lock lock(mutex_);
  for (Connection* connection : open_) connection->interrupt();
  changed_.wait(lock, [this] { return open_.empty(); });
}

void Listener::accept_one(const Serve& serve) {
  const int accepted = ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC);
  if (accepted < 0) {
    // without descriptors or memory, this would be asked again at once
    if (errno != EINTR && errno != ECONNABORTED)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return;
  }
  if (!make_space()) return refuse_connection(accepted);
  start(accepted, serve);
}

/// Whether another connection may be opened. Waits for the end of one that is closed for it.
bool Listener::make_space() {
  std::unique_lock lock(mutex_);
  if (open_.size() < most_) return true;
  const auto waits = [](const Connection* c) { return c->state() != Connection::State::answering; };
  Connection* oldest = nullptr;
  for (Connection* connection : open_)
    if (waits(connection) && (oldest == nullptr || connection->since() < oldest->since()))
      oldest = connection;
  if (oldest == nullptr) return false;
  oldest->interrupt();
  return changed_.wait_for(lock, std::chrono::milliseconds(200),
                           [this] { return open_.size() < most_; });
}

void Listener::start(int socket, const Serve& serve) {
  auto connection = std::make_unique<Connection>(socket, metrics_);
  const std::scoped_lock lock(mutex_);
  const auto place = open_.insert(open_.end(), connection.get());
  try {
    std::thread([this, &serve, place, connection = std::move(connection)]() mutable {
      try {
        serve(*connection);
      } catch (...) {  // memory is exhausted: the connection is closed
      }
      const std::scoped_lock end(mutex_);
      open_.erase(place);
      connection.reset();
      changed_.notify_all();
    }).detach();
  } catch (const std::system_error&) {
    open_.erase(place);  // no thread: the connection is closed
  }
}

}  // namespace cli::serve
