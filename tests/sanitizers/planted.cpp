// One fault for each sanitizer: run.sh demands that the program which has it fails.
#include <cstdio>
#include <limits>
#include <string_view>
#include <thread>
#include <vector>

namespace {

/// Hidden from the optimizer, so that the fault is in the program and not in its constants.
int opaque(int value) {
  volatile int hidden = value;
  return hidden;
}

int read_past_the_end() {
  const std::vector<int> values(4);
  return values.data()[opaque(4)];
}

int overflow() { return std::numeric_limits<int>::max() + opaque(1); }

int race() {
  int shared = 0;
  const auto add = [&] {
    for (int i = 0; i < 1000; ++i) shared += opaque(i);
  };
  std::thread other(add);
  add();
  other.join();
  return shared;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view fault = argc > 1 ? argv[1] : "";
  int result = 0;
  if (fault == "heap") result = read_past_the_end();
  if (fault == "overflow") result = overflow();
  if (fault == "race") result = race();
  std::printf("%d\n", result);
}
