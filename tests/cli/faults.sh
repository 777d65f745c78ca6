#!/bin/sh
# Bad files, pictures, tokens and prompts: the executable must exit with 1, print nothing on stdout
# and one line on stderr that has the error code and names the fault, within 2 s of CPU time and 4
# GiB of address space.
# usage: faults.sh EXECUTABLE SAMPLES
. "$(dirname "$0")/common.sh"

# fault CODE NAMED ARGS...: the command must fail with error code CODE on a line that matches NAMED.
fault() {
  code=$1 named=$2
  shift 2
  (
    ulimit -t 2
    ulimit -v 4194304 2>/dev/null
    exec timeout 60 "$idefics" "$@"
  ) >"$scratch/out" 2>"$scratch/err" </dev/null
  found=$?
  [ "$found" -eq 1 ] || complain "exit $found instead of 1: $*"
  [ ! -s "$scratch/out" ] || complain "stdout is not empty: $*"
  [ "$(wc -l <"$scratch/err")" -eq 1 ] || complain "stderr is not one line: $*"
  [ "$(wc -c <"$scratch/err")" -lt 4096 ] || complain "the line on stderr is too long: $*"
  grep -q "^idefics: error: $code: .*$named" "$scratch/err" ||
    complain "no $code with '$named' on stderr: $*: $(cat "$scratch/err")"
}

