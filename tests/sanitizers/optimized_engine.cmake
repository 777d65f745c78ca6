# Included by the build of run.sh: every test runs the engine, which is compiled once, so it is
# optimized although the tests are not.
cmake_language(DEFER DIRECTORY ${CMAKE_SOURCE_DIR} CALL
  target_compile_options idefics_engine_objects PRIVATE -O1)
