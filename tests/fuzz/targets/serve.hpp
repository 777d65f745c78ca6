// Bodies of requests to `idefics serve`, and the ends of its answers.
#pragma once

#include <algorithm>
#include <string>

#include <cli/serve/requests.hpp>
#include <cli/serve/stop_text.hpp>

#include "fuzz/target.hpp"

namespace fuzz {

namespace serve {

inline void check_pictures(const std::vector<cli::serve::PictureSource>& pictures) {
  for (const auto& picture : pictures)
    expect(idefics::is_url(picture.url) || idefics::is_data_url(picture.url),
           "a path as a picture");
}

inline void check_options(const cli::serve::Options& options) {
  const auto& strings = options.config.stop_strings;
  for (const std::string& stop : options.stop) {
    expect(!stop.empty(), "an empty stop");
    expect(std::ranges::find(strings, stop) != strings.end(), "a stop that ends nothing");
  }
  expect(options.config.top_logprobs.value_or(0) <= cli::serve::most_top_logprobs, "many logprobs");
  expect(!options.include_usage || options.stream, "usage without a stream");
  if (options.format) (void)options.format->matches(R"({"a": [1, "b"]})");
}

/// Cuts the text before the first stop at once, and piece by piece.
inline void check_stop(std::string_view stop, std::string_view text) {
  if (stop.empty()) return;
  cli::serve::StopText cut({std::string(stop)});
  std::string found;
  for (std::size_t at = 0; at < text.size(); at += 1 + at % 5)
    found += cut.push(text.substr(at, 1 + at % 5));
  found += cut.finish();
  expect(found == text.substr(0, text.find(stop)), "another end than that of a search");
  expect(cut.stopped() == (text.find(stop) != std::string_view::npos), "another verdict");
}

/// Calls `f`; a typed error is a valid result.
template <class F>
void refusable(const F& f) {
  try {
    f();
  } catch (const idefics::Error& error) {
    expect(error.code() != idefics::ErrorCode::invalid_argument, error.what());
  }
}

}  // namespace serve

inline void serve_request(Bytes input) {
  using namespace serve;
  const std::string_view text = text_of(input);
  refusable([text] {
    const auto request = cli::serve::read_chat_request(text);
    for (const auto& message : request.messages) check_pictures(message.pictures);
    check_options(request.options);
  });
  refusable([text] {
    const auto request = cli::serve::read_completion_request(text);
    for (const auto& prompt : request.prompts)
      for (const auto& part : prompt)
        if (!part.picture.url.empty()) check_pictures({part.picture});
    check_options(request.options);
  });
  refusable([text] { check_pictures(cli::serve::read_classify_request(text).pictures); });
  refusable([text] { check_pictures(cli::serve::read_embedding_request(text).pictures); });
  const std::size_t line = std::min(text.find('\n'), text.size());
  check_stop(text.substr(0, std::min<std::size_t>(line, 8)), text.substr(line));
}

}  // namespace fuzz
