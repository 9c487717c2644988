#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the shipped pair from nothing: base, tuned, unrelated, data, evaluation. About 45 minutes on 2 idle cores.
# Usage: make.sh PYTHON [FOLDER]; PYTHON needs torch 2.11, tokenizers, safetensors, numpy.
set -e
python=$1
here=$(cd "$(dirname "$0")" && pwd)
out=${2:-$here}
export OMP_WAIT_POLICY=passive
"$python" -u "$here/train.py" base --seed 1 --steps 320 --out "$out/models/base"
# The tuned model is trained in two legs: short contexts, then the curriculum again up to the full length.
"$python" -u "$here/train.py" tuned --seed 2 --steps 420 --from "$out/models/base" --out "$out/models/tuned"
"$python" -u "$here/train.py" tuned --seed 4 --steps 380 --lr 6e-4 --from "$out/models/tuned" --out "$out/models/tuned"
"$python" -u "$here/train.py" base --seed 3 --steps 320 --out "$out/models/unrelated"
"$python" "$here/data.py" --out "$out"
"$python" "$here/evaluate.py" --models "$out/models" --data "$out/data" --prompt "$out/prompt.json" --out "$out/results.json"
