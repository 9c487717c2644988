// SPDX-License-Identifier: Apache-2.0
// The client: its servers, and who of them holds which blocks.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/src/coverage.h"
#include "client/src/directory.h"
#include "client/src/reactor.h"
#include "client/src/server_session.h"
#include "droidspeak/client.h"

namespace droidspeak {

class ClientImpl : public Client {
 public:
  ClientImpl(ClientOptions options, std::unique_ptr<Reactor> reactor);
  ~ClientImpl() override;

  // Waits for each server's first attempt; see Client::Connect.
  absl::Status WaitUntilConnected();

  int live_servers() const override;
  int servers() const override { return static_cast<int>(sessions_.size()); }
  std::vector<ServerConnection> connections() const override;
  absl::StatusOr<NamespaceHandle> OpenNamespace(const Digest& weights, const Digest* adapter,
                                                const Layout& layout) override;
  absl::StatusOr<std::unique_ptr<Region>> AllocateRegion(uint64_t bytes) override;
  std::vector<BlockCoverage> Coverage(const NamespaceHandle& ns, absl::Span<const Digest> blocks) override;
  absl::StatusOr<std::unique_ptr<Fetch>> StartFetch(const NamespaceHandle& ns, FetchOptions options) override;
  absl::StatusOr<std::unique_ptr<Store>> StartStore(const NamespaceHandle& ns, StoreOptions options) override;

  // paper_calls.cc
  absl::Status StoreKv(const NamespaceHandle& ns, absl::Span<const uint32_t> tokens, int layer,
                       absl::Span<const std::byte> kv) override;
  absl::Status StoreE(const NamespaceHandle& ns, absl::Span<const uint32_t> tokens, int layer,
                      absl::Span<const std::byte> e) override;
  absl::StatusOr<int> FetchKv(const NamespaceHandle& ns, absl::Span<const uint32_t> tokens, int layer,
                              absl::Span<std::byte> kv) override;
  absl::StatusOr<int> FetchE(const NamespaceHandle& ns, absl::Span<const uint32_t> tokens, int layer,
                             absl::Span<std::byte> e) override;

 private:
  // A live server and the blocks, by index, whose home it is.
  struct Share {
    Target target;
    std::vector<int> blocks;
  };
  // Shares of a run of blocks, at most `limit` blocks each; blocks of servers that cannot be used are in none.
  absl::StatusOr<std::vector<Share>> Divide(const NamespaceHandle& ns, absl::Span<const Digest> blocks,
                                            int first_position, const std::optional<Digest>& stripe_key) const;
  void AskEach(const std::vector<Share>& shares, absl::Span<const Digest> blocks,
               const std::shared_ptr<CoverageState>& question);
  absl::Status StoreLayer(const NamespaceHandle& ns, absl::Span<const uint32_t> tokens, Kind kind, int layer,
                          absl::Span<const std::byte> bytes);
  absl::StatusOr<int> FetchLayer(const NamespaceHandle& ns, absl::Span<const uint32_t> tokens, Kind kind, int layer,
                                 absl::Span<std::byte> bytes);

  const ClientOptions options_;
  std::vector<std::string> names_;  // of the servers, for placement
  Directory directory_;
  std::atomic<uint32_t> next_region_{1};
  std::unique_ptr<Reactor> reactor_;
  std::vector<std::unique_ptr<ServerSession>> sessions_;  // last: they use all of the above
};

}  // namespace droidspeak
