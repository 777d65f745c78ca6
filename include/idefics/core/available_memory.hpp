// The memory that this process can still allocate, as reported by the system.
#pragma once

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

#include <idefics/core/checked.hpp>

namespace idefics { inline namespace v0 {

/// The files that report memory use; tests substitute their own. (Strings: libstdc++'s paths do not
/// survive an allocation that fails.)
struct MemoryFiles {
  std::string meminfo = "/proc/meminfo";
  std::string membership = "/proc/self/cgroup";
  std::string groups = "/sys/fs/cgroup";
};

namespace detail {

/// The number that follows `name` in a file of names and numbers.
inline std::optional<std::uint64_t> number_behind(const std::string& path,
                                                  const std::string& name) {
  std::ifstream file(path);
  for (std::string word; file >> word;)
    if (std::uint64_t value = 0; word == name && file >> value) return value;
  return std::nullopt;
}

/// The number in a file that contains nothing else; nullopt for "max".
inline std::optional<std::uint64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  return file >> value ? std::optional(value) : std::nullopt;
}

/// File and field names of a control group; versions 1 and 2 of the interface have different ones.
struct GroupNames {
  const char *limit, *usage, *inactive, *active;
};

/// Bytes left in the group at `folder`. The group counts pages of files as used; they are counted
/// as free here, since the system can reclaim them.
inline std::optional<std::uint64_t> left_in_group(const std::string& folder,
                                                  const GroupNames& names) {
  const auto limit = number_in(folder + "/" + names.limit),
             usage = number_in(folder + "/" + names.usage);
  if (!limit || !usage) return std::nullopt;
  const std::string stat = folder + "/memory.stat";
  const std::uint64_t files = number_behind(stat, names.inactive).value_or(0) +
                              number_behind(stat, names.active).value_or(0);
  const std::uint64_t used = *usage - std::min(*usage, files);
  return *limit - std::min(*limit, used);
}

/// The fewest bytes left in `root` + `path`, "/a/b" or "/", and all groups above it.
inline std::uint64_t left_in_branch(const std::string& root, std::string path,
                                    const GroupNames& names) {
  std::uint64_t left = std::numeric_limits<std::uint64_t>::max();
  for (;;) {
    left = std::min(left, left_in_group(root + path, names).value_or(left));
    if (path.empty()) return left;
    path.resize(std::min(path.rfind('/'), path.size() - 1));
  }
}

/// The fewest bytes left in the control groups of this process, in either version of the interface.
inline std::uint64_t left_in_all_groups(const MemoryFiles& files) {
  static constexpr GroupNames v1{"memory.limit_in_bytes", "memory.usage_in_bytes",
                                 "total_inactive_file", "total_active_file"},
      v2{"memory.max", "memory.current", "inactive_file", "active_file"};
  std::uint64_t left = std::numeric_limits<std::uint64_t>::max();
  std::ifstream membership(files.membership);
  for (std::string line; std::getline(membership, line);) {  // number:controllers:/path
    const auto one = line.find(':'), two = line.find(':', one + 1);
    if (one == std::string::npos || two == std::string::npos) continue;
    const std::string controllers = line.substr(one + 1, two - one - 1),
                      path = line.substr(two + 1);
    if (controllers.empty())
      left = std::min(left, left_in_branch(files.groups, path, v2));
    else if ((',' + controllers + ',').find(",memory,") != std::string::npos)
      left = std::min(left, left_in_branch(files.groups + "/memory", path, v1));
  }
  return left;
}

}  // namespace detail

/// Bytes that can be allocated without swapping: MemAvailable, or less if a control group limits
/// this process. Pages of files, such as mapped weights, count as available: the system can reclaim
/// them and read them again. nullopt if the system does not report it.
inline std::optional<std::uint64_t> available_memory(const MemoryFiles& files = {}) {
  const auto kibibytes = detail::number_behind(files.meminfo, "MemAvailable:");
  if (!kibibytes) return std::nullopt;
  return std::min(*kibibytes * 1024, detail::left_in_all_groups(files));
}

namespace detail {

/// Checks that `bytes` for `what` are available. Call it before large allocations: a system that
/// overcommits memory would kill the process later. Throws `out_of_memory`, naming `field`.
inline void require_memory(Checked bytes, const std::string& what, const char* field,
                           const MemoryFiles& files = {}) {
  const auto available = available_memory(files);
  if (!available || bytes <= *available) return;
  fail(ErrorCode::out_of_memory,
       what + " need " + std::to_string(bytes.value()) + " bytes, but only " +
           std::to_string(*available) + " are available",
       {.field = field, .actual = bytes.value(), .limit = *available});
}

}  // namespace detail

}}  // namespace idefics::v0
