# Flags of this project's own programs (samples, tests, bench); never part of idefics::core.
add_library(idefics_warnings INTERFACE)
target_compile_options(idefics_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wdouble-promotion
  $<$<BOOL:${IDEFICS_WERROR}>:-Werror>)
