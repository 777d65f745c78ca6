#!/bin/sh
# selftest and bench: the hashes that every machine has, a planted difference, figures of a model.
# usage: machine.sh EXECUTABLE SAMPLES
. "$(dirname "$0")/common.sh"

"$idefics" selftest >"$scratch/table" 2>"$scratch/err" || complain "selftest: $(cat "$scratch/err")"
grep -q "^rms_norm .* same" "$scratch/table" || complain "no table: $(cat "$scratch/table")"
tail -1 "$scratch/table" | grep -q "are the same as on every machine" || complain "no verdict"
grep -q DIFFERS "$scratch/table" && complain "something differs"

"$idefics" selftest --json --threads 1 >"$scratch/hashes.json" || complain "selftest --json"
grep -q '"same":true' "$scratch/hashes.json" || complain "not the same: $(cat "$scratch/hashes.json")"
"$idefics" selftest --against "$scratch/hashes.json" >"$scratch/out" || complain "selftest --against"
sed 's/"softmax":"[0-9a-f]*/"softmax":"0123456789abcdef/' "$scratch/hashes.json" >"$scratch/planted.json"
"$idefics" selftest --against "$scratch/planted.json" >"$scratch/out" 2>"$scratch/err"
[ $? -eq 1 ] || complain "exit status after a difference"
grep -q "^softmax .* DIFFERS" "$scratch/out" || complain "the table does not name it: $(cat "$scratch/out")"
grep -q "^idefics: error: internal: .*softmax on cpu-scalar" "$scratch/err" ||
  complain "the difference is not named: $(cat "$scratch/err")"
echo '[]' >"$scratch/list.json"
"$idefics" selftest --against "$scratch/list.json" >/dev/null 2>&1
[ $? -eq 2 ] || complain "a file of another form is not refused"

quick="--batch 1,2 --new-tokens 2 --prompt-tokens 8"
"$idefics" bench $quick >"$scratch/out" 2>"$scratch/err" || complain "bench: $(cat "$scratch/err")"
for word in "time to first token" "a picture" "batch 2 .* tokens/s" "% of the read bandwidth"; do
  grep -q "$word" "$scratch/out" || complain "bench lacks '$word': $(cat "$scratch/out")"
done
"$idefics" bench $quick --json --load-in-4bit nf4 >"$scratch/out" || complain "bench --json"
for key in first_token_s picture_s tokens_per_s share product_flops_per_s read_bytes_per_s; do
  grep -q "\"$key\":[0-9.e+-]" "$scratch/out" || complain "no $key: $(cat "$scratch/out")"
done

[ "$failures" -eq 0 ] || exit 1
echo "selftest and bench work"
