// The HTTP side: what a request must be before a route sees it, and how answers are sent.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include <httplib.h>

#include "cli/serve/connection.hpp"
#include "cli/serve/gate.hpp"
#include "cli/serve/settings.hpp"

namespace cli::serve {

/// A request, and where its answer goes.
struct Exchange {
  Connection& connection;
  const httplib::Request& request;
  httplib::Response& response;
  std::string body;
  Budget::Share& bytes;  // that the body takes

  void answer(const idefics::Json& json) const;
  void answer(const std::string& text, const char* type) const;
};

class Http : private httplib::Server {
 public:
  using Handler = std::function<void(Exchange&)>;

  Http(const Settings& settings, Metrics& metrics);

  void get(const std::string& path, Handler handler) { routes_[path]["GET"] = std::move(handler); }
  void post(const std::string& path, Handler handler);
  /// Reads and answers the requests of a connection until its end.
  void serve(Connection& connection);

 private:
  void set_up(httplib::Request& request);
  bool route(const httplib::Request& request, httplib::Response& response);
  void check(const httplib::Request& request) const;
  void check_origin(const httplib::Request& request) const;
  void check_key(const httplib::Request& request) const;
  void answer_post(const Handler& handler, const httplib::Request& request,
                   httplib::Response& response, const httplib::ContentReader& reader);
  std::string read_body(const httplib::Request& request, const httplib::ContentReader& reader,
                        Budget::Share& share) const;
  void add_cors(httplib::Response& response) const;
  void finish(Connection& connection);

  const Settings& settings_;
  Metrics& metrics_;
  Budget budget_;
  std::map<std::string, std::map<std::string, Handler>> routes_;  // by path and method
};

/// Sends a fault, and notes on stderr what only the operator should see.
void send_fault(Connection& connection, httplib::Response& response, const std::exception& thrown);

}  // namespace cli::serve
