// Who may include whom. The table in docs/architecture.md, "The house", is the law: its last column
// names what each folder of include/idefics/ may use besides itself.
#pragma once

#include "house/cpp_text.hpp"

namespace house {

/// "core" for include/idefics/core/error.hpp, "model.hpp" for include/idefics/model.hpp.
inline std::string room_of(std::string_view path) {
  path.remove_prefix(std::string_view("include/idefics/").size());
  return std::string(path.substr(0, path.find('/')));
}

using Rooms = std::map<std::string, std::set<std::string>>;  // room to what it may include

inline Rooms rooms_of(const Tree& tree) {
  Rooms rooms;
  for (const std::string_view line : lines_of(tree.text("docs/architecture.md"))) {
    if (!line.starts_with("| `include/idefics/")) continue;
    auto& allowed = rooms[room_of(between(line, "`", "`"))];
    const std::string_view row = line.substr(0, line.rfind('|'));
    for (std::string_view cell = row.substr(row.rfind('|') + 1); !cell.empty();) {
      const std::size_t comma = std::min(cell.find(','), cell.size());
      allowed.insert(std::string(trimmed(cell.substr(0, comma))));
      cell.remove_prefix(std::min(comma + 1, cell.size()));
    }
  }
  return rooms;
}

/// Other libraries, each known to one folder alone.
inline const std::map<std::string, std::string>& libraries() {
  static const std::map<std::string, std::string> known{
      {"Eigen/", "backend"},  {"omp.h", "core"},          {"nlohmann/", "io"},
      {"curl/", "io"},        {"sentencepiece_", "text"}, {"stb_", "image"},
      {"jpeglib.h", "image"}, {"jerror.h", "image"},      {"webp/", "image"}};
  return known;
}

inline bool is_system_header(std::string_view name) {
  static const std::set<std::string_view> posix{"fcntl.h", "unistd.h", "netdb.h", "immintrin.h",
                                                "malloc.h"};
  const auto in = [name](std::string_view folder) { return name.starts_with(folder); };
  return name.find_first_of("./") == name.npos || in("sys/") || in("netinet/") || in("arpa/") ||
         posix.contains(name);
}

/// Whether a header of `room` may include <name> or "name"; why not, if not.
inline std::string refusal(const Rooms& rooms, const std::string& room,
                           const std::string& include) {
  const std::string name = include.substr(1, include.size() - 2);
  if (include.front() != '<') return "headers include with <>, from include/ alone: " + include;
  if (name.starts_with("idefics/")) {
    const std::string other = room_of("include/" + name);
    const auto& allowed = rooms.at(room);
    if (other == room || allowed.contains(other) || allowed.contains("everything")) return "";
    return room + " may not include " + name;
  }
  for (const auto& [prefix, home] : libraries())
    if (name.starts_with(prefix)) return home == room ? "" : name + " belongs to " + home + "/";
  return is_system_header(name) ? "" : "no header of include/ may know " + name;
}

inline Faults include_direction(const Tree& tree) {
  Faults faults;
  const Rooms rooms = rooms_of(tree);
  for (const auto& [path, text] : tree.texts()) {
    if (!path.starts_with("include/idefics/") || !is_cpp(path)) continue;
    const std::string room = room_of(path);
    if (!rooms.contains(room)) {
      faults.push_back(path + ": docs/architecture.md has no row for " + room);
      continue;
    }
    for (const auto& [line, name] : includes_of(text))
      if (const auto why = refusal(rooms, room, name); !why.empty())
        faults.push_back(at(path, line) + why);
  }
  return faults;
}

}  // namespace house
