// Keys, hosts, origins, sizes and routes.
#include "cli/serve/http.hpp"

#include <algorithm>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "cli/generation_json.hpp"
#include "cli/report.hpp"
#include "cli/serve/errors.hpp"

namespace cli::serve {
namespace {

using namespace idefics;

/// The connection that this thread serves: httplib's handlers are not told.
thread_local Connection* current = nullptr;

/// Compares in a time that does not depend on how much of the secret was guessed.
bool equals_secret(const std::string& given, const std::string& secret) {
  unsigned difference = given.size() == secret.size() ? 0 : 1;
  for (std::size_t i = 0; i < secret.size(); ++i) {
    const char c = i < given.size() ? given[i] : '\0';
    difference |= static_cast<unsigned char>(c ^ secret[i]);
  }
  return difference == 0;
}

std::string host_without_port(const std::string& host) {
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.find(':'));
}

bool is_loopback_name(const std::string& host) {
  return host == "localhost" || host == "[::1]" || host == "::1" || host.starts_with("127.");
}

/// Ends the connection after an answer, since what follows was not read.
void close_after(Connection& connection, httplib::Response& response) {
  connection.close_after_answer();
  response.set_header("Connection", "close");
}

bool is_key_free(const std::string& path) { return path == "/" || path == "/health"; }

}  // namespace

void Exchange::answer(const Json& json) const { answer(dump(json) + "\n", "application/json"); }

void Exchange::answer(const std::string& text, const char* type) const {
  response.status = 200;
  response.set_content(text, type);
}

void send_fault(Connection& connection, httplib::Response& response, const std::exception& thrown) {
  const Fault fault = fault_of(thrown);
  if (fault.status >= 500 && fault.status != 503 && fault.status != 504)
    note(std::string("error: ") + thrown.what());
  response.status = fault.status;
  response.set_content(dump(fault.body) + "\n", "application/json");
  if (fault.retry_after > 0) response.set_header("Retry-After", std::to_string(fault.retry_after));
  if (fault.status == 401) response.set_header("WWW-Authenticate", "Bearer");
  connection.record.status = fault.status;
}

Http::Http(const Settings& settings, Metrics& metrics)
    : settings_(settings), metrics_(metrics), budget_(8 * settings.max_body) {
  svr_sock_ = 0;  // otherwise httplib takes the server for one that shuts down
  set_payload_max_length(settings.max_body);
  set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
    return route(request, response) ? HandlerResponse::Handled : HandlerResponse::Unhandled;
  });
  // what httplib itself refuses: heads that are not HTTP, and too long ones
  set_error_handler(HandlerWithResponse([](const httplib::Request&, httplib::Response& response) {
    if (!response.body.empty() || current == nullptr) return HandlerResponse::Unhandled;
    if (current->head_was_too_long()) response.status = 431;
    if (current->timed_out()) response.status = 408;
    const int status = response.status;
    send_fault(*current, response,
               Refusal(status, "bad_request", "this is not a request that the server reads"));
    close_after(*current, response);
    return HandlerResponse::Handled;
  }));
  set_expect_100_continue_handler(
      [this](const httplib::Request& request, httplib::Response& response) {
        try {
          check(request);
          return 100;
        } catch (const std::exception& error) {
          send_fault(*current, response, error);
          close_after(*current, response);
          return response.status;
        }
      });
  set_exception_handler(
      [](const httplib::Request&, httplib::Response& response, std::exception_ptr thrown) {
        try {
          std::rethrow_exception(thrown);
        } catch (const std::exception& error) {
          if (current != nullptr) send_fault(*current, response, error);
        }
      });
}

void Http::post(const std::string& path, Handler handler) {
  routes_[path]["POST"] = handler;
  Post(path, [this, handler](const httplib::Request& request, httplib::Response& response,
                             const httplib::ContentReader& reader) {
    answer_post(handler, request, response, reader);
  });
}

/// Before routing: the head has been read.
void Http::set_up(httplib::Request& request) {
  current->begin_body();
  Record& record = current->record;
  record.method = request.method;
  record.path = request.path;
  if (routes_.contains(request.path)) record.route = request.path;
  request.ranges.clear();  // answers are not files
  for (const char* header : {"Range", "Accept-Encoding"}) request.headers.erase(header);
}

/// Answers requests without a body, and refuses what no route takes. False: a POST to be read.
bool Http::route(const httplib::Request& request, httplib::Response& response) {
  Connection& connection = *current;
  add_cors(response);
  try {
    check(request);
    const auto found = routes_.find(request.path);
    if (found == routes_.end())
      throw Refusal(404, "not_found", "the server has no route with this path");
    if (request.method == "OPTIONS" && !settings_.cors.empty()) {
      response.status = 204;
      return true;
    }
    const bool head = request.method == "HEAD";
    const auto handler = found->second.find(head ? "GET" : request.method);
    if (handler == found->second.end()) {
      response.set_header("Allow", found->second.begin()->first);
      throw Refusal(405, "method_not_allowed", "this path has another method");
    }
    if (request.method == "POST") return false;
    Budget::Share share(budget_);
    Exchange exchange{connection, request, response, {}, share};
    connection.begin_answer();
    handler->second(exchange);
  } catch (const std::exception& error) {
    send_fault(connection, response, error);
    // a body may follow that was not read
    if (request.method != "GET" && request.method != "HEAD") close_after(connection, response);
  }
  return true;
}

