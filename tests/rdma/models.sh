#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes a pair of tiny models and a prompt of 64 tokens of context and 16 more: run by run.sh, outside of the virtual
# machine, where it takes no time.
#   models.sh BIN FOLDER
set -euo pipefail
bin=$1 folder=$2 seed=0
mkdir -p "$folder"
for name in sender receiver; do
  "$bin/droidspeak-bench" random-model --out "$folder/$name" --seed $((++seed)) --layers 4 --hidden 64 --heads 4 --kv-heads 4 \
    --intermediate 128 --vocabulary 256
done
python3 - "$folder/tokens" <<'TOKENS'
import json, struct, sys
tokens = [i * i % 251 for i in range(80)]
header = json.dumps({"prompt": {"dtype": "I64", "shape": [len(tokens)], "data_offsets": [0, 8 * len(tokens)]}}).encode()
open(sys.argv[1], "wb").write(struct.pack("<Q", len(header)) + header + struct.pack(f"<{len(tokens)}q", *tokens))
TOKENS
