#!/bin/sh
# The README's second command: installs missing packages, builds everything and runs the tests.
#
#   tests/run.sh          without those labelled `slow`
#   tests/run.sh --slow   with them
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in
--slow) leave_out= ;;
"") leave_out="-LE ^slow$" ;;
*) echo "usage: run.sh [--slow]" >&2 && exit 2 ;;
esac
sh "$root/cmake/install-packages.sh" debian-packages.txt debian-packages-tests.txt
build="$root/build/ci"
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DIDEFICS_WERROR=ON
cmake --build "$build" -j "$(nproc)"
# shellcheck disable=SC2086
exec ctest --test-dir "$build" --output-on-failure -j "$(nproc)" $leave_out
