#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The tcp transport under TLS whose records the kernel makes: run by run.sh, in the virtual machine.
#   kernel_tls.sh BIN
set -euo pipefail
bin=$1
modprobe tls
export DROIDSPEAK_TEST_KERNEL_TLS=1
# Debian 12's kernel can't change keys; vm takes a newer one, too, if DROIDSPEAK_CACHE has it.
[[ $(printf '6.14\n%s\n' "$(uname -r)" | sort -V | head -n 1) != 6.14 ]] || export DROIDSPEAK_TEST_KERNEL_TLS_KEYS=1
"$bin/transport_tls_layer_test" --gtest_brief=1
"$bin/transport_tls_test" --gtest_brief=1
for test in conformance conformance_close conformance_killed; do
  "$bin/transport_${test}_test" --gtest_brief=1 --gtest_filter='*/tcp_tls*'
done
# counted NAME: of all sockets since the start.
counted() { sed -n "s/^$1[[:space:]]*//p" /proc/net/tls_stat; }
echo "kernel_tls: the kernel sent for $(counted TlsTxSw) sockets and received for $(counted TlsRxSw)"
(($(counted TlsTxSw) > 100 && $(counted TlsRxSw) == $(counted TlsTxSw))) || { echo "kernel_tls: FAILED: that is not all of them"; exit 1; }
