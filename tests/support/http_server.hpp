// An HTTP server on loopback for one test: a thread that answers one connection after another, or
// one for each connection.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace testing {

/// What the server sends: the parts in order, with `pause` before each but the first, and, with
/// `reads`, another request read before each but the first, as by a proxy after CONNECT.
struct Reply {
  std::vector<std::string> parts;
  std::chrono::milliseconds pause{0};
  bool reads = false;
};

/// A complete HTTP answer: status line, headers (each ending with CRLF), body and its length.
inline Reply answer(const std::string& status, const std::string& body,
                    const std::string& headers = "") {
  return {.parts = {"HTTP/1.1 " + status + "\r\nConnection: close\r\nContent-Length: " +
                    std::to_string(body.size()) + "\r\n" + headers + "\r\n" + body}};
}

class HttpServer {
 public:
  /// `handler` gets the request's target ("/path", or a full URL when used as a proxy) and its
  /// head, and returns the reply.
  using Handler = std::function<Reply(const std::string& target, const std::string& head)>;

  /// With `several_at_once`, threads of their own call the handler.
  explicit HttpServer(Handler handler, bool several_at_once = false)
      : handler_(std::move(handler)), several_at_once_(several_at_once) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::listen(listener_, 8) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      throw std::runtime_error("no port on loopback");
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  ~HttpServer() {
    stop_ = true;
    thread_.join();
    ::close(listener_);
  }

  std::string root() const { return "http://127.0.0.1:" + std::to_string(port_); }
  int port() const { return port_; }
  int requests() const { return requests_; }

 private:
  void serve() {
    while (!stop_) {
      pollfd ready{.fd = listener_, .events = POLLIN, .revents = 0};
      if (::poll(&ready, 1, 20) <= 0) continue;
      const int connection = ::accept(listener_, nullptr, nullptr);
      if (connection < 0) continue;
      const auto answer = [this, connection] {
        respond(connection);
        ::close(connection);
      };
      if (several_at_once_)
        connections_.emplace_back(answer);
      else
        answer();
    }
    connections_.clear();
  }

  /// The head of a request; empty if the connection ends before it does.
  static std::string read_head(int connection) {
    std::string head;
    char buffer[4096];
    while (head.find("\r\n\r\n") == std::string::npos) {
      const auto count = ::recv(connection, buffer, sizeof buffer, 0);
      if (count <= 0) return {};
      head.append(buffer, static_cast<std::size_t>(count));
    }
    return head;
  }

  void respond(int connection) {
    const std::string head = read_head(connection);
    if (head.empty()) return;
    ++requests_;
    const auto begin = head.find(' ') + 1;
    const Reply reply = handler_(head.substr(begin, head.find(' ', begin) - begin), head);
    for (std::size_t i = 0; i < reply.parts.size() && !stop_; ++i) {
      if (i > 0) std::this_thread::sleep_for(reply.pause);
      if (i > 0 && reply.reads && read_head(connection).empty()) return;
      std::string_view rest = reply.parts[i];
      while (!rest.empty()) {
        const auto sent = ::send(connection, rest.data(), rest.size(), MSG_NOSIGNAL);
        if (sent <= 0) return;
        rest.remove_prefix(static_cast<std::size_t>(sent));
      }
    }
  }

  Handler handler_;
  bool several_at_once_;
  std::vector<std::jthread> connections_;
  int listener_ = -1, port_ = 0;
  std::atomic<int> requests_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace testing
