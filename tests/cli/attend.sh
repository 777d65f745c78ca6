#!/bin/sh
# What each word looked at: as a table, as JSON, and in files that other programs read.
# usage: attend.sh EXECUTABLE SAMPLES
. "$(dirname "$0")/common.sh"
boat=$samples/pictures/pink-boat.png pair=$samples/pictures/blue-cat-and-pink-fish.png

# attend ARGS...: must succeed with an empty stderr; stdout is in $scratch/out.
attend() {
  "$idefics" attend "$@" >"$scratch/out" 2>"$scratch/err" || complain "exit $?: $*: $(cat "$scratch/err")"
  [ ! -s "$scratch/err" ] || complain "stderr is not empty: $*: $(cat "$scratch/err")"
}
# refused CODE EXIT NAMED ARGS...: must fail with CODE, and name the fault.
refused() {
  code=$1 status=$2 named=$3
  shift 3
  "$idefics" attend "$@" >"$scratch/out" 2>"$scratch/err"
  found=$?
  [ "$found" -eq "$status" ] || complain "exit $found instead of $status: $*"
  [ ! -s "$scratch/out" ] || complain "stdout is not empty: $*"
  grep -q "^idefics: error: $code: .*$named" "$scratch/err" || complain "no $code with '$named': $(cat "$scratch/err")"
}

attend "$boat"
[ "$(awk 'NR > 1 { printf "%s ", $1 }' "$scratch/out")" = "a pink boat " ] || complain "not one line for each word: $(cat "$scratch/out")"
grep -q "^boat  *1  *100%  .*row [1-8], column [1-8] (" "$scratch/out" || complain "no look: $(cat "$scratch/out")"
attend "$boat" "$pair" --prompt "This is"
[ "$(grep -c " 2  " "$scratch/out")" -eq "$(grep -c " 1  " "$scratch/out")" ] || complain "not both pictures"

# all shares of a token are 1 together, in either form of rollout; options change the result
# shares: of every word and token in $scratch/out
shares() { tr '{' '\n' <"$scratch/out" | sed -n 's/.*"share":\([0-9.e-]*\).*/\1/p'; }
attend "$boat" --json
cp "$scratch/out" "$scratch/mean"
shares | awk '$1 < 0.99999 || $1 > 1.00001 { bad = 1 } END { exit bad || NR < 6 }' || complain "shares: $(shares)"
grep -q '"grid":\[8,8\].*"rollout":false.*"text":"a pink boat"' "$scratch/out" || complain "JSON: $(cat "$scratch/out")"
for options in --rollout "--layer 0" "--layer 1 --head 3" "--prompt This"; do
  # shellcheck disable=SC2086
  attend "$boat" --json $options
  ! cmp -s "$scratch/out" "$scratch/mean" || complain "$options changes nothing"
done
attend "$boat" "$pair" --json --max-new-tokens 1
shares | awk '{ sum += $1 } END { exit !(NR == 4 && sum > 1.99999 && sum < 2.00001) }' || complain "two pictures: $(shares)"

# files: JSON as on stdout; PNG that the decoder reads; SVG and HTML that need no other file
for kind in json png svg html; do
  attend "$boat" "$pair" -o "$scratch/heat.$kind" --max-new-tokens 5
  [ "$(wc -l <"$scratch/out")" -eq 1 ] || complain "with -o, not only the answer: $(cat "$scratch/out")"
done
attend "$boat" "$pair" --max-new-tokens 5 --json
cmp -s "$scratch/out" "$scratch/heat.json" || complain "heat.json differs from --json"
words=$(tr '{' '\n' <"$scratch/heat.json" | grep -c '"tokens":\[[0-9]*,[0-9]*\]')
[ "$words" -gt 1 ] || complain "no words in heat.json"
"$idefics" caption "$scratch/heat.png" --quiet >/dev/null 2>"$scratch/err" || complain "heat.png: $(cat "$scratch/err")"
[ "$(grep -c '<use ' "$scratch/heat.svg")" -eq $((2 * words)) ] || complain "not a tile for each word and picture"
[ "$(grep -c '<button ' "$scratch/heat.html")" -eq "$words" ] || complain "not a button for each word"
for kind in svg html; do
  ! grep -E '(href|src)="[^d#]|url\(|@import' "$scratch/heat.$kind" || complain "heat.$kind needs other files"
done
if command -v xmllint >/dev/null; then
  xmllint --noout "$scratch/heat.svg" || complain "heat.svg is not XML"
fi
attend "$boat" -o "$scratch/none.svg" --prompt "<&\"" --max-new-tokens 2

refused usage 2 "\.png, \.svg, \.html or \.json" "$boat" -o "$scratch/heat.bmp"
refused usage 2 "\.png, \.svg, \.html or \.json" "$boat" -o ""
refused usage 2 layer "$boat" --layer -1
refused usage 2 head "$boat" --head first
refused invalid_option 1 "layer.*limit: 1" "$boat" --layer 2
refused invalid_option 1 "head.*limit: 3" "$boat" --head 4
refused invalid_option 1 "layer" "$boat" --layer 9223372036854775807 -o "$scratch/unmade.png"
refused file_not_found 1 no-such-folder "$boat" -o "$scratch/no-such-folder/heat.png"
refused invalid_image 1 config.json "$boat" "$samples/tiny/config.json" -o "$scratch/unmade.png"
refused file_not_found 1 none.png "$scratch/none.png"
[ ! -e "$scratch/unmade.png" ] || complain "a file was written in spite of an error"

[ "$failures" -eq 0 ] || exit 1
echo "attend shows what words looked at"
