# The two interface targets. They set an include path, C++20 and libraries, but no compiler flags.
#
#   idefics::core      core/, backend/ and nn/, i.e. tensors and layers; needs Eigen only for the
#                      reference backend
#   idefics::idefics   everything: also files, model, tokenizer, pictures and generation

include(${CMAKE_CURRENT_LIST_DIR}/IdeficsDependencies.cmake)

add_library(idefics_core INTERFACE)
add_library(idefics::core ALIAS idefics_core)
set_target_properties(idefics_core PROPERTIES EXPORT_NAME core)
target_compile_features(idefics_core INTERFACE cxx_std_20)
target_include_directories(idefics_core INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)

add_library(idefics_idefics INTERFACE)
add_library(idefics::idefics ALIAS idefics_idefics)
set_target_properties(idefics_idefics PROPERTIES EXPORT_NAME idefics)
target_link_libraries(idefics_idefics INTERFACE idefics_core)

# An installed package finds the dependencies again on the user's machine
# (cmake/idefics-config.cmake.in), so the targets link them only within this build.
add_library(idefics_dependencies_core INTERFACE)
add_library(idefics_dependencies_full INTERFACE)
idefics_attach_dependencies(idefics_dependencies_core idefics_dependencies_full)
target_link_libraries(idefics_core INTERFACE $<BUILD_INTERFACE:idefics_dependencies_core>)
target_link_libraries(idefics_idefics INTERFACE $<BUILD_INTERFACE:idefics_dependencies_full>)
