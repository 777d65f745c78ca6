#!/bin/sh
# must_fail.sh WORDS COMMAND…: the command must fail, and its output must contain WORDS.
words=$1
shift
if output=$("$@" 2>&1); then
  echo "the command did not fail: $*"
  exit 1
fi
case $output in
*"$words"*) exit 0 ;;
esac
echo "failed, but the output lacks \"$words\": $output"
exit 1
