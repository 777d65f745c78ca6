#!/bin/sh
# run.sh PRESET ROOT BUILD TEST...: configures ROOT with the preset into BUILD, builds the tests named
# and runs them. clang compiles instrumented code in half of GCC's time, and without optimization in
# a third of that; a leg that runs many small tests, and no kernel for long, is fastest so.
set -eu
preset=$1 root=$2 build=$3
shift 3
cd "$root"
case $preset in asan) level=-O0 ;; *) level=-O1 ;; esac
compiler=$(command -v clang++ || command -v c++)
cmake --preset "$preset" -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="$level -g1" -DIDEFICS_SAMPLES=OFF -DIDEFICS_BENCH=OFF \
  -DIDEFICS_INSTALL=OFF -DIDEFICS_CUDA=OFF >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
cmake --build "$build" --target "$@" >"$build.log" 2>&1 || { tail -50 "$build.log"; exit 1; }
names=$(printf '|%s' "$@")
exec ctest --test-dir "$build" --output-on-failure --no-tests=error -R "^(${names#|})\$"
