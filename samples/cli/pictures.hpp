// The pictures that a command is given: paths, URLs, directories, patterns, and - for stdin.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/args.hpp"

namespace cli {

/// The pictures of a command line, in order.
struct PictureList {
  std::vector<std::string> locations;  // paths and URLs; "-" is the picture on stdin
  bool several =
      false;  // print one line per picture: two arguments or more, a directory, a pattern
};

/// Directories become the picture files in them, sorted by name, with `recursive` also those of
/// their subdirectories; a pattern with * or ? that is not a file becomes the files that it matches.
/// Throws `file_not_found` for a directory without pictures or a pattern without matches.
PictureList list_pictures(const std::vector<std::string>& arguments, bool recursive);

/// The picture at a path or URL or, for "-", on stdin. A URL is fetched later, by the processor.
idefics::PromptItem read_picture(const std::string& location, const CommonOptions& common);

/// The same, with URLs fetched and decoded at once.
idefics::Image load_picture(const std::string& location, const CommonOptions& common);

/// Calls `line` with each picture's location and prints what it returns. A picture that fails is an
/// error on stderr; the others continue, and at the end the number of failures is thrown as
/// PicturesFailed. On a terminal the number of pictures done and the time left are shown.
void for_each_picture(const PictureList& list, const CommonOptions& common,
                      const std::function<std::string(const std::string& location)>& line);

/// The location and the texts, separated by tabs; line breaks and tabs in them become spaces.
std::string list_line(const std::string& location, const std::vector<std::string>& texts);

}  // namespace cli
