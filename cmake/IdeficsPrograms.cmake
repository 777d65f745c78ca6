# Targets shared by this project's own programs (samples, tests, bench); not part of idefics::core.
#
#   idefics_warnings          warning flags
#   idefics_engine_for_tests  idefics::engine without idefics::cuda: tests compile the CUDA kernels for
#                             the CPU, under the names of those from nvcc, and cannot link both
add_library(idefics_warnings INTERFACE)
target_compile_options(idefics_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wdouble-promotion
  $<$<BOOL:${IDEFICS_WERROR}>:-Werror>)

target_link_libraries(idefics_engine_objects PRIVATE idefics_warnings)

if(NOT TARGET idefics::cuda)
  add_library(idefics_engine_for_tests ALIAS idefics_engine)
elseif(IDEFICS_TESTS)
  add_library(idefics_engine_for_tests STATIC ${PROJECT_SOURCE_DIR}/cmake/engine.cpp)
  target_link_libraries(idefics_engine_for_tests PUBLIC idefics::idefics PRIVATE idefics_warnings)
  target_compile_definitions(idefics_engine_for_tests INTERFACE IDEFICS_EXTERN_ENGINE)
endif()
