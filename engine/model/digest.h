// SPDX-License-Identifier: Apache-2.0
// The model digest of docs/data-model.md: what names a model by its bytes, free of its path and of who runs it.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "droidspeak/keys.h"

namespace droidspeak {

// Digests of one `DIR[+ADAPTER_DIR]`.
struct ModelDigests {
  Digest weights;
  std::optional<Digest> adapter;
  Digest model;  // ModelDigest of the two above
};

// Computes them with all cores, or takes them from `cache_dir` when every file is unchanged (real path, device, inode,
// size, mtime and ctime in nanoseconds). Empty `cache_dir`: no cache. A cache that cannot be written is not an error.
[[nodiscard]] absl::StatusOr<ModelDigests> ComputeModelDigests(const std::string& spec, const std::string& cache_dir);

// $XDG_CACHE_HOME/droidspeak/digests, or ~/.cache/droidspeak/digests; empty without a home.
[[nodiscard]] std::string DigestCacheDir();

}  // namespace droidspeak
