// SPDX-License-Identifier: Apache-2.0
// What every connection of a client must know: its regions and namespaces.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/src/region.h"

namespace droidspeak {

// Thread-safe. Outlives the sessions.
class Directory {
 public:
  struct NamespaceKey {
    Digest weights;
    std::optional<Digest> adapter;
    Layout layout;
    std::optional<Digest> bytes;  // as the first server computed it
  };

  void AddRegion(std::shared_ptr<RegionMemory> memory);
  void RemoveRegion(uint32_t id);
  std::vector<std::shared_ptr<RegionMemory>> regions() const;

  // The index of this key, added if it is new. Servers are asked elsewhere.
  int AddNamespace(const Digest& weights, const std::optional<Digest>& adapter, const Layout& layout);
  NamespaceKey namespace_key(int index) const;
  int namespaces() const;
  // Notes the bytes that a server computed for a namespace. FAILED_PRECONDITION when another server computed others:
  // then the two have different cluster secrets, and what one stores the other would not find.
  absl::Status AgreeOnBytes(int index, const Digest& bytes, const std::string& server);
  // Notes a server's cluster secret id, in the same way.
  absl::Status AgreeOnSecret(const std::string& secret_id, const std::string& server);

 private:
  mutable absl::Mutex mutex_;
  std::vector<std::shared_ptr<RegionMemory>> regions_ ABSL_GUARDED_BY(mutex_);
  std::vector<NamespaceKey> namespaces_ ABSL_GUARDED_BY(mutex_);
  std::optional<std::string> secret_id_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace droidspeak