# model NAME: copies the embedded checkpoint to $scratch/NAME, to be damaged there.
model() {
  mkdir "$scratch/$1" && cp "$samples/tiny/"*.json "$samples/tiny/tokenizer.model" "$samples/tiny/model.safetensors" "$scratch/$1"
}
# header JSON BYTES: prints a safetensors file with this header and BYTES zeros of data.
header() {
  size=${#1}
  printf "\\$(printf %o $((size % 256)))\\$(printf %o $((size / 256)))\\0\\0\\0\\0\\0\\0%s" "$1"
  head -c "$2" /dev/zero
}
lfs='version https://git-lfs.github.com/spec/v1'
picture=$samples/pictures/pink-boat.png

# checkpoints
for kind in cut padded lfs text huge pipe config-lfs config-list config-deep layers heads eos tokenizer prefix pickled sharded; do
  model $kind
done
weights=model.safetensors
head -c 100000 "$samples/tiny/$weights" >"$scratch/cut/$weights"
echo >>"$scratch/padded/$weights"
echo "$lfs" >"$scratch/lfs/$weights"
echo "no weights at all" >"$scratch/text/$weights"
header '{"t":{"dtype":"F32","shape":[4194305,4194305,211106198978564],"data_offsets":[0,16]}}' 16 >"$scratch/huge/$weights"
rm "$scratch/pipe/$weights" && mkfifo "$scratch/pipe/$weights"
echo "$lfs" >"$scratch/config-lfs/config.json"
echo '[]' >"$scratch/config-list/config.json"
head -c 100000 /dev/zero | tr '\0' '[' >"$scratch/config-deep/config.json"
edit() { sed "$2" "$samples/tiny/config.json" >"$scratch/$1/config.json"; }
edit layers 's/"num_hidden_layers": 4,/"num_hidden_layers": 99999999999999999999,/'
edit heads 's/"num_attention_heads": 4,/"num_attention_heads": 3,/'
edit eos 's/"eos_token_id": 2,/"eos_token_id": [null],/'
echo '{"model": 1' >"$scratch/tokenizer/tokenizer.json"
rm "$scratch/prefix/tokenizer.json" && echo "text" >"$scratch/prefix/tokenizer.model"
mv "$scratch/pickled/$weights" "$scratch/pickled/pytorch_model.bin"
mv "$scratch/sharded/$weights" "$scratch/sharded/1.safetensors"
echo '{"weight_map": {"x": "1.safetensors", "x": "2.safetensors"}}' >"$scratch/sharded/$weights.index.json"
mkdir "$scratch/bare" "$scratch/quiet" && cp "$samples/tiny/config.json" "$scratch/bare"

for command in "info" "caption $picture --model"; do
  fault truncated_file "file: $scratch/cut/$weights.*limit: " $command "$scratch/cut"
  fault oversized_file "file: $scratch/padded/$weights.*limit: " $command "$scratch/padded"
  fault git_lfs_pointer "file: $scratch/lfs/$weights" $command "$scratch/lfs"
  fault invalid_safetensors "file: $scratch/text/$weights" $command "$scratch/text"
  fault arithmetic_overflow "tensor: t" $command "$scratch/huge"
  fault file_not_found "file: $scratch/pipe/$weights" $command "$scratch/pipe"
  fault git_lfs_pointer "file: $scratch/config-lfs/config.json" $command "$scratch/config-lfs"
  fault invalid_config "file: $scratch/config-list/config.json" $command "$scratch/config-list"
  fault invalid_json "limit: 16" $command "$scratch/config-deep"
  fault invalid_config "field: num_hidden_layers" $command "$scratch/layers"
  fault invalid_config "field: .*num_attention_heads" $command "$scratch/heads"
  fault invalid_config "field: eos_token_id" $command "$scratch/eos"
  fault invalid_torch_file "pytorch_model.bin.*offset" $command "$scratch/pickled"
  fault duplicate_key "index.json" $command "$scratch/sharded"
done
fault not_a_checkpoint "file: $scratch/bare" info "$scratch/bare"
fault not_a_checkpoint "file: $scratch/quiet" info "$scratch/quiet"
fault invalid_json "file: $scratch/tokenizer/tokenizer.json" tokenize x --model "$scratch/tokenizer"
fault invalid_tokenizer "file: $scratch/prefix/tokenizer.model" tokenize x --model "$scratch/prefix"

# pictures
head -c 500 "$picture" >"$scratch/cut.png"
echo "$lfs" >"$scratch/lfs.png"
: >"$scratch/empty.png"
printf 'GIF89a\377\377\377\377\0\0\0,\0\0\0\0\377\377\377\377\0\0\0' >"$scratch/bomb.gif"
mkfifo "$scratch/pipe.png"
fault invalid_image "file: $scratch/cut.png" caption "$scratch/cut.png"
fault git_lfs_pointer "file: $scratch/lfs.png" caption "$scratch/lfs.png"
fault invalid_image "file: $scratch/empty.png" caption "$scratch/empty.png"
fault image_too_large "limit: " caption "$scratch/bomb.gif"
echo '<!DOCTYPE html>' >"$scratch/page.png"
fault invalid_image "an HTML page.*file: $scratch/page.png" caption "$scratch/page.png"
fault image_too_large "limit: 100]" caption "$picture" --max-image-pixels 100
fault image_too_large "limit: 100]" caption "$picture" --max-image-bytes 100
fault image_too_large "limit: 100]" caption "$picture" --max-image-memory 100
fault file_not_found "file: $scratch/pipe.png" caption "$scratch/pipe.png"
fault file_not_found "file: $samples" caption "$samples"

# tokens and prompts
fault invalid_utf8 "offset: 2" tokenize "$(printf 'ab\377')"
fault invalid_utf8 "field: prompts\[0\]\[1\]\] \[offset: 1" generate b "$(printf 'a\377')"
fault invalid_token_id "limit: " detokenize "[99999]"
fault invalid_token_id "integers" detokenize "[99999999999999999999]"
prompt() {
  printf '%s' "$3" >"$scratch/prompt.json"
  fault "$1" "$2" generate --prompt-file "$scratch/prompt.json"
}
prompt invalid_json "file: $scratch/prompt.json" 'not json'
prompt invalid_prompt 'field: \$\[1\]' '["a", 7]'
prompt invalid_prompt 'field: \$\[0\]' '[{"image": "a\u0000b"}]'
prompt duplicate_key "field: text" '[{"text": "a", "text": "b"}]'
prompt file_not_found "file: $scratch/none.png" '[{"image": "none.png"}]'
prompt invalid_image "file: $scratch/cut.png" '[{"image": "cut.png"}]'
fault file_not_found "file: $scratch/none.json" generate --prompt-file "$scratch/none.json"

# generation
model nan
size=$(wc -c <"$scratch/nan/$weights")
printf '\377\377' | dd of="$scratch/nan/$weights" bs=1 seek=$((size - 2)) conv=notrunc 2>/dev/null
long=$(head -c 1200 /dev/zero | tr '\0' 'a' | sed 's/aa/a /g')
rows=$(head -c 6000 /dev/zero | sed 's/\x0/["a"],/g')
items=$(head -c 6000 /dev/zero | sed 's/\x0/{"image":"data:image\/gif;base64,R0lGODlhAQABAIAAAAAAAP\/\/\/ywAAAAAAQABAAACAUwAOw=="},/g')
fault context_overflow "field: max_position_embeddings.*limit: 512" generate "$long"
fault context_overflow "field: max_length.*limit: 3" generate "a red" --max-length 3
prompt out_of_memory "field: pixel_values.*limit: " "[$rows[$items\"a\"]]"
fault invalid_option "field: stop_strings" generate a --stop-strings '[""]'
fault invalid_option "field: force_words_ids.*limit: 2" generate a --num-beams 2 --max-new-tokens 2 --force-words-ids '[[3,4,5]]'
fault invalid_option "field: max_new_tokens" generate a --max-new-tokens 9999999999
fault non_finite_logits "field: logits" caption "$picture" --model "$scratch/nan"

[ "$failures" -eq 0 ] || exit 1
echo "all faults are reported as they should be"
