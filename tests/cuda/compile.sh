#!/bin/sh
# compile.sh ROOT NVCC FLAGS…: nvcc compiles every file of ROOT/cuda, and kernels of bench/, for the
# architectures in FLAGS. Fails on any warning, and if a kernel of decoding (gemv) or attention
# spills registers; spills of other kernels are reported. Exits with 77 if there is no nvcc.
set -eu
root=$1 nvcc=$2
shift 2
if [ ! -x "$nvcc" ]; then
  echo "skipped: no nvcc, so no CUDA kernel was compiled"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

(cd "$root" && { find cuda bench/ladder -name '*.cuh' -o -name '*.cu' && ls bench/gpu/bandwidth.cuh; } 2>/dev/null || true) | sort | sed 's|.*|#include "&"|' >"$work/all.cu"
# -fmad=false: products and sums are fused only where the source says fmaf.
"$nvcc" -std=c++20 -O3 -fmad=false -D IDEFICS_CUDA -I "$root/include" -I "$root" "$@" --threads 2 -Werror all-warnings \
  -Xcompiler -Wall,-Wextra -Xptxas -v -c "$work/all.cu" -o "$work/all.o" >"$work/log" 2>&1 || {
  grep -v 'ptxas info\|bytes stack frame' "$work/log"
  exit 1
}
awk '
  /Compiling entry function/ { split($0, part, "\047"); name = part[2]; arch = part[4]; kernels++ }
  /bytes spill stores/ && !/ 0 bytes spill stores, 0 bytes spill loads/ {
    print name " for " arch ": " $0
    if (name ~ /gemv|attention/) bad = 1
  }
  END { if (bad) exit 1; print kernels + 0 " kernels" }' "$work/log"
