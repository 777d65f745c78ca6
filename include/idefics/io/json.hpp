// JSON with limits: bounded depth and size, no duplicate names, strict UTF-8, nothing after the
// end. nlohmann/json parses; its SAX interface lets us refuse input before anything is built. What
// Python's json writes beyond JSON is accepted unless the options say otherwise
// (io/json_dialect.hpp).
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <idefics/io/json_dialect.hpp>
#include <idefics/io/json_fwd.hpp>
#include <idefics/io/mapped_file.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// Fails with the parser's message, without its prefix and cut short: it may quote the whole input.
/// Line and column are kept if they are those of the original text.
[[noreturn]] inline void fail_json(const nlohmann::json::exception& error, const std::string& file,
                                   std::size_t offset, bool has_place = true) {
  std::string text = error.what();
  if (const auto at = text.find("; last read:"); at != std::string::npos) text.resize(at);
  text.erase(0, text.find("] ") + 2);
  if (!has_place) text.erase(0, text.find(": ") + 2);
  fail(ErrorCode::invalid_json, "this is not JSON: " + text.substr(0, 200),
       {.file = file, .offset = offset});
}

/// Removes all elements of a value, one at a time and from the inside out.
inline void dismantle(Json& value) noexcept {
  if (auto* list = value.get_ptr<Json::array_t*>()) {
    for (; !list->empty(); list->pop_back()) dismantle(list->back());
  } else if (auto* map = value.get_ptr<Json::object_t*>()) {
    for (; !map->empty(); map->erase(map->begin())) dismantle(map->begin()->second);
  } else if (value.is_structured()) {
    // null that was to become an array or object, and could not allocate it: not to be destroyed
    std::construct_at(&value);
  }
}

/// Holds a value, and destroys it without allocating. The destructor of an array or object that is
/// not empty puts its elements on a list, and ends the program if there is no memory for that.
class JsonDocument {
 public:
  JsonDocument() = default;
  explicit JsonDocument(Json root) noexcept : root_(std::move(root)) {}
  JsonDocument(JsonDocument&& other) noexcept : root_(std::move(other.root_)) {}
  JsonDocument& operator=(JsonDocument&& other) noexcept {
    root_.swap(other.root_);
    return *this;
  }
  ~JsonDocument() { dismantle(root_); }

  Json& operator*() noexcept { return root_; }
  const Json& operator*() const noexcept { return root_; }
  Json* operator->() noexcept { return &root_; }
  const Json* operator->() const noexcept { return &root_; }

 private:
  Json root_;
};

/// Whether a value is this text. Json's own == allocates, and ends the program if it cannot.
inline bool is_text(const Json& value, std::string_view text) {
  return value.is_string() && value.get_ref<const std::string&>() == text;
}

class BoundedJson final : public nlohmann::json_sax<Json> {
 public:
  /// `dialect` is what the parser reads, or null if it reads the original text.
  BoundedJson(std::string_view file, const JsonOptions& options, const PythonJson* dialect)
      : file_(file), options_(options), dialect_(dialect) {}

  JsonDocument take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override {
    if (dialect_ == nullptr) return put(std::move(value));
    if (const auto number = PythonJson::number_in(value)) return put(*number);
    PythonJson::restore(value);
    return put(std::move(value));
  }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (dialect_ != nullptr) restore_key(name);
    if (open_.back()->contains(name))
      fail(ErrorCode::duplicate_key, "duplicate name \"" + name.substr(0, 200) + "\"",
           {.file = file_, .field = name.substr(0, 200)});
    key_ = std::move(name);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& error) override {
    const std::size_t offset = position - std::min<std::size_t>(position, 1);  // counts bytes read
    const bool same = dialect_ == nullptr;
    fail_json(error, file_, same ? offset : dialect_->original_position(offset), same);
  }

 private:
  void restore_key(string_t& name) const {
    if (PythonJson::number_in(name))
      fail(ErrorCode::invalid_json, "this is not JSON: a name must be a string", {.file = file_});
    PythonJson::restore(name);
  }
  template <class T>
  Json* place(T&& value) {
    if (open_.empty()) {
      *root_ = std::forward<T>(value);
      return &*root_;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::forward<T>(value));
      return &parent.back();
    }
    return &(parent[key_] = std::forward<T>(value));
  }
  template <class T>
  bool put(T&& value) {
    place(std::forward<T>(value));
    return true;
  }
  bool open(Json&& container) {
    if (std::ssize(open_) >= options_.depth)
      fail(ErrorCode::invalid_json, "arrays and objects are nested too deeply",
           {.file = file_, .limit = static_cast<std::uint64_t>(options_.depth)});
    open_.push_back(place(std::move(container)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::string file_;
  JsonOptions options_;
  const PythonJson* dialect_;
  JsonDocument root_;
  std::vector<Json*> open_;
  std::string key_;
};

/// Throws `invalid_json` for a zero byte, which the parser would take for the end of the text.
inline void refuse_zero_bytes(std::string_view text, const std::string& file) {
  if (const auto zero = text.find('\0'); zero != std::string_view::npos)
    fail(ErrorCode::invalid_json, "this is not JSON: there is a zero byte",
         {.file = file, .offset = zero});
}

/// Feeds the events of `text` to `handler`, after refuse_zero_bytes. Handlers are called through
/// their base class, so that there is one parser, not one for each of them. Handlers throw, and
/// return true.
IDEFICS_ENGINE_INLINE void sax_parse(std::string_view text, const std::string& file,
                                     nlohmann::json_sax<Json>& handler);

/// parse_json and read_json_file, for callers that must not fail to destroy the result.
IDEFICS_ENGINE_INLINE JsonDocument parse_document(std::string_view text, std::string_view file,
                                                  const JsonOptions& options = {});
inline JsonDocument read_document(const std::filesystem::path& path,
                                  const JsonOptions& options = {}) {
  return parse_document(read_text_file(path, options.bytes), path.string(), options);
}

}  // namespace detail

/// Parses `text`; `file` is named in errors. Throws `invalid_json`, `duplicate_key`,
/// `oversized_file`.
inline Json parse_json(std::string_view text, std::string_view file,
                       const JsonOptions& options = {}) {
  return std::move(*detail::parse_document(text, file, options));
}

inline Json read_json_file(const std::filesystem::path& path, const JsonOptions& options = {}) {
  return parse_json(detail::read_text_file(path, options.bytes), path.string(), options);
}

#if IDEFICS_ENGINE_BODIES

IDEFICS_ENGINE_INLINE void detail::sax_parse(std::string_view text, const std::string& file,
                                             nlohmann::json_sax<Json>& handler) {
  refuse_zero_bytes(text, file);
  Json::sax_parse(text.begin(), text.end(), &handler);
}

IDEFICS_ENGINE_INLINE detail::JsonDocument detail::parse_document(std::string_view text,
                                                                  std::string_view file,
                                                                  const JsonOptions& options) {
  if (text.size() > options.bytes)
    fail(ErrorCode::oversized_file, "the JSON text is too large",
         {.file = std::string(file), .actual = text.size(), .limit = options.bytes});
  refuse_zero_bytes(text, std::string(file));
  const PythonJson dialect(options.strict ? std::string_view() : text);
  const bool rewritten = dialect.rewritten();
  BoundedJson handler(file, options, rewritten ? &dialect : nullptr);
  sax_parse(rewritten ? dialect.json() : text, std::string(file), handler);
  return handler.take();
}

#endif

}}  // namespace idefics::v0
