#!/bin/sh
# Streaming, Ctrl-C, progress, classify and chat, as a terminal or another program uses them.
# usage: conversation.sh EXECUTABLE SAMPLES
. "$(dirname "$0")/common.sh"

# same WANTED FOUND WHAT
same() { [ -n "$1" ] && [ "$1" = "$2" ] || complain "$3: '$2' instead of '$1'"; }

boat=$samples/pictures/pink-boat.png
cat_and_fish=$samples/pictures/blue-cat-and-pink-fish.png

# Streams are the text that is printed without them.
same "$("$idefics" caption "$boat")" "$("$idefics" caption "$boat" --stream)" "a streamed caption"
same "$("$idefics" generate "User:" "@$boat" "What is this?")" \
  "$("$idefics" generate "User:" "@$boat" "What is this?" --stream)" "a streamed text"
"$idefics" caption "$boat" --stream --json >"$scratch/out" 2>/dev/null
same 2 $? "exit code of --stream --json"
echo '[["a"], ["b"]]' >"$scratch/batch.json"
"$idefics" generate --prompt-file "$scratch/batch.json" --stream >"$scratch/out" 2>/dev/null
same "1 0" "$? $(wc -c <"$scratch/out")" "a stream of two rows"

# Ctrl-C stops after the current token: exit 130, the text so far, whole characters, nothing on stderr.
interrupted() {
  [ "$2" -eq 130 ] || complain "exit $2 after Ctrl-C: $1"
  [ ! -s "$scratch/err" ] || complain "stderr after Ctrl-C: $(cat "$scratch/err")"
}
endless="--min-new-tokens 20000 --max-new-tokens 20000"
"$idefics" generate "a red" --stream $endless >"$scratch/out" 2>"$scratch/err" &
while [ ! -s "$scratch/out" ] && kill -0 $! 2>/dev/null; do sleep 0.1; done
kill -INT $!
wait $!
interrupted "a stream" $?
# Without a stream nothing tells when generation has begun; before that, Ctrl-C ends at once and without text.
: >"$scratch/out"
for seconds in 1 2 4 8 16 32; do
  [ ! -s "$scratch/out" ] || continue
  "$idefics" generate "a red" $endless >"$scratch/out" 2>"$scratch/err" &
  sleep $seconds
  kill -INT $!
  wait $!
  interrupted "a text" $?
done
case $(head -c 5 "$scratch/out") in "a red") ;; *) complain "the text so far: $(head -c 50 "$scratch/out")" ;; esac

# A bar only where stderr is a terminal, only for what takes a while, never with --quiet.
if script -qec true /dev/null </dev/null >"$scratch/out" 2>&1; then # a bare root may have no terminals
  long="generate 'a red' --min-new-tokens 1500 --max-new-tokens 1500 >$scratch/out"
  TERM=xterm script -qec "'$idefics' $long" /dev/null </dev/null >"$scratch/bar"
  grep -q 'generation \[' "$scratch/bar" || complain "no bar on a terminal"
  case $(tail -c 3 "$scratch/bar") in *"[K") ;; *) complain "the bar was not taken away" ;; esac
  TERM=xterm script -qec "'$idefics' $long --quiet" /dev/null </dev/null >"$scratch/bar"
  [ ! -s "$scratch/bar" ] || complain "a bar with --quiet"
fi

# Classification, generated and ranked.
same boat "$("$idefics" classify "$boat" --labels cat,boat,sun)" "a generated class"
same boat "$("$idefics" classify "$boat" --labels cat,boat,sun --rank --normalize)" "a ranked class"
"$idefics" classify "$boat" --labels cat,boat --json >"$scratch/out"
grep -q '^{"label":"boat","scores":{"boat":-[0-9.e-]*,"cat":-[0-9.]*}}$' "$scratch/out" || complain "$(cat "$scratch/out")"
"$idefics" classify "$boat" --labels "cat, boat" >/dev/null 2>"$scratch/err"
same 1 $? "exit code for a label with a space in front"
grep -q 'invalid_option' "$scratch/err" || complain "a label with a space in front: $(cat "$scratch/err")"

# A conversation, line by line: only answers on stdout.
printf '%s\n' "/image $boat" "What is this?" "/seed 3" "/save $scratch/saved.json" "/reset" \
  "/image $cat_and_fish" "What is this?" "" "What colour is the fish?" "/quit" "never asked" |
  "$idefics" chat >"$scratch/out" 2>"$scratch/err"
same 0 $? "exit code of chat"
same "a pink boat
a blue cat left of a pink fish
pink" "$(cat "$scratch/out")" "a conversation"
[ ! -s "$scratch/err" ] || complain "stderr of chat: $(cat "$scratch/err")"
tr -d ' \n' <"$scratch/saved.json" >"$scratch/saved"
same "{\"messages\":[{\"content\":[{\"image\":\"$boat\",\"type\":\"image\"},{\"text\":\"Whatisthis?\",\"type\":\"text\"}],\
\"role\":\"user\"},{\"content\":[{\"text\":\"apinkboat\",\"type\":\"text\"}],\"role\":\"assistant\"}]}" "$(cat "$scratch/saved")" "a saved conversation"
for line in "/image $scratch/none.png" "/unknown" "/seed x" "/image"; do
  echo "$line" | "$idefics" chat >"$scratch/out" 2>"$scratch/err"
  same 1 $? "exit code of $line"
done
same '{"messages":[{"content":[{"text":"Hello!","type":"text"}],"role":"user"},{"content":[{"text":' \
  "$(echo 'Hello!' | "$idefics" chat --json | head -c 93)" "a conversation as JSON"

[ "$failures" -eq 0 ] || exit 1
echo "streams, interrupts, bars, classes and conversations are as they should be"
