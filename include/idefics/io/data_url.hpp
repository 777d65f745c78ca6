// Pictures embedded in a URL: data:image/png;base64,iVBORw0K… Source: RFC 2397.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include <idefics/io/base64.hpp>

namespace idefics { inline namespace v0 {

/// Whether a text begins with data:, in any case.
inline bool is_data_url(std::string_view url) {
  return detail::equal_ignoring_case(url.substr(0, 5), "data:");
}

/// The bytes of a data: URL. Its media type is ignored, since pictures are recognized by their own
/// bytes. Base64 may be in several lines. Throws `fetch_failed` with the offset of the fault, or
/// with `max_bytes` as the limit.
inline std::vector<std::byte> decode_data_url(std::string_view url, std::uint64_t max_bytes) {
  const auto comma = url.find(',');
  detail::TextOfBytes where{.max_bytes = max_bytes};
  if (!is_data_url(url) || comma == std::string_view::npos)
    where.refuse("a data: URL needs a comma before its data", url.size());
  const std::string_view about = url.substr(0, comma), data = url.substr(comma + 1);
  const auto last = about.substr(about.find_last_of(";:") + 1);
  const auto word = last.substr(std::min(last.find_first_not_of(' '), last.size()));
  const bool base64 =
      about.find(';') != std::string_view::npos &&
      detail::equal_ignoring_case(word.substr(0, word.find_last_not_of(' ') + 1), "base64");
  where.offset = comma + 1;
  if (!base64) return detail::decode_percent(data, where);
  if (data.find('%') == std::string_view::npos) return detail::decode_base64(data, where);
  const auto plain = detail::decode_percent(data, {.offset = where.offset});  // "+" may be escaped
  return detail::decode_base64({reinterpret_cast<const char*>(plain.data()), plain.size()},
                               {.max_bytes = max_bytes});
}

}}  // namespace idefics::v0
