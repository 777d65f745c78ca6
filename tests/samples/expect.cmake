# Runs PROGRAM with ARGUMENTS and fails unless it exits with 0, prints what the regular expression in EXPECTED says, and no more.
execute_process(COMMAND ${PROGRAM} ${ARGUMENTS} RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE errors)
file(READ ${EXPECTED} expected)
string(STRIP "${expected}" expected)
if(NOT code EQUAL 0 OR NOT errors STREQUAL "" OR NOT output MATCHES "^${expected}\n$")
  message(FATAL_ERROR "exit ${code}\n${errors}\nprinted:\n${output}\nexpected:\n${expected}")
endif()
