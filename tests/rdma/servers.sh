# SPDX-License-Identifier: Apache-2.0
# Cache servers for scripts that run in the virtual machine: sourced, with $bin set.
# shellcheck shell=bash
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
