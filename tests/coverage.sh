#!/bin/sh
# The lines and branches of the parsers' headers that the tests of parsers run: the corpus with its
# mutations, the tables of faults, and the goldens. Prints a row per header and, with --missing, what
# no test runs. Branches are those of the source: clang counts no edges of exceptions.
#
#   coverage.sh [--build DIR] [--missing]
#
# Needs clang++ with llvm-cov and llvm-profdata of the same version (Debian: clang, llvm).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build/coverage missing=
while [ $# -gt 0 ]; do
  case $1 in
  --build) build=$2 && shift ;;
  --missing) missing=1 ;;
  *) echo "usage: coverage.sh [--build DIR] [--missing]" >&2 && exit 2 ;;
  esac
  shift
done
programs="fuzz-replay fault.inputs fault.pictures fault.checkpoint fault.truncation fault.torch_file
  fault.quantization fault.allocations fault.files unit.io.safetensors unit.io.changing_files unit.io.url
  unit.io.checkpoint unit.model.config unit.prompt_file unit.text.tokenizer golden.json golden.pictures
  golden.tokenizer golden.tokenizer_variants golden.chat_templates golden.torch_files"
headers="io/json.hpp io/json_dialect.hpp io/safetensors_header.hpp io/tensor_file.hpp io/zip.hpp
  io/pickle.hpp io/torch_file.hpp io/file_bytes.hpp io/mapped_file.hpp io/checkpoint.hpp
  io/data_url.hpp io/config_fields.hpp quant/bnb_format.hpp text/utf8.hpp
  text/tokenizer/sentencepiece_model.hpp image/bitmap.hpp image/bmp_header.hpp image/bmp_runs.hpp image/cmyk.hpp
  image/decode_bmp.hpp image/decode_gif.hpp image/decode_ico.hpp image/decode_png.hpp
  image/decode_pnm.hpp image/decode_qoi.hpp image/decode_tga.hpp image/decode_tiff.hpp
  image/exif.hpp image/guards.hpp image/inflate.hpp image/jpeg_markers.hpp
  image/other_formats.hpp image/palette.hpp image/png_chunks.hpp image/png_pixels.hpp
  image/pnm_digits.hpp image/tiff_directory.hpp image/tiff_layout.hpp image/tiff_library.hpp
  image/tiff_plain.hpp image/tiff_samples.hpp $(cd "$root/include/idefics" && echo text/jinja/*.hpp)"

cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_COMPILER=clang++ \
  -DCMAKE_CXX_FLAGS="-O0 -fprofile-instr-generate -fcoverage-mapping" -DIDEFICS_SAMPLES=OFF \
  -DIDEFICS_BENCH=OFF -DIDEFICS_INSTALL=OFF -DIDEFICS_CUDA=OFF >"$build.log" 2>&1 ||
  { cat "$build.log" >&2 && exit 1; }
# shellcheck disable=SC2086
cmake --build "$build" --target $programs >"$build.log" 2>&1 || { tail -50 "$build.log" >&2 && exit 1; }

rm -f "$build"/*.profraw
objects=
run() { # NAME PROGRAM [ARGUMENT...]
  LLVM_PROFILE_FILE=$build/$1-%p.profraw
  export LLVM_PROFILE_FILE
  shift
  "$@" >"$build.log" 2>&1 || { tail -20 "$build.log" >&2 && exit 1; }
}
for program in $programs; do
  file=$(find "$build/tests" -name "$program" -type f)
  objects="$objects --object=$file"
  if [ "$program" = fuzz-replay ]; then
    for corpus in "$root"/tests/fuzz/corpus/*; do
      run "$program-$(basename "$corpus")" "$file" "$(basename "$corpus")" "$corpus" 2000
    done
  else
    run "$program" "$file"
  fi
done
llvm-profdata merge -sparse -o "$build/all.profdata" "$build"/*.profraw
paths=
for header in $headers; do
  [ ! -e "$root/include/idefics/$header" ] || paths="$paths $root/include/idefics/$header"
done
# shellcheck disable=SC2086
llvm-cov export -summary-only -instr-profile="$build/all.profdata" ${objects#*--object=} $paths 2>/dev/null |
  python3 -c '
import json, sys
files = json.load(sys.stdin)["data"][0]["files"]
total = {"lines": [0, 0], "branches": [0, 0]}
print("%-34s %18s %18s" % ("header", "lines", "branches"))
for file in sorted(files, key=lambda f: f["filename"]):
    row = []
    for kind in total:
        s = file["summary"][kind]
        total[kind][0] += s["covered"]; total[kind][1] += s["count"]
        row.append("%d of %d, %5.1f %%" % (s["covered"], s["count"], s["percent"] if s["count"] else 100))
    print("%-34s %18s %18s" % (file["filename"].split("/include/idefics/")[-1], *row))
print("%-34s %18s %18s" % ("all", *("%d of %d, %5.1f %%" % (c, n, 100 * c / n) for c, n in total.values())))
'
[ -z "$missing" ] || # lines that ran 0 times, and branches of which one side never ran
  # shellcheck disable=SC2086
  llvm-cov show -show-branches=count -instr-profile="$build/all.profdata" ${objects#*--object=} $paths 2>/dev/null |
  grep -E '^/|^ *[0-9]+\| *0\||Branch.*(True: 0,|False: 0\])'
