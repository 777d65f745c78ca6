#!/bin/sh
# The installed program: works from anywhere, with the checkpoint that was installed with it.
# usage: installed.sh EXECUTABLE SAMPLES CMAKE BUILD
. "$(dirname "$0")/common.sh"
unset IDEFICS_MODEL
"$3" --install "$4" --prefix "$scratch/usr" --component program >"$scratch/log" 2>&1 ||
  complain "install: $(cat "$scratch/log")"
mv "$scratch/usr" "$scratch/moved"
program=$scratch/moved/bin/idefics
picture=$samples/pictures/pink-boat.png
[ "$(cd / && "$program" caption "$picture" --quiet --offline)" = "a pink boat" ] || complain "no caption"
"$program" info --json | grep -q "\"model\":\"$scratch/moved/share/idefics/tiny\"" || complain "another model"
ln -s "$program" "$scratch/link"
[ "$("$scratch/link" caption "$picture" --quiet)" = "a pink boat" ] || complain "no caption through a link"
grep -q "$samples/tiny" "$program" && complain "the executable has a path of the build"
for file in README.md config.json model.safetensors tokenizer.model; do
  [ -f "$scratch/moved/share/idefics/tiny/$file" ] || complain "$file is not installed"
done
find "$scratch/moved" -name '*.py' | grep -q . && complain "scripts are installed"

[ "$failures" -eq 0 ] || exit 1
echo "the installed program works"
