// idefics chat: a conversation in the terminal, or, line by line, with another program.
#include <unistd.h>

#include <map>
#include <memory>

#include <idefics/chat.hpp>

#include "cli/args.hpp"
#include "cli/generation_flags.hpp"

namespace cli {
namespace {

using namespace idefics;

constexpr const char* help = R"(Ask anything; answers appear as they are made.
  /image PATH   show a picture (a path or a URL) with the next question
  /reset        forget the conversation
  /save FILE    write the conversation as JSON
  /seed N       seed of sampling
  /help         this text
  /quit         leave, as does the end of input
Ctrl-C stops an answer.)";

struct Command {
  CommonOptions common;
  GenerationFlags generation;
  std::vector<std::string> images;
};

class Session {
 public:
  Session(const Command& command, Chat& chat)
      : command_(command), chat_(chat), interactive_(::isatty(STDIN_FILENO) != 0) {
    for (const auto& place : command.images) show(place);
  }

  void run() {
    note("/help lists the commands");
    for (std::string line; running_ && read(line);) {
      if (!interactive_) {
        take(line);
        continue;
      }
      try {
        take(line);
      } catch (const Error& error) {  // somebody is there who can try again
        note("error: " + std::string(error.what()));
      }
    }
    if (command_.common.json)
      print(messages().dump(-1, ' ', false, Json::error_handler_t::replace));
  }

 private:
  void note(const std::string& text) const {
    if (interactive_ && !command_.common.quiet) std::cerr << text << '\n';
  }
  bool read(std::string& line) const {
    if (interactive_) std::cerr << "> " << std::flush;
    return static_cast<bool>(std::getline(std::cin, line));
  }

  void take(const std::string& line) {
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
           "\"" + line.substr(0, 100) + "\" is no command; /help lists them");
    }
  }

  void show(const std::string& place) {
    pictures_.push_back(load_picture(place, command_.common));
    shown_.push_back(place);
  }

  void ask(const std::string& text) {
    const PatientWithInterrupts patient;
    const bool streamed = !command_.common.json;
    const std::size_t turn = chat_.messages().size();
    chat_.ask(text, pictures_, [streamed](const std::string& piece) {
      if (streamed) write(piece);
      return !interrupted();
    });
    names_[turn] = std::exchange(shown_, {});
    pictures_.clear();
    if (streamed) write("\n");
    if (interrupted() && !interactive_) throw Interrupted();
    forget_interrupt();
  }

  /// The conversation in the form that chat templates take.
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
  std::vector<Image> pictures_;                            // of the next question
  std::vector<std::string> shown_;                         // and where they came from
  std::map<std::size_t, std::vector<std::string>> names_;  // by message
};

void run(const Command& c) {
  const Processor processor = c.common.processor();
  Model model = c.common.load();
  GenerationConfig config = c.generation.config(c.common.seed);
  const auto& of_model = model.generation_config();
  if (!config.max_new_tokens && !config.max_length && !of_model.max_new_tokens &&
      !of_model.max_length)
    config.max_new_tokens = 256;
  Chat chat(model, processor, config);
  Session(c, chat).run();
}

}  // namespace

void add_chat(CLI::App& app) {
  auto c = std::make_shared<Command>();
  c->common.streaming = true;
  auto* command = app.add_subcommand("chat", "a conversation; /help in it lists its commands");
  command->add_option("IMAGE", c->images, "pictures shown with the first question");
  c->common.add_to(*command);
  c->generation.add_to(*command);
  command->callback([c] { run(*c); });
}

}  // namespace cli
