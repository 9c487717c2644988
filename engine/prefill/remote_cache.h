// SPDX-License-Identifier: Apache-2.0
// The cache servers as the engine sees them: a client's session, model namespaces, and registered staging memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "droidspeak/client.h"
#include "engine/model/config.h"

namespace droidspeak {

// The layout of a model's extents.
[[nodiscard]] Layout CacheLayout(const ModelConfig& config, Dtype dtype, int64_t block_tokens);

class RemoteCache;

// Registered memory for one request, given back to the pool when destroyed.
class Staging {
 public:
  Staging(RemoteCache* cache, std::unique_ptr<Region> region) : cache_(cache), region_(std::move(region)) {}
  ~Staging();
  Staging(Staging&&) = default;
  Staging& operator=(Staging&&) = delete;

  [[nodiscard]] const Region& region() const { return *region_; }
  // A server may still write to it: it is set aside for good instead of being used again.
  void Abandon() { abandoned_ = true; }

 private:
  RemoteCache* cache_;
  std::unique_ptr<Region> region_;
  bool abandoned_ = false;
};

// Owns the client and all memory it registered. Thread-safe.
class RemoteCache {
 public:
  // `servers` is "[NAME=]HOST:PORT,...", `tls` as in ClientOptions.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<RemoteCache>> Connect(const std::string& servers,
                                                                            const TlsFiles& tls);
  explicit RemoteCache(std::unique_ptr<Client> client) : client_(std::move(client)) {}

  [[nodiscard]] Client& client() { return *client_; }

  // The namespace of the model `spec` (DIR[+ADAPTER_DIR]), named by its weights' and adapter's digests.
  [[nodiscard]] absl::StatusOr<NamespaceHandle> OpenModel(const std::string& spec, const ModelConfig& config,
                                                          Dtype dtype, int64_t block_tokens);

  // At least `bytes`; registering is slow (pages are touched), so regions are kept and used again.
  [[nodiscard]] absl::StatusOr<Staging> AllocateStaging(uint64_t bytes);

 private:
  friend class Staging;
  void GiveBack(std::unique_ptr<Region> region, bool abandoned);

  const std::unique_ptr<Client> client_;
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<Region>> free_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Region>> abandoned_ ABSL_GUARDED_BY(mutex_);
};

// h[1], h[2], ... of the full blocks of `tokens` in the namespace.
[[nodiscard]] std::vector<Digest> ChainOf(const NamespaceHandle& ns, absl::Span<const int32_t> tokens);

}  // namespace droidspeak
