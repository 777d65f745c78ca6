// Running the server.
#pragma once

#include "cli/args.hpp"
#include "cli/serve/settings.hpp"

namespace cli::serve {

/// Loads the model and serves until a signal.
void run(const CommonOptions& common, Settings settings);

}  // namespace cli::serve
