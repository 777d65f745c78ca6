// How much memory this process could still take, as the system tells it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

#include <idefics/core/checked.hpp>

namespace idefics { inline namespace v0 {

/// The files that tell; tests have their own.
struct MemoryFiles {
  std::filesystem::path meminfo = "/proc/meminfo";
  std::filesystem::path membership = "/proc/self/cgroup";
  std::filesystem::path groups = "/sys/fs/cgroup";
};

namespace detail {

/// The number behind `name` in a file of names and numbers.
inline std::optional<std::uint64_t> number_behind(const std::filesystem::path& path,
                                                  const std::string& name) {
  std::ifstream file(path);
  for (std::string word; file >> word;)
    if (std::uint64_t value = 0; word == name && file >> value) return value;
  return std::nullopt;
}

/// The number that a file consists of; nothing for "max".
inline std::optional<std::uint64_t> number_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  return file >> value ? std::optional(value) : std::nullopt;
}

/// Names in the two versions of the interface.
struct GroupNames {
  const char *limit, *usage, *inactive, *active;
};

/// What the group in `folder` leaves. Pages of files that it counts as used can be taken back.
inline std::optional<std::uint64_t> room_of_group(const std::filesystem::path& folder,
                                                  const GroupNames& names) {
  const auto limit = number_in(folder / names.limit), usage = number_in(folder / names.usage);
  if (!limit || !usage) return std::nullopt;
  const auto stat = folder / "memory.stat";
  const std::uint64_t files = number_behind(stat, names.inactive).value_or(0) +
                              number_behind(stat, names.active).value_or(0);
  const std::uint64_t used = *usage - std::min(*usage, files);
  return *limit - std::min(*limit, used);
}

/// The least that `root`/`path` and every group above it leave.
inline std::uint64_t room_of_groups(const std::filesystem::path& root, std::filesystem::path path,
                                    const GroupNames& names) {
  std::uint64_t room = std::numeric_limits<std::uint64_t>::max();
  for (path = path.relative_path();; path = path.parent_path()) {
    room = std::min(room, room_of_group(root / path, names).value_or(room));
    if (path.empty()) return room;
  }
}

/// The least that the control groups of this process leave, in either version of the interface.
inline std::uint64_t room_of_all_groups(const MemoryFiles& files) {
  static constexpr GroupNames first{"memory.limit_in_bytes", "memory.usage_in_bytes",
                                    "total_inactive_file", "total_active_file"},
      second{"memory.max", "memory.current", "inactive_file", "active_file"};
  std::uint64_t room = std::numeric_limits<std::uint64_t>::max();
  std::ifstream membership(files.membership);
  for (std::string line; std::getline(membership, line);) {  // number:controllers:/path
    const auto one = line.find(':'), two = line.find(':', one + 1);
    if (one == std::string::npos || two == std::string::npos) continue;
    const std::string controllers = line.substr(one + 1, two - one - 1),
                      path = line.substr(two + 1);
    if (controllers.empty())
      room = std::min(room, room_of_groups(files.groups, path, second));
    else if ((',' + controllers + ',').find(",memory,") != std::string::npos)
      room = std::min(room, room_of_groups(files.groups / "memory", path, first));
  }
  return room;
}

}  // namespace detail

/// Bytes that could be taken without swapping: MemAvailable, or less where a control group limits this
/// process. Pages of files, such as weights in a mapping, count as available: the system takes them
/// back and reads them again. Nothing where the system does not say.
inline std::optional<std::uint64_t> available_memory(const MemoryFiles& files = {}) {
  const auto kibibytes = detail::number_behind(files.meminfo, "MemAvailable:");
  if (!kibibytes) return std::nullopt;
  return std::min(*kibibytes * 1024, detail::room_of_all_groups(files));
}

namespace detail {

/// To be asked before much is allocated, since a system that promises more than it has ends the process
/// later. Throws `out_of_memory`, naming `field`, if `bytes` for `what` cannot be had.
inline void require_memory(Checked bytes, const std::string& what, const char* field,
                           const MemoryFiles& files = {}) {
  const auto room = available_memory(files);
  if (!room || bytes <= *room) return;
  fail(ErrorCode::out_of_memory,
       what + " need " + std::to_string(bytes.value()) + " bytes, and " + std::to_string(*room) +
           " can be had",
       {.field = field, .actual = bytes.value(), .limit = *room});
}

}  // namespace detail

}}  // namespace idefics::v0
