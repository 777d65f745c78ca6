#!/bin/sh
# The contract of the command line: the right answer on stdout or, after a fault, an exit code, one
# line on stderr and an empty stdout.
# usage: contract.sh EXECUTABLE SAMPLES
. "$(dirname "$0")/common.sh"

# fault CODE EXIT ARGS...: the command must fail with this error code and exit status.
fault() {
  code=$1 status=$2
  shift 2
  "$idefics" "$@" >"$scratch/out" 2>"$scratch/err"
  found=$?
  [ "$found" -eq "$status" ] || complain "exit $found instead of $status: $*"
  [ ! -s "$scratch/out" ] || complain "stdout is not empty: $*"
  [ "$(wc -l <"$scratch/err")" -eq 1 ] || complain "stderr is not one line: $*"
  grep -q "^idefics: error: $code: " "$scratch/err" ||
    complain "no $code on stderr: $*: $(cat "$scratch/err")"
}

# answer TEXT ARGS...: the command must print exactly TEXT.
answer() {
  wanted=$1
  shift
  [ "$("$idefics" "$@" 2>"$scratch/err")" = "$wanted" ] || complain "the answer is not '$wanted': $*"
  [ ! -s "$scratch/err" ] || complain "stderr is not empty: $*"
}

picture=$samples/pictures/pink-boat.png
answer "a pink boat" caption "$picture"
answer "a pink boat" caption "$picture" --dtype bf16 --threads 1
answer "$("$idefics" tokenize 'a red cat')" tokenize "a red cat" --model "$samples/tiny"
answer "a red cat" detokenize "$("$idefics" tokenize 'a red cat')"

echo '["[a,b]", "", "x"]' >"$scratch/brackets.json"
answer "$("$idefics" generate --prompt-file "$scratch/brackets.json" --suppress-tokens "[3]")" generate "[a,b]" "" x --suppress-tokens "[3]"
cp "$picture" "$scratch/[a, b]"
(cd "$scratch" && echo "What is this?" | "$idefics" chat "[a, b]" --quiet >out 2>err)
[ "$(cat "$scratch/out")" = "a pink boat" ] ||
  complain "picture name in brackets: $(cat "$scratch/out" "$scratch/err")"

"$idefics" caption "$picture" --json --output-attentions >"$scratch/out"
grep -q '"cross_attentions":\[\[\[\[\[0\.[0-9]*,' "$scratch/out" ||
  complain "no attention weights: $(cat "$scratch/out")"

answer "a pink boat" caption "data:image/png;base64,$(base64 -w0 "$picture")" --offline

# unknown keys of a checkpoint are named once each, as warnings
mkdir "$scratch/odd"
cp "$samples/tiny/"*.json "$samples/tiny/model.safetensors" "$scratch/odd"
sed 's/"vocab_size"/"vocal_size": 1, "vocab_size"/' "$samples/tiny/config.json" >"$scratch/odd/config.json"
sed 's/"legacy"/"legacies": 1, "legacy"/' "$samples/tiny/tokenizer_config.json" >"$scratch/odd/tokenizer_config.json"
[ "$("$idefics" caption "$picture" --model "$scratch/odd" 2>"$scratch/err")" = "a pink boat" ] ||
  complain "no answer from a checkpoint with unknown keys"
[ "$(wc -l <"$scratch/err")" -eq 2 ] || complain "not two warnings: $(cat "$scratch/err")"
for key in vocal_size legacies; do
  grep -q "^idefics: warning: unknown key: .*field: $key" "$scratch/err" ||
    complain "no warning of $key: $(cat "$scratch/err")"
done

mkdir "$scratch/empty" "$scratch/alien" "$scratch/lfs" "$scratch/sharded"
echo '{"model_type": "llama"}' >"$scratch/alien/config.json"
cp "$samples/tiny/model.safetensors" "$scratch/alien"
cp "$samples/tiny/"*.json "$samples/tiny/tokenizer.model" "$scratch/lfs"
printf 'version https://git-lfs.github.com/spec/v1\n' >"$scratch/lfs/model.safetensors"
cp "$samples/tiny/"*.json "$scratch/sharded"
echo '{"weight_map": {"x": "model-00001-of-00002.safetensors"}}' >"$scratch/sharded/model.safetensors.index.json"
head -c 500 "$picture" >"$scratch/cut.png"
echo 'not json' >"$scratch/prompt.json"
echo '[{"image": 3}]' >"$scratch/item.json"

fault usage 2
fault usage 2 caption
fault usage 2 caption "$picture" --no-such-flag
fault usage 2 caption "$picture" --max-new-tokens many
fault usage 2 generate
fault file_not_found 1 caption "$scratch/none.png"
fault invalid_image 1 caption "$scratch/cut.png"
fault invalid_image 1 caption "$samples/tiny/config.json"
fault model_not_found 1 info no-such-model
fault model_not_found 1 info org/name@../../etc
fault not_a_checkpoint 1 info "$scratch/empty"
fault unsupported_architecture 1 info "$scratch/alien"
fault git_lfs_pointer 1 info "$scratch/lfs"
fault missing_shard 1 info "$scratch/sharded"
fault invalid_json 1 generate --prompt-file "$scratch/prompt.json"
fault invalid_prompt 1 generate --prompt-file "$scratch/item.json"
fault url_refused 1 caption http://localhost/picture.png
fault url_refused 1 caption http://example.com/picture.png --offline
fault url_refused 1 caption ftp://example.com/picture.png
fault fetch_failed 1 caption http://localhost:1/picture.png --allow-private-urls
fault fetch_failed 1 caption "data:image/png;base64,?"
fault invalid_token_id 1 detokenize "[99999]"
fault invalid_option 1 caption "$picture" --max-new-tokens 0
fault invalid_option 1 caption "$picture" --num-beams 2 --num-return-sequences 3
fault usage 2 caption "$picture" --double-quant
fault usage 2 caption "$picture" --load-in-4bit nf5
fault usage 2 caption "$picture" --load-in-8bit --load-in-4bit nf4
fault usage 2 caption "$picture" --load-in-8bit --llm-int8-threshold -1
fault usage 2 quantize "$samples/tiny" out --type int4
fault usage 2 quantize "$samples/tiny" out --type int8 --double-quant
fault invalid_option 1 caption "$picture" --best-of 2
fault invalid_option 1 caption "$picture" --do-sample --top-p 2
fault invalid_option 1 caption "$picture" --stop-strings '[""]'
fault usage 2 caption "$picture" --temperature warm
fault usage 2 caption "$picture" --bad-words-ids ""
fault usage 2 caption "$picture" --stop-strings ""
fault usage 2 caption "$picture" --generation-config ""
fault invalid_option 1 classify "$picture" --labels "boat,,cat"
fault invalid_option 1 classify "$picture" --labels ""
fault device_unavailable 1 caption "$picture" --device cuda

[ "$failures" -eq 0 ] || exit 1
echo "all commands keep the contract"
