#!/bin/sh
# run.sh PRESET ROOT BUILD TEST...: configures ROOT with the preset into BUILD, builds the tests named
# and runs them.
set -eu
preset=$1 root=$2 build=$3
shift 3
cd "$root"
cmake --preset "$preset" -B "$build" -G Ninja -DIDEFICS_SAMPLES=OFF -DIDEFICS_BENCH=OFF \
  -DIDEFICS_INSTALL=OFF -DIDEFICS_CUDA=OFF >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
# shellcheck disable=SC2086
cmake --build "$build" --target "$@" >"$build.log" 2>&1 || { tail -50 "$build.log"; exit 1; }
names=$(printf '|%s' "$@")
exec ctest --test-dir "$build" --output-on-failure --no-tests=error -R "^(${names#|})\$"
