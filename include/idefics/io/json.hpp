// JSON with limits: bounded depth and size, no duplicate names, strict UTF-8, nothing after the
// end. nlohmann/json parses; its SAX interface lets us refuse input before anything is built.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <idefics/io/json_fwd.hpp>
#include <idefics/io/mapped_file.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// Fails with the parser's message, without its prefix and cut short: it may quote the whole input.
[[noreturn]] inline void fail_json(const nlohmann::json::exception& error, const std::string& file,
                                   std::size_t position) {
  std::string text = error.what();
  if (const auto at = text.find("; last read:"); at != std::string::npos) text.resize(at);
  if (const auto at = text.find("] "); at != std::string::npos) text.erase(0, at + 2);
  fail(ErrorCode::invalid_json, "this is not JSON: " + text.substr(0, 200),
       {.file = file, .offset = position});
}

class BoundedJson final : public nlohmann::json_sax<Json> {
 public:
  BoundedJson(std::string_view file, const JsonLimits& limits) : file_(file), limits_(limits) {}

  Json take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (open_.back()->contains(name))
      fail(ErrorCode::duplicate_key, "duplicate name \"" + name.substr(0, 200) + "\"",
           {.file = file_, .field = name.substr(0, 200)});
    key_ = std::move(name);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& error) override {
    fail_json(error, file_, position);
  }

 private:
  template <class T>
  Json* place(T&& value) {
    if (open_.empty()) {
      root_ = std::forward<T>(value);
      return &root_;
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
    if (std::ssize(open_) >= limits_.depth)
      fail(ErrorCode::invalid_json, "arrays and objects are nested too deeply",
           {.file = file_, .limit = static_cast<std::uint64_t>(limits_.depth)});
    open_.push_back(place(std::move(container)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::string file_;
  JsonLimits limits_;
  Json root_;
  std::vector<Json*> open_;
  std::string key_;
};

/// Feeds the events of `text` to `handler`. Handlers are called through their base class, so that
/// there is one parser, not one for each of them.
IDEFICS_ENGINE_INLINE bool sax_parse(std::string_view text, nlohmann::json_sax<Json>& handler);

}  // namespace detail

/// Parses `text`; `file` is named in errors. Throws `invalid_json`, `duplicate_key`,
/// `oversized_file`.
IDEFICS_ENGINE_INLINE Json parse_json(std::string_view text, std::string_view file,
                                      const JsonLimits& limits = {});

inline Json read_json_file(const std::filesystem::path& path, const JsonLimits& limits = {}) {
  return parse_json(detail::read_text_file(path, limits.bytes), path.string(), limits);
}

#if IDEFICS_ENGINE_BODIES

IDEFICS_ENGINE_INLINE bool detail::sax_parse(std::string_view text,
                                             nlohmann::json_sax<Json>& handler) {
  return Json::sax_parse(text.begin(), text.end(), &handler);
}

IDEFICS_ENGINE_INLINE Json parse_json(std::string_view text, std::string_view file,
                                      const JsonLimits& limits) {
  if (text.size() > limits.bytes)
    fail(ErrorCode::oversized_file, "the JSON text is too large",
         {.file = std::string(file), .actual = text.size(), .limit = limits.bytes});
  detail::BoundedJson handler(file, limits);
  if (!detail::sax_parse(text, handler))
    fail(ErrorCode::invalid_json, "this is not JSON", {.file = std::string(file)});
  return handler.take();
}

#endif

}}  // namespace idefics::v0
