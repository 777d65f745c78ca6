#!/bin/sh
# valgrind.sh PLANTED PROGRAM ARGUMENT...: runs a program under valgrind, which must find nothing: no
# access outside of a block, no use of uninitialized memory, no block that is lost. First it must find
# the planted fault.
set -eu
planted=$1
shift
command -v valgrind >/dev/null || { echo "skipped: valgrind is not installed" && exit 77; }
export OMP_NUM_THREADS=2
check() {
  valgrind --error-exitcode=9 --leak-check=full --show-leak-kinds=definite \
    --errors-for-leak-kinds=definite --quiet "$@"
}
if check "$planted" heap >/dev/null 2>&1; then
  echo "the planted fault was not found" && exit 1
fi
check "$@"
