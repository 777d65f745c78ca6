#!/bin/sh
# The first command of the README: installs missing packages, builds the idefics executable, and
# captions pictures that the embedded checkpoint never saw in training.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
sh "$root/cmake/install-packages.sh" debian-packages.txt
build="$root/build/demo"
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DIDEFICS_TESTS=OFF -DIDEFICS_BENCH=OFF >"$root/build-demo.log" 2>&1 || { cat "$root/build-demo.log" >&2; exit 1; }
cmake --build "$build" --target idefics-cli >>"$root/build-demo.log" 2>&1 || { cat "$root/build-demo.log" >&2; exit 1; }
rm -f "$root/build-demo.log"
for picture in "$root"/samples/pictures/*.png; do
  printf 'samples/pictures/%s: ' "$(basename "$picture")"
  "$build/samples/idefics" caption "$picture"
done
