#!/bin/sh
# run.sh PRESET ROOT BUILD TEST...: configures ROOT with the preset into BUILD, builds the tests named
# and runs them, after a program with planted faults has shown that each is found.
#
# clang compiles instrumented code in half of GCC's time, and without optimization in a third of that,
# which pays for tests; the engine that they run is optimized.
set -eu
preset=$1 root=$2 build=$3
shift 3
cd "$root"
case $preset in
asan) level=-O0 faults="heap overflow" ;;
*) level=-O1 faults=race ;;
esac
compiler=$(command -v clang++ || command -v c++)
cmake --preset "$preset" -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="$level -g1" -DIDEFICS_SAMPLES=OFF -DIDEFICS_BENCH=OFF \
  -DIDEFICS_INSTALL=OFF -DIDEFICS_CUDA=OFF \
  -DCMAKE_PROJECT_idefics_INCLUDE="$root/tests/sanitizers/optimized_engine.cmake" >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
cmake --build "$build" --target sanitizer_planted "$@" >"$build.log" 2>&1 || { tail -50 "$build.log"; exit 1; }
for fault in $faults; do
  if "$build/tests/sanitizers/sanitizer_planted" "$fault" >"$build.log" 2>&1; then
    echo "the planted fault was not found: $fault" && exit 1
  fi
  grep -q "ERROR: AddressSanitizer\|runtime error: signed integer overflow\|WARNING: ThreadSanitizer: data race" "$build.log" ||
    { cat "$build.log" && exit 1; }
done
names=$(printf '|%s' "$@")
UBSAN_OPTIONS=print_stacktrace=1 exec ctest --test-dir "$build" -j2 --output-on-failure --no-tests=error -R "^(${names#|})\$"
