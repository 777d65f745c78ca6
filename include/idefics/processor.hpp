// From interleaved text and pictures to the four input tensors of the model.
// Source: transformers' IdeficsProcessor. docs/layers/preprocessing.md works through the masks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <idefics/image/processor.hpp>
#include <idefics/io/url.hpp>
#include <idefics/model/inputs.hpp>
#include <idefics/text/tokenizer.hpp>

namespace idefics { inline namespace v0 {

/// One item of a prompt: a text or a picture.
class PromptItem {
 public:
  PromptItem(const char* text) : PromptItem(std::string(text)) {}
  PromptItem(std::string_view text) : PromptItem(std::string(text)) {}
  /// A text or, if it is a URL, the picture at that URL.
  PromptItem(std::string text) : value_(std::move(text)) {}
  PromptItem(Image image) : value_(std::move(image)) {}
  /// Always a text, even if it looks like a URL. `breaks`: offsets in it that no token spans, as in
  /// EncodeOptions.
  static PromptItem text(std::string text, std::vector<std::size_t> breaks = {}) {
    PromptItem item(std::move(text));
    item.kind_ = Kind::text;
    item.breaks_ = std::move(breaks);
    return item;
  }
  /// Always the picture at a URL: http, https or data.
  static PromptItem image_url(std::string url) {
    PromptItem item(std::move(url));
    item.kind_ = Kind::url;
    return item;
  }

  const Image* image() const { return std::get_if<Image>(&value_); }
  const std::string& string() const { return std::get<std::string>(value_); }
  const std::vector<std::size_t>& breaks() const { return breaks_; }
  /// Whether this string, passed without surrounding spaces, refers to a picture.
  bool names_picture(std::string_view stripped) const {
    return kind_ == Kind::url || (kind_ == Kind::unspecified && is_url(stripped));
  }

 private:
  enum class Kind { unspecified, text, url };

  std::variant<std::string, Image> value_;
  Kind kind_ = Kind::unspecified;
  std::vector<std::size_t> breaks_;
};

using Prompt = std::vector<PromptItem>;

/// To what length rows are padded: that of the longest, or max_length; or they must be equal.
enum class Padding { longest, max_length, none };

struct ProcessorOptions {
  std::optional<bool> add_eos_token{};               // unset: from tokenizer_config.json
  std::optional<bool> add_end_of_utterance_token{};  // unset: if the tokenizer has the token
  std::optional<PaddingSide> padding_side{};         // unset: from tokenizer_config.json
  std::optional<std::int64_t> image_size{};          // unset: from preprocessor_config.json
  Padding padding = Padding::longest;
  bool truncation = false;                   // whether prompts are cut to max_length
  std::optional<std::int64_t> max_length{};  // tokens; unset: model_max_length of the tokenizer
  std::optional<TruncationSide> truncation_side{};  // unset: from tokenizer_config.json
  /// Fetches the bytes at a URL. Unset: fetch_url with its own limits.
  std::function<std::vector<std::byte>(const std::string&)> fetch{};
  /// How pictures at URLs are decoded; an Image in a prompt already is.
  ImageOptions image_options = ImageOptions::load_image();
};

class Processor {
 public:
  /// Throws the errors of reading the tokenizer files and preprocessor_config.json.
  static Processor from_pretrained(std::string_view directory_or_repo);
  Processor(Tokenizer tokenizer, ImageProcessor image_processor)
      : tokenizer_(std::move(tokenizer)), image_processor_(image_processor) {}

