#!/bin/sh
# Weights in other forms, driven from the command line: adapters, and files of torch.save alone. The checkpoints are those of the
# golden tests, which have no tokenizer of their own: one with single letters is put beside them.
# usage: forms.sh EXECUTABLE SAMPLES
. "$(dirname "$0")/common.sh"
data=$(dirname "$0")/../golden/data

# tokenizer FOLDER: 101 pieces, and the two tokens of pictures.
tokenizer() {
  pieces='"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3'
  id=4
  for letter in a b c d e f g h i j k l m n o p q r s t u v w x y z; do
    pieces="$pieces, \"$letter\": $id" id=$((id + 1))
  done
  while [ $id -lt 101 ]; do pieces="$pieces, \"<$id>\": $id" id=$((id + 1)); done
  added='' id=0
  for token in 0:unk 1:s 2:/s 101:fake_token_around_image 102:image; do
    added="$added${added:+, }{\"id\": ${token%%:*}, \"content\": \"<${token#*:}>\", \"lstrip\": false, \"rstrip\": false,
      \"normalized\": false, \"single_word\": false, \"special\": true}"
  done
  cat >"$1/tokenizer.json" <<END
{"version": "1.0", "added_tokens": [$added],
 "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
   {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
 "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
   {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
 "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": false, "vocab": {$pieces}, "merges": []}}
END
  sed 's/"image_size": 64/"image_size": 28/' "$samples/tiny/preprocessor_config.json" >"$1/preprocessor_config.json"
}

# checkpoint NAME SOURCE: a copy that can be written to, with a tokenizer.
checkpoint() {
  mkdir "$scratch/$1" && cp "$data/$2/"* "$scratch/$1" && tokenizer "$scratch/$1"
}

checkpoint plain models/interval_three
checkpoint torch torch_files/interval_three
checkpoint base models/published
picture=$samples/pictures/pink-boat.png

# run ARGS...: what the command prints; it must succeed and say nothing on stderr.
run() {
  "$idefics" "$@" 2>"$scratch/err" || complain "exit $?: $*: $(cat "$scratch/err")"
  [ ! -s "$scratch/err" ] || complain "stderr is not empty: $*"
}

wanted=$(run generate hello "@$picture" --model "$scratch/plain" --max-new-tokens 8 --json)
[ -n "$wanted" ] || complain "no answer"
[ "$(run generate hello "@$picture" --model "$scratch/torch" --max-new-tokens 8 --json)" = "$wanted" ] ||
  complain "pytorch_model.bin answers otherwise than model.safetensors"
[ "$(run caption "$picture" --model "$scratch/torch" --max-new-tokens 8)" = \
  "$(run caption "$picture" --model "$scratch/plain" --max-new-tokens 8)" ] || complain "another caption"
run info --model "$scratch/torch" >"$scratch/out"
grep -q "missing tensors: 0" "$scratch/out" || complain "info of pytorch_model.bin: $(cat "$scratch/out")"
run info "$scratch/torch" --json | grep -q '"file":"pytorch_model-00001-of-00005.bin"' || complain "info names no file of torch.save"

# an adapter changes the answer, and not the second time it is asked
scores() { run generate hello "@$picture" --model "$scratch/base" --max-new-tokens 4 --output-scores --json "$@"; }
adapted=$(scores --adapter "$data/lora/plain")
[ "$adapted" != "$(scores)" ] || complain "the adapter changes nothing"
[ "$adapted" = "$(scores --adapter "$data/lora/plain")" ] || complain "an adapter gives two answers"
[ "$(scores --adapter "$data/lora/patterns")" != "$adapted" ] || complain "two adapters give one answer"
scores --adapter "$data/lora/plain" --load-in-4bit nf4 >/dev/null
"$idefics" caption "$picture" --adapter "$data/lora/plain" >"$scratch/out" 2>"$scratch/err"
[ $? -eq 1 ] && grep -q "^idefics: error: adapter_mismatch: \|^idefics: error: shape_mismatch: " "$scratch/err" ||
  complain "an adapter of another model: $(cat "$scratch/err")"

# what an adapter adds is in the plan
bytes() { run info "$scratch/base" --json "$@" | tr ',' '\n' | grep '"anonymous_weight_bytes"'; }
[ "$(bytes --adapter "$data/lora/plain")" != "$(bytes)" ] || complain "the plan knows of no adapter"

[ "$failures" -eq 0 ] || exit 1
echo "adapters and files of torch.save are taken from the command line"
