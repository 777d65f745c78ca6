#!/bin/sh
# test_run.sh: runs run.sh without a GPU. It must say in one line what is missing; with a fake GPU,
# whose programs are scripts, it must write its report, continue after a part that fails or hangs,
# and exit with 1 for that.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fake() { printf '#!/bin/sh\n%s\n' "$2" >"$work/$1" && chmod +x "$work/$1"; }
mkdir -p "$work/bin" "$work/programs/bench/gpu" "$work/none"
for tool in sh dirname date cut sed tr mkdir cat awk df git mktemp timeout rm nproc grep tail basename; do
  if found=$(command -v $tool); then ln -s "$found" "$work/none/$tool"; fi # git may be missing
done

# must_say WORDS: run.sh must exit with 1 and print one line, which contains the words.
must_say() {
  if said=$(sh "$here/run.sh" "$work/out" 2>&1); then
    echo "exit 0, instead of: $1" && exit 1
  fi
  said=$(echo "$said" | grep -v '^\[') # without its progress messages
  if [ "$(echo "$said" | wc -l)" -ne 1 ] || ! echo "$said" | grep -q "$1"; then
    echo "instead of one line with \"$1\": $said" && exit 1
  fi
}
PATH=$work/bin:$work/none:/usr/bin:/bin
if ! command -v nvidia-smi >/dev/null; then must_say "no nvidia-smi"; fi
fake bin/nvidia-smi 'exit 9'
must_say "reports no GPU"
fake bin/nvidia-smi 'echo "NVIDIA Old, 7.5, 16000, 580.1"'
must_say "capability 75"
fake bin/nvidia-smi 'echo "NVIDIA New, 9.0, 81559, 580.1"'
export NVCC="$work/no-nvcc"
must_say "no nvcc"
fake nvcc 'echo "Cuda compilation tools, release 13.0, V13.0.88"'
export NVCC="$work/nvcc"
fake bin/cmake 'echo "CMake Error: no Eigen3"; exit 1'
must_say "no Eigen3.*pack.sh"

# a fake machine
fake bin/cmake "echo \"\$@\" >>$work/cmake-arguments"
fake bin/python3 'echo "| decode step after 512 tokens | 30 |"'
fake bin/ncu 'echo "  $2 (256, 1, 1)"; echo "    Memory Throughput  %  91.5"'
mkdir -p "$work/programs/bench"
fake programs/bench/make_checkpoint 'echo made'
fake programs/bench/gpu/gpu.parity.norm '[ "$IDEFICS_TEST_DEVICE" = cuda ] && echo "All tests passed (3 assertions)"'
fake programs/bench/gpu/gpu_kernels 'echo "cuda:0: products by wgmma."; echo "| reading memory | 300 | 3300 GB/s | | |"'
fake programs/bench/gpu/gpu_ladder 'echo "rung 1"'
fake programs/bench/gpu/gpu_stages 'echo "| $2 against $3 | 1 |"; echo "| decode step after 512 tokens | 4.0 |"'
fake programs/bench/gpu/gpu_step 'echo "| gemv_$2 | 9 | 4.0 |"'
export IDEFICS_GPU_BUILD="$work/programs"
export TMPDIR="$work"
sh "$here/run.sh" "$work/out" >"$work/said" 2>/dev/null || { cat "$work/said" "$work/out"/*.txt; exit 1; }
for words in "NVIDIA New, compute capability 9.0" "built for sm_90a" "gpu.parity.norm.*All tests passed" "reading memory" \
  "cuda:0: products by wgmma" \
  "rung 1" "gemv_nf4" "bf16 against 3300" "nf4 against 3300" "takes transformers 7.5 times as long" "regex:gemv_4bit" \
  "Memory Throughput.*91.5"; do
  grep -q "$words" "$work/said" || { echo "not in the report: $words"; cat "$work/said"; exit 1; }
done
cmp "$work/said" "$work/out/report.md"
[ "$(ls "$work/out" | wc -l)" -le 8 ] || { echo "more than 8 files: $(ls "$work/out")"; exit 1; }
grep -q 'CMAKE_CUDA_ARCHITECTURES=90a' "$work/cmake-arguments"
[ -z "$(ls -d "$work"/idefics-gpu.* 2>/dev/null)" ] || { echo "the checkpoint was not removed"; exit 1; }

# a build error, a wrong result and a part that does not end
fake bin/cmake 'case "$*" in *--build*) echo "error: no" && exit 3 ;; esac'
fake programs/bench/gpu/gpu.parity.norm 'echo "test cases: 2 | 1 passed | 1 failed"; exit 1'
fake programs/bench/gpu/gpu_kernels 'echo "| one row | 1 |"; sleep 100'
fake bin/python3 'echo "skipped: transformers was not measured: none"'
if IDEFICS_GPU_SECONDS=12 sh "$here/run.sh" "$work/out" >"$work/said" 2>/dev/null; then
  echo "exit 0 despite a failed test" && exit 1
fi
for words in 'build: failed with status 3' 'failed.*1 failed' 'one row' 'kernels: stopped at its time limit' \
  'ncu could not profile: no time was left'; do
  grep -q "$words" "$work/said" || { echo "not in the report: $words"; cat "$work/said"; exit 1; }
done
echo "run.sh says what is missing, reports what it finds, and continues after failures"
