// SPDX-License-Identifier: Apache-2.0
// The cache servers as the engine sees them: a client's session, model namespaces, and registered staging memory.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
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

// The layout of a model's extents, in a regime of its rotary embedding (rope_config.h).
[[nodiscard]] Layout CacheLayout(const ModelConfig& config, Dtype dtype, int64_t block_tokens, Regime regime);

class RemoteCache;

// Where a model's extents are: a namespace for each regime of its rotary embedding. A value.
class ModelNamespaces {
 public:
  // That of sequences of a reach; null when no sequence of another reach could use what they leave.
  [[nodiscard]] const NamespaceHandle* For(int64_t reach) const;

 private:
  friend class RemoteCache;
  RopeConfig rope_;
  std::array<std::optional<NamespaceHandle>, 3> by_regime_;
};

// Registered memory for one request, given back to the pool when destroyed.
class Staging {
 public:
  Staging(RemoteCache* cache, std::unique_ptr<Region> region) : cache_(cache), region_(std::move(region)) {}
  ~Staging();
  Staging(Staging&&) = default;
  Staging& operator=(Staging&&) = delete;

  [[nodiscard]] const Region& region() const { return *region_; }
  // A server may still write to it: it is not used again.
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

  // The namespaces of the model `spec` (DIR[+ADAPTER_DIR]), named by its weights' and adapter's digests.
  [[nodiscard]] absl::StatusOr<ModelNamespaces> OpenModel(const std::string& spec, const ModelConfig& config,
                                                          Dtype dtype, int64_t block_tokens);

  // At least `bytes`; registering is slow (pages are touched), so a bounded number of regions is kept and used again.
  [[nodiscard]] absl::StatusOr<Staging> AllocateStaging(uint64_t bytes);

 private:
  friend class Staging;
  void GiveBack(std::unique_ptr<Region> region, bool abandoned);

  const std::unique_ptr<Client> client_;
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<Region>> free_ ABSL_GUARDED_BY(mutex_);       // in the order in which they came back
  std::vector<std::unique_ptr<Region>> abandoned_ ABSL_GUARDED_BY(mutex_);  // the same
};

// h[1], h[2], ... of the full blocks of `tokens` in the namespace.
[[nodiscard]] std::vector<Digest> ChainOf(const NamespaceHandle& ns, absl::Span<const int32_t> tokens);

}  // namespace droidspeak
