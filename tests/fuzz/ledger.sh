#!/bin/sh
# Adds the executions that campaigns recorded to the table of docs/security.md.
#
#   ledger.sh KEPT     adds KEPT/executions.tsv (of run.sh), and puts it aside as counted
#   ledger.sh --check  fails unless the table has one row for each target of targets.hpp
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
page=$root/docs/security.md
if [ "${1:-}" = --check ]; then
  sed -n 's/^    {"\([a-z0-9_]*\)", .*/\1/p' "$root/tests/fuzz/targets.hpp" | sort >"${TMPDIR:-/tmp}/targets.$$"
  trap 'rm -f "${TMPDIR:-/tmp}/targets.$$"' EXIT
  sed -n '/^| target | executions |/,/^$/s/^| `\([a-z0-9_]*\)` .*/\1/p' "$page" | sort |
    diff "${TMPDIR:-/tmp}/targets.$$" - || { echo "docs/security.md does not list these targets" && exit 1; }
  exit 0
fi
[ -s "${1:?usage: ledger.sh KEPT | --check}/executions.tsv" ] || { echo "nothing new to count" && exit 0; }
awk -F '\t' -v OFS='' '
  function grouped(n, text) {
    for (text = ""; n >= 1000; n = int(n / 1000)) text = sprintf(",%03d", n % 1000) text
    return n text
  }
  NR == FNR { new[$3] += $5; date[$3] = $1; next }
  /^\| target \| executions \|/ { table = 1 }
  /^$/ { table = 0 }
  table && split($0, cell, / *\| */) && substr(cell[2], 1, 1) == "`" {
    target = cell[2]; gsub(/`/, "", target)
    if (target in new) {
      total = cell[3]; gsub(/,/, "", total)
      print "| `", target, "` | ", grouped(total + new[target]), " | ", date[target], " |"
      next
    }
  }
  { print }
' "$1/executions.tsv" "$page" >"$page.new"
mv "$page.new" "$page"
cat "$1/executions.tsv" >>"$1/counted.tsv"
rm "$1/executions.tsv"
