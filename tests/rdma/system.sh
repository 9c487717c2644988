#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The programs as users run them, over verbs: run by run.sh, in the virtual machine.
#   system.sh BIN
set -euo pipefail
bin=$1
folder=$(mktemp -d)
export OMP_NUM_THREADS=1 # two that wait for each other cost milliseconds in the emulated machine
declare -A servers=()
trap 'kill -9 "${servers[@]}" 2>/dev/null || true' EXIT

say() { echo "rdma: $*"; }
fail() { say "FAILED: $*"; exit 1; }

# start NAME PORT [FLAG…]: a server with its ports from PORT on.
start() {
  local name=$1 port=$2
  shift 2
  "$bin/droidspeak-cacheserver" --name "$name" --listen "127.0.0.1:$port" --data "127.0.0.1:$((port + 1))" \
    --admin "127.0.0.1:$((port + 2))" --host-pool 64MiB --transport verbs --cluster-secret-file "$folder/secret" "$@" \
    >"$folder/$name.out" 2>"$folder/$name.log" &
  servers[$name]=$!
  for _ in $(seq 200); do
    curl -sf "http://127.0.0.1:$((port + 2))/readyz" >/dev/null && return
    kill -0 "${servers[$name]}" 2>/dev/null || break
    sleep 0.1 # for a process of its own
  done
  cat "$folder/$name.log"
  fail "$name did not start"
}
metric() { curl -s "http://127.0.0.1:$1/metrics" | sed -n "s/^droidspeak_transport_resources{resource=\"$2\",transport=\"verbs\"} //p"; }
# refuses WORDS FLAG…: a server that ends with status 1 and says WORDS.
refuses() {
  local words=$1 status=0
  shift
  "$@" "$bin/droidspeak-cacheserver" --listen 127.0.0.1:7491 --data 127.0.0.1:7492 --admin 127.0.0.1:7493 --host-pool 64MiB \
    --transport verbs >"$folder/refused" 2>&1 || status=$?
  [[ $status == 1 ]] && grep -q "$words" "$folder/refused" || { cat "$folder/refused"; fail "status $status, expected 1 and: $words"; }
}
# score OUT [FLAG…]: the second model's logits, with layers of the first one's cache.
score() {
  local out=$1
  shift
  "$bin/droidspeak-engine" score --model "$folder/receiver" --sender "$folder/sender" --tokens "$folder/tokens" --context 64 \
    --block-tokens 16 --plan 1,1,3 --dtype fp32 --out "$out" "$@" >"$folder/log" 2>&1 || { cat "$folder/log"; fail "score $*"; }
}
same() { cmp "$1" "$2" || fail "the answer differs from that in process"; }

head -c 32 /dev/urandom | base64 >"$folder/secret"
chmod 600 "$folder/secret"
say "what is missing is named"
refuses "no RDMA device nosuch0" env DROIDSPEAK_VERBS_DEVICE=nosuch0
refuses "ulimit -l" setpriv --bounding-set -ipc_lock prlimit --memlock=1048576
ip link set dum0 down
refuses "is down; expected PORT_ACTIVE" env
ip link set dum0 up

say "store, find, fetch and compare"
start cache-0 7411
"$bin/droidspeak-ctl" --servers 127.0.0.1:7411 verify --transport verbs
"$bin/droidspeak-bench" cache fetch --servers 127.0.0.1:7411 --transport verbs --layers 4 --blocks 4 --extent 256KiB --repeats 1 \
  --json >"$folder/fetch.json" 2>"$folder/fetch.log" || { cat "$folder/fetch.log"; fail "cache fetch"; }
for _ in $(seq 50); do
  [[ $(metric 7413 queue_pairs) != 0 ]] || break
  sleep 0.1 # for the server to see that its client has gone
done
[[ $(metric 7413 queue_pairs) == 0 && $(metric 7413 memory_regions) == 1 ]] || fail "queue pairs or registrations are left"

say "partial prefill"
for seed in 1 2; do
  out=$folder/$( ((seed == 1)) && echo sender || echo receiver)
  "$bin/droidspeak-bench" random-model --out "$out" --seed $seed --layers 4 --hidden 64 --heads 4 --kv-heads 2 --intermediate 128 \
    --vocabulary 256
done
python3 - "$folder/tokens" <<'TOKENS'
import json, struct, sys
tokens = [i * i % 251 for i in range(80)]
header = json.dumps({"prompt": {"dtype": "I64", "shape": [len(tokens)], "data_offsets": [0, 8 * len(tokens)]}}).encode()
open(sys.argv[1], "wb").write(struct.pack("<Q", len(header)) + header + struct.pack(f"<{len(tokens)}q", *tokens))
TOKENS
score "$folder/expected"
score "$folder/served" --servers 127.0.0.1:7411
grep -q 'connected over verbs' "$folder/log" || fail "the engine did not connect over verbs"
same "$folder/served" "$folder/expected"

say "three servers, of which one is killed"
start cache-1 7421
start cache-2 7431
list=cache-0=127.0.0.1:7411,cache-1=127.0.0.1:7421,cache-2=127.0.0.1:7431
score "$folder/served" --servers $list
same "$folder/served" "$folder/expected"
kill -9 "${servers[cache-1]}"
"$bin/droidspeak-ctl" --servers cache-0=127.0.0.1:7411,cache-2=127.0.0.1:7431 verify --transport verbs

say "a clean end"
kill "${servers[cache-0]}" "${servers[cache-2]}"
wait "${servers[cache-0]}" && wait "${servers[cache-2]}" || fail "a server did not end with status 0"
say "all of it passed"
