// SPDX-License-Identifier: Apache-2.0
// A whole server in the test's process, a client that speaks raw messages, and extents with known contents.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cacheserver/server.h"
#include "tests/cacheserver/service/raw_client.h"
#include "tests/support/http_get.h"
#include "tests/support/server_process.h"

namespace droidspeak {

// K and V 16 KiB each, E 32 KiB.
inline constexpr char kSmallLayout[] =
    "v1;layers=4;kv_heads=2;head_dim=64;hidden=256;block_tokens=64;kv=bf16;e=bf16;key=pre-rope";

struct Extent {
  Kind kind;
  uint16_t layer;
};

// What the tests store under an identity, in so many bytes.
std::vector<std::byte> ExtentContents(const Digest& block, Extent extent, uint64_t bytes);

// The parameter is the transport.
class ServiceTest : public testing::TestWithParam<std::string> {
 protected:
  // Starts the server with ports from the kernel; `options` may be changed before.
  void StartServer();
  // A session over the test's transport, a namespace, a connection after its hello.
  void ConnectClient(uint64_t region_bytes = 8 << 20, const std::string& layout = kSmallLayout);
  std::unique_ptr<RawConnection> NewConnection(uint64_t region_bytes = 8 << 20);

  // Hashes of the first blocks of a chain of the namespace.
  std::vector<Digest> Chain(size_t blocks, uint32_t seed = 0) const;
  // What the tests store under an identity.
  std::vector<std::byte> Contents(const Digest& block, Extent extent) const;
  uint64_t ChecksumOf(const Digest& block, Extent extent) const;

  // An item whose slots lie one behind the other from `base` of the region; V follows K in the slot.
  wire::TransferItem Item(Extent extent, uint64_t base) const;
  // The bytes an item's slot holds, from the client's memory.
  std::vector<std::byte> Landed(RawConnection& connection, const wire::TransferItem& item, uint32_t slot) const;

  wire::OfferAnswer Offer(RawConnection& connection, uint64_t request_id, const std::vector<Digest>& blocks,
                          const std::vector<Extent>& extents);
  // Puts all extents of an offer's blocks into the client's memory and asks to fill them.
  wire::FillRequest MakeFill(RawConnection& connection, uint64_t request_id, uint64_t offer_id,
                             const std::vector<Digest>& blocks, const std::vector<Extent>& extents);
  // Offers, fills and seals; fails the test unless all of it was taken.
  void Store(RawConnection& connection, const std::vector<Digest>& blocks, const std::vector<Extent>& extents,
             bool durable = false);
  // A fetch of items into slots 0, 1, … of areas that follow each other.
  wire::FetchRequest MakeFetch(uint64_t request_id, const std::vector<Digest>& blocks,
                               const std::vector<Extent>& extents) const;
  // Sends a fetch, reads to its end, checks all checksums and bytes; returns the order in which (item, block) arrived.
  std::vector<std::pair<uint32_t, uint32_t>> FetchAndCheck(RawConnection& connection,
                                                           const wire::FetchRequest& request);
  uint64_t ExtentBytes(Extent extent) const { return space_.layout.extent_bytes(extent.kind); }
  // The text of the admin server's metrics; waits until a line is in it.
  bool WaitForMetric(const std::string& line);
  // The value of a metric, named with its labels; 0 when there is none.
  double Metric(const std::string& name) const;

  TemporaryFolder folder_;
  ServerOptions options_;
  std::unique_ptr<CacheServer> server_;
  RawSession session_;
  RawNamespace space_;
  std::unique_ptr<RawConnection> client_;
  uint64_t next_request_ = 1;
};

std::string TransportName(const testing::TestParamInfo<std::string>& info);

}  // namespace droidspeak
