// What the routes do.
#include "cli/serve/routes.hpp"

#include <algorithm>
#include <thread>

#include "cli/serve/errors.hpp"
#include "cli/serve/page.hpp"
#include "cli/serve/stream.hpp"

namespace cli::serve {

using namespace idefics;

namespace {

int preparations_at_once() {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 2, 16);
}

/// Calls `f`; an error of an option is named as the request names it.
template <class F>
void with_names_of(const Options& options, const F& f) {
  try {
    f();
  } catch (const Error& error) {
    const auto sent = options.sent_as.find(error.context().field);
    if (sent == options.sent_as.end()) throw;
    ErrorContext context = error.context();
    context.field = sent->second;
    const std::string what = error.what();
    fail(error.code(), what.substr(0, what.find(" [field: ")), std::move(context));
  }
}

}  // namespace

Routes::Routes(const Settings& settings, Engine& engine, Queue& queue, Metrics& metrics,
               std::function<int()> connections)
    : settings_(settings),
      engine_(engine),
      queue_(queue),
      metrics_(metrics),
      connections_(std::move(connections)),
      gate_(preparations_at_once()) {}

void Routes::add_to(Http& http) {
  http.post("/v1/chat/completions", [this](Exchange& x) { chat(x); });
  http.post("/v1/completions", [this](Exchange& x) { completions(x); });
  http.post("/v1/attend", [this](Exchange& x) { attend(x); });
  http.post("/v1/classify", [this](Exchange& x) { classify(x); });
  http.post("/v1/embeddings", [this](Exchange& x) { embeddings(x); });
  http.get("/v1/models", [this](Exchange& x) { models(x); });
  http.get("/v1/models/" + settings_.model_name, [this](Exchange& x) { model(x); });
  http.get("/health", [this](Exchange& x) { health(x); });
  http.get("/metrics", [this](Exchange& x) { metrics(x); });
  http.get("/", [](Exchange& x) { x.answer(std::string(page()), "text/html; charset=utf-8"); });
}

void Routes::check_model(const std::string& name) const {
  if (name.empty() || name == settings_.model_name) return;
  fail(ErrorCode::model_not_found, "the server has \"" + settings_.model_name + "\" only",
       {.field = "model"});
}

PictureLoader Routes::loader(const Exchange& exchange) {
  return {settings_, engine_.processor().image_processor().image_size, gate_, metrics_,
          [&connection = exchange.connection] { return !connection.left(); }};
}

/// Reads the body, a few at a time, and frees it.
template <class Read>
auto Routes::parse(Exchange& exchange, const Read& read) {
  const Gate::Pass pass(gate_);
  const std::string body = std::exchange(exchange.body, {});
  return read(body);
}

void Routes::chat(Exchange& exchange) {
  Queue::Ticket ticket = queue_.admit();
  const ChatRequest request = parse(exchange, read_chat_request);
  check_model(request.options.model);
  Generation generation = engine_.chat(request, loader(exchange));
  generate(exchange, std::move(ticket), Route::chat, request.options, std::move(generation));
}

void Routes::completions(Exchange& exchange) {
  Queue::Ticket ticket = queue_.admit();
  const CompletionRequest request = parse(exchange, read_completion_request);
  check_model(request.options.model);
  Generation generation = engine_.completion(request, loader(exchange));
  generate(exchange, std::move(ticket), Route::completions, request.options, std::move(generation));
}

void Routes::generate(Exchange& exchange, Queue::Ticket ticket, Route route, Options options,
                      Generation generation) {
  const bool live = options.stream && engine_.streams(generation);
  const std::size_t count = engine_.count_answers(generation);
  const auto answers = std::make_shared<Answers>();
  const auto job = std::make_shared<Job>(
      [this, answers, live, options, generation = std::move(generation)](Job& self) {
        with_names_of(options, [&] { *answers = engine_.run(self, generation, live); });
        if (!options.stream || live) return;
        for (std::size_t i = 0; i < answers->list.size(); ++i)  // known only at the end
          self.push({i, answers->list[i].text});
      });
  AnswerForm form(route, settings_.model_name, engine_.processor().tokenizer(), options.logprobs);
  queue_.submit(std::move(ticket), job);
  Connection& connection = exchange.connection;
  if (!options.stream) {
    std::vector<Piece> none;
    wait_for_pieces(connection, *job, none);
    connection.record.prompt_tokens = answers->prompt_tokens;
    connection.record.new_tokens = answers->new_tokens;
    exchange.answer(form.whole(*answers));
    return;
  }
  const auto stream =
      std::make_shared<EventStream>(connection, job, answers, std::move(form), options, count);
  stream->begin();
  metrics_.add_first_token(
      std::chrono::duration<double>(Connection::Clock::now() - connection.record.begin).count());
  exchange.response.set_header("Cache-Control", "no-store");
  exchange.response.set_chunked_content_provider(
      "text/event-stream",
      [stream](std::size_t, httplib::DataSink& sink) { return stream->write(sink); });
}

