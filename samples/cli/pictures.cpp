// Lists of pictures: from arguments to paths, and one line for each of them.
#include "cli/pictures.hpp"

#include <glob.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <span>

#include "cli/report.hpp"

namespace cli {
namespace {

namespace fs = std::filesystem;
using namespace idefics;

/// Whether a file in a directory is taken for a picture, by the end of its name.
bool has_picture_name(const fs::path& path) {
  std::string ending = path.extension().string();
  std::ranges::transform(ending, ending.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  static const std::vector<std::string> known{
      ".jpg",  ".jpeg", ".jpe",  ".jfif", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib", ".tif",
      ".tiff", ".avif", ".heic", ".heif", ".ppm", ".pgm",  ".pbm", ".pnm",  ".tga", ".ico"};
  return std::ranges::find(known, ending) != known.end();
}

void append_directory(const fs::path& directory, bool recursive, std::vector<std::string>& list) {
  std::vector<std::string> found, below;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename().string().starts_with('.')) continue;
    std::error_code unknown;
    if (it->is_directory(unknown))
      below.push_back(it->path().string());
    else if (has_picture_name(it->path()))
      found.push_back(it->path().string());
  }
  if (error)
    fail(ErrorCode::io_failure, "cannot read the directory: " + error.message(),
         {.file = directory.string()});
  std::ranges::sort(found), std::ranges::sort(below);
  list.insert(list.end(), found.begin(), found.end());
  if (recursive)
    for (const std::string& folder : below)
      if (!fs::is_symlink(folder)) append_directory(folder, recursive, list);
}

/// The files that a shell pattern matches, sorted.
std::vector<std::string> matches(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> paths;
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0)
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  ::globfree(&found);
  return paths;
}

bool is_address(const std::string& location) { return is_url(location) || is_data_url(location); }

Image picture_on_stdin(const ImageOptions& options) {
  const std::string bytes = read_stdin(options.limits.max_file_bytes);
  return Image::decode(std::as_bytes(std::span(bytes)), "-", options);
}

/// "12/40 pictures, 3 min left"
std::string progress_text(std::size_t done, std::size_t total, double seconds) {
  std::string text = std::to_string(done) + "/" + std::to_string(total) + " pictures";
  if (done == 0) return text;
  const double left = seconds / static_cast<double>(done) * static_cast<double>(total - done);
  const auto rounded = static_cast<long>(left + 0.5);
  return text + ", " +
         (rounded < 100 ? std::to_string(rounded) + " s" : std::to_string(rounded / 60) + " min") +
         " left";
}

}  // namespace

PictureList list_pictures(const std::vector<std::string>& arguments, bool recursive) {
  PictureList list;
  list.several = arguments.size() > 1;
  if (std::ranges::count(arguments, "-") > 1) throw UsageError("- can be given once only");
  for (const std::string& argument : arguments) {
    std::error_code unknown;
    const std::size_t before = list.locations.size();
    if (argument == "-" || is_address(argument)) {
      list.locations.push_back(argument);
    } else if (fs::is_directory(argument, unknown)) {
      list.several = true;
      append_directory(argument, recursive, list.locations);
    } else if (!fs::exists(argument, unknown) && argument.find_first_of("*?") < argument.size()) {
      list.several = true;
      for (std::string& path : matches(argument)) list.locations.push_back(std::move(path));
    } else {
      list.locations.push_back(argument);
    }
    if (list.locations.size() == before)
      fail(ErrorCode::file_not_found, "no pictures here", {.file = argument});
  }
  return list;
}

PromptItem read_picture(const std::string& location, const CommonOptions& common) {
  if (is_address(location)) return PromptItem::image_url(location);
  return load_picture(location, common);
}

Image load_picture(const std::string& location, const CommonOptions& common) {
  if (is_address(location))
    return Image::decode(common.fetcher()(location), url_without_secrets(location),
                         common.image_options(true));
  if (location == "-") return picture_on_stdin(common.image_options(false));
  return Image::open(location, common.image_options(false));
}

void for_each_picture(const PictureList& list, const CommonOptions& common,
                      const std::function<std::string(const std::string& location)>& line) {
  using Clock = std::chrono::steady_clock;
  const bool shown = !common.quiet && bars_are_wanted();
  const auto begin = Clock::now();
  std::size_t done = 0, failed = 0;
  for (const std::string& location : list.locations) {
    const std::chrono::duration<double> elapsed = Clock::now() - begin;
    if (shown) show_status(progress_text(done, list.locations.size(), elapsed.count()));
    std::string text;
    bool good = false;
    try {
      text = line(location);
      good = true;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::cancelled) throw;
      report(error, common.json, location);
      ++failed;
    }
    if (good) print(text);
    if (interrupted()) throw Interrupted();
    ++done;
  }
  show_status("");
  if (failed != 0) throw PicturesFailed{failed, list.locations.size()};
}

std::string list_line(const std::string& location, const std::vector<std::string>& texts) {
  std::string line = one_line(location);
  for (const std::string& text : texts) line += '\t' + one_line(text);
  return line;
}

}  // namespace cli
