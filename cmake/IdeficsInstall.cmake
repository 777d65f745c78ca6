# Installation and the package for find_package(idefics): relocatable, compatible within a major
# version. Two components, of which `cpack` makes two .deb packages:
#
#   program      the idefics executable and the embedded checkpoint: package idefics
#   development  headers, the compiled engine, CMake files: package libidefics-dev
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/idefics)
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME development)

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
  ${PROJECT_SOURCE_DIR}/cmake/IdeficsDependencies.cmake
  ${PROJECT_SOURCE_DIR}/cmake/IdeficsMpi.cmake DESTINATION ${package_dir})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/libidefics-dev
  RENAME copyright)

# idefics_install_program(TARGET): the executable, and the checkpoint that it finds next to it.
function(idefics_install_program target)
  install(TARGETS ${target} RUNTIME COMPONENT program)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/samples/tiny/ DESTINATION ${CMAKE_INSTALL_DATADIR}/idefics/tiny
    COMPONENT program FILES_MATCHING PATTERN "*.json" PATTERN "*.safetensors" PATTERN "*.model" PATTERN "*.md"
    PATTERN "__pycache__" EXCLUDE)
  install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/idefics
    RENAME copyright COMPONENT program)
  # made by the program from the definition of its options
  set(pages ${PROJECT_BINARY_DIR}/pages)
  add_custom_command(TARGET ${target} POST_BUILD VERBATIM
    COMMAND ${CMAKE_COMMAND} -E make_directory ${pages}
    COMMAND sh -c "\"$0\" completion bash >\"$1/idefics\" && \"$0\" completion zsh >\"$1/_idefics\" && \"$0\" completion fish >\"$1/idefics.fish\" && \"$0\" manual man >\"$1/idefics.1\""
            $<TARGET_FILE:${target}> ${pages})
  install(FILES ${pages}/idefics.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT program)
  install(FILES ${pages}/idefics DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
    COMPONENT program)
  install(FILES ${pages}/_idefics DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions
    COMPONENT program)
  install(FILES ${pages}/idefics.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d
    COMPONENT program)
endfunction()

if(PROJECT_IS_TOP_LEVEL)
  set(CPACK_GENERATOR DEB)
  set(CPACK_PACKAGE_VENDOR idefics)
  set(CPACK_PACKAGE_CONTACT "the authors of idefics <idefics@localhost>")
  set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Pictures and text in, text out: IDEFICS-1 without Python")
  set(CPACK_STRIP_FILES ON)
  set(CPACK_COMPONENTS_ALL development)
  if(IDEFICS_SAMPLES)
    list(APPEND CPACK_COMPONENTS_ALL program)
  endif()
  set(CPACK_DEB_COMPONENT_INSTALL ON)
  set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
  set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME idefics)
  set(CPACK_DEBIAN_PROGRAM_PACKAGE_SECTION graphics)
  set(CPACK_DEBIAN_PROGRAM_PACKAGE_RECOMMENDS ca-certificates) # for https
  set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libidefics-dev)
  set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
  set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "Headers, libraries and CMake files of idefics")
  # the libraries that the headers include
  file(STRINGS ${PROJECT_SOURCE_DIR}/cmake/debian-packages.txt packages REGEX "-dev$")
  list(FILTER packages EXCLUDE REGEX "cli11|libedit|httplib|pkg-config")
  list(APPEND packages libeigen3-dev)
  list(JOIN packages ", " CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS)
  set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
  include(CPack)
endif()
