#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Three servers and an engine on a device each, and what can happen between them: run by run.sh, in the virtual machine.
#   faults.sh BIN
set -euo pipefail
bin=$1
. "${BASH_SOURCE[0]%/*}/servers.sh"
. "${BASH_SOURCE[0]%/*}/nodes.sh"
readonly context_tokens=64
readonly pair=build/rdma logits_bytes=1024 # what models.sh made; 256 logits
list=cache-1=127.0.0.1:7411,cache-2=127.0.0.1:7421,cache-3=127.0.0.1:7431 # whose names give each a part of the context
export DROIDSPEAK_VERBS_DEVICE=rx4 # the engine's

start_on() { DROIDSPEAK_VERBS_DEVICE=rx$1 start "cache-$1" "74${1}1"; }
verifies() { "$bin/droidspeak-ctl" --servers "$1" verify --transport verbs >"$folder/log" 2>&1 || { cat "$folder/log"; fail "verify $1"; }; }
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
# kill_amid METRIC PROGRAM…: runs it; when cache-2's METRIC rises from 0, that stops where it is, and is killed then.
kill_amid() {
  local killer status=0
  rm -f "$folder/ready"
  python3 -I - 7423 "droidspeak_$1 " "${servers[cache-2]}" "$folder/ready" <<'KILL' &
import os, signal, socket, sys, time
port, metric, server, ready = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
def value():
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        page = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    return float(next(line for line in page.splitlines() if line.startswith(metric)).split()[-1])
end = time.monotonic() + 60
while value() > 0 and time.monotonic() < end:
    pass
open(ready, "w").close()
while value() == 0:
    if time.monotonic() > end:
        sys.exit(f"rdma: {metric}did not rise")
os.kill(server, signal.SIGSTOP)
time.sleep(0.3)  # so that whoever asks, waits
os.kill(server, signal.SIGKILL)
KILL
  killer=$!
  disown "${servers[cache-2]}" # bash would report its end
  until [[ -e $folder/ready ]] || ! kill -0 $killer 2>/dev/null; do sleep 0.1; done # for a process of its own
  ("${@:2}") >"$folder/killed.log" 2>&1 || status=$?
  wait $killer || { cat "$folder/killed.log"; fail "no server was killed"; }
  return $status
}

say "three servers on a device each: partial prefill"
set_up_nodes
for i in 1 2 3; do start_on $i; done
score $context_tokens "$folder/expected"
score $context_tokens "$folder/served" --servers "$list"
grep -q 'connected over verbs' "$folder/log" || fail "the engine did not connect over verbs"
! grep 'context tokens were reused' "$folder/log" || fail "something was not found"
same "$folder/served" "$folder/expected"
for i in 1 2 3 4; do (($(received $i) > 100)) || fail "rx$i has not been used"; done

say "a server killed amid the engine's requests"
kill_amid sessions score $context_tokens "$folder/served" --servers "$list" || { cat "$folder/killed.log"; fail "no answer"; }
reused=$(sed -n 's/.*prompt: \([0-9]*\) of [0-9]* context tokens were reused.*/\1/p' "$folder/log")
[[ $reused ]] || { cat "$folder/log"; fail "the engine did not notice"; }
say "$(sed -n 's/.*prompt: //p' "$folder/log")"
if ((reused)); then
  score "$reused" "$folder/expected"
else
  "$bin/droidspeak-engine" score --model "$pair/receiver" --tokens "$pair/tokens" --dtype fp32 --out "$folder/expected"
fi
same "$folder/served" "$folder/expected"
start_on 2

say "a server killed amid a transfer, and nobody else to ask"
tc qdisc add dev p2 root netem delay 40ms # for the blow to fall in time
! kill_amid inflight_bytes "$bin/droidspeak-ctl" --servers 127.0.0.1:7421 verify --transport verbs || fail "all went well"
grep -q '127.0.0.1:7421: ' "$folder/killed.log" || { cat "$folder/killed.log"; fail "nobody said why"; }
tc qdisc del dev p2 root
start_on 2

say "wires that lose one packet in fifty"
for i in 1 2 3 4; do tc qdisc add dev "p$i" root netem loss 2%; done
verifies "$list"
for i in 1 2 3 4; do tc qdisc del dev "p$i" root; done

say "a server that no packet reaches, and one whose link is down"
tc qdisc add dev p3 root netem loss 100%
(verifies "$list") >/dev/null && fail "verified without packets"
tc qdisc del dev p3 root
verifies "$list"
ip link set p3 down
(verifies "$list") >/dev/null && fail "verified without a link"
ip link set p3 up
verifies "$list"
say "all of it passed"
