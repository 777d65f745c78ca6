# Runs PROGRAM with ARGUMENTS. Fails unless it exits with 0, prints nothing on stderr, and all of
# its stdout matches the regular expression in the file EXPECTED.
execute_process(COMMAND ${PROGRAM} ${ARGUMENTS} RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE errors)
file(READ ${EXPECTED} expected)
string(STRIP "${expected}" expected)
if(NOT code EQUAL 0 OR NOT errors STREQUAL "" OR NOT output MATCHES "^${expected}\n$")
  message(FATAL_ERROR "exit code ${code}\nstderr:\n${errors}\nstdout:\n${output}\nexpected:\n${expected}")
endif()
