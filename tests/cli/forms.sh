#!/bin/sh
# Adapters, and checkpoints with torch.save files instead of safetensors, on the command line. They
# are checkpoints of the golden tests, without a tokenizer, and are given one of single letters.
# usage: forms.sh EXECUTABLE SAMPLES
. "$(dirname "$0")/common.sh"
data=$(dirname "$0")/../golden/data

# tokenizer FOLDER: writes tokenizer files with 101 pieces and the two added tokens for pictures.
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

# checkpoint NAME SOURCE: makes a writable copy of a checkpoint and adds the tokenizer.
checkpoint() {
  mkdir "$scratch/$1" && cp "$data/$2/"* "$scratch/$1" && tokenizer "$scratch/$1"
}

checkpoint plain models/interval_three
checkpoint torch torch_files/interval_three
checkpoint base models/published
picture=$samples/pictures/pink-boat.png

# run ARGS...: prints the output of the command, which must succeed with an empty stderr.
run() {
  "$idefics" "$@" 2>"$scratch/err" || complain "exit $?: $*: $(cat "$scratch/err")"
  [ ! -s "$scratch/err" ] || complain "stderr is not empty: $*: $(cat "$scratch/err")"
}

wanted=$(run generate hello "@$picture" --model "$scratch/plain" --max-new-tokens 8 --json)
[ -n "$wanted" ] || complain "no answer"
[ "$(run generate hello "@$picture" --model "$scratch/torch" --max-new-tokens 8 --json)" = "$wanted" ] ||
  complain "pytorch_model.bin and model.safetensors give different answers"
[ "$(run caption "$picture" --model "$scratch/torch" --max-new-tokens 8)" = \
  "$(run caption "$picture" --model "$scratch/plain" --max-new-tokens 8)" ] ||
  complain "pytorch_model.bin and model.safetensors give different captions"
run info --model "$scratch/torch" >"$scratch/out"
grep -q "missing tensors: 0" "$scratch/out" || complain "info of pytorch_model.bin: $(cat "$scratch/out")"
run info "$scratch/torch" --json | grep -q '"file":"pytorch_model-00001-of-00005.bin"' ||
  complain "info does not name the torch.save file of a tensor"

# An adapter changes the scores, in the same way every time.
scores() { run generate hello "@$picture" --model "$scratch/base" --max-new-tokens 4 --output-scores --json "$@"; }
adapted=$(scores --adapter "$data/lora/plain")
[ "$adapted" != "$(scores)" ] || complain "the adapter changes nothing"
[ "$adapted" = "$(scores --adapter "$data/lora/plain")" ] || complain "an adapter gives different scores"
[ "$(scores --adapter "$data/lora/patterns")" != "$adapted" ] || complain "two adapters give the same scores"
scores --adapter "$data/lora/plain" --load-in-4bit nf4 >/dev/null
"$idefics" caption "$picture" --adapter "$data/lora/plain" >"$scratch/out" 2>"$scratch/err"
[ $? -eq 1 ] && grep -q "^idefics: error: adapter_mismatch: \|^idefics: error: shape_mismatch: " "$scratch/err" ||
  complain "adapter of another model: $(cat "$scratch/err")"

# int8: the same answer from weights that are quantized on load and from a written checkpoint.
answer() { run generate hello "@$picture" --max-new-tokens 8 --output-scores --json "$@"; }
run quantize "$scratch/base" "$scratch/int8" --type int8 --llm-int8-threshold 2 --quiet >/dev/null
saved=$(answer --model "$scratch/int8")
[ "$saved" = "$(answer --model "$scratch/base" --load-in-8bit --llm-int8-threshold 2)" ] ||
  complain "int8 on load and on disk give different scores"
[ "$saved" != "$(answer --model "$scratch/base")" ] || complain "--load-in-8bit changes nothing"
[ "$saved" != "$(answer --model "$scratch/base" --load-in-8bit --llm-int8-skip-modules lm_head,mlp)" ] ||
  complain "--llm-int8-skip-modules changes nothing"
run info "$scratch/int8" --json | grep -q '"dtype":"I8"' || complain "info does not name int8 tensors"
run info "$scratch/base" | grep -q " int8 " || complain "info has no plan for int8"

# A picture in a file is turned as its EXIF data says on request only.
turned=$(cd "$(dirname "$0")/../fuzz/corpus/image" && pwd)/jpeg_form_exif7
printf '[{"image": "%s"}]' "$turned" >"$scratch/turned.json"
for option in "" --exif-transpose; do
  # shellcheck disable=SC2086
  run process --prompt-file "$scratch/turned.json" --output "$scratch/pixels$option" $option >/dev/null
done
! cmp -s "$scratch/pixels" "$scratch/pixels--exif-transpose" || complain "--exif-transpose changes nothing"

# The memory plan includes the adapter.
bytes() { run info "$scratch/base" --json "$@" | tr ',' '\n' | grep '"anonymous_weight_bytes"'; }
[ "$(bytes --adapter "$data/lora/plain")" != "$(bytes)" ] || complain "the memory plan does not include the adapter"

[ "$failures" -eq 0 ] || exit 1
echo "adapters and torch.save files work from the command line"
