// What is in a directory. std::filesystem's iterators end the program where an allocation fails.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/io/mapped_file.hpp>

namespace idefics { inline namespace v0 { namespace detail {

using DirectoryStream = std::unique_ptr<DIR, int (*)(DIR*)>;

/// The names in a directory, in order. Throws `file_not_found` or `io_failure`.
inline std::vector<std::string> names_in(const std::filesystem::path& directory) {
  const DirectoryStream stream(::opendir(directory.c_str()), ::closedir);
  if (!stream) fail_errno(directory, "cannot list the directory");
  std::vector<std::string> names;
  while (const ::dirent* entry = ::readdir(stream.get()))
    if (const std::string_view name = entry->d_name; name != "." && name != "..")
      names.emplace_back(name);
  std::ranges::sort(names);
  return names;
}

/// Removes what is in an open directory, as far as possible.
inline void remove_contents(const Descriptor& directory) noexcept {
  constexpr int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  const int listed = ::openat(directory.get(), ".", flags);
  const DirectoryStream stream(listed < 0 ? nullptr : ::fdopendir(listed), ::closedir);
  if (!stream) {
    if (listed >= 0) ::close(listed);
    return;
  }
  while (const ::dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == ".." || ::unlinkat(directory.get(), entry->d_name, 0) == 0) continue;
    const Descriptor inner(::openat(directory.get(), entry->d_name, flags));
    if (inner.get() < 0) continue;
    remove_contents(inner);
    ::unlinkat(directory.get(), entry->d_name, AT_REMOVEDIR);
  }
}

}}}  // namespace idefics::v0::detail
