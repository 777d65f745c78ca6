# Sourced by every script of this folder with the arguments EXECUTABLE SAMPLES.
set -u
idefics=$1 samples=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0

complain() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}
