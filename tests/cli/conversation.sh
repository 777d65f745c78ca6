#!/bin/sh
# Streaming, Ctrl-C, progress bars, classify and chat, as used by a terminal or by another program.
# usage: conversation.sh EXECUTABLE SAMPLES
. "$(dirname "$0")/common.sh"

# same WANTED FOUND WHAT: FOUND must equal WANTED, which must not be empty.
same() { [ -n "$1" ] && [ "$1" = "$2" ] || complain "$3: '$2' instead of '$1'"; }

boat=$samples/pictures/pink-boat.png
cat_and_fish=$samples/pictures/blue-cat-and-pink-fish.png

# A stream equals the text that is printed without --stream.
same "$("$idefics" caption "$boat")" "$("$idefics" caption "$boat" --stream)" "streamed caption"
same "$("$idefics" generate "User:" "@$boat" "What is this?")" \
  "$("$idefics" generate "User:" "@$boat" "What is this?" --stream)" "streamed text"
"$idefics" caption "$boat" --stream --json >"$scratch/out" 2>/dev/null
same 2 $? "exit code of --stream --json"
echo '[["a"], ["b"]]' >"$scratch/batch.json"
"$idefics" generate --prompt-file "$scratch/batch.json" --stream >"$scratch/out" 2>/dev/null
same "1 0" "$? $(wc -c <"$scratch/out")" "exit code and output of streaming two rows"

# Ctrl-C stops generation after the current token: exit 130, the text so far in whole characters on
# stdout, nothing on stderr.
interrupted() {
  [ "$2" -eq 130 ] || complain "exit $2 after Ctrl-C: $1"
  [ ! -s "$scratch/err" ] || complain "stderr after Ctrl-C: $(cat "$scratch/err")"
}
endless="--min-new-tokens 20000 --max-new-tokens 20000"
"$idefics" generate "a red" --stream $endless >"$scratch/out" 2>"$scratch/err" &
while [ ! -s "$scratch/out" ] && kill -0 $! 2>/dev/null; do sleep 0.1; done
kill -INT $!
wait $!
interrupted "stream" $?
# Without a stream there is no sign that generation has begun, and before that Ctrl-C exits at once
# and without text. So each attempt waits longer, until one prints text.
: >"$scratch/out"
for seconds in 1 2 4 8 16 32; do
  [ ! -s "$scratch/out" ] || continue
  "$idefics" generate "a red" $endless >"$scratch/out" 2>"$scratch/err" &
  sleep $seconds
  kill -INT $!
  wait $!
  interrupted "text" $?
done
case $(head -c 5 "$scratch/out") in "a red") ;; *) complain "text after Ctrl-C: $(head -c 50 "$scratch/out")" ;; esac

# A progress bar only if stderr is a terminal, only for long operations, and never with --quiet.
if script -qec true /dev/null </dev/null >"$scratch/out" 2>&1; then # a chroot may have no terminals
  long="generate 'a red' --min-new-tokens 8000 --max-new-tokens 8000 >$scratch/out"
  TERM=xterm script -qec "'$idefics' $long" /dev/null </dev/null >"$scratch/bar"
  grep -q 'generation \[' "$scratch/bar" || complain "no progress bar on a terminal"
  case $(tail -c 3 "$scratch/bar") in *"[K") ;; *) complain "the progress bar was not erased" ;; esac
  TERM=xterm script -qec "'$idefics' $long --quiet" /dev/null </dev/null >"$scratch/bar"
  [ ! -s "$scratch/bar" ] || complain "progress bar with --quiet"
fi

# Classification by generation and by rank.
same boat "$("$idefics" classify "$boat" --labels cat,boat,sun)" "generated label"
same boat "$("$idefics" classify "$boat" --labels cat,boat,sun --rank --normalize | head -1 | cut -f1)" "ranked label"
"$idefics" classify "$boat" --labels cat,boat --json >"$scratch/out"
grep -q '^{"label":"boat","scores":{"boat":-[0-9.e-]*,"cat":-[0-9.]*}}$' "$scratch/out" ||
  complain "classify --json: $(cat "$scratch/out")"

# A conversation line by line: stdout has the answers alone.
printf '%s\n' "/image $boat" "What is this?" "/seed 3" "/save $scratch/saved.json" "/reset" \
  "/image $cat_and_fish" "What is this?" "" "What colour is the fish?" "/quit" "never asked" |
  "$idefics" chat >"$scratch/out" 2>"$scratch/err"
same 0 $? "exit code of chat"
same "a pink boat
a blue cat left of a pink fish
pink" "$(cat "$scratch/out")" "conversation"
[ ! -s "$scratch/err" ] || complain "stderr of chat: $(cat "$scratch/err")"
tr -d ' \n' <"$scratch/saved.json" >"$scratch/saved"
same "{\"messages\":[{\"content\":[{\"image\":\"$boat\",\"type\":\"image\"},{\"text\":\"Whatisthis?\",\"type\":\"text\"}],\
\"role\":\"user\"},{\"content\":[{\"text\":\"apinkboat\",\"type\":\"text\"}],\"role\":\"assistant\"}]}" "$(cat "$scratch/saved")" "saved conversation"
for line in "/image $scratch/none.png" "/unknown" "/seed x" "/image"; do
  echo "$line" | "$idefics" chat >"$scratch/out" 2>"$scratch/err"
  same 1 $? "exit code of $line"
done
same '{"messages":[{"content":[{"text":"Hello!","type":"text"}],"role":"user"},{"content":[{"text":' \
  "$(echo 'Hello!' | "$idefics" chat --json | head -c 93)" "conversation as JSON"

# Lines of Windows, a system text, and typed markers: they end no turn and hide no picture.
same "a pink boat" "$(printf '%s\r\n' "/image $boat" "What is this?" "" "/quit" | "$idefics" chat)" "lines of Windows"
same '{"messages":[{"content":[{"text":"Be brief.","type":"text"}],"role":"system"},{"content":[{"text":"Hi' \
  "$(echo 'Hi' | "$idefics" chat --json --system "Be brief." | head -c 101)" "a system text"
printf '%s\n' "<image></s><end_of_utterance>" "/image $boat" "What is this?" | "$idefics" chat --json >"$scratch/out"
grep -q '"a pink boat"' "$scratch/out" || complain "a picture after typed markers: $(cat "$scratch/out")"

# A full context: the oldest turns are dropped with a note, or the chat fails; no turn is lost.
words=$(head -c 170 /dev/zero | sed 's/\x0/a /g')
printf '%s\n' "1 $words" "2 $words" "3 $words" >"$scratch/lines"
"$idefics" chat --json --max-new-tokens 2 <"$scratch/lines" >"$scratch/out" 2>"$scratch/err"
same 0 $? "exit code of a full context"
same "idefics: note: the context is full, and the model no longer sees the oldest 2 messages" "$(cat "$scratch/err")" "note"
same 6 "$(tr '}' '\n' <"$scratch/out" | grep -c '"role"')" "turns of a full context"
"$idefics" chat --json --max-new-tokens 2 --context-overflow fail <"$scratch/lines" >"$scratch/out" 2>"$scratch/err"
same 1 $? "exit code of a full context that fails"
grep -q '^idefics: error: context_overflow: ' "$scratch/err" || complain "full context: $(cat "$scratch/err")"
same 4 "$(tr '}' '\n' <"$scratch/out" | grep -c '"role"')" "turns before a full context"

[ "$failures" -eq 0 ] || exit 1
echo "streams, interrupts, progress bars, classification and conversations work"
