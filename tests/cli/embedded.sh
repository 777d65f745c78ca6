#!/bin/sh
# What the embedded checkpoint says about itself on stderr: once what it knows, and when an answer is
# less probable than its card asks for.
# usage: embedded.sh EXECUTABLE SAMPLES
. "$(dirname "$0")/common.sh"
unset IDEFICS_MODEL
picture=$samples/pictures/pink-boat.png

# notes COUNT ARGS...: the command must succeed with so many lines on stderr, all of them notes.
notes() {
  count=$1
  shift
  "$idefics" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null || complain "exit $?: $*"
  [ "$(wc -l <"$scratch/err")" -eq "$count" ] || complain "not $count notes: $*: $(cat "$scratch/err")"
  grep -v "^idefics: note: " "$scratch/err" && complain "not a note: $*"
}

notes 1 caption "$picture"
[ "$(cat "$scratch/out")" = "a pink boat" ] || complain "the answer is not 'a pink boat'"
grep -q "embedded model: it knows drawings" "$scratch/err" || complain "not its world: $(cat "$scratch/err")"
notes 1 classify "$picture" --labels cat,boat
notes 1 chat "$picture"
notes 1 caption "$picture" --num-beams 2
notes 0 caption "$picture" --quiet
notes 0 caption "$picture" --model "$samples/tiny"
notes 1 caption "$picture" --json
grep -q logprobs "$scratch/out" && complain "probabilities that were not asked for"
"$idefics" caption "$scratch/none.png" 2>&1 | grep -q note && complain "a note without an answer"

notes 2 generate @"$picture" "Question: Is there a dog? Answer:"
number=$(sed -n 's/.* trusted from \(0\.[0-9]*\) on$/\1/p' "$scratch/err")
grep -q "^0\.${number#0.} were right" "$samples/tiny/README.md" || complain "the card has another number than '$number'"
notes 2 classify "$picture" --labels tree,moon
notes 2 classify "$picture" --labels tree,moon --rank

[ "$failures" -eq 0 ] || exit 1
echo "the embedded checkpoint says what it knows"