  Inputs operator()(const Prompt& prompt, const ProcessorOptions& options = {}) const {
    return (*this)(std::vector<Prompt>{prompt}, options);
  }
  /// For processor({image, "text"}); makes a call with two texts unambiguous.
  Inputs operator()(std::initializer_list<PromptItem> prompt,
                    const ProcessorOptions& options = {}) const {
    return (*this)(std::vector<Prompt>{Prompt(prompt)}, options);
  }
  /// Throws `empty_prompt` for a batch without rows, `invalid_utf8` naming the item and the offset
  /// in it, `out_of_memory` if the pictures do not fit in memory, and for pictures at URLs
  /// `url_refused`, `fetch_failed` and the errors of decoding.
  Inputs operator()(const std::vector<Prompt>& batch, const ProcessorOptions& options = {}) const;

  const Tokenizer& tokenizer() const { return tokenizer_; }
  const ImageProcessor& image_processor() const { return image_processor_; }
  std::vector<std::string> batch_decode(const std::vector<std::vector<std::int32_t>>& rows,
                                        DecodeOptions options = {}) const {
    return tokenizer_.batch_decode(rows, options);
  }
  /// The ids of both picture tokens, which answers should not contain: the guide's bad_words_ids.
  std::vector<std::vector<std::int32_t>> image_token_ids() const {
    std::vector<std::vector<std::int32_t>> ids;
    for (const char* token : {fake_token, image_token})
      if (const auto id = tokenizer_.token_to_id(token)) ids.push_back({*id});
    return ids;
  }

  static constexpr const char* fake_token = "<fake_token_around_image>";
  static constexpr const char* image_token = "<image>";
  static constexpr const char* end_of_utterance_token = "<end_of_utterance>";

 private:
  struct Row {
    std::vector<std::int32_t> ids;
    std::vector<Image> pictures;
  };
  Row read(const Prompt& prompt, std::size_t number, const ProcessorOptions& options) const;
  /// The content of bos_token or eos_token. Throws `invalid_tokenizer` if it is not set.
  std::string special(const char* name) const;
  std::int64_t max_length(const ProcessorOptions& options) const;
  std::vector<std::int64_t> pictures_seen(std::span<const std::int64_t> ids) const;

