#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The verbs transport with real verbs, on Soft-RoCE, and TLS by the kernel, which not all have: in the virtual machine of
# tests/rdma/vm. Some ten minutes.
#
#   run.sh [STEP…]    of conformance, verbs, system, faults, bench, kernel_tls (default: all)
#
# Status 77: no virtual machine can be started here, and nothing was tested.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
readonly cannot_start=125 skipped=77
export DROIDSPEAK_TEST_INTERFACE=dum0
tests_named() { printf "build/bin/rdma_%s_test --gtest_brief=1 && " "$@"; echo true; }
declare -A steps=(
  [conformance]=$(tests_named conformance conformance_close conformance_killed)
  [verbs]=$(tests_named verbs verbs_hostile verbs_device_memory)
  [system]="tests/rdma/system.sh build/bin"
  [faults]="tests/rdma/faults.sh build/bin"
  [bench]="tests/rdma/bench.sh build/bin"
  [kernel_tls]="tests/rdma/kernel_tls.sh build/bin"
)
order=(conformance verbs system faults bench kernel_tls)
(($#)) && order=("$@")
failed=()
for step in "${order[@]}"; do
  [[ ${steps[$step]-} ]] || { echo "rdma: unknown step '$step'; expected some of ${!steps[*]}" >&2; exit 2; }
  echo "rdma: $step" >&2
  [[ $step != faults ]] || tests/rdma/models.sh build/bin build/rdma
  status=0
  tests/rdma/vm --timeout 450 -- bash -c "${steps[$step]}" || status=$?
  if ((status == cannot_start)); then
    echo "rdma: SKIPPED: verbs is not tested, since no virtual machine can be started here (see above)" >&2
    exit $skipped
  fi
  ((status == 0)) || failed+=("$step ($status)")
done
((${#failed[@]} == 0)) || { echo "rdma: FAILED: ${failed[*]}" >&2; exit 1; }
echo "rdma: all of ${order[*]} passed" >&2
