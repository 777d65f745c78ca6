#!/bin/sh
# format.sh ROOT CLANG_FORMAT: every C++ file of a tree is as the formatter writes it (.clang-format).
# (Not by --dry-run: version 14 complains of comments that it would replace by themselves.)
set -eu
cd "$1"
find . \( -name .git -o -name 'build*' -o -path ./tests/house/planted \) -prune -o \
  \( -name '*.hpp' -o -name '*.inl' -o -name '*.cpp' -o -name '*.cuh' -o -name '*.cu' \) -print |
  xargs -P "$(nproc)" -I '{}' sh -c '"$1" "$2" | cmp -s - "$2" || { echo "$2: not formatted"; exit 1; }' \
    format "$2" '{}'
