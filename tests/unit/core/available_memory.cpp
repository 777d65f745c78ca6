// Available memory, from files that a test writes and from those of this machine.
#include <idefics/core/available_memory.hpp>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

/// Files of a system with 8 GiB available, and of a process in the group that `membership` names.
struct System {
  testing::TempDir directory;
  MemoryFiles files;

  explicit System(const std::string& membership)
      : files{directory.write("meminfo", "MemTotal: 16777216 kB\nMemAvailable:    8388608 kB\n"),
              directory.write("membership", membership), directory.path()} {}

  void group(const std::string& path, const char* limit, const std::string& limit_value,
             const char* usage, const std::string& usage_value, const std::string& stat) const {
    std::filesystem::create_directories(directory.path() / path);
    directory.write(path + "/" + limit, limit_value + "\n");
    directory.write(path + "/" + usage, usage_value + "\n");
    directory.write(path + "/memory.stat", stat);
  }
};

constexpr std::uint64_t gib = std::uint64_t{1} << 30;

}  // namespace

TEST_CASE("without control groups MemAvailable is the available memory") {
  CHECK(available_memory(System("").files) == 8 * gib);
  CHECK(available_memory(System("0::/not/there\n").files) == 8 * gib);
  const System none("");
  std::filesystem::remove(none.files.meminfo);
  CHECK(available_memory(none.files) == std::nullopt);
}

TEST_CASE("a control group is a limit, and pages of files do not count as used") {
  const System second("0::/outer/inner\n");
  second.group("outer", "memory.max", "6442450944", "memory.current", "3221225472",
               "anon 1\ninactive_file 1073741824\nactive_file 1073741824\n");
  second.group("outer/inner", "memory.max", "max", "memory.current", "1", "");
  CHECK(available_memory(second.files) == 5 * gib);

  const System first("4:cpu,memory:/box\n0::/\n");
  first.group("memory/box", "memory.limit_in_bytes", "2147483648", "memory.usage_in_bytes",
              "1610612736", "inactive_file 7\ntotal_inactive_file 536870912\n");
  CHECK(available_memory(first.files) == gib);
  first.group("memory/box", "memory.limit_in_bytes", "4096", "memory.usage_in_bytes", "8192", "");
  CHECK(available_memory(first.files) == 0u);
}

TEST_CASE("more than the available memory is refused with both numbers") {
  const System eight("");
  detail::require_memory(8 * gib, "pictures", "pixel_values", eight.files);
  try {
    detail::require_memory(8 * gib + 1, "pictures", "pixel_values", eight.files);
    FAIL_CHECK("no error");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::out_of_memory);
    CHECK(error.context().field == "pixel_values");
    CHECK(error.context().actual == 8 * gib + 1);
    CHECK(error.context().limit == 8 * gib);
  }
}

TEST_CASE("this machine reports its available memory") {
  const auto bytes = available_memory();
  REQUIRE(bytes);
  CHECK(*bytes > 0);
}
