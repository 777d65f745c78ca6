#!/bin/sh
# The first command of the README: installs missing packages, builds the idefics executable, and
# captions pictures that the embedded checkpoint never saw in training. The captions go to stdout,
# everything else to stderr.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
sh "$root/cmake/install-packages.sh" debian-packages.txt
build="$root/build/demo"
log="$root/build-demo.log"
: >"$log"

# progress COMMAND...: runs it, with its output in the log, and shows its steps ("[3/14] …").
progress() {
  rm -f "$log.failed"
  { "$@" 2>&1 || touch "$log.failed"; } | while IFS= read -r line; do
    printf '%s\n' "$line" >>"$log"
    case $line in "["*/*"]"*)  # "[3/14] Building CXX object a/b.o"
      step=${line%%]*}] file=${line##*[ /]}
      if [ -t 2 ]; then printf '\r\033[K' >&2; fi
      printf 'building %s %s' "$step" "$file" >&2
      if [ ! -t 2 ]; then echo >&2; fi ;;
    esac
  done
  if [ -t 2 ]; then printf '\r\033[K' >&2; fi
  if [ -e "$log.failed" ]; then
    rm -f "$log.failed"
    cat "$log" >&2
    exit 1
  fi
}

echo "configuring" >&2
progress cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DIDEFICS_TESTS=OFF -DIDEFICS_BENCH=OFF
progress cmake --build "$build" --target idefics-cli
rm -f "$log"
for picture in "$root"/samples/pictures/*.png; do
  printf 'samples/pictures/%s: ' "$(basename "$picture")"
  "$build/samples/idefics" caption "$picture" --quiet
done
echo "The executable is $build/samples/idefics; to install it: cmake --install $build --component program" >&2
