#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The programs as users run them, over verbs: run by run.sh, in the virtual machine.
#   system.sh BIN
set -euo pipefail
bin=$1
. "${BASH_SOURCE[0]%/*}/servers.sh"

# refuses WORDS FLAG…: a server that ends with status 1 and says WORDS.
refuses() {
  local words=$1 status=0
  shift
  "$@" "$bin/droidspeak-cacheserver" --listen 127.0.0.1:7491 --data 127.0.0.1:7492 --admin 127.0.0.1:7493 --host-pool 64MiB \
    --transport verbs >"$folder/refused" 2>&1 || status=$?
  [[ $status == 1 ]] && grep -q "$words" "$folder/refused" || { cat "$folder/refused"; fail "status $status, expected 1 and: $words"; }
}
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
held() { metric 7413 "droidspeak_transport_resources{resource=\"$1\",transport=\"verbs\"}"; }
for _ in $(seq 50); do
  [[ $(held queue_pairs) != 0 ]] || break
  sleep 0.1 # for the server to see that its client has gone
done
[[ $(held queue_pairs) == 0 && $(held memory_regions) == 1 ]] || fail "queue pairs or registrations are left"

say "a clean end"
kill "${servers[cache-0]}"
wait "${servers[cache-0]}" || fail "the server did not end with status 0"
say "all of it passed"
