// Both units include every header twice; the linker must find no duplicate symbol.
#include "all_headers.hpp"

std::vector<std::vector<std::int32_t>> answer(const char* model, const idefics::Inputs& inputs);

int main(int, char** argv) {
  const auto processor = idefics::Processor::from_pretrained(argv[1]);
  const auto sequences = answer(argv[1], processor({"a red", "square"}));
  return sequences.size() == 1 ? 0 : 1;
}