Json Routes::run(Exchange& exchange, Queue::Ticket ticket, std::function<Json(Job&)> work) {
  const auto result = std::make_shared<Json>();
  const auto job =
      std::make_shared<Job>([result, work = std::move(work)](Job& self) { *result = work(self); });
  queue_.submit(std::move(ticket), job);
  std::vector<Piece> none;
  wait_for_pieces(exchange.connection, *job, none);
  return std::move(*result);
}

void Routes::attend(Exchange& exchange) {
  Queue::Ticket ticket = queue_.admit();
  const auto request = parse(exchange, read_attend_request);
  const auto* chat = std::get_if<ChatRequest>(&request);
  const auto* completion = std::get_if<CompletionRequest>(&request);
  const Options& options = chat != nullptr ? chat->options : completion->options;
  check_model(options.model);
  const PictureLoader load = loader(exchange);
  Generation generation =
      chat != nullptr ? engine_.chat(*chat, load) : engine_.completion(*completion, load);
  exchange.answer(run(exchange, std::move(ticket),
                      [this, options, generation = std::move(generation)](Job& job) {
                        Json result;
                        with_names_of(options, [&] { result = engine_.attend(job, generation); });
                        return result;
                      }));
}

/// Answers with a list: what `compute` makes of the pictures of a request.
template <class Read, class Compute>
Json Routes::list_of(Exchange& exchange, const Read& read, const Compute& compute) {
  Queue::Ticket ticket = queue_.admit();
  auto request = parse(exchange, read);
  check_model(request.model);
  const PictureLoader load = loader(exchange);
  std::vector<Image> pictures;
  for (const PictureSource& source : request.pictures) pictures.push_back(load(source));
  Json data = run(exchange, std::move(ticket),
                  [compute, request = std::move(request), pictures = std::move(pictures)](
                      Job& job) { return compute(job, request, pictures); });
  return {{"object", "list"}, {"model", settings_.model_name}, {"data", std::move(data)}};
}

void Routes::classify(Exchange& exchange) {
  exchange.answer(
      list_of(exchange, read_classify_request, [this](auto& job, const auto&... of_request) {
        return engine_.classify(job, of_request...);
      }));
}

void Routes::embeddings(Exchange& exchange) {
  Json list = list_of(
      exchange, read_embedding_request,
      [this](auto& job, const auto&... of_request) { return engine_.embed(job, of_request...); });
  list["usage"] = {{"prompt_tokens", 0}, {"total_tokens", 0}};
  exchange.answer(list);
}

Json Routes::about_model() const {
  return {{"id", settings_.model_name},
          {"object", "model"},
          {"created", created_},
          {"owned_by", "idefics"}};
}

void Routes::models(Exchange& exchange) const {
  exchange.answer(Json{{"object", "list"}, {"data", Json::array({about_model()})}});
}

void Routes::model(Exchange& exchange) const { exchange.answer(about_model()); }

void Routes::health(Exchange& exchange) const {
  if (!queue_.is_open()) throw Refusal(503, "shutting_down", "the server is shutting down");
  exchange.answer(Json{{"status", "ok"}});
}

void Routes::metrics(Exchange& exchange) const {
  const BatchStatistics batch = engine_.model().batch_statistics();
  const Gauges now{.running = queue_.running(),
                   .waiting = queue_.waiting(),
                   .connections = connections_(),
                   .cached_pictures = engine_.model().cached_pictures() + batch.cached_pictures,
                   .passes = batch.passes,
                   .shares = batch.shares};
  exchange.answer(metrics_.text(now), "text/plain; version=0.0.4");
}

}  // namespace cli::serve
