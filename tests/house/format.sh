#!/bin/sh
# format.sh ROOT CLANG_FORMAT: checks that every C++ file of a tree is formatted (.clang-format).
# Without --dry-run, since version 14 then reports comments that it would replace by themselves.
set -eu
cd "$1"
find . \( -name .git -o -name 'build*' -o -path ./tests/house/planted \) -prune -o \
  \( -name '*.hpp' -o -name '*.inl' -o -name '*.cpp' -o -name '*.cuh' -o -name '*.cu' \) -print |
  xargs -P "$(nproc)" -I '{}' sh -c '"$1" "$2" | cmp -s - "$2" || { echo "$2: not formatted"; exit 1; }' \
    format "$2" '{}'
