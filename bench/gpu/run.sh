#!/bin/sh
# run.sh [OUT_DIR]: everything that only a GPU can tell, in under 9 minutes and without a network.
# Builds for the GPU that it finds, runs the parity suite on it, then measures kernels, whole stages,
# each kernel of a step and, if it is installed, transformers with the same weights. Writes
# OUT_DIR/report.md, with the tables of docs/benchmarks.md, and seven files with the output of its
# parts. Exits with 1 if something is missing, a result is wrong or a part could not run; a part that
# fails or hangs does not stop the others.
#
#   IDEFICS_GPU_PREFIX   libraries that the system lacks (pack.sh); default: build/gpu-packed
#   IDEFICS_GPU_SECONDS  the time limit of the whole run; default: 530
#   NVCC                 the compiler; default: nvcc from the PATH, else /usr/local/cuda/bin/nvcc
set -u
start=$(date +%s)
root=$(cd "$(dirname "$0")/../.." && pwd)
out=${1:-$root/build/gpu-report}
build=${IDEFICS_GPU_BUILD:-$root/build/gpu}
prefix=${IDEFICS_GPU_PREFIX:-$root/build/gpu-packed}
deadline=$((start + ${IDEFICS_GPU_SECONDS:-530}))
programs=$build/bench/gpu

stop() {
  echo "bench/gpu/run.sh: $*" >&2
  exit 1
}

# ---- requirements --------------------------------------------------------------------------------
command -v nvidia-smi >/dev/null || stop "no nvidia-smi, hence no NVIDIA driver: nothing to measure here"
query=name,compute_cap,memory.total,driver_version
gpu=$(nvidia-smi --query-gpu=$query --format=csv,noheader,nounits 2>/dev/null | sed -n 1p)
capability=$(echo "$gpu" | cut -d, -f2 | tr -d ' .')
gpu_mib=$(echo "$gpu" | cut -d, -f3 | tr -d ' ')
case $capability in
  '' | *[!0-9]*) stop "nvidia-smi reports no GPU" ;;
  90) architecture=90a ;; # only the "a" variant has wgmma and setmaxnreg
  *) architecture=$capability ;;
esac
[ "$capability" -ge 80 ] || stop "the GPU has compute capability $capability, and the kernels need 80"
nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
[ -x "$nvcc" ] || stop "no nvcc ($nvcc): install the CUDA toolkit"
command -v cmake >/dev/null || stop "no cmake"
generator="Unix Makefiles" go_on=-k
if command -v ninja >/dev/null; then generator=Ninja go_on="-k 0"; fi
flags= # newer compilers can optimize the kernels of one architecture in parallel
if "$nvcc" --help 2>/dev/null | grep -q split-compile; then flags=--split-compile=0; fi

mkdir -p "$out" || stop "cannot write to $out"
report=$out/report.md
status=0
: >"$report"
say() { echo "$@" >>"$report"; }
note() { echo "[$(($(date +%s) - start)) s] $*" >&2; }

# part NAME SECONDS COMMAND…: runs the command, for at most SECONDS and the time that is left overall;
# its output goes to OUT_DIR/NAME.txt.
part() {
  log=$out/$1.txt most=$2
  shift 2
  left=$((deadline - $(date +%s)))
  [ "$left" -ge "$most" ] || most=$left
  [ "$most" -ge 3 ] || return 124
  timeout -k 5 "$most" "$@" >>"$log" 2>&1
}
# failed NAME CODE: reports the failure and sets the exit status.
failed() {
  status=1
  if [ "$2" -eq 124 ] || [ "$2" -eq 137 ]; then
    say "**$1: stopped at its time limit**"
  else
    say "**$1: failed with status $2:** \`$(grep -v '^|' "$out/$1.txt" | tail -n 1)\`"
  fi
  say ""
}

for file in build parity kernels stages transformers ncu sanitizer; do : >"$out/$file.txt"; done

