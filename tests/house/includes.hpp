// Who may include whom. The table in docs/architecture.md, "The house", is the law: its last column
// names what each folder of include/idefics/ may use besides itself.
#pragma once

#include "house/cpp_text.hpp"

namespace house {

using Rooms = std::map<std::string, std::set<std::string>>;  // room to what it may include

/// "core" for `core/error.hpp`, "generation/run" for `generation/run/output.hpp` if the table has a row
/// for it, "model.hpp" for `model.hpp`: the longest row that the path, below include/idefics/, begins
/// with, or else its first part.
inline std::string room_of(const Rooms& rooms, std::string_view path) {
  for (std::string_view room = path; !room.empty();) {
    if (rooms.contains(std::string(room))) return std::string(room);
    const auto slash = room.rfind('/');
    room = slash == room.npos ? std::string_view() : room.substr(0, slash);
  }
  return std::string(path.substr(0, path.find('/')));
}

inline Rooms rooms_of(const Tree& tree) {
  Rooms rooms;
  for (const std::string_view line : lines_of(tree.text("docs/architecture.md"))) {
    if (!line.starts_with("| `include/idefics/")) continue;
    std::string_view room = between(line, "`include/idefics/", "`");
    if (room.ends_with('/')) room.remove_suffix(1);
    auto& allowed = rooms[std::string(room)];
    const std::string_view row = line.substr(0, line.rfind('|'));
    for (std::string_view cell = row.substr(row.rfind('|') + 1); !cell.empty();) {
      const std::size_t comma = std::min(cell.find(','), cell.size());
      allowed.insert(std::string(trimmed(cell.substr(0, comma))));
      cell.remove_prefix(std::min(comma + 1, cell.size()));
    }
  }
  return rooms;
}

/// Whether a row's list has `room`, or a folder that it is in.
inline bool allows(const std::set<std::string>& allowed, std::string_view room) {
  return allowed.contains("everything") || allowed.contains(std::string(room)) ||
         allowed.contains(std::string(room.substr(0, room.find('/'))));
}

/// Other libraries, each known to one folder alone.
inline const std::map<std::string, std::string>& libraries() {
  static const std::map<std::string, std::string> known{
      {"Eigen/", "backend"},  {"nlohmann/", "io"},   {"curl/", "io"},       {"zlib.h", "image"},
      {"jpeglib.h", "image"}, {"jerror.h", "image"}, {"tiffio.h", "image"}, {"webp/", "image"},
      {"avif/", "image"},     {"libheif/", "image"}, {"mpi.h", "ranks"}};
  return known;
}

inline bool is_system_header(std::string_view name) {
  static const std::set<std::string_view> posix{"dirent.h", "fcntl.h",    "unistd.h",
                                                "netdb.h",  "arm_neon.h", "immintrin.h",
                                                "malloc.h", "regex.h",    "sched.h"};
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
    const std::string other = room_of(rooms, name.substr(8));
    if (other == room || allows(rooms.at(room), other)) return "";
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
    const std::string room = room_of(rooms, std::string_view(path).substr(16));
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
