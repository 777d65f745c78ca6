# Installation and the package for find_package(idefics): relocatable, compatible within a major
# version.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/idefics)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/idefics DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  PATTERN editor.hpp EXCLUDE) # for editors of this project only
install(TARGETS idefics_core idefics_idefics EXPORT idefics-targets)
set(independent ARCH_INDEPENDENT)
set(IDEFICS_PACKAGE_HAS_CUDA OFF)
if(IDEFICS_ENGINE)
  install(TARGETS idefics_engine idefics_engine_shared EXPORT idefics-targets)
  set(independent "")
endif()
if(TARGET idefics_cuda)
  install(TARGETS idefics_cuda EXPORT idefics-targets)
  set(independent "")
  set(IDEFICS_PACKAGE_HAS_CUDA ON)
endif()
install(EXPORT idefics-targets NAMESPACE idefics:: DESTINATION ${package_dir})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/idefics-config.cmake.in
  ${PROJECT_BINARY_DIR}/idefics-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/idefics-config-version.cmake
  COMPATIBILITY SameMajorVersion ${independent})
install(FILES ${PROJECT_BINARY_DIR}/idefics-config.cmake
  ${PROJECT_BINARY_DIR}/idefics-config-version.cmake
  ${PROJECT_SOURCE_DIR}/cmake/IdeficsDependencies.cmake DESTINATION ${package_dir})
