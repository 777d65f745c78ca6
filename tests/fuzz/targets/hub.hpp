// What a hub answers: lines of a head, and the list of files.
#pragma once

#include <idefics/io/hub/listing.hpp>

#include "fuzz/target.hpp"

namespace fuzz {

inline void hub(Bytes input) {
  using namespace idefics::detail;
  const std::string_view text = text_of(input);
  HubAnswer answer;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    read_hub_header(text.substr(at, end - at), answer);
    at = end + 1;
  }
  expect(answer.etag.size() + answer.next_page.size() <= 2 * text.size(), "a field from nowhere");
  (void)parse_hub_name(text);
  for (const idefics::HubFile& file : parse_hub_tree(text, "hub")) {
    expect(("/" + file.path + "/").find("/../") == std::string::npos && file.path.front() != '/',
           "a path that leads out");
    expect(file.hash.empty() || file.hash.size() == (file.sha256 ? 64u : 40u), "a wrong hash");
    expect(file.hash.find('/') == std::string::npos, "a hash that is a path");
  }
}

}  // namespace fuzz
