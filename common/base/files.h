// SPDX-License-Identifier: Apache-2.0
// Whole files: read with a bound, written so that a reader sees the old one or the new one.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace droidspeak {

// The contents of `path`. NOT_FOUND, PERMISSION_DENIED and so on name the path; RESOURCE_EXHAUSTED when it has more
// than `max_bytes`.
[[nodiscard]] absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes);

// Replaces `path` by `contents`: written to a temporary file beside it, synced, renamed, and the folder synced. On
// failure nothing is left behind and the old file is as it was. A symbolic link stays and what it leads to is replaced;
// FAILED_PRECONDITION for what is no regular file (a device, a folder).
[[nodiscard]] absl::Status WriteFileAtomically(const std::string& path, std::string_view contents, mode_t mode = 0644);

// Makes the names in a folder survive power loss.
[[nodiscard]] absl::Status SyncFolder(const std::string& folder);

// A status for errno `error` met while doing `what` ("opening FILE").
[[nodiscard]] absl::Status ErrnoStatus(int error, std::string_view what);

}  // namespace droidspeak
