// idefics chat: a conversation in a terminal or, line by line, with another program.
#include <unistd.h>

#include <map>
#include <memory>

#include <idefics/chat.hpp>
#include <idefics/io/json.hpp>

#include "cli/args.hpp"
#include "cli/generation_flags.hpp"

namespace cli {
namespace {

using namespace idefics;

constexpr const char* help = R"(Ask a question; the answer is printed as it is generated. Commands:
  /image PATH   show a picture (a path or a URL) with the next question
  /reset        forget the conversation
  /save FILE    write the conversation to a JSON file
  /seed N       set the random seed for sampling
  /help         print this text
  /quit         leave; so does the end of input
Ctrl-C stops the current answer.)";

struct Command {
  CommonOptions common;
  GenerationFlags generation;
  std::vector<std::string> images;
  std::string system, context_overflow = "drop";
};

class Session {
 public:
  Session(const Command& command, Chat& chat)
      : command_(command), chat_(chat), interactive_(::isatty(STDIN_FILENO) != 0) {
    begin();
    for (const auto& location : command.images) show(location);
  }

  void run() {
    note("type a question, or /help for the commands");
    try {
      converse();
    } catch (...) {
      if (!chat_.messages().empty()) print_json();  // no turn is lost
      throw;
    }
    print_json();
  }

 private:
  void begin() {
    if (!command_.system.empty()) chat_.add({.role = "system", .text = command_.system});
  }
  void converse() {
    for (std::string line; running_ && read(line);) {
      if (!interactive_) {
        handle(line);
        continue;
      }
      try {
        handle(line);
      } catch (const Error& error) {  // the user can try again
        note("error: " + std::string(error.what()));
      }
    }
  }
  void print_json() const {
    if (command_.common.json)
      print(messages().dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  void note(const std::string& text) const {
    if (interactive_ && !command_.common.quiet) std::cerr << text << '\n';
  }
  bool read(std::string& line) const {
    if (interactive_) std::cerr << "> " << std::flush;
    if (!std::getline(std::cin, line)) return false;
    if (line.ends_with('\r')) line.pop_back();  // a line of Windows
    return true;
  }

  void handle(const std::string& line) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) return;
    if (!line.starts_with('/')) return ask(line);
    const auto space = line.find(' ');
    const std::string name = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
    if (name == "/quit" || name == "/exit") {
      running_ = false;
    } else if (name == "/help") {
      std::cerr << help << '\n';
    } else if (name == "/reset") {
      chat_.reset(), pictures_.clear(), names_.clear(), shown_.clear();
      begin();
    } else if (name == "/image" && !rest.empty()) {
      show(rest);
    } else if (name == "/save" && !rest.empty()) {
      save(rest);
    } else if (name == "/seed" && !rest.empty() && rest.size() < 19 &&
               std::ranges::all_of(rest, [](char c) { return c >= '0' && c <= '9'; })) {
      std::uint64_t seed = 0;
      for (const char c : rest) seed = seed * 10 + static_cast<std::uint64_t>(c - '0');
      chat_.config.seed = seed;
    } else {
      fail(ErrorCode::invalid_option,
           "\"" + line.substr(0, 100) + "\" is not a valid command; /help lists them");
    }
  }

  void show(const std::string& location) {
    pictures_.push_back(load_picture(location, command_.common));
    shown_.push_back(location);
  }

  void ask(const std::string& text) {
    const DeferInterrupts deferred;
    const bool streamed = !command_.common.json;
    const std::size_t turn = chat_.messages().size(), dropped = chat_.dropped();
    chat_.ask(text, pictures_, [streamed](const std::string& piece) {
      if (streamed) write(piece);
      return !interrupted();
    });
    names_[turn] = std::exchange(shown_, {});
    pictures_.clear();
    if (streamed) write("\n");
    if (chat_.dropped() > dropped && !command_.common.quiet)
      std::cerr << "note: the context is full, and the model no longer sees the oldest "
                << chat_.dropped() << " messages\n";
    if (interrupted() && !interactive_) throw Interrupted();
    forget_interrupt();
  }

  /// The conversation as JSON, in the layout that chat templates expect.
  Json messages() const {
    Json list = Json::array();
    for (std::size_t i = 0; i < chat_.messages().size(); ++i) {
      const ChatMessage& message = chat_.messages()[i];
      Json content = Json::array();
      if (const auto found = names_.find(i); found != names_.end())
        for (const auto& name : found->second)
          content.push_back({{"type", "image"}, {"image", name}});
      content.push_back({{"type", "text"}, {"text", message.text}});
      list.push_back({{"role", message.role}, {"content", std::move(content)}});
    }
    return {{"messages", std::move(list)}};
  }
  void save(const std::string& path) const {
    AtomicFile file(path);
    file.write(messages().dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
    file.commit();
    note("saved " + path);
  }

  const Command& command_;
  Chat& chat_;
  bool interactive_, running_ = true;
  std::vector<Image> pictures_;                            // shown with the next question
  std::vector<std::string> shown_;                         // their paths or URLs
  std::map<std::size_t, std::vector<std::string>> names_;  // the same, by message
};

void run(const Command& c) {
  const Processor processor = c.common.processor();
  Model model = c.common.load();
  GenerationConfig config = c.generation.config(c.common.seed);
  const auto& defaults = model.generation_config();
  if (!config.max_new_tokens && !config.max_length && !defaults.max_new_tokens &&
      !defaults.max_length)
    config.max_new_tokens = 256;
  Chat chat(model, processor, config);
  if (c.context_overflow == "fail") chat.context_overflow = ContextOverflow::fail;
  if (is_judged(c.common.model, c.common.quiet)) judge(1);
  Session(c, chat).run();
}

}  // namespace

void add_chat(CLI::App& app) {
  auto c = std::make_shared<Command>();
  c->common.streaming = true;
  auto* command =
      app.add_subcommand("chat", "hold a conversation about pictures; /help lists its commands");
  command->add_option("IMAGE", c->images,
                      "paths or URLs of pictures to show with the first question");
  command->add_option("--system", c->system, "a system text, with which the conversation begins");
  command
      ->add_option("--context-overflow", c->context_overflow,
                   "when the context is full: drop the oldest turns, or fail")
      ->check(CLI::IsMember({"drop", "fail"}));
  c->common.add_to(*command);
  c->generation.add_to(*command);
  command->callback([c] { run(*c); });
}

}  // namespace cli
