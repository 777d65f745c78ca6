#!/bin/sh
# Builds the libFuzzer program in a build folder of its own.
# usage: build.sh CMAKE SOURCE BUILD CLANG++
set -eu
"$1" -S "$2" -B "$3" -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_COMPILER="$4" -DIDEFICS_FUZZ=ON \
  -DIDEFICS_TESTS=OFF -DIDEFICS_SAMPLES=OFF -DIDEFICS_BENCH=OFF
"$1" --build "$3" --target idefics-fuzz
