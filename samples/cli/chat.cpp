// idefics chat: a conversation in a terminal or, line by line, with another program.
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>

#include <idefics/chat.hpp>
#include <idefics/generation/options/effective.hpp>
#include <idefics/io/json.hpp>

#include "cli/args.hpp"
#include "cli/generation_flags.hpp"
#include "cli/generation_json.hpp"
#include "cli/line_editor.hpp"
#include "cli/pictures.hpp"
#include "cli/report.hpp"

namespace cli {
namespace {

using namespace idefics;

constexpr const char* help = R"(Ask a question; the answer is printed as it is generated. Commands:
  /image PATH   show a picture (a path or a URL) with the next question
  /undo         forget the last question and its answer
  /regenerate   answer the last question again; when sampling, with another seed
  /reset        forget the conversation
  /save FILE    write the conversation to a JSON file
  /load FILE    continue a conversation that was saved
  /seed N       set the random seed for sampling
  /help         print this text
  /quit         leave; so do the end of input, and Ctrl-C twice
Ctrl-C stops the current answer.)";

struct Command {
  CommonOptions common;
  GenerationFlags generation;
  std::vector<std::string> images;
  std::string system, context_overflow = "drop";
};

class Session {
 public:
  Session(const Command& command, Chat& chat, double load_s)
      : command_(command), chat_(chat), load_s_(load_s), interactive_(::isatty(STDIN_FILENO) != 0) {
    share(interactive_);
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
    while (running_) {
      const auto line = read();
      if (!line) break;
      if (!interactive_) {
        handle(*line);
        continue;
      }
      try {
        handle(*line);
      } catch (const Error& error) {  // the user can try again
        const bool stopped = error.code() == ErrorCode::cancelled && interrupted();
        forget_interrupt();
        note(stopped ? "stopped before the first word" : "error: " + one_line(error.what()));
      }
    }
  }

  void note(const std::string& text) const {
    if (interactive_ && !command_.common.quiet) std::cerr << text << '\n';
  }

  /// The next line that rank 0 reads.
  std::optional<std::string> read() {
    std::optional<std::string> line;
    if (is_first_rank()) line = read_here();
    bool there = line.has_value();
    share(there);
    if (!there) return std::nullopt;
    std::string text = line.value_or("");
    share(text);
    return text;
  }

  /// The next line without its end; nullopt at the end of input, or after a second Ctrl-C.
  std::optional<std::string> read_here() {
    std::string line;
    if (!interactive_) {
      if (!std::getline(std::cin, line)) return std::nullopt;
    } else {
      if (!editor_) editor_.emplace();
      auto typed = editor_->read("> ");
      if (!typed && interrupted()) {
        forget_interrupt();
        note("");
        if (std::exchange(leaving_, true)) return std::nullopt;
        note("Ctrl-C again, or /quit, leaves");
        return "";
      }
      if (!typed) return std::nullopt;
      line = std::move(*typed);
      leaving_ = false;
    }
    if (line.ends_with('\r')) line.pop_back();
    return line;
  }

