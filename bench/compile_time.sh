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

# part NAME HEADER RESULT: a program that uses one part of the engine alone
part() { printf '#include <idefics/%s>\nauto f() { return %s; }\n' "$2" "$3" >"$work/$1.cpp"; }
part json io/json.hpp 'idefics::parse_json("{}", "x")'
part pictures image/decode.hpp 'idefics::Image::open("x")'
part tokenizer text/tokenizer.hpp 'idefics::Tokenizer::from_pretrained("x")'
part templates text/chat_template.hpp '&idefics::render_chat_template'
part checkpoint io/checkpoint.hpp 'idefics::Checkpoint::open("x")'
part kernels backend/cpu/kernels.hpp 'idefics::detail::cpu::kernels_for(idefics::Isa::scalar).add'

# row WHAT FILE
row() {
  /usr/bin/time -f '%U %M' -o "$work/cost" "$compiler" -std=c++20 -O2 -I "$root/include" \
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
  row "one part alone: JSON, which most others contain" json.cpp
  row "one part alone: picture formats" pictures.cpp
  row "one part alone: tokenizers" tokenizer.cpp
  row "one part alone: chat templates" templates.cpp
  row "one part alone: checkpoint files" checkpoint.cpp
  row "one part alone: CPU kernels" kernels.cpp
done
