// SPDX-License-Identifier: Apache-2.0
#include "client/src/directory.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace droidspeak {
namespace {

absl::Status OtherSecret(const std::string& server) {
  return absl::FailedPreconditionError(
      absl::StrCat("server ", server,
                   " has another cluster secret than the client's other servers or than before; give all "
                   "servers of a cluster the same --cluster-secret-file, and start the client again"));
}

}  // namespace

void Directory::AddRegion(std::shared_ptr<RegionMemory> memory) {
  absl::MutexLock lock(&mutex_);
  regions_.push_back(std::move(memory));
}

void Directory::RemoveRegion(uint32_t id) {
  absl::MutexLock lock(&mutex_);
  std::erase_if(regions_, [&](const auto& memory) { return memory->id() == id; });
}

std::vector<std::shared_ptr<RegionMemory>> Directory::regions() const {
  absl::MutexLock lock(&mutex_);
  return regions_;
}

int Directory::AddNamespace(const Digest& weights, const std::optional<Digest>& adapter, const Layout& layout) {
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < namespaces_.size(); ++i) {
    const NamespaceKey& key = namespaces_[i];
    if (key.weights == weights && key.adapter == adapter && key.layout == layout) return static_cast<int>(i);
  }
  namespaces_.push_back({weights, adapter, layout, std::nullopt});
  return static_cast<int>(namespaces_.size()) - 1;
}

Directory::NamespaceKey Directory::namespace_key(int index) const {
  absl::MutexLock lock(&mutex_);
  return namespaces_[index];
}

int Directory::namespaces() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int>(namespaces_.size());
}

absl::Status Directory::AgreeOnBytes(int index, const Digest& bytes, const std::string& server) {
  absl::MutexLock lock(&mutex_);
  std::optional<Digest>& known = namespaces_[index].bytes;
  if (!known.has_value()) known = bytes;
  return *known == bytes ? absl::OkStatus() : OtherSecret(server);
}

absl::Status Directory::AgreeOnSecret(const std::string& secret_id, const std::string& server) {
  absl::MutexLock lock(&mutex_);
  if (!secret_id_.has_value()) secret_id_ = secret_id;
  return *secret_id_ == secret_id ? absl::OkStatus() : OtherSecret(server);
}

}  // namespace droidspeak
