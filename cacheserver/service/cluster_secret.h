// SPDX-License-Identifier: Apache-2.0
// The secret that all servers of a cluster share: salts of tenants come from it, and so do all names of blocks.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/key/digest.h"

namespace droidspeak {

// `size` bytes of the kernel's generator.
[[nodiscard]] absl::StatusOr<std::string> RandomBytes(size_t size);

// A plain value. The secret never leaves the process and is never logged; its id may be.
class ClusterSecret {
 public:
  static constexpr size_t kMinBytes = 16;
  static constexpr size_t kMaxBytes = 4096;

  // The bytes of `file` if it is given. Else those kept in `spill_folder` (32 random ones, written with mode 0600, when
  // there are none yet), or without one 32 random ones that end with the process.
  // FAILED_PRECONDITION when what is stored in `spill_folder` belongs to another secret than `file`.
  [[nodiscard]] static absl::StatusOr<ClusterSecret> Load(const std::string& file, const std::string& spill_folder);

  // SHA-256("droidspeak/secret-id/v1" ‖ secret).
  const Digest& id() const { return id_; }
  Digest SaltOf(std::string_view tenant) const;

 private:
  explicit ClusterSecret(std::string secret);

  std::string secret_;
  Digest id_;
};

}  // namespace droidspeak
