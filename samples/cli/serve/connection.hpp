// One client's connection, with limits on its time that no pace of reading or writing evades.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include <httplib.h>

#include "cli/serve/metrics.hpp"

namespace cli::serve {

/// What is logged of a request.
struct Record {
  std::chrono::steady_clock::time_point begin;
  std::string method, path, route = "other";
  int status = 0;
  std::int64_t prompt_tokens = 0, new_tokens = 0;
};

class Connection final : public httplib::Stream {
 public:
  using Clock = std::chrono::steady_clock;
  enum class State { idle, reading, answering };

  /// Owns the socket.
  Connection(int socket, Metrics& metrics);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() override;

  /// Waits for the first byte of a request. False after `time`, at the end of input and after
  /// `interrupt`.
  bool wait_for_request(std::chrono::milliseconds time);
  /// The head has been read: what follows is a body.
  void begin_body();
  void begin_answer() { state_ = State::answering; }
  /// Whether the client has closed the connection or its end of it.
  bool left() const;
  /// Closes the connection after the answer, although the body was not read completely.
  void close_after_answer() { closing_ = true; }
  bool is_closing() const { return closing_; }
  /// Reads what the client still sends for a moment, so that it gets the answer.
  void linger();
  /// By another thread: ends all waits.
  void interrupt();

  State state() const { return state_; }
  Clock::time_point since() const { return since_; }
  bool head_was_too_long() const { return head_too_long_; }
  bool timed_out() const { return timed_out_; }

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* to, std::size_t size) override;
  ssize_t write(const char* from, std::size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return 0; }  // which must be below FD_SETSIZE

  Record record;

 private:
  /// Reads into the buffer; false at the end, after an error and when the time is over.
  bool fill();

  static constexpr std::size_t longest_head = 64 << 10;

  int socket_;
  Metrics& metrics_;
  std::array<char, 16384> buffer_;
  std::size_t begin_ = 0, end_ = 0;
  std::atomic<State> state_{State::idle};
  std::atomic<Clock::time_point> since_{Clock::now()};
  Clock::time_point deadline_{};  // of the head, or of the body as far as it came
  std::uint64_t head_bytes_ = 0, body_bytes_ = 0, sent_ = 0;
  bool in_body_ = false, closing_ = false, head_too_long_ = false, timed_out_ = false;
  std::chrono::milliseconds blocked_{0};  // in writing this answer
};

}  // namespace cli::serve