  void handle(const std::string& line) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) return;
    if (!line.starts_with('/')) return ask(line);
    const auto space = line.find(' ');
    const std::string name = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
    using Handler = void (Session::*)(const std::string&);
    static const std::map<std::string, Handler> handlers{
        {"/quit", &Session::quit},   {"/exit", &Session::quit},
        {"/help", &Session::usage},  {"/reset", &Session::reset},
        {"/image", &Session::image}, {"/undo", &Session::undo},
        {"/seed", &Session::seed},   {"/regenerate", &Session::regenerate},
        {"/save", &Session::save},   {"/load", &Session::load}};
    const auto handler = handlers.find(name);
    if (handler == handlers.end()) refuse_command(line, name);
    (this->*handler->second)(rest);
  }

  [[noreturn]] static void refuse_command(const std::string& line, const std::string& name) {
    std::error_code unknown;
    if (line.size() < 4096 && std::filesystem::exists(unquoted_path(line), unknown))
      fail(ErrorCode::invalid_option, "to show a picture: /image " + line);
    fail(ErrorCode::invalid_option,
         "\"" + name.substr(0, 100) + "\" is not a valid command; /help lists them");
  }

  void quit(const std::string&) { running_ = false; }
  void usage(const std::string&) { std::cerr << help << '\n'; }
  void reset(const std::string&) {
    chat_.reset(), pictures_.clear(), names_.clear(), shown_.clear();
    begin();
    note("a new conversation");
  }

  void image(const std::string& rest) {
    const std::string location = unquoted_path(rest);
    if (location.empty()) fail(ErrorCode::invalid_option, "/image takes a path or a URL");
    show(location);
    const Image& picture = pictures_.back();
    note(location.substr(0, 200) + ": " + std::to_string(picture.width) + " x " +
         std::to_string(picture.height) + " pixels, shown with the next question");
  }

  void seed(const std::string& rest) {
    if (rest.empty() || rest.size() > 18 || rest.find_first_not_of("0123456789") != rest.npos)
      fail(ErrorCode::invalid_option, "/seed takes a number of up to 18 digits");
    chat_.config.seed = std::stoull(rest);
  }

  /// The index of the last question. Throws `invalid_option` if nothing was asked.
  std::size_t last_question() const {
    const auto& messages = chat_.messages();
    if (messages.size() < 2 || messages[messages.size() - 2].role != "user")
      fail(ErrorCode::invalid_option, "nothing was asked yet");
    return messages.size() - 2;
  }

  /// Drops the messages from the last question on.
  void forget_last() {
    auto messages = chat_.messages();
    messages.resize(last_question());
    names_.erase(messages.size());
    chat_.restore(std::move(messages));
  }

  void undo(const std::string&) {
    forget_last();
    note("the last question is forgotten");
  }

  void regenerate(const std::string&) {
    const std::size_t turn = last_question();
    const ChatMessage question = chat_.messages()[turn];
    const auto names = names_.find(turn);
    shown_ = names == names_.end() ? std::vector<std::string>{} : names->second;
    pictures_ = question.pictures;
    forget_last();
    chat_.config.seed = chat_.config.seed.value_or(0) + 1;
    ask(question.text);
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
      cli::note("note: the context is full, and the model no longer sees the oldest " +
                std::to_string(chat_.dropped()) + " messages");
    if (command_.common.timings) report_timings();
    if (interrupted() && !interactive_) throw Interrupted();
    forget_interrupt();
  }

  void report_timings() {
    timings_.push_back(timings_json(chat_.output(), load_s_));
    if (command_.common.json) return;
    clear_bar();
    std::cerr << timings_.back().dump() << '\n';
  }

  void print_json() const {
    if (!command_.common.json) return;
    Json json = messages();
    if (command_.common.timings) json["timings"] = timings_;
    print(dump(json));
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

  void save(const std::string& rest) {
    const std::string path = unquoted_path(rest);
    if (path.empty()) fail(ErrorCode::invalid_option, "/save takes the name of a file");
    if (!is_first_rank()) return;
    AtomicFile file(path);
    file.write(messages().dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
    file.commit();
    note("saved " + path);
  }

  /// Replaces the conversation by one that /save wrote. Nothing changes if that fails.
  void load(const std::string& rest) {
    const std::string path = unquoted_path(rest);
    if (path.empty()) fail(ErrorCode::invalid_option, "/load takes the name of a file");
    const Json json = read_json_file(path);
    const auto refuse = [&](const std::string& field) {
      fail(ErrorCode::invalid_prompt, "this is not a conversation that /save wrote",
           {.file = path, .field = field});
    };
    if (!json.is_object() || !json.contains("messages") || !json["messages"].is_array())
      refuse("messages");
    std::vector<ChatMessage> messages;
    std::map<std::size_t, std::vector<std::string>> names;
    for (const Json& item : json["messages"]) {
      const std::string field = "messages[" + std::to_string(messages.size()) + "]";
      if (!item.is_object() || !item.contains("role") || !item["role"].is_string() ||
          !item.contains("content") || !item["content"].is_array())
        refuse(field);
      ChatMessage message{.role = item["role"].get<std::string>()};
      for (const Json& part : item["content"])
        read_part(part, message, names[messages.size()], [&] { refuse(field + ".content"); });
      messages.push_back(std::move(message));
    }
    chat_.restore(std::move(messages));
    names_ = std::move(names);
    pictures_.clear(), shown_.clear();
    note("loaded " + path + ": " + std::to_string(chat_.messages().size()) + " messages");
  }

  template <class Refuse>
  void read_part(const Json& part, ChatMessage& message, std::vector<std::string>& names,
                 const Refuse& refuse) const {
    const auto text = [&](const char* key) {
      return part.is_object() && part.contains(key) && part[key].is_string();
    };
    if (text("image")) {
      names.push_back(part["image"].get<std::string>());
      message.pictures.push_back(load_picture(names.back(), command_.common));
    } else if (text("text")) {
      message.text += part["text"].get<std::string>();
    } else {
      refuse();
    }
  }

  const Command& command_;
  Chat& chat_;
  double load_s_;
  bool interactive_, running_ = true;
  bool leaving_ = false;  // after a first Ctrl-C at the prompt
  std::optional<LineEditor> editor_;
  std::vector<Image> pictures_;                            // shown with the next question
  std::vector<std::string> shown_;                         // their paths or URLs
  std::map<std::size_t, std::vector<std::string>> names_;  // the same, by message
  Json timings_ = Json::array();                           // by answer, with --timings
};

void run(const Command& c) {
  const auto begin = std::chrono::steady_clock::now();
  const Processor processor = c.common.processor();
  Model model = c.common.load();
  const double load_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  GenerationConfig config = c.generation.config(c.common.seed);
  const auto& defaults = model.generation_config();
  if (!c.common.quiet)
    for (const Warning& warning : option_warnings(config, defaults)) warn(warning);
  if (!config.max_new_tokens && !config.max_length && !defaults.max_new_tokens &&
      !defaults.max_length)
    config.max_new_tokens = 256;
  Chat chat(model, processor, config);
  if (c.context_overflow == "fail") chat.context_overflow = ContextOverflow::fail;
  if (is_judged(c.common.model, c.common.quiet)) judge(1);
  Session(c, chat, load_s).run();
}

}  // namespace

void add_chat(CLI::App& app) {
  auto c = std::make_shared<Command>();
  c->common.streaming = true;
  auto* command =
      app.add_subcommand("chat", "hold a conversation about pictures; /help lists its commands");
  command->add_option("IMAGE", c->images,
                      "paths or URLs of pictures to show with the first question");
  command->add_option("--system", c->system, "a system text, with which the conversation begins")
      ->type_name("TEXT")
      ->group(prompt_group);
  command
      ->add_option("--context-overflow", c->context_overflow,
                   "when the context is full: drop the oldest turns, or fail")
      ->check(CLI::IsMember({"drop", "fail"}))
      ->default_str("drop")
      ->group(prompt_group);
  c->common.add_to(*command, uses_everything);
  c->generation.add_to(*command);
  command->callback([c] { run(*c); });
}

}  // namespace cli
