#!/bin/sh
# What is generated from the definition of the options: the tables of docs/cli.md are current, and the
# completions and the manual page are valid.
# usage: pages.sh EXECUTABLE SAMPLES           checks
#        pages.sh EXECUTABLE SAMPLES --write   rewrites the tables of docs/cli.md
. "$(dirname "$0")/common.sh"
page=$(dirname "$0")/../../docs/cli.md

"$idefics" manual markdown >"$scratch/tables"
awk -v tables="$scratch/tables" '
  /^<!-- options: .*-->$/ { print; print ""; while ((getline line < tables) > 0) print line; print ""; inside = 1 }
  /^<!-- end of the options -->$/ { inside = 0 }
  !inside { print }' "$page" >"$scratch/page"
if [ "${3:-}" = --write ]; then
  cat "$scratch/page" >"$page"
else
  cmp -s "$scratch/page" "$page" || complain "docs/cli.md is not current; write it by: sh tests/cli/pages.sh EXECUTABLE SAMPLES --write"
fi
for command in $("$idefics" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
  grep -q "idefics $command " "$page" || complain "docs/cli.md lacks $command"
done
[ "$(wc -l <"$scratch/tables")" -gt 80 ] || complain "the tables are too short"

# Every shell that is installed accepts its completions; bash completes commands, options and values.
for shell in bash zsh fish; do
  "$idefics" completion $shell >"$scratch/$shell" || complain "no completion for $shell"
  [ "$(wc -l <"$scratch/$shell")" -gt 20 ] || complain "the completion for $shell is too short"
  if command -v $shell >/dev/null; then
    $shell -n "$scratch/$shell" || complain "the completion for $shell is not valid"
  fi
done
# completed WANTED WORDS...: bash completes the last of the words to WANTED.
completed() {
  wanted=$1
  shift
  found=$(bash -c '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _idefics; printf "%s " "${COMPREPLY[@]}"' - "$scratch/bash" "$@")
  [ "$found" = "$wanted " ] || complain "completion of '$*': '$found' instead of '$wanted'"
}
if command -v bash >/dev/null; then
  completed caption idefics capt
  completed --max-new-tokens idefics caption --max-new
  completed "bf16" idefics caption --dtype b
  completed "bash zsh fish" idefics completion ""
fi
"$idefics" manual man >"$scratch/man"
for section in NAME SYNOPSIS COMMANDS OPTIONS "EXIT STATUS" ENVIRONMENT; do
  grep -q "^\\.SH $section\$" "$scratch/man" || complain "the manual page lacks $section"
done
if command -v man >/dev/null; then
  LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 -l "$scratch/man" >/dev/null 2>"$scratch/err" || complain "man fails"
  [ ! -s "$scratch/err" ] || complain "the manual page has warnings: $(head -3 "$scratch/err")"
fi

[ "$failures" -eq 0 ] || exit 1
echo "the pages that are generated from the options are current"
