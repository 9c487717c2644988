#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What takes a night: the random tests at their nightly counts, the fuzzers, and a server under load.
#
#   run.sh [--minutes N] [--fuzz-minutes N]    of load (30), of each fuzzer (10)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
minutes=30
fuzz_minutes=10
jobs=$(nproc)
tests=(cacheserver_store_random_test cacheserver_abuse_test client_test messages_test)
# Fuzzers and the folders of their first inputs.
declare -A corpora=(
  [fuzz_messages]=tests/transport/corpus
  [fuzz_layout]=tests/common/corpus
  [fuzz_records]=tests/cacheserver/tiers/corpus
)

say() { echo "soak: $*" >&2; }
usage() { echo "usage: run.sh [--minutes N] [--fuzz-minutes N]" >&2; exit 2; }

while (($#)); do
  [[ $# -ge 2 && $2 =~ ^[0-9]+$ ]] || usage
  case $1 in
    --minutes) minutes=$((10#$2)) ;;
    --fuzz-minutes) fuzz_minutes=$((10#$2)) ;;
    *) usage ;;
  esac
  shift 2
done

failed=()

nightly_tests() {
  local test
  for test in "${tests[@]}"; do
    say "$test, nightly counts"
    DROIDSPEAK_NIGHTLY=1 "build/bin/$test" --gtest_brief=1 || failed+=("$test")
  done
}

# Inputs that were found stay in build/fuzz/corpus; what crashed lies in build/fuzz.
fuzz() {
  local fuzzer
  for fuzzer in "${!corpora[@]}"; do
    say "$fuzzer for $fuzz_minutes min"
    mkdir -p "build/fuzz/corpus/$fuzzer"
    "build/fuzz/bin/$fuzzer" -max_total_time=$((60 * fuzz_minutes)) -rss_limit_mb=2048 -timeout=10 -max_len=8192 \
      -print_final_stats=1 -verbosity=0 -artifact_prefix="build/fuzz/$fuzzer-" "build/fuzz/corpus/$fuzzer" \
      "${corpora[$fuzzer]}" || failed+=("$fuzzer")
  done
}

say "building"
cmake --preset release --log-level=WARNING >/dev/null
cmake --build build -j "$jobs" --target droidspeak-cacheserver droidspeak-soak "${tests[@]}" >/dev/null
cmake -S . -B build/fuzz -G Ninja --log-level=WARNING -DCMAKE_C_COMPILER=clang-16 -DCMAKE_CXX_COMPILER=clang++-16 \
  -DCMAKE_BUILD_TYPE=RelWithDebInfo -DDROIDSPEAK_ENGINE=OFF \
  -DDROIDSPEAK_SANITIZE=address,undefined,fuzzer-no-link >/dev/null
cmake --build build/fuzz -j "$jobs" --target fuzzers >/dev/null

nightly_tests
((fuzz_minutes == 0)) || fuzz
if ((minutes > 0)); then
  say "load for $minutes min"
  build/bin/droidspeak-soak --seconds $((60 * minutes)) || failed+=("soak")
fi
((${#failed[@]} == 0)) || { say "failed: ${failed[*]}"; exit 1; }
say "all well"
