# Targets shared by this project's own programs (samples, tests, bench); not part of idefics::core.
#
#   idefics_warnings          warning flags
#   idefics_engine            the engine, compiled once for all programs instead of once per unit
#   idefics_engine_for_tests  the same without idefics::cuda: tests compile the CUDA kernels for the
#                             CPU, under the names of those from nvcc, and cannot link both
add_library(idefics_warnings INTERFACE)
target_compile_options(idefics_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wdouble-promotion
  $<$<BOOL:${IDEFICS_WERROR}>:-Werror>)

function(idefics_engine name)
  add_library(${name} STATIC ${PROJECT_SOURCE_DIR}/cmake/engine.cpp)
  target_link_libraries(${name} PUBLIC idefics::idefics PRIVATE idefics_warnings)
  target_compile_definitions(${name} INTERFACE IDEFICS_EXTERN_ENGINE)
endfunction()

idefics_engine(idefics_engine)
if(NOT TARGET idefics::cuda)
  add_library(idefics_engine_for_tests ALIAS idefics_engine)
else()
  target_link_libraries(idefics_engine PUBLIC idefics::cuda)
  if(IDEFICS_TESTS)
    idefics_engine(idefics_engine_for_tests)
  endif()
endif()
