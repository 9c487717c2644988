#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The transport beside perftest, and a server over `ucx` on rc_verbs for comparison, on the same device: run by run.sh in the
# virtual machine. The figures say nothing of hardware: here it must run, and not fall far behind.
#   bench.sh BIN
set -euo pipefail
bin=$1
. "${BASH_SOURCE[0]%/*}/servers.sh"
readonly least=0.5

"$bin/droidspeak-bench" raw --transport verbs --layers 4 --blocks 4 --extent 1MiB --repeats 3 --json >"$folder/raw"

say "ucx over rc_verbs, and verbs"
# What UCX needs on Soft-RoCE; connections are made by rdma_cm, which needs the device's own address.
export UCX_TLS=rc_verbs,ud_verbs:aux UCX_NET_DEVICES=rxe0:1 UCX_CM_USE_ALL_DEVICES=y UCX_UD_VERBS_ETH_DGID_CHECK=n \
  UCX_RC_VERBS_RETRY_COUNT=4 UCX_RC_VERBS_TIMEOUT=100ms
start verbs 7411
transport=ucx data_host=10.99.0.1 start ucx 7421 --insecure --ucx-trust-peers
"$bin/droidspeak-ctl" --servers 127.0.0.1:7421 --json verify --transport ucx || fail "verify over ucx"
"$bin/droidspeak-ctl" --servers 127.0.0.1:7411 --json verify --transport verbs || fail "verify over verbs"

python3 -I - "$folder/raw" $least <<'CHECK'
import json, sys
raw, least = json.load(open(sys.argv[1])), float(sys.argv[2])
for one in raw["results"]:
    if one["median"] is None:
        sys.exit(f"rdma: {one['name']} gave no figure")
    print(f"rdma: {one['name']}: {one['median']:.4g} {one['unit']}")
for name, ratio in raw["ratios"].items():
    print(f"rdma: {name}: {ratio:.2f}")
slow = [name for name, ratio in raw["ratios"].items() if ratio < least]
sys.exit(f"rdma: below {least}: {', '.join(slow)}" if slow else 0)
CHECK
