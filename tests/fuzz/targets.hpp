// All parsers, with the heap memory that each may use, not counting the input.
#pragma once

#include "fuzz/targets/adapter.hpp"
#include "fuzz/targets/chat_template.hpp"
#include "fuzz/targets/config.hpp"
#include "fuzz/targets/data_url.hpp"
#include "fuzz/targets/hub.hpp"
#include "fuzz/targets/image.hpp"
#include "fuzz/targets/index.hpp"
#include "fuzz/targets/json.hpp"
#include "fuzz/targets/options.hpp"
#include "fuzz/targets/prompt.hpp"
#include "fuzz/targets/quant_state.hpp"
#include "fuzz/targets/safetensors.hpp"
#include "fuzz/targets/sentencepiece.hpp"
#include "fuzz/targets/serve.hpp"
#include "fuzz/targets/tokenizer.hpp"
#include "fuzz/targets/torch_file.hpp"
#include "fuzz/targets/url.hpp"
#include "fuzz/targets/utf8.hpp"

namespace fuzz {

inline constexpr std::int64_t MiB = 1 << 20;

// A JSON value takes 16 bytes, a growing list holds its elements two and a half times, and an
// element may be two bytes of text, such as "0,". Accepted configurations are measured together
// with their table of weights, up to 4096 layers of each kind.
inline constexpr Target targets[] = {
    {"json", json, 80, MiB},
    {"safetensors", safetensors, 16, MiB},
    {"torch_file", torch_file, 80, MiB},
    {"index", index, 80, MiB},
    {"quant_state", quant_state, 80, MiB},
    {"adapter", adapter, 80, MiB},
    {"config", config, 80, 64 * MiB},
    {"generation_config", generation_config, 80, MiB},
    {"options", options, 160, 16 * MiB},
    {"sentencepiece_model", sentencepiece_model, 80, MiB},
    {"tokenizer", tokenizer, 160, 16 * MiB},
    {"chat_template", chat_template, 400, 8 * MiB},
    {"prompt_file", prompt_file, 80, MiB},
    {"preprocessor_config", preprocessor_config, 80, MiB},
    {"serve_request", serve_request, 120, 48 * MiB},
    {"data_url", data_url, 4, MiB},
    {"url", url, 16, MiB},
    {"address", address, 16, MiB},
    {"hub", hub, 160, MiB},
    {"image", image, 2, 16 * MiB},
    {"tiff", tiff, 2, 16 * MiB},
    {"avif", avif, 2, 64 * MiB},
    {"utf8", utf8, 0, 4096},
};

inline const Target* find_target(std::string_view name) {
  for (const Target& target : targets)
    if (target.name == name) return &target;
  return nullptr;
}

}  // namespace fuzz
