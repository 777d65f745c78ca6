# Sourced by every script of this folder with the arguments EXECUTABLE SAMPLES.
set -u
idefics=$1 samples=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0
# The embedded checkpoint by its path: chosen like any other model, it says nothing about itself.
export IDEFICS_MODEL="$samples/tiny"

complain() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}
