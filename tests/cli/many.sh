#!/bin/sh
# Many pictures in one call: files, directories, patterns and stdin, one line each, with failures.
# usage: many.sh EXECUTABLE SAMPLES
. "$(dirname "$0")/common.sh"

# same WANTED FOUND WHAT
same() { [ "$1" = "$2" ] || complain "$3: '$2' instead of '$1'"; }

boat=$samples/pictures/pink-boat.png
tab=$(printf '\t')
folder=$scratch/photos
mkdir -p "$folder/below"
cp "$boat" "$folder/b.png"
cp "$boat" "$folder/A.PNG"
cp "$boat" "$folder/below/c.png"
cp "$boat" "$folder/.hidden.png"
echo "notes" >"$folder/notes.txt"
wanted="$folder/A.PNG${tab}a pink boat
$folder/b.png${tab}a pink boat"

same "$wanted" "$("$idefics" caption "$folder")" "captions of a directory"
same "$wanted
$folder/below/c.png${tab}a pink boat" "$("$idefics" caption "$folder" --recursive)" "captions of a tree"
same "$wanted" "$("$idefics" caption "$folder/A.PNG" "$folder/b.png")" "captions of two files"
same "$wanted" "$("$idefics" caption "$folder/*.[pP][nN][gG]")" "captions of a pattern"
same "a pink boat" "$("$idefics" caption - <"$boat")" "caption of stdin"
same "-${tab}a pink boat
$folder/b.png${tab}a pink boat" "$("$idefics" caption - "$folder/b.png" <"$boat")" "captions of stdin and a file"
same "$folder/A.PNG${tab}boat
$folder/b.png${tab}boat" "$("$idefics" classify "$folder" --labels cat,boat)" "labels of a directory"
same 2 "$("$idefics" caption "$folder" --json | grep -c '^{.*"new_text":\["a pink boat"\],.*"path":')" "objects of a directory"
same '{"label":"boat","path":"'"$folder"'/A.PNG","scores":{"boat":' \
  "$("$idefics" classify "$folder/A.PNG" "$boat" --labels cat,boat --json | sed -n '1s/"boat":-.*/"boat":/p')" "labels as objects"

# A broken file is an error line; the others continue, and the exit code is 1.
head -c 500 "$boat" >"$folder/aa.png"
"$idefics" caption "$folder" >"$scratch/out" 2>"$scratch/err"
same 1 $? "exit code with a broken picture"
same "$wanted" "$(cat "$scratch/out")" "captions next to a broken picture"
grep -q "^idefics: error: invalid_image: .*aa.png" "$scratch/err" || complain "no error line: $(cat "$scratch/err")"
grep -q "^idefics: 1 of 3 pictures failed$" "$scratch/err" || complain "no count of failures: $(cat "$scratch/err")"
"$idefics" caption "$folder" --json 2>&1 >/dev/null | grep -q '"file":".*aa.png"' || complain "no error object"
"$idefics" caption "$folder/aa.png" "$folder/none.png" >"$scratch/out" 2>"$scratch/err"
same "1 0" "$? $(wc -c <"$scratch/out")" "exit code and output if all fail"
same 3 "$(wc -l <"$scratch/err")" "lines on stderr if all fail"
mkdir "$scratch/empty"
"$idefics" caption "$scratch/empty" >"$scratch/out" 2>"$scratch/err"
same 1 $? "exit code of an empty directory"
grep -q "^idefics: error: file_not_found: no pictures" "$scratch/err" || complain "empty directory: $(cat "$scratch/err")"

[ "$failures" -eq 0 ] || exit 1
echo "one call takes many pictures"
