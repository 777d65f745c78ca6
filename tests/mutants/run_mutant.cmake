# A mutant in two steps. With COPY: applies it to a copy of the headers. With PROGRAM, the test that was
# built against that copy: fails unless an assertion fails that holds in ORIGINAL, the same test without the
# mutant. The file format, by example:
#
#   Queries see the key of the next token as well.
#   file: idefics/backend/cpu/attention.inl
#   test: parity/attention.cpp
#   cases: causal*
#   replace:
#   s.query_end - 1 - query
#   by:
#   s.query_end - query
#
# `cases` names test cases, in Catch2's notation; all lines behind `replace:` up to `by:` must stand in
# the header exactly once.

file(READ ${MUTANT} mutant)
if(NOT mutant MATCHES "\nfile: ([^\n]+)\ntest: [^\n]+\ncases: ([^\n]+)\nreplace:\n(.*)\nby:\n(.*)\n$")
  message(FATAL_ERROR "${MUTANT} is not in the format that run_mutant.cmake describes")
endif()
set(header ${CMAKE_MATCH_1})
set(cases "${CMAKE_MATCH_2}")
set(old "${CMAKE_MATCH_3}")
set(new "${CMAKE_MATCH_4}")

if(COPY)
  file(REMOVE_RECURSE ${COPY})
  file(COPY ${SOURCE}/include/ ${SOURCE}/cuda DESTINATION ${COPY})
  file(READ ${COPY}/${header} text)
  string(FIND "${text}" "${old}" first)
  string(FIND "${text}" "${old}" last REVERSE)
  if(first EQUAL -1 OR NOT first EQUAL last)
    message(FATAL_ERROR "stale mutant ${MUTANT}: its text is not exactly once in ${header}:\n${old}")
  endif()
  string(REPLACE "${old}" "${new}" text "${text}")
  file(WRITE ${COPY}/${header} "${text}")
  return()
endif()

execute_process(COMMAND ${ORIGINAL} ${cases} --abort
                RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "the test does not pass without the mutant (${code}):\n${output}")
endif()
execute_process(COMMAND ${PROGRAM} ${cases} --abort
                RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(code EQUAL 0)
  message(FATAL_ERROR "the test did not notice the mutant:\n${output}")
endif()
if(NOT output MATCHES "assertions:[^\n]*[1-9][0-9]* failed")
  message(FATAL_ERROR "the test stopped (${code}) without a failed assertion:\n${output}")
endif()
message(STATUS "noticed")