  Tokenizer tokenizer_;
  ImageProcessor image_processor_;
};

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <idefics/core/available_memory.hpp>
#include <idefics/io/hub_cache.hpp>
#include <idefics/text/utf8.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// Throws `invalid_utf8` naming item `item` of prompt `number`, both counted from 0.
inline void check_utf8(std::string_view text, std::size_t number, std::size_t item) {
  if (const auto valid = valid_utf8_prefix(text); valid != text.size())
    fail(ErrorCode::invalid_utf8, "a text of the prompt is not UTF-8",
         {.field = "prompts[" + std::to_string(number) + "][" + std::to_string(item) + "]",
          .offset = valid});
}

}  // namespace detail

IDEFICS_ENGINE_INLINE Processor Processor::from_pretrained(std::string_view directory_or_repo) {
  const auto directory = resolve_model(directory_or_repo);
  if (const auto path = directory / "processor_config.json"; std::filesystem::exists(path))
    if (const detail::JsonDocument json = detail::read_document(path);
        json->is_object() && json->contains("audio_tokenizer"))
      fail(ErrorCode::invalid_config, "IDEFICS has no such part: remove the key",
           {.file = path.string(), .field = "audio_tokenizer"});
  return {Tokenizer::from_pretrained(directory), ImageProcessor::from_pretrained(directory)};
}

IDEFICS_ENGINE_INLINE std::string Processor::special(const char* name) const {
  if (const auto content = tokenizer_.special_token(name)) return *content;
  fail(ErrorCode::invalid_tokenizer, "prompts need this token: set it in tokenizer_config.json",
       {.field = name});
}

/// The bos token and the joined items: texts lose the spaces at their ends, pictures become their
/// tokens.
IDEFICS_ENGINE_INLINE Processor::Row Processor::read(const Prompt& prompt, std::size_t number,
                                                     const ProcessorOptions& options) const {
  Row row;
  std::string text = special("bos_token");
  std::vector<std::size_t> breaks;
  bool last_was_image = false, last_was_text = false;
  const bool end_of_utterance = options.add_end_of_utterance_token.value_or(
      tokenizer_.call_arguments().add_end_of_utterance_token.value_or(
          tokenizer_.has_special(end_of_utterance_token)));
  auto add_image = [&](Image image) {
    text.append(last_was_image ? "" : fake_token).append(image_token).append(fake_token);
    row.pictures.push_back(std::move(image));
    last_was_image = true, last_was_text = false;
  };
  for (std::size_t i = 0; i < prompt.size(); ++i) {
    const PromptItem& item = prompt[i];
    if (const Image* image = item.image()) {
      add_image(*image);
      continue;
    }
    std::string_view part = item.string();
    part.remove_prefix(std::min(part.find_first_not_of(' '), part.size()));
    part.remove_suffix(part.size() - 1 - part.find_last_not_of(' '));
    if (item.names_picture(part)) {
      const std::string url(part);
      add_image(Image::decode(options.fetch ? options.fetch(url) : fetch_url(url),
                              url_without_secrets(url), options.image_options));
      continue;
    }
    detail::check_utf8(item.string(), number, i);
    if (end_of_utterance && last_was_text) text.append(end_of_utterance_token);
    const auto dropped = static_cast<std::size_t>(part.data() - item.string().data());
    for (const std::size_t at : item.breaks())
      if (at > dropped && at < dropped + part.size()) breaks.push_back(text.size() + at - dropped);
    text.append(part);
    last_was_image = false, last_was_text = true;
  }
  if (options.add_eos_token.value_or(tokenizer_.add_eos_token())) text.append(special("eos_token"));
  row.ids = tokenizer_.encode(text, {.breaks = breaks});
  if (options.truncation) {
    const auto longest = static_cast<std::size_t>(max_length(options));
    const auto side = options.truncation_side.value_or(tokenizer_.truncation_side());
    if (row.ids.size() > longest && side == TruncationSide::left)
      row.ids.erase(row.ids.begin(), row.ids.end() - static_cast<std::ptrdiff_t>(longest));
    row.ids.resize(std::min(row.ids.size(), longest));
  }
  return row;
}

/// The length that truncation and padding refer to. Throws `invalid_option`.
IDEFICS_ENGINE_INLINE std::int64_t Processor::max_length(const ProcessorOptions& options) const {
  const auto length = options.max_length ? options.max_length : tokenizer_.model_max_length();
  constexpr std::int64_t most = 1 << 24;
  if (!length || *length < 1 || *length > most)
    fail(ErrorCode::invalid_option,
         length ? std::to_string(*length) + " is not between 1 and " + std::to_string(most)
                : "truncation and padding to a length need max_length, since the tokenizer has no "
                  "model_max_length",
         {.field = "max_length", .limit = most});
  return *length;
}

/// For every token, the latest picture up to and including it; -1 for none, and after an eos.
IDEFICS_ENGINE_INLINE std::vector<std::int64_t> Processor::pictures_seen(
    std::span<const std::int64_t> ids) const {
  const std::int32_t image = tokenizer_.token_to_id(image_token).value_or(-1),
                     eos = tokenizer_.special_token("eos_token") ? tokenizer_.eos_id() : -1;
  std::vector<std::int64_t> seen;
  std::int64_t count = -1;
  bool ended = false;
  for (const std::int64_t id : ids) {
    if (id == image) ++count, ended = false;
    seen.push_back(ended ? -1 : count);
    if (id == eos) ended = true;
  }
  return seen;
}

IDEFICS_ENGINE_INLINE Inputs Processor::operator()(const std::vector<Prompt>& batch,
                                                   const ProcessorOptions& options) const {
  if (batch.empty()) fail(ErrorCode::empty_prompt, "the batch has no prompts");
  std::vector<Row> rows;
  std::int64_t t = 0, n = 1;
  bool any_picture = false;
  // the token that has a place for a picture; the masks know <image> alone
  const std::int32_t image =
      tokenizer_.token_to_id(tokenizer_.special_token("image_token").value_or(image_token))
          .value_or(-1);
  for (const Prompt& prompt : batch) {
    rows.push_back(read(prompt, rows.size(), options));
    Row& row = rows.back();
    any_picture = any_picture || !row.pictures.empty();
    n = std::max(n, std::ssize(row.pictures));
    // at most one picture per image token; further tokens were typed in texts, and see nothing
    row.pictures.resize(std::min<std::size_t>(
        row.pictures.size(), static_cast<std::size_t>(std::ranges::count(row.ids, image))));
    if (options.padding == Padding::none && rows.size() > 1 && std::ssize(row.ids) != t)
      fail(ErrorCode::invalid_option,
           "prompts of " + std::to_string(t) + " and " + std::to_string(row.ids.size()) +
               " tokens need padding",
           {.field = "padding"});
    t = std::max(t, std::ssize(row.ids));
  }
  if (options.padding == Padding::max_length) t = std::max(t, max_length(options));
  const std::int64_t multiple = tokenizer_.call_arguments().pad_to_multiple_of;
  if (options.padding != Padding::none) t = (t + multiple - 1) / multiple * multiple;
  const auto b = std::ssize(rows);
  const std::int64_t size = options.image_size.value_or(image_processor_.image_size),
                     area = 3 * size * size;
  detail::require_memory(Checked(static_cast<std::uint64_t>(b)) * static_cast<std::uint64_t>(n) *
                             static_cast<std::uint64_t>(area) * size_of(DType::f32),
                         std::to_string(b) + " prompts of " + std::to_string(n) + " pictures each",
                         "pixel_values");
  Inputs in{Tensor::empty(DType::i64, {b, t}), Tensor::zeros(DType::i64, {b, t}),
            Tensor::zeros(DType::f32, {b, n, 3, size, size}),
            Tensor::zeros(any_picture ? DType::i64 : DType::boolean, {b, t, n})};
  const auto ids = in.input_ids.as_mutable<std::int64_t>(),
             mask = in.attention_mask.as_mutable<std::int64_t>();
  const auto short_row = [t](const Row& row) { return std::ssize(row.ids) < t; };
  if (std::ranges::any_of(rows, short_row))  // else a tokenizer without a pad token will do
    std::ranges::fill(ids, tokenizer_.pad_id());
  const bool left = options.padding_side.value_or(tokenizer_.padding_side()) == PaddingSide::left;
  for (std::int64_t r = 0; r < b; ++r) {
    const Row& row = rows[static_cast<std::size_t>(r)];
    const std::int64_t first = r * t + (left ? t - std::ssize(row.ids) : 0);
    for (std::size_t i = 0; i < row.ids.size(); ++i) {
      const auto at = static_cast<std::size_t>(first) + i;
      ids[at] = row.ids[i], mask[at] = 1;
    }
    // over the padded row: as in the reference, padding after a text sees what its last token sees
    const auto seen =
        pictures_seen(ids.subspan(static_cast<std::size_t>(r * t), static_cast<std::size_t>(t)));
    for (std::size_t i = 0; any_picture && i < seen.size(); ++i) {
      const auto at = (static_cast<std::size_t>(r * t) + i) * static_cast<std::size_t>(n);
      if (seen[i] >= 0 && seen[i] < n)
        in.image_attention_mask.as_mutable<std::int64_t>()[at + static_cast<std::size_t>(seen[i])] =
            1;
    }
    for (std::size_t i = 0; i < row.pictures.size(); ++i)
      image_processor_(
          row.pictures[i],
          in.pixel_values.as_mutable<float>().subspan(
              static_cast<std::size_t>((r * n) * area) + i * static_cast<std::size_t>(area),
              static_cast<std::size_t>(area)),
          size);
  }
  return in;
}

}}  // namespace idefics::v0

#endif
