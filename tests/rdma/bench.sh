#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The transport beside perftest on the same device, run by run.sh in the virtual machine. Its figures say nothing of
# hardware: here it must run, and not fall far behind.
#   bench.sh BIN
set -euo pipefail
least=0.5
out=$(mktemp)
"$1/droidspeak-bench" raw --transport verbs --layers 4 --blocks 4 --extent 1MiB --repeats 3 --json >"$out"
python3 - "$out" $least <<'CHECK'
import json, sys
result = json.load(open(sys.argv[1]))
for one in result["results"]:
    print(f"rdma: {one['name']}: {one['median']:.4g} {one['unit']}")
for name, ratio in result["ratios"].items():
    print(f"rdma: {name}: {ratio:.2f}")
    if ratio < float(sys.argv[2]):
        sys.exit(f"rdma: {name} is below {sys.argv[2]}")
CHECK
