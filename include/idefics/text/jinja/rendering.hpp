// One rendering of a template: what it has used of its budget, and the line where it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/core/error.hpp>
#include <idefics/text/jinja/options.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

class Object;

class Rendering {
 public:
  explicit Rendering(const TemplateOptions& options)
      : options_(options), limits_(options_.limits) {}
  inline ~Rendering();
  Rendering(const Rendering&) = delete;
  Rendering& operator=(const Rendering&) = delete;

  const TemplateOptions& options() const { return options_; }
  const TemplateLimits& limits() const { return limits_; }
  /// Keeps what can come to contain itself (a namespace, the variables that a macro sees) until the
  /// rendering ends; all of these are then emptied, so that nothing is left that contains itself.
  inline void keep(Object& object);

  /// Counts operations.
  void step(std::uint64_t count = 1) {
    steps_ += count;
    if (steps_ > limits_.steps) exceeded("steps", limits_.steps);
  }
  /// Counts the work of reading or writing so many bytes.
  void read(std::size_t bytes) { step(bytes / 64); }

  /// Counts bytes of memory, until they are released.
  void hold(std::size_t bytes) {
    if (bytes > limits_.memory - held_) exceeded("bytes of memory", limits_.memory);
    held_ += bytes;
  }
  void release(std::size_t bytes) noexcept { held_ -= bytes; }
  /// Fails if so many bytes could not be held.
  void require(std::uint64_t bytes) const {
    if (bytes > limits_.memory - held_) exceeded("bytes of memory", limits_.memory);
  }

  /// Fails if something is nested more deeply than the limit.
  void require_depth(int levels) const {
    if (levels > limits_.depth)
      exceeded("levels of nesting", static_cast<std::uint64_t>(limits_.depth));
  }

  /// What makes jinja2 raise while it renders: a TypeError, an undefined variable that is used.
  [[noreturn, gnu::cold]] void fail(const std::string& what) const {
    idefics::fail(ErrorCode::template_failed,
                  "the chat template fails " + where() + ": " + one_line(what),
                  {.field = "chat_template"});
  }
  /// What makes jinja2 refuse a template before it renders anything.
  [[noreturn, gnu::cold]] void syntax(const std::string& what) const {
    idefics::fail(ErrorCode::invalid_tokenizer,
                  "invalid chat template, " + where() + ": " + one_line(what),
                  {.field = "chat_template"});
  }
  /// {{ raise_exception(what) }}
  [[noreturn, gnu::cold]] void refuse(const std::string& what) const {
    idefics::fail(ErrorCode::invalid_prompt,
                  "the chat template refuses the messages: " + one_line(what),
                  {.field = "chat_template"});
  }
  /// What jinja2 has, and this interpreter does not.
  [[noreturn, gnu::cold]] void unsupported(const std::string& what) const {
    idefics::fail(ErrorCode::invalid_tokenizer,
                  "unsupported chat template, " + where() + ": " + one_line(what),
                  {.field = "chat_template"});
  }
  [[noreturn, gnu::cold]] void exceeded(const char* what, std::uint64_t limit) const {
    idefics::fail(ErrorCode::template_limit,
                  "the chat template exceeds its limit of " + std::string(what) + " " + where(),
                  {.field = "chat_template", .limit = limit});
  }

  int line = 1;   // of the template, for messages
  int depth = 0;  // of the evaluation

 private:
  /// The beginning of a text, for a message.
  static std::string one_line(std::string_view what) {
    std::string text(what.substr(0, 800));
    for (char& c : text)
      if (static_cast<unsigned char>(c) < 0x20) c = ' ';
    return text;
  }
  std::string where() const { return "at line " + std::to_string(line); }

  const TemplateOptions options_;
  const TemplateLimits& limits_;
  std::vector<Object*> lasting_;
  std::uint64_t steps_ = 0, held_ = 0;
};

/// One level deeper, while it exists.
class Nested {
 public:
  explicit Nested(Rendering& r) : rendering_(r) { r.require_depth(++r.depth); }
  ~Nested() { --rendering_.depth; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;

 private:
  Rendering& rendering_;
};

/// Memory that a growing text or list occupies: held by the rendering until this ends.
class Held {
 public:
  explicit Held(Rendering& r) : rendering_(r) {}
  ~Held() { rendering_.release(bytes_); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

  /// At least so many bytes; doubles, as the capacity of what grows does.
  void grow_to(std::size_t bytes) {
    if (bytes <= bytes_) return;
    const std::size_t wanted = bytes > 2 * bytes_ ? bytes : 2 * bytes_;
    rendering_.hold(wanted - bytes_);
    bytes_ = wanted;
  }
  void release() { rendering_.release(bytes_), bytes_ = 0; }

 private:
  Rendering& rendering_;
  std::size_t bytes_ = 0;
};

/// A text that is being written.
class Buffer {
 public:
  explicit Buffer(Rendering& r) : rendering_(r), held_(r) {}

  Rendering& rendering() { return rendering_; }
  std::size_t size() const { return text_.size(); }

  void append(std::string_view text) {
    rendering_.read(text.size());
    held_.grow_to(text_.size() + text.size());
    text_.append(text);
  }
  void append(std::size_t count, char c) {
    rendering_.read(count);
    held_.grow_to(text_.size() + count);
    text_.append(count, c);
  }
  /// The text; the buffer is empty afterwards.
  std::string take() {
    held_.release();
    return std::exchange(text_, {});
  }

 private:
  Rendering& rendering_;
  Held held_;
  std::string text_;
};

}}}}  // namespace idefics::v0::detail::jinja
