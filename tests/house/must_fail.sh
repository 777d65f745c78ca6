#!/bin/sh
# must_fail.sh WORDS COMMAND…: the command has to fail, and to say WORDS.
words=$1
shift
if output=$("$@" 2>&1); then
  echo "no failure was noticed: $*"
  exit 1
fi
case $output in
*"$words"*) exit 0 ;;
esac
echo "failed without a word of \"$words\": $output"
exit 1
