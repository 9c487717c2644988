// SPDX-License-Identifier: Apache-2.0
// UCX's messages go to our log: by itself it would write to standard output, which is for results.
#pragma once

namespace droidspeak::ucx {

// Takes effect for the process, once. Thread-safe.
void RedirectLog();

}  // namespace droidspeak::ucx
