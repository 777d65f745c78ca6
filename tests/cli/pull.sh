#!/bin/sh
# idefics pull, against a hub on loopback: the plan, the files, offline, and 4 bits.
# usage: pull.sh EXECUTABLE SAMPLES HUB
. "$(dirname "$0")/common.sh"
hub=$3
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY HF_TOKEN HF_HUB_OFFLINE IDEFICS_MODEL
export HF_HUB_CACHE="$scratch/cache"
mkfifo "$scratch/input"
"$hub" "$samples/tiny" cut <"$scratch/input" >"$scratch/address" &
exec 9>"$scratch/input"
while [ ! -s "$scratch/address" ]; do sleep 0.1; done
HF_ENDPOINT=$(cat "$scratch/address")
export HF_ENDPOINT
commit=cccccccccccccccccccccccccccccccccccccc01
snapshot=$HF_HUB_CACHE/models--org--name/snapshots/$commit

# fault CODE EXIT WORD ARGS...: fails with this code, an empty stdout, and a message with this word.
fault() {
  code=$1 status=$2 word=$3
  shift 3
  "$idefics" "$@" >"$scratch/out" 2>"$scratch/err"
  found=$?
  [ "$found" -eq "$status" ] || complain "exit $found instead of $status: $*"
  [ ! -s "$scratch/out" ] || complain "stdout is not empty: $*"
  grep -q "^idefics: error: $code: .*$word" "$scratch/err" || complain "$*: $(cat "$scratch/err")"
}

fault model_not_found 1 "idefics pull org/name" info org/name
fault url_refused 1 offline pull org/name --offline
fault model_not_found 1 "no such" pull org/other
fault model_not_found 1 "org/name\[@revision\]" pull tiny
fault usage 2 "" pull
fault usage 2 "" pull org/name --quantize int4
fault invalid_option 1 pattern pull org/name --include '*.gguf'

"$idefics" pull org/name --dry-run >"$scratch/out" || complain "--dry-run"
grep -q "^model.safetensors  *4944[0-9]*  *4944[0-9]*$" "$scratch/out" || complain "no plan: $(cat "$scratch/out")"
grep -q train.py "$scratch/out" && complain "the plan has files that are not needed"
[ ! -e "$HF_HUB_CACHE" ] || complain "--dry-run writes"
"$idefics" pull org/name --dry-run --json | grep -q "\"commit\":\"$commit\"" || complain "no commit in the plan"

for order in "--include *.json *.model org/name" "org/name --include *.json *.model"; do
  # shellcheck disable=SC2086
  (cd / && set -f && "$idefics" pull --dry-run --json $order) >"$scratch/out" 2>"$scratch/err"
  [ "$(grep -o '"path"' "$scratch/out" | wc -l)" -eq 7 ] || complain "$order: $(cat "$scratch/out" "$scratch/err")"
done

[ "$("$idefics" pull org/name 2>"$scratch/err")" = "$snapshot" ] || complain "pull: $(cat "$scratch/err")"
[ ! -s "$scratch/err" ] || complain "pull writes to stderr: $(cat "$scratch/err")"
for file in config.json model.safetensors tokenizer.model; do
  cmp "$snapshot/$file" "$samples/tiny/$file" || complain "$file differs"
done
[ -L "$snapshot/model.safetensors" ] || complain "not a link"
[ "$(cat "$HF_HUB_CACHE/models--org--name/refs/main")" = "$commit" ] || complain "no ref"
find "$HF_HUB_CACHE" -name '*.part*' | grep -q . && complain "parts are left"
picture=$samples/pictures/pink-boat.png
[ "$("$idefics" caption "$picture" --model org/name --offline)" = "a pink boat" ] || complain "the model does not work"
[ "$("$idefics" pull org/name --json)" = "{\"model\":\"$snapshot\"}" ] || complain "pull again"

quantized=$("$idefics" pull org/name --quantize nf4 --double-quant) || complain "--quantize"
"$idefics" quantize "$samples/tiny" "$scratch/whole" --type nf4 --double-quant || complain "quantize"
cmp "$quantized/model.safetensors" "$scratch/whole/model.safetensors" || complain "other tensors than quantize"
[ "$("$idefics" caption "$picture" --model org/name-nf4-double)" = "a pink boat" ] || complain "the 4-bit model does not work"

exec 9>&-
[ "$failures" -eq 0 ] || exit 1
echo "pull fetches a model that works"
