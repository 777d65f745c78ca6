#!/bin/sh
# mpi.sh IDEFICS MPIRUN SOURCE: the command line on two and three ranks under an MPI launcher prints,
# writes and returns what it does alone.
set -eu
idefics=$1 mpirun=$2 source=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
picture=$source/samples/pictures/$(ls "$source/samples/pictures" | grep -m 1 'png$')

# on N ARGUMENTS…: runs it on N ranks; stdout to $work/out, stderr without the launcher's words to
# $work/err, and the exit code to $code.
on() {
  ranks=$1 code=0
  shift
  timeout 100 "$mpirun" --oversubscribe --bind-to none -n "$ranks" "$idefics" "$@" --threads 1 >"$work/out" 2>"$work/all" || code=$?
  grep '^idefics: ' "$work/all" >"$work/err" || true
}
fail() {
  echo "$*"
  cat "$work/out" "$work/all"
  exit 1
}

for command in "caption $picture" "caption $picture --num-beams 3 --max-new-tokens 6" \
  "generate Question: @$picture --max-new-tokens 5 --do-sample --seed 7" \
  "classify $picture --labels red,blue,green" "caption $picture --load-in-4bit nf4 --double-quant"; do
  # shellcheck disable=SC2086
  "$idefics" $command --json --quiet >"$work/alone" || fail "alone: $command"
  for n in 2 3; do
    # shellcheck disable=SC2086
    on $n $command --json --quiet
    [ "$code" -eq 0 ] || fail "exit $code on $n ranks: $command"
    sed 's/"[a-z_]*_s": *[0-9.e-]*//g; s/"[a-z_]*per_second": *[0-9.e-]*//g' "$work/alone" >"$work/a"
    sed 's/"[a-z_]*_s": *[0-9.e-]*//g; s/"[a-z_]*per_second": *[0-9.e-]*//g' "$work/out" >"$work/b"
    cmp -s "$work/a" "$work/b" || fail "another output on $n ranks: $command; alone: $(cat "$work/alone")"
  done
done

# a chat whose lines rank 0 reads, one at a time
printf '/image %s\nWhat is this?\nWhat colour is it?\n' "$picture" >"$work/lines"
"$idefics" chat --quiet <"$work/lines" >"$work/alone"
on 2 chat --quiet <"$work/lines"
cmp -s "$work/alone" "$work/out" || fail "another chat; alone: $(cat "$work/alone")"

# files are written once
printf '["A", {"image": "%s"}]' "$picture" >"$work/prompt.json"
"$idefics" logits --prompt-file "$work/prompt.json" -o "$work/alone.safetensors"
on 2 logits --prompt-file "$work/prompt.json" -o "$work/two.safetensors"
cmp "$work/alone.safetensors" "$work/two.safetensors" || fail "other logits"

# errors: one message, the exit code of a single process
on 2 caption "$work/missing.png"
[ "$code" -eq 1 ] || fail "exit $code for a missing picture"
[ "$(grep -c 'file_not_found' "$work/err")" -eq 1 ] || fail "not one message for a missing picture"
on 2 caption --no-such-option
[ "$code" -eq 2 ] || fail "exit $code for a usage error"

# a rank that is killed ends the run: here while all wait for a line of a chat
mkfifo "$work/typed"
timeout 60 "$mpirun" --oversubscribe --bind-to none -n 3 "$idefics" chat --quiet --threads 1 --system "ranks of test $$" \
  <"$work/typed" >"$work/out" 2>"$work/all" &
launcher=$!
exec 3>"$work/typed"
printf '/image %s\nWhat is this?\n' "$picture" >&3
tries=0
until [ -s "$work/out" ] || [ $tries -eq 300 ]; do sleep 0.1 && tries=$((tries + 1)); done
victim=$(pgrep -f "^$idefics chat .*ranks of test $$" | tail -n 1)
begin=$(date +%s)
kill -KILL "$victim" || fail "no rank to kill"
code=0
wait "$launcher" || code=$?
exec 3>&-
[ "$code" -ne 0 ] || fail "exit 0 although a rank was killed"
[ $(($(date +%s) - begin)) -le 10 ] || fail "the others took more than 10 s to end"
echo "two and three ranks print, write and return what one process does"
