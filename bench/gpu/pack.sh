#!/bin/sh
# pack.sh [DIR]: copies the libraries that run.sh needs in addition to CMake, a compiler and the
# CUDA toolkit (Eigen, JSON, Catch2) from this Debian system to DIR, by default build/gpu-packed: 12
# MB to take to a machine without them.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
to=${1:-$root/build/gpu-packed}
mkdir -p "$to"
for package in libeigen3-dev nlohmann-json3-dev catch2; do
  dpkg-query -L "$package" 2>/dev/null | grep -E '^/usr/(include|share/(cmake|eigen3|nlohmann)|lib/cmake|lib/.*/cmake)/|^/usr/lib/(.*/)?lib[^/]*\.a$' |
    while read -r path; do [ -d "$path" ] || echo "${path#/usr/}"; done >"$to/files"
  [ -s "$to/files" ] || { echo "bench/gpu/pack.sh: $package is not installed" >&2; exit 1; }
  tar -C /usr -cf - -T "$to/files" | tar -C "$to" -xf -
done
rm "$to/files"
du -sh "$to"