# ---- build ---------------------------------------------------------------------------------------
note "building for sm_$architecture"
part build 60 cmake -S "$root" -B "$build" -G "$generator" -DCMAKE_BUILD_TYPE=Release -DIDEFICS_CUDA=ON \
  -DCMAKE_CUDA_ARCHITECTURES="$architecture" -DCMAKE_CUDA_COMPILER="$nvcc" -DCMAKE_CUDA_FLAGS="$flags" \
  -DCMAKE_PREFIX_PATH="$prefix" \
  -DIDEFICS_TESTS=OFF -DIDEFICS_SAMPLES=OFF -DIDEFICS_INSTALL=OFF ||
  stop "configuring failed: $(grep -A 2 'CMake Error' "$out/build.txt" | tr -s ' \n' ' '); bench/gpu/pack.sh packs the libraries"
# shellcheck disable=SC2086
part build 270 cmake --build "$build" --parallel "$(nproc)" --target gpu_harness -- $go_on || {
  failed build $?
  ls "$programs"/gpu* >/dev/null 2>&1 || stop "building failed, see $out/build.txt: $(grep -m 1 'error' "$out/build.txt")"
}

say "$(echo "$gpu" | awk -F', *' '{ print $1 ", compute capability " $2 ", " $3 " MiB, driver " $4 }'),"
say "$("$nvcc" --version | sed -n 's/.*release \([^,]*\),.*/CUDA \1/p'), built for sm_$architecture;" \
  "$(git -C "$root" log -1 --format='commit %h' 2>/dev/null || echo 'no commit known')."
say ""

# ---- the checkpoint, made while nothing is being timed -------------------------------------------
# free_gib DIR: the free space of DIR.
free_gib() { df -Pk "$1" 2>/dev/null | awk 'NR == 2 { print int($4 / 1048576) }'; }
memory=$(awk '/MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo)
place=${TMPDIR:-/tmp} layers=32
if [ "$(free_gib /dev/shm)" -ge 24 ] 2>/dev/null && [ "$memory" -ge 64 ]; then place=/dev/shm; fi
if [ "$(free_gib "$place")" -lt 20 ] || [ "$gpu_mib" -lt 24000 ]; then layers=8; fi
model=$(mktemp -d "$place/idefics-gpu.XXXXXX") || stop "cannot write to $place"
trap 'rm -rf "$model"' EXIT
trap 'exit 1' HUP INT TERM
note "a checkpoint of $layers layers in $model"
part build 90 "$build/bench/make_checkpoint" "$model" --layers $layers &
making=$!

# ---- parity --------------------------------------------------------------------------------------
export IDEFICS_TEST_DEVICE=cuda
say "| parity on the GPU | |"
say "|---|---|"
found=0
for program in "$programs"/gpu.*; do
  [ -x "$program" ] || continue
  found=1 name=$(basename "$program")
  note "$name"
  part parity 60 "$program"
  code=$?
  line=$(grep -E 'All tests passed|test cases:|assertions:' "$out/parity.txt" | tail -n 1 | tr '|' ',' | tr -s ' ')
  if [ $code -eq 0 ]; then say "| \`$name\` | $line |"; else
    status=1
    say "| \`$name\` | **failed** (status $code): $line |"
  fi
done
if [ $found -eq 0 ]; then
  status=1
  say "| not run | Catch2 is missing: bench/gpu/pack.sh packs it |"
fi
say ""
wait $making
made=$?

# ---- measurements --------------------------------------------------------------------------------
tables() { grep '^|' "$out/$1.txt" >>"$report" && say ""; }
note "kernels"
part kernels 75 "$programs/gpu_kernels"
code=$?
say "$(grep -m 1 '^cuda:' "$out/kernels.txt")"
say ""
tables kernels
read=$(awk -F"|" '/reading memory/ { print $4 + 0 }' "$out/kernels.txt")
products=$(awk -F"|" '/cuBLAS bf16, 8192/ { print $4 + 0 }' "$out/kernels.txt")
[ $code -eq 0 ] || failed kernels $code
note "ladder"
before=$(wc -l <"$out/kernels.txt")
part kernels 20 "$programs/gpu_ladder" 1024 4096 4096
code=$?
{ echo '```' && tail -n +$((before + 1)) "$out/kernels.txt" && echo '```' && echo; } >>"$report"
[ $code -eq 0 ] || failed kernels $code

if [ $made -ne 0 ]; then
  failed build $made
else
  [ $layers -eq 32 ] || say "Whole stages with $layers of 32 decoder layers, for lack of space."
  for form in bf16 nf4; do
    note "stages in $form"
    part stages 60 "$programs/gpu_stages" "$model" $form "${read:-0}" "${products:-0}"
    code=$?
    [ $code -eq 0 ] || failed stages $code
  done
  for form in bf16 nf4; do
    note "kernels of a step in $form"
    part stages 40 "$programs/gpu_step" "$model" $form
    code=$?
    [ $code -eq 0 ] || failed stages $code
  done
  tables stages
  note "transformers"
  part transformers 75 python3 "$root/bench/gpu/transformers_reference.py" "$model"
  code=$?
  tables transformers
  [ $code -eq 0 ] || failed transformers $code
  grep '^skipped' "$out/transformers.txt" >>"$report" && say ""
  step() { awk -F'|' '/decode step after 512/ { print $3 + 0; exit }' "$out/$1.txt"; } # the first is bf16
  awk -v ours="$(step stages)" -v theirs="$(step transformers)" 'BEGIN { if (ours > 0 && theirs > 0)
    printf "A decode step after 512 tokens in bf16 takes transformers %.1f times as long.\n\n", theirs / ours }' >>"$report"
