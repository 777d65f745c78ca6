// The routes of the server. Each reads a request, queues its work and writes the answer.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/serve/engine.hpp"
#include "cli/serve/http.hpp"
#include "cli/serve/queue.hpp"

namespace cli::serve {

class Routes {
 public:
  /// `connections` counts open ones.
  Routes(const Settings& settings, Engine& engine, Queue& queue, Metrics& metrics,
         std::function<int()> connections);

  void add_to(Http& http);

 private:
  void chat(Exchange& exchange);
  void completions(Exchange& exchange);
  void attend(Exchange& exchange);
  void classify(Exchange& exchange);
  void embeddings(Exchange& exchange);
  void models(Exchange& exchange) const;
  void model(Exchange& exchange) const;
  void health(Exchange& exchange) const;
  void metrics(Exchange& exchange) const;

  idefics::Json about_model() const;
  /// Throws Error, `model_not_found`, for a model that is not served.
  void check_model(const std::string& name) const;
  PictureLoader loader(const Exchange& exchange);
  template <class Read>
  auto parse(Exchange& exchange, const Read& read);

  template <class Read, class Compute>
  idefics::Json list_of(Exchange& exchange, const Read& read, const Compute& compute);
  void generate(Exchange& exchange, Queue::Ticket ticket, Route route, Options options,
                Generation generation);
  /// Queues work whose result is JSON, and waits for it.
  idefics::Json run(Exchange& exchange, Queue::Ticket ticket,
                    std::function<idefics::Json(Job&)> work);

  const Settings& settings_;
  Engine& engine_;
  Queue& queue_;
  Metrics& metrics_;
  std::function<int()> connections_;
  Gate gate_;
  std::int64_t created_ = unix_time();
};

}  // namespace cli::serve
