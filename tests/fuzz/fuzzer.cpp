// libFuzzer's entry point: idefics-fuzz --target=NAME [libFuzzer's options] CORPUS…, or --list
#include <idefics/core/threads.hpp>

#include "fuzz/targets.hpp"

namespace {
const fuzz::Target* target = nullptr;
}

/// Short call stacks of allocations, and blocks that are freed kept for a shorter time: otherwise a
/// third of the time of targets that allocate much.
extern "C" const char* __asan_default_options() {
  return "malloc_context_size=4:quarantine_size_mb=16";
}

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  idefics::set_num_threads(1);  // others would wait by spinning
  constexpr std::string_view option = "--target=";
  for (int i = 1; i < *argc; ++i) {
    const std::string_view arg = (*argv)[i];
    if (arg.starts_with(option)) target = fuzz::find_target(arg.substr(option.size()));
    if (arg != "--list") continue;
    for (const auto& known : fuzz::targets) std::printf("%s\n", known.name.data());
    std::exit(0);
  }
  if (target != nullptr) return 0;
  std::fprintf(stderr, "--target=NAME, one of:");
  for (const auto& known : fuzz::targets) std::fprintf(stderr, " %s", known.name.data());
  std::fprintf(stderr, "\n");
  std::exit(2);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::run(*target, std::as_bytes(std::span(data, size)));
  return 0;
}
