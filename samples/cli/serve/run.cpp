// From settings to a server, and its end.
#include "cli/serve/run.hpp"

#include <malloc.h>
#include <unistd.h>
#include <csignal>
#include <cstdlib>

#include <filesystem>

#include <idefics/io/json.hpp>

#include "cli/serve/listener.hpp"
#include "cli/serve/routes.hpp"

namespace cli::serve {

using namespace idefics;

namespace {

volatile std::sig_atomic_t stopping = 0;

/// The first signal lets running requests finish; the second ends the program.
void on_signal(int signal) {
  if (stopping != 0) _exit(128 + signal);
  stopping = 1;
}

void handle_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

ModelOptions model_options(const CommonOptions& common, const Settings& settings) {
  ModelOptions options = common.model_options();
  options.shared_cache_tokens = settings.shared_cache_tokens;
  options.limits = {.new_tokens = settings.max_tokens,
                    .prompt_tokens = 1 << 16,
                    .rows = 64,
                    .listed_ids = 1 << 16,
                    .listed_entries = 1 << 14,
                    .max_time = settings.max_time};
  return options;
}

/// The last part of a directory's name, or the name of a repository.
std::string default_name(const std::string& model) {
  std::error_code unknown;
  if (!std::filesystem::is_directory(model, unknown)) return model;
  const auto path = std::filesystem::weakly_canonical(model, unknown);
  return path.filename().string();
}

/// The settings that other options or the environment determine.
void complete(Settings& settings, const CommonOptions& common) {
  const char* key = std::getenv("IDEFICS_API_KEY");
  if (settings.api_key.empty() && key != nullptr) settings.api_key = key;
  if (settings.model_name.empty()) settings.model_name = default_name(common.model);
  settings.offline = common.offline;
  settings.quiet = common.quiet;
  settings.threads = common.threads;
}

std::string url_of(const Settings& settings, int port) {
  const bool ipv6 = settings.host.find(':') != std::string::npos;
  return "http://" + (ipv6 ? "[" + settings.host + "]" : settings.host) + ":" +
         std::to_string(port);
}

}  // namespace

void run(const CommonOptions& common, Settings settings) {
  complete(settings, common);
#ifdef M_ARENA_MAX
  ::mallopt(M_ARENA_MAX, 2);  // each connection has a thread, and arenas keep what they freed
#endif
  Processor processor = common.processor();
  set_num_threads(settings.threads);
  Engine engine(std::move(processor),
                Model::from_pretrained(common.model, model_options(common, settings)),
                settings.max_tokens);
  if (is_judged(common.model, settings.quiet)) judge(1);
  Metrics metrics;
  Queue queue(settings.max_running, settings.max_waiting,
              [&settings] { set_num_threads(settings.threads); });
  Listener listener(settings.host, settings.port, settings.max_connections, metrics);
  Http http(settings, metrics);
  Routes routes(settings, engine, queue, metrics, [&listener] { return listener.connections(); });
  routes.add_to(http);
  handle_signals();
  const std::string url = url_of(settings, listener.port());
  print(common.json ? Json{{"url", url}, {"model", settings.model_name}}.dump()
                    : "listening on " + url);
  listener.run(
      [&http](Connection& connection) {
        set_num_threads(1);  // helpers would last as long as the connection
        http.serve(connection);
      },
      [&queue] {
        if (stopping != 0) queue.close();
        return stopping != 0;
      });
}

}  // namespace cli::serve
