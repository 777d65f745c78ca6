#include "all_headers.hpp"

std::vector<std::vector<std::int32_t>> answer(const char* model, const idefics::Inputs& inputs) {
  auto engine = idefics::Model::from_pretrained(model);
  return engine.generate(inputs, {.max_new_tokens = 1}).sequences;
}