/// Throws Refusal for requests that a browser sends for a foreign page, and for a wrong key.
void Http::check(const httplib::Request& request) const {
  const std::string host = host_without_port(request.get_header_value("Host"));
  // a name that leads to this machine by another's DNS
  if (is_loopback_name(settings_.host) && !host.empty() && !is_loopback_name(host))
    throw Refusal(403, "host_refused", "the server is for this machine only: ask for localhost");
  if (request.method != "GET" && request.method != "HEAD") check_origin(request);
  const bool preflight = request.method == "OPTIONS" && !settings_.cors.empty();
  if (!settings_.api_key.empty() && !is_key_free(request.path) && !preflight) check_key(request);
  const std::string length = request.get_header_value("Content-Length");
  if (request.has_header("Transfer-Encoding") || (request.method == "POST" && length.empty()))
    throw Refusal(411, "length_required", "a request needs a Content-Length");
  if (length.size() > 18 || length.find_first_not_of("0123456789") != std::string::npos)
    throw Refusal(400, "bad_request", "Content-Length is not a number");
  if (!length.empty() && std::stoull(length) > settings_.max_body)
    throw Refusal(413, "body_too_large",
                  "the request has more than " + std::to_string(settings_.max_body) + " bytes");
}

void Http::check_origin(const httplib::Request& request) const {
  const std::string origin = request.get_header_value("Origin");
  if (origin.empty() || settings_.cors == "*" || origin == settings_.cors) return;
  const auto host = origin.find("://");
  if (host == std::string::npos || origin.substr(host + 3) != request.get_header_value("Host"))
    throw Refusal(403, "origin_refused", "pages of other origins may not use this server");
}

void Http::check_key(const httplib::Request& request) const {
  const std::string given = request.get_header_value("Authorization");
  const std::string prefix = "Bearer ";
  if (given.empty()) throw Refusal(401, "missing_api_key", "an API key is needed");
  if (!given.starts_with(prefix) || !equals_secret(given.substr(prefix.size()), settings_.api_key))
    throw Refusal(401, "invalid_api_key", "the API key is wrong");
}

void Http::add_cors(httplib::Response& response) const {
  if (settings_.cors.empty()) return;
  response.set_header("Access-Control-Allow-Origin", settings_.cors);
  response.set_header("Access-Control-Allow-Headers", "Authorization, Content-Type");
  response.set_header("Access-Control-Allow-Methods", "GET, POST");
}

void Http::answer_post(const Handler& handler, const httplib::Request& request,
                       httplib::Response& response, const httplib::ContentReader& reader) {
  Connection& connection = *current;
  try {
    Budget::Share share(budget_);
    Exchange exchange{connection, request, response, read_body(request, reader, share), share};
    connection.begin_answer();
    handler(exchange);
  } catch (const std::exception& error) {
    send_fault(connection, response, error);
  }
}

/// The whole body, decoded, within --max-body.
std::string Http::read_body(const httplib::Request& request, const httplib::ContentReader& reader,
                            Budget::Share& share) const {
  std::string body;
  std::exception_ptr thrown;
  const auto take = [&](const char* data, std::size_t size) {
    try {
      if (size > settings_.max_body - body.size())
        throw Refusal(413, "body_too_large",
                      "the request has more than " + std::to_string(settings_.max_body) + " bytes");
      share.add(size);
      body.append(data, size);
      return true;
    } catch (...) {
      thrown = std::current_exception();
      return false;
    }
  };
  const bool form = request.is_multipart_form_data();
  if (!form && reader(take) && !thrown) return body;
  current->close_after_answer();
  if (thrown) std::rethrow_exception(thrown);
  if (form) throw Refusal(415, "unsupported_body", "the body must be JSON");
  if (current->timed_out()) throw Refusal(408, "timeout", "the request came too slowly");
  throw Refusal(400, "bad_request", "the body is incomplete, or encoded in an unknown way");
}

void Http::serve(Connection& connection) {
  current = &connection;
  constexpr std::chrono::seconds patience{15};
  while (!connection.is_closing() && connection.wait_for_request(patience)) {
    bool closed = false;
    const bool sent =
        process_request(connection, false, closed, [this](httplib::Request& r) { set_up(r); });
    finish(connection);
    if (!sent || closed) break;
  }
  if (connection.is_closing()) connection.linger();
  current = nullptr;
}

/// Counts and logs a request.
void Http::finish(Connection& connection) {
  const Record& record = connection.record;
  const double seconds =
      std::chrono::duration<double>(Connection::Clock::now() - record.begin).count();
  const int bad = connection.timed_out() ? 408 : 400;
  const int status = record.status != 0 ? record.status : record.method.empty() ? bad : 200;
  metrics_.add_request(record.route, status, seconds);
  metrics_.add_tokens(record.prompt_tokens, record.new_tokens);
  if (settings_.quiet) return;
  std::ostringstream line;
  line << (record.method.empty() ? "?" : record.method.substr(0, 10)) << ' '
       << record.path.substr(0, 200) << ' ' << status << ' ' << std::fixed << std::setprecision(1)
       << 1e3 * seconds << " ms";
  if (record.prompt_tokens > 0)
    line << ", " << record.prompt_tokens << " + " << record.new_tokens << " tokens";
  note(line.str());
}

}  // namespace cli::serve
