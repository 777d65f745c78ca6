// idefics tokenize and idefics detokenize: text to token ids and back.
#include <memory>

#include <idefics/io/hub_cache.hpp>
#include <idefics/io/json.hpp>

#include "cli/args.hpp"

namespace cli {
namespace {

using namespace idefics;

struct Command {
  CommonOptions common;
  std::optional<std::string> argument;
  bool jsonl = false, add_special_tokens = false, skip_special_tokens = false;
};

Tokenizer tokenizer_of(const Command& c) {
  auto tokenizer = Tokenizer::from_pretrained(resolve_model(c.common.model));
  print_warnings(tokenizer.warnings());
  return tokenizer;
}

/// Parses a JSON array of ids, such as "[1, 2]".
std::vector<std::int32_t> read_ids(const std::string& text) {
  const Json json = parse_json(text, "ids");
  std::vector<std::int32_t> ids;
  if (!json.is_array())
    fail(ErrorCode::invalid_token_id, "ids must be a JSON array of non-negative integers");
  for (const Json& id : json) {
    if (!id.is_number_integer() || id.get<std::int64_t>() < 0 || id.get<std::int64_t>() > INT32_MAX)
      fail(ErrorCode::invalid_token_id, "ids must be non-negative 32-bit integers");
    ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

/// Calls `each` with the argument or, without one, with every line of stdin.
template <class Each>
void for_each_line(const Command& c, const Each& each) {
  if (c.argument) return each(*c.argument);
  for (std::string line; std::getline(std::cin, line);) each(line);
}

void run_tokenize(const Command& c) {
  const Tokenizer tokenizer = tokenizer_of(c);
  for_each_line(c, [&](const std::string& line) {
    std::string text = line;
    if (c.jsonl) {
      const Json json = parse_json(line, "line");
      if (!json.is_string())
        fail(ErrorCode::invalid_json, "with --jsonl, the text must be a JSON string");
      text = json.get<std::string>();
    }
    print(Json(tokenizer.encode(text, {.add_special_tokens = c.add_special_tokens})).dump());
  });
}

void run_detokenize(const Command& c) {
  const Tokenizer tokenizer = tokenizer_of(c);
  for_each_line(c, [&](const std::string& line) {
    const std::string text =
        tokenizer.decode(read_ids(line), {.skip_special_tokens = c.skip_special_tokens});
    print(c.jsonl ? Json(text).dump(-1, ' ', false, Json::error_handler_t::replace) : text);
  });
}

}  // namespace

void add_tokens(CLI::App& app) {
  auto c = std::make_shared<Command>();
  auto* tokenize =
      app.add_subcommand("tokenize", "print the token ids of a text, or of every line of stdin");
  tokenize->add_option("TEXT", c->argument, "text to tokenize; default: every line of stdin");
  tokenize
      ->add_flag("--add-special-tokens", c->add_special_tokens,
                 "add bos and eos as tokenizer_config.json says")
      ->group(prompt_group);
  tokenize->add_flag("--jsonl", c->jsonl, "read each text as a JSON string")->group(prompt_group);
  c->common.add_to(*tokenize, uses_model);
  tokenize->callback([c] { run_tokenize(*c); });

  c = std::make_shared<Command>();
  auto* detokenize = app.add_subcommand(
      "detokenize", "print the text of a JSON array of ids, or of every line of stdin");
  detokenize->add_option("IDS", c->argument,
                         "JSON array of ids, such as [1, 2]; default: every line of stdin");
  detokenize
      ->add_flag("--skip-special-tokens", c->skip_special_tokens,
                 "omit special tokens from the text")
      ->group(output_group);
  detokenize->add_flag("--jsonl", c->jsonl, "print each text as a JSON string")
      ->group(output_group);
  c->common.add_to(*detokenize, uses_model);
  detokenize->callback([c] { run_detokenize(*c); });
}

}  // namespace cli