fi

# ---- ncu: what three kernels wait for -------------------------------------------------------------
if command -v ncu >/dev/null; then
  for kernel in gemv_bf16 gemv_4bit wgmma; do
    note "ncu on $kernel"
    part ncu 40 ncu --kernel-name "regex:$kernel" --launch-count 1 --kill yes --section SpeedOfLight \
      --section WarpStateStats --section Occupancy "$programs/gpu_kernels"
  done
  ncu_lines=$(grep -E '^  [a-z_]+.*\(|Duration|Throughput|Cycles Per Issued|Achieved Occupancy' "$out/ncu.txt" || true)
  if [ -n "$ncu_lines" ]; then
    { echo '```' && echo "$ncu_lines" && echo '```' && echo; } >>"$report"
  else
    why=$(grep -m 1 'ERR' "$out/ncu.txt" || tail -n 1 "$out/ncu.txt")
    say "ncu could not profile: ${why:-no time was left}"
    say ""
  fi
else
  say "ncu is not installed: no kernel was profiled."
  say ""
fi

# ---- compute-sanitizer, in the remaining time ----------------------------------------------------
sanitizer=$(command -v compute-sanitizer || echo "$(dirname "$nvcc")/compute-sanitizer")
if [ ! -x "$sanitizer" ]; then
  say "compute-sanitizer is not installed: not run."
else
  say "| compute-sanitizer | | |"
  say "|---|---|---|"
  for tool in memcheck racecheck; do
    for name in gpu.parity.norm gpu.parity.attention gpu.parity.linear; do
      [ -x "$programs/$name" ] || continue
      note "$tool on $name"
      part sanitizer 45 "$sanitizer" --tool $tool --error-exitcode 99 "$programs/$name"
      case $? in
        0) result=clean ;;
        99) result="**errors**" status=1 ;;
        124 | 137) result="stopped at its time limit" ;;
        *) result="could not run: $(grep -m 1 -i 'error\|not supported' "$out/sanitizer.txt" | tr '|' ' ')" ;;
      esac
      say "| $tool | \`$name\` | $result |"
    done
  done
fi

note "done"
cat "$report"
exit $status
