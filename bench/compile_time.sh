#!/bin/sh
# compile_time.sh [COMPILER...]: what compiling the README's program costs at -O2, header-only and with
# the compiled engine: seconds of CPU time and peak memory, as rows of a table. Needs GNU time.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
[ $# -gt 0 ] || set -- g++ clang++
command -v time >/dev/null || [ -x /usr/bin/time ] || { echo "GNU time is not installed" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
awk '/^```cpp$/ { inside = 1; next } /^```$/ { if (inside) exit } inside' "$root/README.md" >"$work/program.cpp"
printf '#include <idefics/idefics.hpp>\nint main() {}\n' >"$work/empty.cpp"
printf '#define IDEFICS_EXTERN_ENGINE\n#include "program.cpp"\n' >"$work/with_engine.cpp"
printf '#include <idefics/backend/cpu/kernels.hpp>\nauto f(idefics::Isa i) { return idefics::detail::cpu::kernels_for(i).add; }\n' \
  >"$work/kernels.cpp"

# row WHAT FILE
row() {
  /usr/bin/time -f '%U %M' -o "$work/cost" "$compiler" -std=c++20 -O2 -fopenmp -I "$root/include" \
    -c "$work/$2" -o "$work/program.o"
  read -r seconds kib <"$work/cost"
  echo "| $1 | $("$compiler" --version | sed -n 's/.*\(g++\|clang version\) *[^0-9]*\([0-9.]*\).*/\1 \2/p' | head -1) | $seconds s | $((kib / 1024)) MiB |"
}
echo "| README program at -O2 | compiler | CPU time | peak memory |"
echo "|---|---|---|---|"
for compiler in "$@"; do
  command -v "$compiler" >/dev/null || continue
  row "with idefics::engine" with_engine.cpp
  row "header-only" program.cpp
  row "header-only, of that the headers alone" empty.cpp
  row "header-only, of that the CPU kernels" kernels.cpp
done
