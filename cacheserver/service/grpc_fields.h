// SPDX-License-Identifier: Apache-2.0
// What the gRPC services share: statuses and digests as they travel.
#pragma once

#include <algorithm>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/key/digest.h"
#include "grpcpp/support/status.h"

namespace droidspeak {

inline grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

// INVALID_ARGUMENT names the field, unless it has 32 bytes.
[[nodiscard]] inline absl::StatusOr<Digest> DigestField(const std::string& bytes, const char* field) {
  Digest digest;
  if (bytes.size() != digest.bytes.size()) {
    return absl::InvalidArgumentError(absl::StrCat(field, " has ", bytes.size(), " bytes; expected 32"));
  }
  std::copy(bytes.begin(), bytes.end(), digest.bytes.begin());
  return digest;
}

}  // namespace droidspeak
