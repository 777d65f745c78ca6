# What this project's own programs (samples, tests, bench) share; never part of idefics::core.
#
#   idefics_warnings   flags
#   idefics_kernels    the CPU kernels, compiled once for all programs instead of once in each unit
add_library(idefics_warnings INTERFACE)
target_compile_options(idefics_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wdouble-promotion
  $<$<BOOL:${IDEFICS_WERROR}>:-Werror>)

add_library(idefics_kernels STATIC ${CMAKE_CURRENT_LIST_DIR}/kernels.cpp)
target_link_libraries(idefics_kernels PUBLIC idefics::core PRIVATE idefics_warnings)
target_compile_definitions(idefics_kernels INTERFACE IDEFICS_EXTERN_KERNELS)
