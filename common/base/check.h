// SPDX-License-Identifier: Apache-2.0
// Assertions of our own invariants, in release too. Never for what a peer, a file or a user may have got wrong.
#pragma once

namespace droidspeak {

// Says so on standard error and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);

}  // namespace droidspeak

#define DROIDSPEAK_CHECK(condition) \
  (static_cast<bool>(condition) ? static_cast<void>(0) : ::droidspeak::CheckFailed(__FILE__, __LINE__, #condition))
