# What this project's own programs (samples, tests, bench) share; never part of idefics::core.
#
#   idefics_warnings   flags
#   idefics_engine     the engine, compiled once for all programs instead of once in each unit
add_library(idefics_warnings INTERFACE)
target_compile_options(idefics_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wdouble-promotion
  $<$<BOOL:${IDEFICS_WERROR}>:-Werror>)

add_library(idefics_engine STATIC ${CMAKE_CURRENT_LIST_DIR}/engine.cpp)
target_link_libraries(idefics_engine PUBLIC idefics::idefics PRIVATE idefics_warnings)
target_compile_definitions(idefics_engine INTERFACE IDEFICS_EXTERN_ENGINE)
if(TARGET idefics::cuda)
  target_link_libraries(idefics_engine PUBLIC idefics::cuda)
endif()
