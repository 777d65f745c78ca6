#!/bin/sh
# The README's second command: installs missing packages, builds everything, and runs all tests.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
sh "$root/cmake/install-packages.sh"
build="$root/build/ci"
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DIDEFICS_WERROR=ON
cmake --build "$build" -j "$(nproc)"
exec ctest --test-dir "$build" --output-on-failure -j "$(nproc)"
