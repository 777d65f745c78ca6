#!/usr/bin/env bash
# Records all goldens again. With --check, records them into a temporary folder and compares.
# IDEFICS_REFERENCE_VENV names a Python environment with the reference; without it, one is created
# outside the tree.
set -euo pipefail
cd "$(dirname "$0")"

venv=${IDEFICS_REFERENCE_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/idefics/reference-venv}
if [ ! -x "$venv/bin/python" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet -r requirements.txt
fi
export PYTHONDONTWRITEBYTECODE=1

committed=../golden/data
out=$committed
if [ "${1:-}" = --check ]; then
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi

for group in json tokenizer tokenizer_variants checkpoint_keys models pictures rare_pictures photographs processor chat_templates found_templates generation generation_values quant four_bit int8 torch_files lora; do
  echo "make_$group.py"
  "$venv/bin/python" "make_$group.py" --out "$out"
done
"$venv/bin/python" ../pictures/record.py --out "$out"
"$venv/bin/python" ../pictures/record_damaged.py --out "$out"

"$venv/bin/python" make_beams.py --out "$out"
"$venv/bin/python" make_beam_samples.py --out "$out"
"$venv/bin/python" make_attentions.py --out "$out"
"$venv/bin/python" make_attention_rollout.py --out "$out"
"$venv/bin/python" make_kv_cache.py --out "$out"
"$venv/bin/python" make_lookup.py --out "$out"
# the last releases with group and constrained beams, and with contrastive search and DoLa
for release in 4.56.2 4.55.4; do
  old="$venv-transformers-$release"
  if [ ! -x "$old/bin/python" ]; then
    python3 -m venv "$old"
    # 4.55 requires older tokenizers; these recordings do not use them
    sed -e "s/^transformers==.*/transformers==$release/" -e '/^tokenizers==/d' requirements.txt | "$old/bin/pip" install --quiet -r /dev/stdin
  fi
  "$old/bin/python" make_old_modes.py --out "$out"
done

if [ "$out" != "$committed" ]; then "$venv/bin/python" compare.py "$out" "$committed"; fi
