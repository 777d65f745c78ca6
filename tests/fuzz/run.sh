#!/bin/sh
# A campaign: gives every target some minutes, from the inputs that earlier campaigns kept.
#
#   run.sh --minutes N [--target NAME]… [--kept DIR] [--build DIR]
#
# --kept (build/fuzz-kept) is what remains of campaigns: corpus/TARGET has the inputs that reach new
# code, findings/ those that fail, executions.tsv a line per run (date, commit, target, seconds,
# executions, result), which ledger.sh adds to docs/security.md. --build (build/fuzz) has the program.
# A finding does not end the campaign, but its result is 1. libFuzzer's entropic schedule is off: it
# takes up to 40 % of the time of a fast target.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
minutes= kept=$root/build/fuzz-kept build=$root/build/fuzz chosen=
usage() {
  echo "usage: run.sh --minutes N [--target NAME]... [--kept DIR] [--build DIR]" >&2
  exit 2
}
while [ $# -gt 1 ]; do
  case $1 in
  --minutes) minutes=$2 ;;
  --target) chosen="$chosen $2" ;;
  --kept) kept=$2 ;;
  --build) build=$2 ;;
  *) usage ;;
  esac
  shift 2
done
case $minutes in *[!0-9]* | "") usage ;; esac
[ $# -eq 0 ] || usage

mkdir -p "$kept/findings" "$build"
sh "$root/tests/fuzz/build.sh" cmake "$root" "$build" "$(command -v clang++ || echo clang++-14)" \
  >"$kept/build.log" 2>&1 || { cat "$kept/build.log" >&2 && exit 1; }
fuzzer=$build/tests/fuzz/idefics-fuzz
commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)
result=0
for target in ${chosen:-$("$fuzzer" --list)}; do
  mkdir -p "$kept/corpus/$target"
  log=$kept/$target.log outcome=none
  "$fuzzer" --target="$target" -max_total_time=$((minutes * 60)) -max_len=4096 -timeout=30 -entropic=0 \
    -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 -artifact_prefix="$kept/findings/$target-" \
    "$kept/corpus/$target" "$root/tests/fuzz/corpus/$target" >"$log" 2>&1 || outcome=finding result=1
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$(date +%F)" "$commit" "$target" $((minutes * 60)) "${runs:-0}" \
    "$outcome" >>"$kept/executions.tsv"
  echo "$target: ${runs:-0} executions, $outcome"
  [ $outcome = none ] || tail -20 "$log"
done
exit $result
