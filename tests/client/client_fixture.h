// SPDX-License-Identifier: Apache-2.0
// Clients, contexts and their tensors for tests against real servers.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "droidspeak/client.h"
#include "tests/support/server_process.h"

namespace droidspeak {

// A layout of 4 layers whose extents are 16 KiB (KV) and 8 KiB (E).
Layout SmallLayout();

// Token ids 0, 1, 2, ... + seed * 1000 of so many blocks.
std::vector<uint32_t> Tokens(const Layout& layout, int blocks, uint32_t seed = 0);

// Bytes that depend on what they are of.
std::vector<std::byte> Pattern(uint64_t bytes, uint32_t seed);

class ClientTest : public testing::Test {
 protected:
  // Starts a server and adds it to the list that Connect uses. `secret` names one of the cluster's secret files.
  ServerProcess& StartServer(const std::string& name, std::vector<std::string> arguments = {});
  std::unique_ptr<Client> Connect(const std::string& transport = "auto");
  NamespaceHandle Open(Client& client, uint8_t weights = 1);

  // Stores KV of all layers and E of layer 1 of all blocks of `tokens`.
  void StoreAll(Client& client, const NamespaceHandle& ns, absl::Span<const uint32_t> tokens);
  // What StoreAll stored of (kind, layer), block after block.
  std::vector<std::byte> Stored(Kind kind, int layer, size_t blocks) const;

  // Fetches KV of all layers of `blocks` blocks of Tokens(chain): layer after layer, from byte `base` of the region on.
  FetchOptions WholeFetch(const NamespaceHandle& ns, const Region& region, int blocks, uint32_t chain = 0,
                          uint64_t base = 0) const;

  const Layout layout_ = SmallLayout();
  TemporaryFolder folder_;
  std::vector<ServerAddress> addresses_;
  std::vector<std::unique_ptr<ServerProcess>> servers_;
};

}  // namespace droidspeak
