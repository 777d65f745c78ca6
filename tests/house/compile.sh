#!/bin/sh
# Checks of a tree that need a compiler.
#
#   compile.sh headers  ROOT COMPILER FLAGS…   every header of ROOT/include compiles alone
#   compile.sh macros   ROOT COMPILER FLAGS…   no header leaves a macro defined but IDEFICS_…
#   compile.sh snippets ROOT COMPILER FLAGS…   every ```cpp block of README.md and docs/ compiles
set -eu
what=$1 root=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

headers() { (cd "$root/include" && find . -name '*.hpp' | sed 's|^\./||' | sort); }

# Prints the headers on stdin that include nlohmann/json.hpp, directly or indirectly.
users_of_json() {
  (cd "$root/include" && xargs awk '
    /^#include </ { split($0, name, "[<>]"); from[++n] = FILENAME; to[n] = name[2] }
    END {
      reached["nlohmann/json.hpp"]
      do {
        grown = 0
        for (i in to)
          if (to[i] in reached && !(from[i] in reached)) { reached[from[i]]; print from[i]; grown = 1 }
      } while (grown)
    }')
}

# Checks the syntax of each file named on stdin, on all cores; fails if any does not compile.
check_all() { xargs -P "$(nproc)" -I '{}' "$@" -fsyntax-only -x c++ '{}'; }

case $what in
headers)
  # nlohmann/json.hpp would take most of the time: headers that include it find it precompiled.
  headers | users_of_json >"$work/users"
  [ ! -s "$work/users" ] || echo '#include <nlohmann/json.hpp>' >"$work/json.hpp"
  [ ! -s "$work/users" ] || "$@" -x c++-header "$work/json.hpp" -o "$work/json.hpp.gch"
  headers | while read -r header; do
    file=$work/$(echo "$header" | tr / .).cpp
    if grep -qx "$header" "$work/users"; then echo '#include "json.hpp"'; fi >"$file"
    echo "#include <$header>" >>"$file"
    echo "$file"
  done | check_all "$@" -I "$root/include"
  ;;
macros)
  headers | sed 's|.*|#include <&>|' >"$work/all.cpp"
  "$@" -I "$root/include" -E -dD "$work/all.cpp" >"$work/all.i"
  awk -v ours="$root/include/" '
    /^# [0-9]+ "/ { split($0, quoted, "\""); inside = index(quoted[2], ours) == 1; file = quoted[2] }
    /^#define / && inside { name = $2; sub(/\(.*/, "", name); left[name] = file }
    /^#undef / { delete left[$2] }
    END {
      for (name in left)
        if (name !~ /^IDEFICS_/) { print left[name] ": leaves the macro " name " defined"; bad = 1 }
      exit bad
    }' "$work/all.i"
  ;;
snippets)
  find "$root/README.md" "$root/docs" -name '*.md' 2>/dev/null | sort | while read -r page; do
    awk -v name="$work/$(basename "$page" .md)" '
      /^```cpp$/ { inside = 1; file = name "." NR ".cpp"; print file; next }
      /^```$/ { inside = 0 }
      inside { print >file }' "$page"
  done | check_all "$@" -I "$root/include"
  ;;
esac
