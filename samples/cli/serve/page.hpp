// The web page, embedded by CMake.
#pragma once

#include <string_view>

namespace cli::serve {

/// The contents of page.html.
std::string_view page();

}  // namespace cli::serve
