// SPDX-License-Identifier: Apache-2.0
#include "tests/client/client_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace droidspeak {

Layout SmallLayout() {
  return *Layout::Parse("v1;layers=4;kv_heads=2;head_dim=64;hidden=128;block_tokens=16;kv=fp32;e=fp32;key=pre-rope");
}

std::vector<uint32_t> Tokens(const Layout& layout, int blocks, uint32_t seed) {
  std::vector<uint32_t> tokens(blocks * layout.block_tokens);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<uint32_t>(i) + seed * 1000;
  return tokens;
}

std::vector<std::byte> Pattern(uint64_t bytes, uint32_t seed) {
  std::vector<std::byte> pattern(bytes);
  uint32_t state = seed * 2654435761u + 1;
  for (std::byte& byte : pattern) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<std::byte>(state >> 24);
  }
  return pattern;
}

ServerProcess& ClientTest::StartServer(const std::string& name, std::vector<std::string> arguments) {
  const std::string secret = folder_.path() + "/secret";
  std::ofstream(secret) << "0123456789abcdef0123456789abcdef";
  chmod(secret.c_str(), 0600);
  arguments.insert(arguments.begin(), {"--host-pool=64MiB", "--cluster-secret-file=" + secret});
  auto server = ServerProcess::Start(name, std::move(arguments));
  EXPECT_TRUE(server.ok()) << server.status();
  addresses_.push_back({name, (*server)->listen()});
  servers_.push_back(*std::move(server));
  return *servers_.back();
}

std::unique_ptr<Client> ClientTest::Connect(const std::string& transport) {
  ClientOptions options;
  options.servers = addresses_;
  options.transport = transport;
  auto client = Client::Connect(options);
  EXPECT_TRUE(client.ok()) << client.status();
  return client.ok() ? *std::move(client) : nullptr;
}

NamespaceHandle ClientTest::Open(Client& client, uint8_t weights) {
  Digest digest;
  digest.bytes.fill(weights);
  auto ns = client.OpenNamespace(digest, nullptr, layout_);
  EXPECT_TRUE(ns.ok()) << ns.status();
  return *ns;
}

void ClientTest::StoreAll(Client& client, const NamespaceHandle& ns, absl::Span<const uint32_t> tokens) {
  const size_t blocks = tokens.size() / layout_.block_tokens;
  for (int layer = 0; layer < static_cast<int>(layout_.layers); ++layer) {
    const absl::Status stored = client.StoreKv(ns, tokens, layer, Stored(Kind::kKv, layer, blocks));
    ASSERT_TRUE(stored.ok()) << stored;
  }
  const absl::Status stored = client.StoreE(ns, tokens, 1, Stored(Kind::kE, 1, blocks));
  ASSERT_TRUE(stored.ok()) << stored;
}

FetchOptions ClientTest::WholeFetch(const NamespaceHandle& ns, const Region& region, int blocks, uint32_t chain,
                                    uint64_t base) const {
  FetchOptions options;
  options.blocks = BlockHashes(ns.bytes, Tokens(layout_, blocks, chain), layout_.block_tokens);
  for (int layer = 0; layer < 4; ++layer, base += blocks * layout_.kv_bytes()) {
    options.items.push_back({Kind::kKv, layer, &region, base, base + layout_.k_bytes(), layout_.kv_bytes()});
  }
  options.slots.resize(blocks);
  std::iota(options.slots.begin(), options.slots.end(), 0);
  return options;
}

std::vector<std::byte> ClientTest::Stored(Kind kind, int layer, size_t blocks) const {
  return Pattern(blocks * layout_.extent_bytes(kind), static_cast<uint32_t>(layer) * 2 + static_cast<uint32_t>(kind));
}

}  // namespace droidspeak
