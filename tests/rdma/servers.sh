# SPDX-License-Identifier: Apache-2.0
# Servers, and engines with the pair of models that models.sh made, for scripts that run in the virtual machine: sourced,
# with $bin set.
# shellcheck shell=bash
readonly pair=build/rdma logits_bytes=1024 # 256 of them
folder=$(mktemp -d)
export OMP_NUM_THREADS=1 # two that wait for each other cost milliseconds in the emulated machine
declare -A servers=()
trap 'kill -9 "${servers[@]}" 2>/dev/null || true' EXIT
printf '%32s' tests | base64 >"$folder/secret" # always the same, and so are the places of blocks
chmod 600 "$folder/secret"

say() { echo "rdma: ${SECONDS} s: $*"; }
fail() { say "FAILED: $*"; exit 1; }

# start NAME PORT [FLAG…]: a server with its ports from PORT on. It serves $transport, or verbs; its data come from
# $data_host, which matters to ucx only.
start() {
  local name=$1 port=$2
  shift 2
  "$bin/droidspeak-cacheserver" --name "$name" --listen "127.0.0.1:$port" --data "${data_host-127.0.0.1}:$((port + 1))" \
    --admin "127.0.0.1:$((port + 2))" --host-pool 64MiB --transport "${transport-verbs}" --cluster-secret-file "$folder/secret" "$@" \
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
# metric PORT LINE: the value of that line of the admin port's metrics.
metric() { curl -s "http://127.0.0.1:$1/metrics" | sed -n "s/^$2 //p"; }

# score CONTEXT OUT [FLAG…]: the second model's logits, with layers of the first one's cache; what it said is in log.
score() {
  local context=$1 out=$2
  shift 2
  "$bin/droidspeak-engine" score --model "$pair/receiver" --sender "$pair/sender" --tokens "$pair/tokens" \
    --context "$context" --block-tokens 1 --plan 1,1,3 --dtype fp32 --out "$out" "$@" >"$folder/log" 2>&1 ||
    { cat "$folder/log"; fail "score $*"; }
}
# same A B: whether the logits in two files are the same, byte by byte.
same() { cmp <(tail -c $logits_bytes "$1") <(tail -c $logits_bytes "$2") || fail "the answer differs from that in process"; }
