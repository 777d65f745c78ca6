// Pictures of requests.
#include "cli/serve/pictures.hpp"

#include <utility>

#include <idefics/image/resize.hpp>

namespace cli::serve {

using namespace idefics;

namespace {

FetchOptions fetch_options(const Settings& settings, std::function<bool()> wanted) {
  FetchOptions options{.max_bytes = ImageLimits::for_servers().max_file_bytes,
                       .allow_private = settings.allow_private_urls,
                       .offline = settings.offline};
  options.on_progress = [wanted = std::move(wanted)](std::uint64_t, std::uint64_t) {
    return wanted();
  };
  return options;
}

}  // namespace

PictureLoader::PictureLoader(const Settings& settings, std::int64_t size, Gate& gate,
                             Metrics& metrics, std::function<bool()> wanted)
    : size_(size),
      gate_(gate),
      metrics_(metrics),
      fetch_(fetch_options(settings, std::move(wanted)),
             {.files = static_cast<std::uint64_t>(settings.max_pictures),
              .bytes = std::uint64_t{4} * ImageLimits::for_servers().max_file_bytes,
              .time = std::chrono::seconds(60)}) {}

Image PictureLoader::operator()(const PictureSource& source) const {
  try {
    const auto bytes = fetch_(source.url);
    const Gate::Pass pass(gate_);
    const Image image = Image::decode(bytes, url_without_secrets(source.url),
                                      ImageOptions::load_image(ImageLimits::for_servers()));
    ++metrics_.pictures;
    // what the processor does first; again, it changes no bit
    return resize_bicubic(image, size_, size_);
  } catch (const Error& error) {
    ErrorContext context = error.context();
    const std::string what = error.what();
    context.field = source.where;
    fail(error.code(), what.substr(0, what.find(" [")), std::move(context));
  }
}

}  // namespace cli::serve
