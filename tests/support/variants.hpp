// Variants of the embedded checkpoint's files, as tests/reference/variants.py describes them.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include <idefics/io/json.hpp>

#include "support/temp_dir.hpp"

namespace testing {

using idefics::Json;

/// The files of a variant in a folder: `form` is both, json or model; `files` has an RFC 6902 patch
/// by name, another value in place of a file, or null for no file.
inline void write_variant(const TempDir& folder, const Json& form, const Json& files,
                          std::vector<std::string> names) {
  const std::filesystem::path tiny = IDEFICS_SOURCE_DIR "/samples/tiny";
  for (const auto& [name, change] : files.items())
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  for (const std::string& name : names) {
    if (form == "model" && name == "tokenizer.json") continue;
    std::filesystem::create_directories((folder.path() / name).parent_path());
    if (!files.contains(name))
      std::filesystem::copy_file(tiny / name, folder.path() / name);
    else if (files[name].is_array())
      folder.write(name,
                   idefics::read_json_file(tiny / name, {.depth = 64}).patch(files[name]).dump());
    else if (files[name].is_string())
      folder.write(name, files[name].get<std::string>());
    else if (!files[name].is_null())
      folder.write(name, files[name].dump());
  }
  if (form != "json")
    std::filesystem::copy_file(tiny / "tokenizer.model", folder.path() / "tokenizer.model");
}

}  // namespace testing
