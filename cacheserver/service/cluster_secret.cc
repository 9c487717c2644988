// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/service/cluster_secret.h"

#include <sys/random.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/files.h"
#include "common/base/status.h"
#include "common/key/block_hash.h"

namespace droidspeak {
namespace {

constexpr char kSecretFile[] = "cluster-secret";
constexpr char kIdFile[] = "cluster-secret-id";

absl::StatusOr<std::string> ReadSecret(const std::string& path) {
  ASSIGN_OR_RETURN(std::string secret, ReadFile(path, ClusterSecret::kMaxBytes));
  if (secret.size() < ClusterSecret::kMinBytes) {
    return absl::InvalidArgumentError(absl::StrCat("cluster secret ", path, " has ", secret.size(),
                                                   " bytes; expected at least ", ClusterSecret::kMinBytes));
  }
  return secret;
}

absl::StatusOr<std::string> KeptSecret(const std::string& spill_folder) {
  const std::string path = absl::StrCat(spill_folder, "/", kSecretFile);
  absl::StatusOr<std::string> kept = ReadSecret(path);
  if (kept.ok() || !absl::IsNotFound(kept.status())) return kept;
  ASSIGN_OR_RETURN(std::string fresh, RandomBytes(32));
  RETURN_IF_ERROR(WriteFileAtomically(path, fresh, 0600));
  return fresh;
}

}  // namespace

absl::StatusOr<std::string> RandomBytes(size_t size) {
  std::string bytes(size, '\0');
  for (size_t done = 0; done < size;) {
    const ssize_t got = getrandom(bytes.data() + done, size - done, 0);
    if (got < 0 && errno != EINTR) return ErrnoStatus(errno, "reading random bytes");
    if (got > 0) done += static_cast<size_t>(got);
  }
  return bytes;
}

ClusterSecret::ClusterSecret(std::string secret)
    : secret_(std::move(secret)), id_(Sha256Of(absl::StrCat("droidspeak/secret-id/v1", secret_))) {}

absl::StatusOr<ClusterSecret> ClusterSecret::Load(const std::string& file, const std::string& spill_folder) {
  std::string secret;
  if (!file.empty()) {
    ASSIGN_OR_RETURN(secret, ReadSecret(file));
  } else if (!spill_folder.empty()) {
    ASSIGN_OR_RETURN(secret, KeptSecret(spill_folder));
  } else {
    ASSIGN_OR_RETURN(secret, RandomBytes(32));
  }
  ClusterSecret loaded(std::move(secret));
  if (spill_folder.empty()) return loaded;

  const std::string id_path = absl::StrCat(spill_folder, "/", kIdFile);
  absl::StatusOr<std::string> id = ReadFile(id_path, 128);
  if (absl::IsNotFound(id.status())) {
    RETURN_IF_ERROR(WriteFileAtomically(id_path, loaded.id_.Hex() + "\n"));
    return loaded;
  }
  RETURN_IF_ERROR(id.status());
  if (absl::StripSuffix(*id, "\n") != ToAbsl(loaded.id_.Hex())) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the store in ", spill_folder, " was written under the cluster secret with id ", absl::StripSuffix(*id, "\n"),
        ", but the one given has id ", loaded.id_.Hex(), ": give the same secret, or another spill folder"));
  }
  return loaded;
}

Digest ClusterSecret::SaltOf(std::string_view tenant) const {
  return Salt(secret_, tenant);
}

}  // namespace droidspeak
