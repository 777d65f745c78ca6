// idefics serve: the options of the server; serve/ is the server itself.
#include <memory>

#include "cli/args.hpp"
#include "cli/serve/settings.hpp"

#ifndef IDEFICS_NO_HTTPLIB
#include "cli/serve/run.hpp"
#endif

namespace cli {
namespace {

using serve::Settings;

struct Command {
  CommonOptions common;
  Settings settings;
};

void run(const Command& c) {
#ifdef IDEFICS_NO_HTTPLIB
  (void)c;
  idefics::fail(idefics::ErrorCode::device_unavailable,
                "this build has no cpp-httplib 0.11: install libcpp-httplib-dev and build again");
#else
  serve::run(c.common, c.settings);
#endif
}

void add_address(CLI::App& app, Settings& s) {
  app.add_option("--host", s.host, "address to listen at; 0.0.0.0 or :: for all")
      ->check(not_empty)
      ->type_name("HOST")
      ->capture_default_str()
      ->group("Server");
  app.add_option("--port", s.port, "port; 0 picks a free one")
      ->check(CLI::Range(0, 65535))
      ->type_name("N")
      ->capture_default_str()
      ->group("Server");
  app.add_option("--api-key", s.api_key, "key that clients must send; default: IDEFICS_API_KEY")
      ->check(not_empty)
      ->type_name("KEY")
      ->group("Server");
  app.add_option("--cors", s.cors, "origin whose pages may use the server, or *")
      ->check(not_empty)
      ->type_name("ORIGIN")
      ->group("Server");
  app.add_option("--model-name", s.model_name, "name of the model; default: that of --model")
      ->check(not_empty)
      ->type_name("NAME")
      ->group("Server");
  app.add_flag("--allow-private-urls", s.allow_private_urls,
               "also fetch pictures from loopback, private and link-local addresses; same as "
               "IDEFICS_ALLOW_PRIVATE_URLS=true")
      ->envname("IDEFICS_ALLOW_PRIVATE_URLS")
      ->group(network_group);
}

void add_limits(CLI::App& app, Settings& s) {
  const auto number = [&app](const char* name, auto& value, const char* help, int most) {
    app.add_option(name, value, help)
        ->check(CLI::Range(1, most))
        ->type_name("N")
        ->capture_default_str()
        ->group("Limits");
  };
  number("--max-running", s.max_running, "requests that the model works on at once", 256);
  app.add_option("--max-waiting", s.max_waiting, "requests that wait; more are refused with 429")
      ->check(CLI::Range(0, 1 << 16))
      ->type_name("N")
      ->capture_default_str()
      ->group("Limits");
  number("--max-connections", s.max_connections, "open connections", 900);
  number("--max-tokens", s.max_tokens, "new tokens of an answer", 1 << 24);
  number("--max-pictures", s.max_pictures, "pictures of a request", 1 << 10);
  app.add_option(
         "--shared-cache-tokens", s.shared_cache_tokens,
         "tokens whose keys and values requests share, so that one pass serves several; 0: none")
      ->check(CLI::Range(0, 1 << 24))
      ->type_name("N")
      ->capture_default_str()
      ->group("Limits");
  app.add_option("--max-body", s.max_body, "size of a request")
      ->transform(CLI::AsSizeValue(false))
      ->type_name("SIZE")
      ->default_str("32MiB")
      ->group("Limits");
  app.add_option("--request-time", s.max_time, "seconds after which an answer is cut")
      ->check(CLI::PositiveNumber)
      ->type_name("X")
      ->capture_default_str()
      ->group("Limits");
}

}  // namespace

void add_serve(CLI::App& app) {
  auto c = std::make_shared<Command>();
  auto* command = app.add_subcommand("serve", "answer requests over HTTP, as OpenAI's interface");
  add_address(*command, c->settings);
  add_limits(*command, c->settings);
  c->common.add_to(*command, uses_model | uses_weights);
  command->callback([c] { run(*c); });
}

}  // namespace cli
