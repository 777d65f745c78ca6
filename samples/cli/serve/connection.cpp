// Sockets, and how long a client may take.
#include "cli/serve/connection.hpp"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace cli::serve {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds head_time{10}, body_time{20}, write_time{20};
constexpr std::uint64_t slowest_upload = 64 << 10, slowest_download = 1 << 10;  // bytes per second

/// Waits for an event of a socket; false when the time is over.
bool wait_for(int socket, short events, milliseconds time) {
  pollfd entry{.fd = socket, .events = events, .revents = 0};
  const auto end = Connection::Clock::now() + time;
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(end - Connection::Clock::now()).count();
    const int found = ::poll(&entry, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
    if (found > 0) return true;
    if (found == 0 || errno != EINTR) return false;
  }
}

void name_of_peer(const sockaddr_storage& address, std::string& ip, int& port) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* bytes = nullptr;
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    bytes = &v4.sin_addr, port = ntohs(v4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    bytes = &v6.sin6_addr, port = ntohs(v6.sin6_port);
  }
  if (bytes != nullptr && ::inet_ntop(address.ss_family, bytes, text.data(), text.size()))
    ip = text.data();
}

}  // namespace

Connection::Connection(int socket, Metrics& metrics) : socket_(socket), metrics_(metrics) {
  const int on = 1;
  ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Connection::~Connection() { ::close(socket_); }

bool Connection::wait_for_request(milliseconds time) {
  state_ = State::idle;
  since_ = Clock::now();
  in_body_ = false;
  head_bytes_ = body_bytes_ = sent_ = 0;
  blocked_ = milliseconds(0);
  record = {};
  if (begin_ == end_) {
    deadline_ = Clock::now() + time;
    if (!fill()) return false;
  }
  state_ = State::reading;
  since_ = Clock::now();
  record.begin = Clock::now();
  deadline_ = Clock::now() + head_time;
  return true;
}

void Connection::begin_body() {
  in_body_ = true;
  deadline_ = Clock::now() + body_time;
}

bool Connection::left() const {
  pollfd entry{.fd = socket_, .events = POLLIN | POLLRDHUP, .revents = 0};
  if (::poll(&entry, 1, 0) <= 0) return false;
  return (entry.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

void Connection::linger() {
  ::shutdown(socket_, SHUT_WR);
  deadline_ = Clock::now() + seconds(1);
  in_body_ = true;
  for (std::size_t total = 0; total < (4u << 20); total += end_) {
    begin_ = end_ = 0;
    if (!fill()) return;
  }
}

void Connection::interrupt() { ::shutdown(socket_, SHUT_RDWR); }

bool Connection::fill() {
  const auto allowed = in_body_ ? deadline_ + seconds(body_bytes_ / slowest_upload) : deadline_;
  const auto left = std::chrono::ceil<milliseconds>(allowed - Clock::now());
  if (left.count() <= 0 || !wait_for(socket_, POLLIN, left)) {
    timed_out_ = true;
    return false;
  }
  const ssize_t got = ::recv(socket_, buffer_.data(), buffer_.size(), 0);
  if (got <= 0) return false;
  begin_ = 0;
  end_ = static_cast<std::size_t>(got);
  metrics_.received_bytes += end_;
  return true;
}

bool Connection::is_readable() const { return begin_ < end_ || wait_for(socket_, POLLIN, {}); }

bool Connection::is_writable() const { return !left(); }

ssize_t Connection::read(char* to, std::size_t size) {
  if (begin_ == end_ && !fill()) return -1;
  const std::size_t count = std::min(size, end_ - begin_);
  if (in_body_) {
    body_bytes_ += count;
  } else if ((head_bytes_ += count) > longest_head) {
    head_too_long_ = true;
    return -1;
  }
  std::memcpy(to, buffer_.data() + begin_, count);
  begin_ += count;
  return static_cast<ssize_t>(count);
}

/// Waits for the client at most `write_time`, and more only as far as it reads.
ssize_t Connection::write(const char* from, std::size_t size) {
  for (std::size_t done = 0; done < size;) {
    const ssize_t sent = ::send(socket_, from + done, size - done, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      done += static_cast<std::size_t>(sent);
      sent_ += static_cast<std::uint64_t>(sent);
      metrics_.sent_bytes += static_cast<std::uint64_t>(sent);
      continue;
    }
    if (sent < 0 && errno == EINTR) continue;
    if (sent == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) return -1;
    const milliseconds left = write_time + seconds(sent_ / slowest_download) - blocked_;
    const auto begin = Clock::now();
    if (left.count() <= 0 || !wait_for(socket_, POLLOUT, left)) return -1;
    blocked_ += std::chrono::ceil<milliseconds>(Clock::now() - begin);
  }
  return static_cast<ssize_t>(size);
}

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getpeername(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0)
    name_of_peer(address, ip, port);
}

void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0)
    name_of_peer(address, ip, port);
}

}  // namespace cli::serve
