#!/bin/sh
# idle.sh COMPILER INCLUDE: a translation unit that includes the headers and calls nothing must compile
# to nothing. A virtual function that is declared in its class without `inline` and defined below it
# is a key function: its class's vtable, and with it all that its virtual functions call, would be
# compiled in every program.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '#include <idefics/idefics.hpp>\nint main() {}\n' >"$work/idle.cpp"
"$1" -std=c++20 -I "$2" -c "$work/idle.cpp" -o "$work/idle.o"
nm -C "$work/idle.o" >"$work/symbols"
grep -q ' T main$' "$work/symbols"
if grep idefics:: "$work/symbols"; then
  echo "these are compiled although nothing uses them" >&2
  exit 1
fi
