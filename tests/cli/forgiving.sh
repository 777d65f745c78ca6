#!/bin/sh
# Mistakes at the command line: what is suggested, noted, refused and forgiven.
# usage: forgiving.sh EXECUTABLE SAMPLES
. "$(dirname "$0")/common.sh"

boat=$samples/pictures/pink-boat.png

# refused MESSAGE ARGS...: a usage error whose message contains MESSAGE.
refused() {
  message=$1
  shift
  "$idefics" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
  found=$?
  [ "$found" -eq 2 ] || complain "exit $found instead of 2: $*"
  [ ! -s "$scratch/out" ] || complain "stdout is not empty: $*"
  [ "$(wc -l <"$scratch/err")" -eq 1 ] || complain "stderr is not one line: $*: $(cat "$scratch/err")"
  grep -qF -e "$message" "$scratch/err" || complain "no '$message': $*: $(cat "$scratch/err")"
}
# answer TEXT ARGS...: success with exactly TEXT on stdout.
answer() {
  wanted=$1
  shift
  found=$("$idefics" "$@" 2>"$scratch/err" </dev/null) || complain "failed: $*: $(cat "$scratch/err")"
  [ "$found" = "$wanted" ] || complain "'$found' instead of '$wanted': $*"
}
# noted TEXT: the last command wrote a line that begins with TEXT on stderr.
noted() { grep -qF -e "$1" "$scratch/err" || complain "no '$1' on stderr: $(cat "$scratch/err")"; }
silent() { [ ! -s "$scratch/err" ] || complain "stderr is not empty: $(cat "$scratch/err")"; }

# words and options that do not exist
refused 'unknown command "capton"; did you mean "caption"?' capton "$boat"
refused 'a command is missing: caption, generate'
refused 'did you mean: idefics caption' "$boat"
refused '--model must follow the command: idefics caption --model' --model "$samples/tiny" caption "$boat"
refused 'unknown option --promt; did you mean --prompt?' caption "$boat" --promt hi
refused 'unknown option --max-new-token; did you mean --max-new-tokens?' caption "$boat" --max-new-token 5
refused 'unknown option -p' caption "$boat" -p hi
refused 'unexpected arguments b c' info "$samples/tiny" b c
answer "$("$idefics" --help)" help
answer "$("$idefics" caption --help)" help caption

# options that a command does not use
for option in "--adapter x" "--load-in-4bit fp4" "--device cuda:7" "--model x" "--seed 1" "--timings"; do
  # shellcheck disable=SC2086
  refused "quantize does not use ${option%% *}" quantize "$samples/tiny" "$scratch/out4" --type nf4 $option
done
refused 'tokenize does not use --adapter' tokenize "a red cat" --adapter x
refused 'tokenize does not use --device' tokenize "a red cat" --device cpu
refused 'info does not use --seed' info "$samples/tiny" --seed 3

# values
refused 'generate needs at least one ITEM' generate
refused 'not both' generate text --prompt-file x.json
refused '--load-in-4bit takes nf4 or fp4, not nf5' generate text --load-in-4bit nf5
refused '--threads' caption "$boat" --threads 1000000
refused '--seed' caption "$boat" --seed -1
invalid() {
  message=$1
  shift
  "$idefics" "$@" >"$scratch/out" 2>"$scratch/err"
  [ $? -eq 1 ] || complain "exit code: $*"
  noted "$message"
}
invalid '--num-beams' caption "$boat" --num-beams 0
invalid '--top-p' caption "$boat" --do-sample --top-p 2
invalid '--bad-words-ids' caption "$boat" --bad-words-ids '[[1'
invalid '--allow-private-urls' caption http://localhost:1/picture.png

# sampling options without --do-sample, temperature 0, items without @
answer "a pink boat" caption "$boat" --temperature 0.7
noted 'idefics: warning: --temperature has no effect without do_sample'
answer "a pink boat" caption "$boat" --temperature 0.7 --quiet
silent
answer "a pink boat" caption "$boat" --do-sample --temperature 0
silent
"$idefics" generate "$boat" "a" --max-new-tokens 1 >"$scratch/out" 2>"$scratch/err"
noted "write @$boat to show the picture"
"$idefics" generate "@@alice" --max-new-tokens 1 --json | grep -q '"text":\["@alice' || complain "@@ does not begin a text with @"

