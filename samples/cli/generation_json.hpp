// What a run of generation prints with --json and --timings.
#pragma once

#include <string>

#include <idefics/io/json.hpp>

#include "cli/args.hpp"

namespace cli {

/// `sequences`, `new_tokens`, `text`, `new_text` and what the options asked for. docs/cli.md lists
/// the keys.
idefics::Json generation_json(const idefics::Processor& processor,
                              const idefics::GenerationOutput& out);

/// The seconds and tokens of each stage, the rates in tokens per second, and the peak of memory.
idefics::Json timings_json(const idefics::GenerationTimings& timings, double load_s);

/// The same for a generation, with the number of decode passes of assisted generation.
idefics::Json timings_json(const idefics::GenerationOutput& out, double load_s);

/// JSON on one line; bytes that are not UTF-8 become replacement characters.
std::string dump(const idefics::Json& json);

}  // namespace cli
