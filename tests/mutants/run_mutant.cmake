# Mutants in two steps. With COPY: applies MUTANTS, one or more, to a copy of the headers. With
# PROGRAM, a test that was built against that copy: fails unless an assertion fails that holds
# without the mutant. The file format, by example:
#
#   A query does not see its own key.
#   file: idefics/backend/cpu/attention.inl
#   test: parity/attention.cpp
#   cases: causal*
#   replace:
#   s.query_end - 1 - query
#   by:
#   s.query_end - (MUTANT ? 0 : 1) - query
#
# `cases` selects test cases, in Catch2's notation; the lines between `replace:` and `by:` must
# occur in the header exactly once. MUTANT is true while the environment variable IDEFICS_MUTANT
# names this mutant: one copy of the headers, one engine and one program for each test serve all
# mutants that can be turned on at run time. A mutant of text that only the compiler reads cannot
# be, and has no MUTANT: it gets a copy and a program of its own, which takes half a minute to
# build.

macro(read_mutant file)
  get_filename_component(name ${file} NAME_WE)
  file(READ ${file} mutant)
  if(NOT mutant MATCHES "\nfile: ([^\n]+)\ntest: [^\n]+\ncases: ([^\n]+)\nreplace:\n(.*)\nby:\n(.*)\n$")
    message(FATAL_ERROR "${file} is not in the format that run_mutant.cmake describes")
  endif()
  set(header ${CMAKE_MATCH_1})
  set(cases "${CMAKE_MATCH_2}")
  set(old "${CMAKE_MATCH_3}")
  string(REPLACE "MUTANT" "::idefics_mutants::${name}" new "${CMAKE_MATCH_4}")
endmacro()

# Sets `result` to whether the old text of a mutant occurs in the file exactly once.
function(check_fresh path result)
  file(READ ${path} text)
  string(FIND "${text}" "${old}" first)
  string(FIND "${text}" "${old}" last REVERSE)
  set(${result} FALSE PARENT_SCOPE)
  if(NOT first EQUAL -1 AND first EQUAL last)
    set(${result} TRUE PARENT_SCOPE)
  endif()
endfunction()

if(COPY)
  file(REMOVE_RECURSE ${COPY})
  file(COPY ${SOURCE}/include/ ${SOURCE}/cuda DESTINATION ${COPY})
  file(COPY ${SOURCE}/samples/cli/serve DESTINATION ${COPY}/cli FILES_MATCHING PATTERN *.hpp)
  string(CONCAT switches "#pragma once\n#include <cstdlib>\n#include <string_view>\n\n"
    "namespace idefics_mutants {\n\ninline bool asked(std::string_view name) {\n"
    "  const char* on = std::getenv(\"IDEFICS_MUTANT\");\n  return on != nullptr && on == name;\n}\n")
  set(stale "")
  foreach(file IN LISTS MUTANTS)
    read_mutant(${file})
    check_fresh(${COPY}/${header} fresh)
    if(NOT fresh)
      string(APPEND stale "stale mutant ${file}: its text does not occur exactly once in ${header}:\n${old}\n")
      continue()
    endif()
    file(READ ${COPY}/${header} text)
    string(REPLACE "${old}" "${new}" text "${text}")
    file(WRITE ${COPY}/${header} "${text}")
    string(APPEND switches "inline const bool ${name} = asked(\"${name}\");\n")
  endforeach()
  file(WRITE ${COPY}/mutants.hpp "${switches}\n}  // namespace idefics_mutants\n")
  if(stale)
    message(FATAL_ERROR "${stale}")
  endif()
  return()
endif()

read_mutant(${MUTANT})
execute_process(COMMAND ${ORIGINAL} ${cases} --abort
                RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "the test does not pass without the mutant (${code}):\n${output}")
endif()
set(ENV{IDEFICS_MUTANT} ${name})
execute_process(COMMAND ${PROGRAM} ${cases} --abort
                RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(code EQUAL 0)
  message(FATAL_ERROR "the test did not notice the mutant:\n${output}")
endif()
if(NOT output MATCHES "assertions:[^\n]*[1-9][0-9]* failed")
  message(FATAL_ERROR "the test stopped (${code}) without a failed assertion:\n${output}")
endif()
message(STATUS "noticed")