# a prompt on stdin
echo '["a red"]' >"$scratch/prompt.json"
answer "$("$idefics" generate --prompt-file "$scratch/prompt.json" --max-new-tokens 2)" generate "a red" --max-new-tokens 2
[ "$("$idefics" generate --prompt-file - --max-new-tokens 2 <"$scratch/prompt.json")" = "$("$idefics" generate "a red" --max-new-tokens 2)" ] ||
  complain "--prompt-file -"

# labels with spaces, the ranking, and its shares
answer boat classify "$boat" --labels "cat, boat ,sun"
"$idefics" classify "$boat" --labels "cat, boat" --rank >"$scratch/out"
[ "$(cut -f1 "$scratch/out" | tr '\n' ' ')" = "boat cat " ] || complain "ranking: $(cat "$scratch/out")"
[ "$(awk '{ sum += $2 } END { printf "%.2f", sum }' "$scratch/out")" = 1.00 ] || complain "shares: $(cat "$scratch/out")"

# timings of every command that loads a model; what info and quantize print
"$idefics" classify "$boat" --labels cat,boat --timings 2>"$scratch/err" >/dev/null && noted '"classify_s":'
"$idefics" caption "$boat" --timings 2>"$scratch/err" >/dev/null && noted '"decode_tokens_per_s":'
printf '/image "%s"\nWhat is this?\n' "$boat" | "$idefics" chat --timings 2>"$scratch/err" >/dev/null && noted '"decode_tokens_per_s":'
"$idefics" info "$samples/tiny" | grep -q '^vision_config.embed_dim  *128$' || complain "info without the configuration"
"$idefics" quantize "$samples/tiny" "$scratch/small" --type nf4 2>"$scratch/err" >"$scratch/out"
noted "idefics: wrote $scratch/small: nf4, "
[ ! -s "$scratch/out" ] || complain "quantize writes to stdout"

# chat: paths with quotes and spaces, lines of Windows, /undo, /regenerate, /save and /load
cp "$boat" "$scratch/a boat.png"
printf '/image "%s"\r\nWhat is this?\r\n' "$scratch/a boat.png" | "$idefics" chat >"$scratch/out" 2>"$scratch/err"
[ "$(cat "$scratch/out")" = "a pink boat" ] || complain "quoted path: $(cat "$scratch/out" "$scratch/err")"
printf '%s\n' "/image ~/a\\ boat.png" "What is this?" | HOME=$scratch "$idefics" chat >"$scratch/out" 2>"$scratch/err"
[ "$(cat "$scratch/out")" = "a pink boat" ] || complain "path with ~: $(cat "$scratch/out" "$scratch/err")"
printf '%s\n' "/image $boat" "What is this?" "/regenerate" "/save $scratch/talk.json" "/undo" "/load $scratch/talk.json" |
  "$idefics" chat --json >"$scratch/out" 2>"$scratch/err"
[ "$(grep -o '"role"' "$scratch/out" | wc -l)" -eq 2 ] || complain "loaded conversation: $(cat "$scratch/out" "$scratch/err")"
echo "$boat" | "$idefics" chat >"$scratch/out" 2>"$scratch/err"
[ $? -eq 1 ] && noted "to show a picture: /image $boat"

# help fits the terminal and has groups and defaults
for width in 60 80 100; do
  COLUMNS=$width "$idefics" caption --help >"$scratch/out"
  awk -v width=$width 'length($0) > width { exit 1 }' "$scratch/out" || complain "help is wider than $width"
done
grep -q '^Sampling:$' "$scratch/out" || complain "help without groups"
grep -q '(default: 50)' "$scratch/out" || complain "help without defaults"

[ "$failures" -eq 0 ] || exit 1
echo "mistakes are named, and what can be forgiven is"
