#!/bin/sh
# run.sh ROOT BUILD INCLUDE: compiles hashes.cpp for aarch64 and runs it under qemu-user: NEON and
# scalar code must give the hashes of an x86-64 machine.
# Debian: g++-aarch64-linux-gnu qemu-user.
set -eu
root=$1 build=$2 include=$3
for program in aarch64-linux-gnu-g++ qemu-aarch64; do
  command -v $program >/dev/null || { echo "skipped: $program is not installed" && exit 77; }
done
mkdir -p "$build"
aarch64-linux-gnu-g++ -std=c++20 -O2 -Wall -Wextra -Werror -static -pthread -I "$include" -I "$root" \
  -I "$root/tests" "$root/tests/aarch64/hashes.cpp" -o "$build/hashes"
status=0
qemu-aarch64 "$build/hashes" >"$build/found" || status=1
cat "$build/found"
grep -q "on 2 instruction sets" "$build/found" || status=1
exit $status
